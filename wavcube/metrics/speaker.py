"""Speaker similarity by Resemblyzer's voice encoder, whose weights its package carries."""

from __future__ import annotations

import warnings
from functools import lru_cache
from typing import Any

import numpy as np

from wavcube.metrics.base import MetricError, MetricInfo, require

INFO = MetricInfo(
    key="speaker_similarity",
    name="Speaker similarity (Resemblyzer)",
    description=(
        "Cosine of Resemblyzer's utterance embeddings (GE2E, packaged weights) after its own "
        "preprocess_wav: 16 kHz, at least -30 dBFS, pauses cut by WebRTC VAD"
    ),
    unit="cosine",
    better="higher",
    package="resemblyzer",
    sample_rate=16000,
    aligned=False,
)


def speaker_similarity(reference: np.ndarray, generated: np.ndarray, sample_rate: int) -> float:
    """Cosine similarity of two voices.

    Pauses are cut on purpose: the encoder was trained on speech without them, and published figures
    come from the package's own preprocessing. The encoder's input is not logarithmic, so of two
    copies louder than -30 dBFS the level counts.

    Parameters
    ----------
    reference, generated : ndarray
        Waveforms of any lengths, ``[T]`` and ``[T']``.
    sample_rate : int
        Their rate in Hz; Resemblyzer resamples to 16 kHz.

    Returns
    -------
    float
        From 0 (the embeddings are not negative) to 1.

    Raises
    ------
    MetricError
        If no voice is found in a signal.
    """
    first = embed_voice(reference, sample_rate, "reference")
    return float(np.dot(first, embed_voice(generated, sample_rate, "generated")))


def embed_voice(samples: np.ndarray, sample_rate: int, label: str = "given") -> np.ndarray:
    """Embed the voice of a recording, pauses cut.

    Parameters
    ----------
    samples : ndarray
        Waveform, ``[T]``.
    sample_rate : int
        Its rate in Hz; Resemblyzer resamples to 16 kHz.
    label : str
        What to call the signal in an error.

    Returns
    -------
    ndarray
        Of unit length, ``[256]``.

    Raises
    ------
    MetricError
        If no voice is found in the signal.
    """
    resemblyzer = _import_resemblyzer()
    wav = resemblyzer.preprocess_wav(samples.astype(np.float32), source_sr=sample_rate)
    if wav.size == 0:
        raise MetricError(f"the voice activity detector finds no voice in the {label} signal")
    return _encoder().embed_utterance(wav)


@lru_cache(maxsize=1)
def _encoder() -> Any:  # noqa: ANN401 - an optional package's class
    # on the CPU always, so that a score does not depend on the machine's accelerator
    return _import_resemblyzer().VoiceEncoder(device="cpu", verbose=False)


def _import_resemblyzer() -> Any:  # noqa: ANN401 - an optional package
    with warnings.catch_warnings():
        # it imports old names of scipy and pkg_resources, which is not the user's business
        warnings.simplefilter("ignore", category=(DeprecationWarning))
        warnings.simplefilter("ignore", category=(UserWarning))
        return require("resemblyzer", "resemblyzer")
