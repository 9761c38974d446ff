"""What representations know of speech: linear probes of their time averages on FSDD."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.features import (
    MFCC_COEFFICIENTS,
    MFCC_HOP,
    NARROW_BAND,
    Frames,
    latent_frames,
    log_mel_frames,
    mfcc_statistics,
    pooled,
    restored_frames,
    ssl_frames,
    turned_frames,
)
from benchmarks.fsdd import TAKE_BLOCKS, Take, digit_accuracy, read_takes, speaker_accuracy
from wavcube import WavCube
from wavcube.lobes.acoustic_codec import AcousticCodec
from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.lobes.ssl.filterbank_wavlm import LogMelFrontEnd
from wavcube.lobes.wavcube import WavCube as LobeWavCube
from wavcube.metrics import format_table
from wavcube.metrics.linear_probe import INVERSE_PENALTY

PROBE = {
    "name": "Linear probes of time averages",
    "classifier": "logistic regression on standardised features (scikit-learn)",
    "inverse_penalty": INVERSE_PENALTY,
    "digits": "mean over speakers, each left out in turn",
    "speakers": f"mean over {TAKE_BLOCKS} blocks of takes, each left out in turn",
}
TURNED = "latent turned to the SSL feature"
RESTORED = "feature restored from the latent"
SSL_FEATURE, LOG_MEL, MFCC = "SSL feature", "log-mel", "MFCC, mean and deviation"
MEL_BINS = 100
DIGITS, SPEAKERS = "digits, unseen speakers [%] ↑", "speakers, unseen takes [%] ↑"


def probe(
    folder: Path,
    models: Mapping[str, WavCube],
    restorers: Mapping[str, LobeWavCube],
    encoder: SSLEncoder,
    speech: Sequence[Tensor],
) -> dict[str, dict[str, Any]]:
    """Say of each representation what a linear classifier of its time average gets right.

    Models that know nothing of the SSL feature have a second row: with their latents turned to it,
    by statistics of other speech.
    """
    rate = encoder.sample_rate
    takes = read_takes(folder, rate)
    wavs = [take.wav for take in takes]
    front_end = LogMelFrontEnd(MEL_BINS, stacked_frames=1, sample_rate=rate)
    # frames, and how many numbers they are for a second of speech
    rows: dict[str, tuple[Frames, float]] = {
        label: (latent_frames(model), model.latent_dim * model.frame_rate)
        for label, model in models.items()
    }
    for label, model in models.items():
        if isinstance(model.mods.wavcube, AcousticCodec):
            frames, values = rows[label]
            rows[f"{label}: {TURNED}"] = turned_frames(frames, encoder, speech), values
    for label, lobe in restorers.items():
        values = lobe.encoder.dim * lobe.frame_rate
        rows[f"{label}: {RESTORED}"] = restored_frames(lobe), values
    rows[SSL_FEATURE] = ssl_frames(encoder), encoder.dim * rate / encoder.hop
    rows[LOG_MEL] = log_mel_frames(front_end), MEL_BINS * rate / front_end.hop
    results = {
        label: _probed(pooled(frames, wavs), takes, values)
        for label, (frames, values) in rows.items()
    }
    values = MFCC_COEFFICIENTS * NARROW_BAND / MFCC_HOP
    return {**results, MFCC: _probed(mfcc_statistics(wavs, rate), takes, values)}


def _probed(averages: np.ndarray, takes: Sequence[Take], values: float) -> dict[str, Any]:
    """Probe time averages `[items, C]`."""
    return {
        "digits": _with_mean(digit_accuracy(averages, takes)),
        "speakers": _with_mean(speaker_accuracy(averages, takes)),
        "values_per_second": values,
    }


def _with_mean(accuracy: dict[str, float]) -> dict[str, Any]:
    return {"mean": float(np.mean(list(accuracy.values()))), "held_out": accuracy}


def knowledge_table(results: Mapping[str, Mapping[str, Any]]) -> str:
    """Lay the results of :func:`probe` out as a Markdown table."""
    rows = {
        label: {
            DIGITS: 100 * row["digits"]["mean"],
            SPEAKERS: 100 * row["speakers"]["mean"],
            "values a second": f"{row['values_per_second']:.0f}",
        }
        for label, row in results.items()
    }
    return format_table(rows, digits=1)
