"""Scoring pairs of signals: one, or many over several processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import permutations

import numpy as np
from tqdm import tqdm

from wavcube.metrics import (
    cepstral,
    dnsmos,
    mel_distance,
    perceptual,
    pitch,
    recognition,
    sdr,
    speaker,
    utmos,
)
from wavcube.metrics.base import (
    LoadedPair,
    Measurement,
    Metric,
    MetricError,
    MetricInfo,
    SignalPair,
    TechnicalError,
)
from wavcube.utils.processes import one_thread, parallel_map


def _on_waveforms(
    info: MetricInfo, function: Callable[[np.ndarray, np.ndarray, int], float]
) -> Metric:
    def measure(pair: LoadedPair) -> Measurement:
        return Measurement(function(pair.reference, pair.generated, pair.sample_rate))

    return Metric(info, measure)


METRICS: dict[str, Metric] = {
    metric.info.key: metric
    for metric in (
        _on_waveforms(mel_distance.INFO, mel_distance.mel_distance),
        _on_waveforms(perceptual.STOI, perceptual.stoi),
        _on_waveforms(perceptual.ESTOI, perceptual.estoi),
        _on_waveforms(perceptual.PESQ_WB, perceptual.pesq_wb),
        _on_waveforms(speaker.INFO, speaker.speaker_similarity),
        _on_waveforms(perceptual.PESQ_NB, perceptual.pesq_nb),
        _on_waveforms(sdr.INFO, sdr.si_sdr),
        _on_waveforms(sdr.SDR, sdr.sdr),
        _on_waveforms(cepstral.INFO, cepstral.mel_cepstral_distortion),
        _on_waveforms(pitch.CORRELATION, pitch.f0_correlation),
        _on_waveforms(pitch.VOICING_ERROR, pitch.voicing_error),
        _on_waveforms(pitch.MEAN_DIFFERENCE, pitch.f0_mean_difference),
        Metric(recognition.WER, recognition.measure_wer),
        Metric(recognition.WER_ORIGINAL, recognition.measure_wer_of_original),
    )
}
MODEL_METRICS: tuple[MetricInfo, ...] = (*dnsmos.INFOS, utmos.INFO)
INFOS: dict[str, MetricInfo] = {
    **{key: metric.info for key, metric in METRICS.items()},
    **{info.key: info for info in MODEL_METRICS},
}
DEFAULT_METRICS = ("mel_distance", "stoi", "estoi", "pesq_wb", "speaker_similarity")


def select_metrics(metrics: Sequence[str | Metric]) -> list[Metric]:
    """Look metrics up.

    Parameters
    ----------
    metrics : Sequence of str or Metric
        Keys of ``METRICS``, and metrics of a model file as they are.

    Returns
    -------
    list of Metric
        In the order asked for.

    Raises
    ------
    ValueError
        If there is no metric or a name is unknown; the message lists the known ones.

    Examples
    --------
    >>> select_metrics(["stoi"])[0].info.name
    'STOI'
    """
    names = [metric for metric in metrics if isinstance(metric, str)]
    unknown = [name for name in names if name not in METRICS]
    if unknown or not metrics:
        raise ValueError(
            f"unknown metrics {unknown} of {names}; known: {list(METRICS)}, and where their model "
            f"file is given {[info.key for info in MODEL_METRICS]}"
        )
    return [METRICS[metric] if isinstance(metric, str) else metric for metric in metrics]


def add_model_metrics(names: Sequence[str], given: Sequence[Metric]) -> list[str | Metric]:
    """Add the metrics of model files to those asked for by name.

    Parameters
    ----------
    names : Sequence of str
        Keys of ``METRICS``, or of metrics in ``given``.
    given : Sequence of Metric
        Metrics of model files. Of a file of which some are named, only those are taken.

    Returns
    -------
    list of str or Metric
        What :func:`select_metrics` takes.
    """
    own = {metric.info.key: metric for metric in given}
    named = {own[name].info.model_sha256 for name in names if name in own}
    rest = [metric for metric in given if metric.info.model_sha256 not in named]
    return [*(own.get(name, name) for name in names), *rest]


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


# of the squared cosine between two signals: +-120 dB, for signals without a finite SI-SDR
_FLOOR = 1e-12


@dataclass(frozen=True)
class SourceScores:
    """Scores of one source of a mixture.

    Parameters
    ----------
    estimate : int
        Which of the estimates belongs to it.
    separated : PairScores
        Of that estimate.
    mixture : PairScores
        Of the mixture, as if nothing had been separated.
    improvement : dict
        Separated less mixture, for the metrics that both have.
    """

    estimate: int
    separated: PairScores
    mixture: PairScores
    improvement: dict[str, float]


def best_permutation(references: np.ndarray, estimates: np.ndarray) -> tuple[int, ...]:
    """Assign estimates to references by the highest mean SI-SDR.

    Parameters
    ----------
    references, estimates : ndarray
        `[S, T]`, without padding.

    Returns
    -------
    tuple of int
        For each reference the place of its estimate. A pair without a finite SI-SDR (a silent
        estimate, a perfect one) counts as -120 or 120 dB; of equal permutations the first is taken.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> import numpy as np
    >>> sources = np.random.default_rng(0).standard_normal((2, 100))
    >>> best_permutation(sources, sources[::-1] + 0.1)
    (1, 0)
    """
    references, estimates = np.asarray(references), np.asarray(estimates)
    if references.ndim != 2 or references.shape != estimates.shape:
        raise ValueError(
            f"references {references.shape} and estimates {estimates.shape} must be [sources, time]"
        )
    table = si_sdr_table(references, estimates)
    rows = np.arange(len(references))
    choices = list(permutations(range(len(references))))
    return max(choices, key=lambda order: float(table[rows, list(order)].mean()))


def score_sources(
    mixture: np.ndarray,
    references: np.ndarray,
    estimates: np.ndarray,
    sample_rate: int,
    metrics: Sequence[str | Metric] = ("si_sdr",),
) -> list[SourceScores]:
    """Score every source of a separated mixture, and the mixture itself.

    Parameters
    ----------
    mixture : ndarray
        `[T]`, without padding.
    references, estimates : ndarray
        `[S, T]`.
    sample_rate : int
        In Hz.
    metrics : Sequence of str or Metric
        As in :func:`wavcube.metrics.score_pair`. Improvements are differences, whichever direction
        is the better one.

    Returns
    -------
    list of SourceScores
        In the order of the references. What cannot be computed is in `failures`, with its reason.

    Raises
    ------
    ValueError
        If shapes differ or a metric is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> sources = np.random.default_rng(0).standard_normal((2, 8000))
    >>> found = score_sources(sources.sum(0), sources, sources[::-1] + 0.1 * sources, 8000)
    >>> [scores.estimate for scores in found], round(found[0].separated["si_sdr"])
    ([1, 0], 20)
    >>> round(found[0].improvement["si_sdr"])
    20
    """
    order = best_permutation(references, estimates)
    if np.shape(mixture) != np.shape(references)[1:]:
        raise ValueError(
            f"mixture {np.shape(mixture)} and references {np.shape(references)} differ in length"
        )
    found: list[SourceScores] = []
    for reference, place in zip(references, order, strict=True):
        separated = score_pair(reference, estimates[place], sample_rate, metrics)
        before = score_pair(reference, mixture, sample_rate, metrics)
        gained = {key: separated[key] - before[key] for key in separated if key in before}
        found.append(SourceScores(place, separated, before, gained))
    return found


def si_sdr_table(references: np.ndarray, estimates: np.ndarray) -> np.ndarray:
    """SI-SDR of every reference with every estimate, always finite.

    Parameters
    ----------
    references, estimates : ndarray
        `[R, T]` and `[S, T]`, without padding.

    Returns
    -------
    ndarray
        `[R, S]` in dB, from -120 to 120; -120 for a silent signal.

    Examples
    --------
    >>> import numpy as np
    >>> signal, noise = np.array([1.0, -1.0, 1.0, -1.0]), np.array([0.1, 0.1, -0.1, -0.1])
    >>> si_sdr_table(signal[None], np.stack([signal + noise, noise])).round().tolist()
    [[20.0, -120.0]]
    """
    rows = [
        signals.astype(np.float64) - signals.mean(axis=1, keepdims=True, dtype=np.float64)
        for signals in (references, estimates)
    ]
    energies = [np.square(signals).sum(axis=1) for signals in rows]
    scale = np.outer(*energies)
    squared = np.divide(
        np.square(rows[0] @ rows[1].T), scale, np.zeros_like(scale), where=scale > 0
    )
    # SI-SDR depends on the angle alone: cos^2 / (1 - cos^2)
    squared = squared.clip(_FLOOR, 1 - _FLOOR)
    return 10 * np.log10(squared / (1 - squared))
