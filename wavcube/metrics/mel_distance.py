"""Log-mel distance: the training criterion as a score."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch

from wavcube.losses.mel import MelLoss
from wavcube.metrics.base import MetricInfo

INFO = MetricInfo(
    key="mel_distance",
    name="Log-mel distance",
    description=(
        "Mean absolute difference of natural-log mel magnitude spectra (HTK scale, 100 bands to "
        "half the rate, windows of 64 ms every 16 ms, floor 1e-7)"
    ),
    unit="neper",
    better="lower",
    package="torchaudio",
)


def mel_distance(reference: np.ndarray, generated: np.ndarray, sample_rate: int) -> float:
    """Mean absolute log-mel difference.

    Parameters
    ----------
    reference, generated : ndarray
        Waveforms of equal length, ``[T]``.
    sample_rate : int
        Their rate in Hz.

    Returns
    -------
    float
        Distance in nepers; 0 for equal signals, ``|log g|`` for a gain ``g``.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.default_rng(0).standard_normal(8000)
    >>> round(mel_distance(noise, 2 * noise, 16000), 3)  # log 2
    0.693
    """
    with torch.inference_mode():
        first, second = (torch.from_numpy(x).float()[None] for x in (generated, reference))
        return _criterion(sample_rate)(first, second).item()


@lru_cache(maxsize=4)
def _criterion(sample_rate: int) -> MelLoss:
    # 1024 and 256 samples at 16 kHz, the same durations elsewhere
    return MelLoss(sample_rate, 100, round(0.064 * sample_rate), round(0.016 * sample_rate))
