"""Perceptual evaluation of speech quality (PESQ), wide and narrow band, by the pesq package."""

from __future__ import annotations

import itertools
import warnings
from dataclasses import replace

import numpy as np

from wavcube.metrics.base import MetricError, MetricInfo, require, resample

# in Hz, of the two bands
_WIDE, _NARROW = 16000, 8000
# P.862 is for up to 30 s, and pesq's memory for 50 utterances of at least 0.4 s with their pauses
_LONGEST, _SEGMENT = 30, 20
_SEGMENTED = f"; above {_LONGEST} s the mean of segments that end in pauses"
PESQ_WB = MetricInfo(
    key="pesq_wb",
    name="PESQ-WB",
    description="Wide-band PESQ as MOS-LQO (ITU-T P.862.2)" + _SEGMENTED,
    unit="MOS",
    better="higher",
    package="pesq",
    sample_rate=_WIDE,
)
PESQ_NB = replace(
    PESQ_WB,
    key="pesq_nb",
    name="PESQ-NB",
    description="Narrow-band PESQ as MOS-LQO (ITU-T P.862.1)" + _SEGMENTED,
    sample_rate=_NARROW,
)


def pesq_wb(reference: np.ndarray, generated: np.ndarray, sample_rate: int) -> float:
    """Wide-band PESQ at 16 kHz.

    Parameters
    ----------
    reference, generated : ndarray
        Waveforms, ``[T]``, unpadded: silence at the end changes PESQ.
    sample_rate : int
        Their rate in Hz, at least 16000.

    Returns
    -------
    float
        MOS-LQO from 1.02 to 4.64.

    Raises
    ------
    MetricError
        If the rate is below 16 kHz, or PESQ finds no utterance or less than 0.25 s.
    """
    return _pesq(reference, generated, sample_rate, PESQ_WB, _WIDE)


def pesq_nb(reference: np.ndarray, generated: np.ndarray, sample_rate: int) -> float:
    """Narrow-band PESQ at 8 kHz.

    Parameters
    ----------
    reference, generated : ndarray
        Waveforms, ``[T]``, unpadded: silence at the end changes PESQ.
    sample_rate : int
        Their rate in Hz, at least 8000.

    Returns
    -------
    float
        MOS-LQO from 1.0 to 4.55.

    Raises
    ------
    MetricError
        If the rate is below 8 kHz, or PESQ finds no utterance or less than 0.25 s.
    """
    return _pesq(reference, generated, sample_rate, PESQ_NB, _NARROW)


def _pesq(
    reference: np.ndarray, generated: np.ndarray, sample_rate: int, info: MetricInfo, rate: int
) -> float:
    if sample_rate < rate:
        raise MetricError(f"{info.name} needs {rate} Hz, the reference has {sample_rate}")
    pesq = require("pesq", "pesq")
    signals = [resample(x, sample_rate, rate) for x in (reference, generated)]
    scores, failed = [], ""
    for start, stop in _segments(signals[0], rate):
        try:
            pair = (signal[start:stop] for signal in signals)
            scores.append(float(pesq.pesq(rate, *pair, "wb" if rate == _WIDE else "nb")))
        except pesq.PesqError as error:  # such as of a segment of silence
            reason = error.args[0] if error.args else ""
            reason = reason.decode() if isinstance(reason, bytes) else reason
            failed = f"PESQ: {type(error).__name__}: {reason}"
    if not scores:
        raise MetricError(failed)
    return float(np.mean(scores))


def _segments(reference: np.ndarray, rate: int) -> list[tuple[int, int]]:
    """Cut a long recording where it is quietest, in segments of 8 to 20 s."""
    total = len(reference)
    if total <= _LONGEST * rate:
        return [(0, total)]
    hop = rate // 50
    frames = np.square(reference[: total // hop * hop].reshape(-1, hop)).mean(axis=1)
    power = np.convolve(frames, np.ones(11) / 11, mode="same")  # 0.2 s, the pauses that PESQ sees
    bounds = [0]
    while total - bounds[-1] > _SEGMENT * rate:
        first = bounds[-1] + _SEGMENT * rate // 2
        last = min(bounds[-1] + _SEGMENT * rate, total - 8 * rate)
        quietest = first // hop + int(np.argmin(power[first // hop : last // hop]))
        bounds.append(quietest * hop)
    return list(itertools.pairwise([*bounds, total]))


_RATE = 10000  # in Hz
STOI = MetricInfo(
    key="stoi",
    name="STOI",
    description="Short-time objective intelligibility (Taal et al. 2011, not the extended form)",
    unit="",
    better="higher",
    package="pystoi",
    sample_rate=_RATE,
)
ESTOI = replace(
    STOI,
    key="estoi",
    name="ESTOI",
    description="Extended short-time objective intelligibility (Jensen and Taal 2016)",
)
# 30 frames of 256 samples, every 128 samples, at 10 kHz
_SHORTEST = 29 * 128 + 256


def stoi(
    reference: np.ndarray, generated: np.ndarray, sample_rate: int, extended: bool = False
) -> float:
    """Compute the short-time objective intelligibility.

    Parameters
    ----------
    reference, generated : ndarray
        Waveforms of equal length, ``[T]``.
    sample_rate : int
        Their rate in Hz; pystoi resamples to 10 kHz.
    extended : bool
        Compute ESTOI instead, which also punishes smeared modulation.

    Returns
    -------
    float
        About 0 (unintelligible) to 1.

    Raises
    ------
    MetricError
        If less than 30 frames (0.4 s) of the reference are speech; pystoi itself would return 1e-5.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal(16000)
    >>> round(stoi(noise, noise, 16000), 3)
    1.0
    """
    pystoi = require("pystoi", "pystoi")
    too_short = "the reference has less than 30 frames (0.4 s) of speech, which STOI needs"
    if len(reference) * _RATE < _SHORTEST * sample_rate:
        raise MetricError(too_short)
    # ESTOI adds noise of 1e-16 from numpy's global generator: pinned, so that the same signals
    # always give the same number, and given back untouched.
    state = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)
            return float(pystoi.stoi(reference, generated, sample_rate, extended=extended))
    except RuntimeWarning as warning:
        raise MetricError(too_short) from warning
    finally:
        np.random.set_state(state)  # noqa: NPY002


def estoi(reference: np.ndarray, generated: np.ndarray, sample_rate: int) -> float:
    """Compute the extended short-time objective intelligibility.

    Parameters
    ----------
    reference, generated : ndarray
        Waveforms of equal length, ``[T]``.
    sample_rate : int
        Their rate in Hz; pystoi resamples to 10 kHz.

    Returns
    -------
    float
        About 0 (unintelligible) to 1.

    Raises
    ------
    MetricError
        If less than 30 frames (0.4 s) of the reference are speech.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal(16000)
    >>> round(estoi(noise, noise, 16000), 3)
    1.0
    """
    return stoi(reference, generated, sample_rate, extended=True)
