"""Mel-cepstral distortion of time-aligned signals."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from scipy.fft import dct
from scipy.spatial.distance import cdist

from wavcube.losses.mel import LogMelSpectrogram
from wavcube.metrics.alignment import warping_path
from wavcube.metrics.base import MetricInfo

NUM_BANDS = 40
NUM_COEFFICIENTS = 24
# 80 dB below a signal's loudest band: digital zeros would otherwise decide the score.
_DYNAMIC_RANGE = np.log(1e4)

INFO = MetricInfo(
    key="mel_cepstral_distortion",
    name="Mel-cepstral distortion (DTW)",
    description=(
        "10/ln(10) sqrt(2 sum of squared differences) of cepstral coefficients 1 to 24 (Kubichek "
        "1993) of 40 HTK log-mel bands (windows of 32 ms every 10 ms, range 80 dB), mean over the "
        "dynamic-time-warping path"
    ),
    unit="dB",
    better="lower",
    package="wavcube",
    aligned=False,
)


def mel_cepstral_distortion(
    reference: np.ndarray, generated: np.ndarray, sample_rate: int
) -> float:
    """Mel-cepstral distortion after dynamic time warping.

    With the coefficients of :func:`mel_cepstrum` it is the root mean square difference of two
    smoothed mel spectra in dB, loudness apart. The memory grows with the product of both
    lengths: 0.3 GB for two clips of 35 s.

    Parameters
    ----------
    reference, generated : ndarray
        Waveforms of any lengths, ``[T]`` and ``[T']``.
    sample_rate : int
        Their rate in Hz.

    Returns
    -------
    float
        Decibels; 0 for equal signals and for a gain.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal(8000)
    >>> round(mel_cepstral_distortion(noise, 0.5 * noise, 16000), 4)
    0.0
    """
    first, second = mel_cepstrum(reference, sample_rate), mel_cepstrum(generated, sample_rate)
    distances = 10 / np.log(10) * np.sqrt(2) * cdist(first, second)
    rows, columns = warping_path(distances).T
    return float(distances[rows, columns].mean())


def mel_cepstrum(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Cosine-series coefficients of the log-mel spectrum, without the one of loudness.

    ``log_mel[k] = c_0 + sum over m of c_m cos(pi m (k + 1/2) / K)`` for K bands.

    Parameters
    ----------
    samples : ndarray
        Waveform, ``[T]``.
    sample_rate : int
        Its rate in Hz.

    Returns
    -------
    ndarray
        ``c_1`` to ``c_24``, ``[N, 24]``, 100 frames a second.

    Examples
    --------
    >>> import numpy as np
    >>> mel_cepstrum(np.random.default_rng(0).standard_normal(16000), 16000).shape
    (101, 24)
    """
    with torch.inference_mode():
        wav = torch.from_numpy(samples).float().unsqueeze(0)
        log_mel = _log_mel(sample_rate)(wav).squeeze(0).double().numpy()
    log_mel = np.maximum(log_mel, log_mel.max() - _DYNAMIC_RANGE)
    return dct(log_mel, axis=0)[1 : NUM_COEFFICIENTS + 1].T / NUM_BANDS


@lru_cache(maxsize=4)
def _log_mel(sample_rate: int) -> LogMelSpectrogram:
    return LogMelSpectrogram(
        sample_rate, NUM_BANDS, round(0.032 * sample_rate), round(0.010 * sample_rate)
    )
