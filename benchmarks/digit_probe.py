"""Spoken digits by linear probe: what the packaged encoder knows, beside MFCC and random weights.

    python -m benchmarks.digit_probe FSDD_FOLDER [--encoder FOLDER] [--json OUT]

FSDD's files are named DIGIT_SPEAKER_TAKE. Every speaker is left out in turn; features are averaged
over time; the regularisation is that of `wavcube.metrics.linear_probe`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchaudio.functional import resample
from torchaudio.transforms import MFCC
from tqdm import tqdm

from wavcube.data.audio import read_audio
from wavcube.lobes.ssl_encoder import SSLEncoder
from wavcube.metrics.linear_probe import leave_one_group_out
from wavcube.release.ssl_folder import packaged_encoder

BATCH = 50
NARROW_BAND = 8000  # FSDD's own rate: above 4 kHz there is nothing for MFCC to see


def read_digits(folder: Path, sample_rate: int) -> list[tuple[int, str, Tensor]]:
    """Digit, speaker and waveform `[T]` of every take."""
    files = sorted([*folder.rglob("*.flac"), *folder.rglob("*.wav")])
    if not files:
        raise FileNotFoundError(f"{folder} has no FSDD recordings (DIGIT_SPEAKER_TAKE.wav)")
    named = [(file, file.stem.split("_")) for file in files]
    return [(int(name[0]), name[1], read_audio(file, sample_rate)) for file, name in named]


def mfcc_statistics(wavs: list[Tensor], sample_rate: int) -> np.ndarray:
    """Mean and deviation of 13 cepstra at the recordings' own band."""
    options = {"n_fft": 256, "win_length": 200, "hop_length": 80, "n_mels": 40}
    mfcc = MFCC(NARROW_BAND, 13, melkwargs=options)
    cepstra = [mfcc(resample(wav, sample_rate, NARROW_BAND)) for wav in wavs]
    return torch.stack([torch.cat([c.mean(1), c.std(1)]) for c in cepstra]).numpy()


@torch.no_grad()
def pooled(encoder: SSLEncoder, wavs: list[Tensor]) -> np.ndarray:
    """Time average of the encoder's feature, `[items, C]`."""
    encoder.eval()
    result = np.empty((len(wavs), encoder.dim), dtype=np.float32)
    order = np.argsort([len(wav) for wav in wavs])
    for start in tqdm(range(0, len(order), BATCH), desc="encoding"):
        rows = order[start : start + BATCH]
        lengths = torch.tensor([len(wavs[row]) for row in rows])
        padded = torch.nn.utils.rnn.pad_sequence([wavs[row] for row in rows], batch_first=True)
        features = encoder(padded, lengths)
        # padding is zero: the sum over time is the sum over the item's own frames
        result[rows] = (features.feature.sum(1) / features.num_frames[:, None]).numpy()
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", type=Path, default=packaged_encoder())
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    trained = SSLEncoder.from_pretrained(arguments.encoder)
    torch.manual_seed(0)
    untrained = SSLEncoder(**trained.config())
    takes = read_digits(arguments.folder, trained.sample_rate)
    digits, speakers, wavs = map(list, zip(*takes, strict=True))
    rows: dict[str, Callable[[], np.ndarray]] = {
        "MFCC mean + deviation": lambda: mfcc_statistics(wavs, trained.sample_rate),
        "untrained encoder": lambda: pooled(untrained, wavs),
        "trained encoder": lambda: pooled(trained, wavs),
    }
    results = {}
    for name, features in rows.items():
        by_speaker = leave_one_group_out(features(), digits, speakers)
        results[name] = {"mean": float(np.mean(list(by_speaker.values()))), **by_speaker}
        scores = "  ".join(f"{key} {value:.3f}" for key, value in results[name].items())
        print(f"{name:24s} {scores}", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
