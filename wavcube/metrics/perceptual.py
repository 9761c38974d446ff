"""Perceptual evaluation of speech quality (PESQ), wide and narrow band, by the pesq package."""

from __future__ import annotations

import numpy as np

from wavcube.metrics.base import MetricInfo, require
from wavcube.metrics.signals import MetricError, resample

# in Hz, of the two bands
_WIDE, _NARROW = 16000, 8000
PESQ_WB = MetricInfo(
    key="pesq_wb",
    name="PESQ-WB",
    description="Wide-band PESQ as MOS-LQO (ITU-T P.862.2)",
    unit="MOS",
    better="higher",
    package="pesq",
    sample_rate=_WIDE,
)
PESQ_NB = MetricInfo(
    key="pesq_nb",
    name="PESQ-NB",
    description="Narrow-band PESQ as MOS-LQO (ITU-T P.862.1)",
    unit="MOS",
    better="higher",
    package="pesq",
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
    signals = (resample(x, sample_rate, rate) for x in (reference, generated))
    try:
        return float(pesq.pesq(rate, *signals, "wb" if rate == _WIDE else "nb"))
    except pesq.PesqError as error:
        reason = error.args[0] if error.args else ""
        reason = reason.decode() if isinstance(reason, bytes) else reason
        raise MetricError(f"PESQ: {type(error).__name__}: {reason}") from error
