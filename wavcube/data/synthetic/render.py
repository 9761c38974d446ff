"""One utterance of the synthetic corpora: spoken, resampled, at a drawn level."""

from __future__ import annotations

import math
import random
from functools import lru_cache

import numpy as np
from scipy.signal import firwin, resample_poly

from wavcube.data.synthetic.espeak import Espeak, Voice

__all__ = ["render", "resample"]


def render(
    espeak: Espeak, text: str, voice: Voice, rng: random.Random, sample_rate: int
) -> np.ndarray:
    """Speak, resample and set the peak.

    Parameters
    ----------
    espeak : Espeak
        Speaks.
    text : str
        What to say.
    voice : Voice
        How to say it.
    rng : random.Random
        Draws the noise of the voice, and the peak from 0.25 to 0.85.
    sample_rate : int
        Wanted, in Hz.

    Returns
    -------
    np.ndarray
        int16 `[T]`.

    Examples
    --------
    >>> with Espeak() as espeak:
    ...     voice, rng = Voice("gmw/en", "f1", "F"), random.Random(1)
    ...     render(espeak, "Hello.", voice, rng, 16000).dtype
    dtype('int16')
    """
    samples, source_rate = espeak.speak(text, voice, seed=rng.randrange(1, 2**31))
    waveform = resample(samples.astype(np.float64), source_rate, sample_rate)
    peak = rng.uniform(0.25, 0.85)
    return np.round(waveform * (peak * 32767 / np.abs(waveform).max())).astype(np.int16)


def resample(waveform: np.ndarray, source_rate: int, sample_rate: int) -> np.ndarray:
    """Change the rate of `[T]`.

    Parameters
    ----------
    waveform : np.ndarray
        float64 `[T]`.
    source_rate, sample_rate : int
        Present and wanted, in Hz.

    Returns
    -------
    np.ndarray
        float64 `[ceil(T * sample_rate / source_rate)]`.

    Examples
    --------
    >>> resample(np.ones(441), 22050, 16000).shape
    (320,)
    """
    if source_rate == sample_rate:
        return waveform
    common = math.gcd(source_rate, sample_rate)
    up, down = sample_rate // common, source_rate // common
    # scipy in float64 rather than torch: the result depends on no thread count, and rounding
    # to 16 bits hides what is left.
    return resample_poly(waveform, up, down, window=_low_pass(max(up, down)))


@lru_cache
def _low_pass(factor: int) -> np.ndarray:
    """Filter for a rational resampler: pass band to 95 % of the lower Nyquist rate."""
    return firwin(2 * 32 * factor + 1, 0.95 / factor, window=("kaiser", 9.0))
