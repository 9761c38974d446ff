"""All metrics by name: the one list that scoring, reports and the command line read."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from wavcube.metrics import (
    cepstral,
    dnsmos,
    intelligibility,
    mel_distance,
    perceptual,
    pitch,
    recognition,
    sdr,
    speaker,
    utmos,
)
from wavcube.metrics.base import Measurement, Metric, MetricInfo
from wavcube.metrics.signals import LoadedPair


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
        _on_waveforms(intelligibility.STOI, intelligibility.stoi),
        _on_waveforms(intelligibility.ESTOI, intelligibility.estoi),
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
