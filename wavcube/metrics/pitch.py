"""Agreement of fundamental frequency and voicing, tracked by librosa's probabilistic YIN."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from wavcube.metrics.base import MetricError, MetricInfo, require

LOWEST_HZ = 60.0
HIGHEST_HZ = 500.0

_TRACKER = (
    f"of probabilistic YIN (Mauch and Dixon 2014; threshold prior of mean 0.2, {LOWEST_HZ:.0f} to "
    f"{HIGHEST_HZ:.0f} Hz, windows of 64 ms every 10 ms)"
)
CORRELATION = MetricInfo(
    key="f0_correlation",
    name="F0 correlation",
    description=f"Pearson correlation of F0 in Hz over frames voiced in both signals, {_TRACKER}",
    unit="",
    better="higher",
    package="librosa",
)
VOICING_ERROR = replace(
    CORRELATION,
    key="voicing_error",
    name="Voiced/unvoiced error",
    description=f"Share of frames that are voiced in one signal only, {_TRACKER}",
    better="lower",
)
MEAN_DIFFERENCE = replace(
    VOICING_ERROR,
    key="f0_mean_difference",
    name="Difference of mean F0",
    description=f"Distance of the mean log F0 of each signal's voiced frames, {_TRACKER}",
    unit="semitones",
    aligned=False,
)
# What librosa gives a frame in which YIN finds no period at all: such a frame can be carried to the
# edge of the range, 60 or 500 Hz, by the tracker's memory, and a dozen of them turn a correlation
# of 1.0 into -0.2.
_NO_PERIOD = 0.01
# Prior of YIN's threshold with mean 0.2, one of the paper's three. librosa's default, mean 0.1,
# calls low and breathy voices unvoiced: 7 % of six seconds of clean speech instead of 35 %.
_THRESHOLD_PRIOR = (2, 8)
# A correlation of fewer points says nothing.
_FEWEST_VOICED = 10


def f0_correlation(reference: np.ndarray, generated: np.ndarray, sample_rate: int) -> float:
    """Pearson correlation of F0 over the frames that are voiced in both signals.

    Parameters
    ----------
    reference, generated : ndarray
        Waveforms of equal length, ``[T]``.
    sample_rate : int
        Their rate in Hz.

    Returns
    -------
    float
        From -1 to 1.

    Raises
    ------
    MetricError
        If fewer than 10 frames are voiced in both, or F0 is constant in a signal.
    """
    first, second = _track(reference, sample_rate), _track(generated, sample_rate)
    both = ~np.isnan(first) & ~np.isnan(second)
    if both.sum() < _FEWEST_VOICED:
        raise MetricError(
            f"{both.sum()} frames are voiced in both signals; a correlation needs {_FEWEST_VOICED}"
        )
    first, second = first[both], second[both]
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        raise MetricError("F0 is constant in a signal: it has no correlation")
    return float(np.corrcoef(first, second)[0, 1])


def voicing_error(reference: np.ndarray, generated: np.ndarray, sample_rate: int) -> float:
    """Share of frames whose voicing differs.

    Parameters
    ----------
    reference, generated : ndarray
        Waveforms of equal length, ``[T]``.
    sample_rate : int
        Their rate in Hz.

    Returns
    -------
    float
        From 0 to 1.
    """
    first, second = _track(reference, sample_rate), _track(generated, sample_rate)
    return float((np.isnan(first) != np.isnan(second)).mean())


def f0_mean_difference(reference: np.ndarray, generated: np.ndarray, sample_rate: int) -> float:
    """Distance of two voices' mean pitches, for signals that may say different things.

    Parameters
    ----------
    reference, generated : ndarray
        Waveforms of any lengths, ``[T]`` and ``[T']``.
    sample_rate : int
        Their rate in Hz.

    Returns
    -------
    float
        In semitones, of the geometric means over voiced frames.

    Raises
    ------
    MetricError
        If fewer than 10 frames of a signal are voiced.
    """
    means = []
    for label, samples in (("reference", reference), ("generated", generated)):
        voiced = _track(samples, sample_rate)
        voiced = voiced[~np.isnan(voiced)]
        if len(voiced) < _FEWEST_VOICED:
            raise MetricError(
                f"{len(voiced)} frames of the {label} signal are voiced; a mean needs "
                f"{_FEWEST_VOICED}"
            )
        means.append(np.log2(voiced).mean())
    return float(12 * abs(means[0] - means[1]))


def _track(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Track F0 in Hz, NaN where unvoiced, ``[T // hop + 1]``."""
    return _track_bytes(np.ascontiguousarray(samples, dtype=np.float32).tobytes(), sample_rate)


# Two metrics look at the same two signals, one after the other.
@lru_cache(maxsize=2)
def _track_bytes(samples: bytes, sample_rate: int) -> np.ndarray:
    librosa = require("librosa", "librosa")
    frequency, _, probability = librosa.pyin(
        np.frombuffer(samples, dtype=np.float32),
        fmin=LOWEST_HZ,
        fmax=HIGHEST_HZ,
        sr=sample_rate,
        frame_length=round(0.064 * sample_rate),
        hop_length=round(0.010 * sample_rate),
        resolution=0.2,  # semitones; five times as fast as the default of 0.1
        beta_parameters=_THRESHOLD_PRIOR,
        no_trough_prob=_NO_PERIOD,
    )
    return np.where(probability > 1.001 * _NO_PERIOD, frequency, np.nan)
