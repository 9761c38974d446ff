"""Scoring pairs of signals: one, or many over several processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from tqdm import tqdm

from wavcube.metrics.base import Measurement, Metric
from wavcube.metrics.registry import DEFAULT_METRICS, select_metrics
from wavcube.metrics.signals import MetricError, SignalPair, TechnicalError
from wavcube.utils.processes import one_thread, parallel_map


@dataclass(frozen=True)
class PairScores(Mapping[str, float]):
    """Scores of one pair: a mapping from metric to value, and the reasons of those that failed.

    Parameters
    ----------
    name : str
        The pair's name.
    sample_rate : int, optional
        The reference's rate in Hz; None if the signals could not be read.
    measurements : dict
        Values by metric.
    failures : dict
        Reasons by metric, for those without a value. Every metric asked for is in one of the two.
    technical : tuple of str
        Metrics that failed because of a file or a tool, and not of what the clip sounds like.
    """

    name: str
    sample_rate: int | None
    measurements: dict[str, Measurement] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    technical: tuple[str, ...] = ()

    def __getitem__(self, metric: str) -> float:
        if metric in self.failures:
            raise KeyError(f"{metric} of {self.name} failed: {self.failures[metric]}")
        return self.measurements[metric].value

    def __iter__(self) -> Iterator[str]:
        return iter(self.measurements)

    def __len__(self) -> int:
        return len(self.measurements)


def score_pair(
    reference: np.ndarray,
    generated: np.ndarray,
    sample_rate: int,
    metrics: Sequence[str | Metric] = DEFAULT_METRICS,
    transcript: str | None = None,
) -> PairScores:
    """Score one generated signal against its reference.

    Parameters
    ----------
    reference, generated : ndarray
        Mono waveforms without padding, ``[T]`` and ``[T']``.
    sample_rate : int
        Rate of both in Hz.
    metrics : Sequence of str or Metric
        Keys of ``wavcube.metrics.METRICS``, and metrics of a model file: ``dnsmos_metrics``,
        ``utmos_metric``.
    transcript : str, optional
        What is said, for the word error rate.

    Returns
    -------
    PairScores
        A mapping from metric to value; what could not be computed is in ``.failures`` with the
        reason.

    Raises
    ------
    ValueError
        If a metric is unknown or an array is not one-dimensional.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal(16000)
    >>> scores = score_pair(noise, noise, 16000, metrics=["mel_distance", "si_sdr"])
    >>> scores["mel_distance"], scores.failures
    (0.0, {'si_sdr': 'SI-SDR is infinite: the generated signal is the reference up to scale'})
    """
    return _score(SignalPair("pair", reference, generated, sample_rate, transcript), tuple(metrics))


def score_many(
    pairs: Sequence[SignalPair],
    metrics: Sequence[str | Metric] = DEFAULT_METRICS,
    num_processes: int = 1,
    progress: bool = True,
) -> list[PairScores]:
    """Score many pairs, each on one thread; neither order nor number of processes changes a score.

    Parameters
    ----------
    pairs : Sequence of SignalPair
        Arrays or files; files are read in the worker.
    metrics : Sequence of str or Metric
        Keys of ``wavcube.metrics.METRICS``, and metrics of a model file: ``dnsmos_metrics``,
        ``utmos_metric``.
    num_processes : int
        With 1 all is done in this process. More are started afresh, so a script that asks for them
        needs the usual ``if __name__ == "__main__":``.
    progress : bool
        Show a progress bar.

    Returns
    -------
    list of PairScores
        In the order of ``pairs``.

    Raises
    ------
    ValueError
        If a metric is unknown, two pairs have one name or ``num_processes`` is below 1.
    ChildProcessError
        If a process dies.
    """
    select_metrics(metrics)
    if num_processes < 1:
        raise ValueError(f"num_processes must be at least 1, got {num_processes}")
    names = [pair.name for pair in pairs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"every pair needs its own name; used more than once: {twice[:5]}")
    score = partial(_score, metrics=tuple(metrics))
    bar = partial(tqdm, total=len(pairs), desc="scoring", unit="file", disable=not progress)
    if num_processes == 1:
        with one_thread():
            return list(bar(map(score, pairs)))
    return list(bar(parallel_map(score, pairs, min(num_processes, max(1, len(pairs))))))


def _score(pair: SignalPair, metrics: tuple[str | Metric, ...]) -> PairScores:
    selected = select_metrics(metrics)
    try:
        loaded = pair.load()
    except MetricError as error:
        keys = [metric.info.key for metric in selected]
        technical = tuple(keys) if isinstance(error, TechnicalError) else ()
        return PairScores(
            pair.name, pair.sample_rate, {}, dict.fromkeys(keys, str(error)), technical
        )
    measurements, failures, technical_keys = {}, {}, []
    for metric in selected:
        try:
            signals = loaded.trimmed() if metric.info.aligned else loaded
            measurement = metric.measure(signals)
            if not np.isfinite(measurement.value):
                raise MetricError(f"{metric.info.name} gave {measurement.value}")
            measurements[metric.info.key] = measurement
        except MetricError as error:
            failures[metric.info.key] = str(error)
            if isinstance(error, TechnicalError):
                technical_keys.append(metric.info.key)
    return PairScores(pair.name, loaded.sample_rate, measurements, failures, tuple(technical_keys))
