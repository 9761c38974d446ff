"""Signal-to-distortion ratios: the scale-invariant one, and that of BSS Eval."""

from __future__ import annotations

import warnings
from dataclasses import replace

import numpy as np

from wavcube.metrics.base import MetricError, MetricInfo, require

INFO = MetricInfo(
    key="si_sdr",
    name="SI-SDR",
    description=(
        "Scale-invariant signal-to-distortion ratio of zero-mean signals (Le Roux et al. 2019, "
        "arXiv 1811.02508, eq. 3). It compares waveforms, phase included: models that make the "
        "phase anew, as vocoders do, score far below 0 dB however close they sound"
    ),
    unit="dB",
    better="higher",
    package="wavcube",
)
SDR = replace(
    INFO,
    key="sdr",
    name="SDR",
    description=(
        "Signal-to-distortion ratio of BSS Eval (Vincent et al. 2006), by asteroid's metrics: what "
        "a filter of 512 taps can make of the reference counts as signal"
    ),
    package="asteroid",
)
# Float64 sums of signals leave about 1e-16 of the energy; 200 dB is far beyond any real system.
_RELATIVE_FLOOR = 1e-20


def si_sdr(reference: np.ndarray, generated: np.ndarray, sample_rate: int | None = None) -> float:
    """Scale-invariant signal-to-distortion ratio.

    Parameters
    ----------
    reference, generated : ndarray
        Waveforms of equal length, ``[T]``.
    sample_rate : int, optional
        Not used; here so that every metric is called alike.

    Returns
    -------
    float
        Decibels.

    Raises
    ------
    MetricError
        If the ratio has no finite value: the generated signal is the reference up to scale, or a
        signal is constant, or the two are orthogonal.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.array([0.1, 0.1, -0.1, -0.1])
    >>> round(si_sdr(np.array([1.0, -1.0, 1.0, -1.0]), np.array([1.0, -1.0, 1.0, -1.0]) + noise), 6)
    20.0
    """
    reference = reference - reference.mean()
    generated = generated - generated.mean()
    energy = reference @ reference
    if energy == 0 or not generated.any():
        raise MetricError("SI-SDR has no value: a signal is constant")
    target = (generated @ reference / energy) * reference
    residual = generated - target
    signal, distortion = target @ target, residual @ residual
    if distortion <= _RELATIVE_FLOOR * signal:
        raise MetricError("SI-SDR is infinite: the generated signal is the reference up to scale")
    if signal <= _RELATIVE_FLOOR * distortion:
        raise MetricError("SI-SDR is minus infinite: the signals are orthogonal")
    return float(10 * np.log10(signal / distortion))


def sdr(reference: np.ndarray, generated: np.ndarray, sample_rate: int) -> float:
    """Signal-to-distortion ratio of BSS Eval.

    Parameters
    ----------
    reference, generated : ndarray
        Waveforms of equal length, ``[T]``.
    sample_rate : int
        Their rate in Hz.

    Returns
    -------
    float
        Decibels.

    Raises
    ------
    MetricError
        If a signal is silent or too short for the filter, or asteroid is missing.
    """
    if not reference.any() or not generated.any():
        raise MetricError("SDR has no value: a signal is silent")
    metrics = require("asteroid.metrics", "asteroid")
    signals = {"mix": generated, "clean": reference, "estimate": generated}
    try:
        with warnings.catch_warnings():
            # of every pair: mir_eval's function that asteroid calls is to go some day
            warnings.simplefilter("ignore", FutureWarning)
            found = metrics.get_metrics(
                **signals, sample_rate=sample_rate, metrics_list=["sdr"], average=False
            )
    except RuntimeError as error:  # what asteroid makes of any error of a metric
        raise MetricError(f"SDR: {error.__cause__ or error}") from error
    value = float(np.ravel(found["sdr"])[0])
    if not np.isfinite(value):
        raise MetricError("SDR has no finite value")
    return value
