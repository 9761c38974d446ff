"""All metrics by name: the one list that scoring, reports and the command line read."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from wavcube.metrics import (
    cepstral,
    intelligibility,
    mel_distance,
    perceptual,
    pitch,
    recognition,
    sdr,
    speaker,
)
from wavcube.metrics.base import Measurement, MetricInfo
from wavcube.metrics.signals import SignalPair


@dataclass(frozen=True)
class Metric:
    """A metric's identity and the function that measures it on a loaded pair.

    Parameters
    ----------
    info : MetricInfo
        Its identity card.
    measure : Callable
        From a loaded :class:`SignalPair` to a :class:`Measurement`; raises ``MetricError``.
    """

    info: MetricInfo
    measure: Callable[[SignalPair], Measurement]


def _on_waveforms(
    info: MetricInfo, function: Callable[[np.ndarray, np.ndarray, int], float]
) -> Metric:
    def measure(pair: SignalPair) -> Measurement:
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
        _on_waveforms(cepstral.INFO, cepstral.mel_cepstral_distortion),
        _on_waveforms(pitch.CORRELATION, pitch.f0_correlation),
        _on_waveforms(pitch.VOICING_ERROR, pitch.voicing_error),
        Metric(recognition.WER, recognition.measure_wer),
        Metric(recognition.WER_ORIGINAL, recognition.measure_wer_of_original),
    )
}
DEFAULT_METRICS = ("mel_distance", "stoi", "estoi", "pesq_wb", "speaker_similarity")


def select_metrics(names: Sequence[str]) -> list[Metric]:
    """Look metrics up.

    Parameters
    ----------
    names : Sequence of str
        Keys of ``METRICS``.

    Returns
    -------
    list of Metric
        In the order asked for.

    Raises
    ------
    ValueError
        If there is no name or a name is unknown; the message lists the known ones.

    Examples
    --------
    >>> select_metrics(["stoi"])[0].info.name
    'STOI'
    """
    unknown = [name for name in names if name not in METRICS]
    if unknown or not names:
        raise ValueError(f"unknown metrics {unknown} of {list(names)}; known: {list(METRICS)}")
    return [METRICS[name] for name in names]
