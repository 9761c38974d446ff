"""Mixing signals: a drawn signal-to-noise ratio, a room, gains of a list; nothing on disk.

Levels are mean powers over all samples. No sample is ever clipped: a mixture that is too loud is
turned down as a whole, with everything it is made of, so that ratios stay what they were.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor
from torchaudio.functional import fftconvolve

__all__ = [
    "fit_lengths",
    "limit_peak",
    "loop_with_fades",
    "mix_at_snr",
    "power",
    "reverberate",
    "snr_db",
]

Seconds = float
# LibriMix's limit, kept for every mixture: it leaves room for a codec's overshoots
MAX_PEAK = 0.9
_BEFORE: Seconds = 0.0025


def power(wav: Tensor) -> float:
    """Mean power of a signal.

    Parameters
    ----------
    wav : Tensor
        `[T]`, T at least 1.

    Returns
    -------
    float
        Mean of the squares, summed in double precision.

    Examples
    --------
    >>> power(torch.tensor([1.0, -3.0]))
    5.0
    """
    return float(wav.double().square().mean())


def snr_db(signal: Tensor, noise: Tensor) -> float:
    """Ratio of two mean powers in dB.

    Parameters
    ----------
    signal, noise : Tensor
        `[T]` and `[T']`; neither may be silent.

    Returns
    -------
    float
        10 log10 of the ratio.

    Raises
    ------
    ValueError
        If one of them is silent.

    Examples
    --------
    >>> snr_db(torch.tensor([10.0, -10.0]), torch.tensor([1.0, 1.0]))
    20.0
    """
    of_signal, of_noise = power(signal), power(noise)
    for name, value in (("signal", of_signal), ("noise", of_noise)):
        if value == 0:
            raise ValueError(f"a ratio to the noise has no value: the {name} is silent")
    return 10 * math.log10(of_signal / of_noise)


def mix_at_snr(
    speech: Tensor, noise: Tensor, ratio_db: float, max_peak: float = MAX_PEAK
) -> tuple[Tensor, Tensor, Tensor]:
    """Add noise at a signal-to-noise ratio; the noise is scaled, the speech is not.

    Only where the mixture's or the speech's peak would pass the limit, all three are turned down
    by one factor.

    Parameters
    ----------
    speech : Tensor
        `[T]`. Where it is silent no ratio exists, and the noise is added as it is.
    noise : Tensor
        `[T]`. Where it is silent the mixture is the speech.
    ratio_db : float
        Power of the speech to power of the noise, in dB.
    max_peak : float
        Largest absolute value that may remain.

    Returns
    -------
    mixture, speech, noise : tuple of Tensor
        `[T]` each; the first is the sum of the others.

    Raises
    ------
    ValueError
        If the lengths differ.

    Examples
    --------
    >>> speech, noise = torch.tensor([0.2, -0.2]), torch.tensor([1.0, 1.0])
    >>> mix_at_snr(speech, noise, 20.0)[0]
    tensor([ 0.2200, -0.1800])
    """
    if speech.shape != noise.shape:
        raise ValueError(f"speech {list(speech.shape)} and noise {list(noise.shape)} must be equal")
    of_speech, of_noise = power(speech), power(noise)
    if of_speech > 0 and of_noise > 0:
        noise = noise * math.sqrt(of_speech / of_noise * 10 ** (-ratio_db / 10))
    mixture, speech, noise = limit_peak([speech + noise, speech, noise], max_peak, among=2)
    return mixture, speech, noise


def limit_peak(
    wavs: Sequence[Tensor], max_peak: float = MAX_PEAK, among: int | None = None
) -> list[Tensor]:
    """Turn signals down together until none passes a peak; quiet ones stay untouched.

    Parameters
    ----------
    wavs : sequence of Tensor
        `[T]` each.
    max_peak : float
        Largest absolute value that may remain.
    among : int, optional
        Only the first so many are looked at; all are scaled. None looks at all of them.

    Returns
    -------
    list of Tensor
        In the order given.

    Examples
    --------
    >>> limit_peak([torch.tensor([1.8]), torch.tensor([0.2])], 0.9)
    [tensor([0.9000]), tensor([0.1000])]
    """
    peak = max(float(wav.abs().max()) for wav in wavs[:among])
    if peak <= max_peak:
        return list(wavs)
    return [wav * (max_peak / peak) for wav in wavs]


def reverberate(
    speech: Tensor, response: Tensor, sample_rate: int, early: Seconds = 0.05
) -> tuple[Tensor, Tensor]:
    """Put speech into a room, in time with the dry speech and about at its level.

    The early sound, from 2.5 ms before the response's largest sample (a microphone spreads the
    direct path over some samples) until `early` after it, is the target that belongs to the
    result: the two differ by late reflections only. Early ones help listeners, and in real rooms a
    target without them lies far below the mixture. The response is divided by the root of the
    early energy and by the largest sample's sign, and shifted so that this sample is at time zero.

    Parameters
    ----------
    speech : Tensor
        `[T]`.
    response : Tensor
        Room impulse response at the same rate, `[R]`.
    sample_rate : int
        Of both, in Hz.
    early : float
        Seconds; 0.0025 leaves the direct path alone.

    Returns
    -------
    reverberated, early : tuple of Tensor
        `[T]` each; what rings after the end of the speech is cut.

    Raises
    ------
    ValueError
        If the response is silent.

    Examples
    --------
    >>> speech, response = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, -2.0, -1.0])
    >>> reverberate(speech, response, 100, early=0.0)
    (tensor([1.0000, 0.5000, 0.0000]), tensor([1., 0., 0.]))
    """
    peak = int(response.abs().argmax())
    if response[peak] == 0:
        raise ValueError("the room impulse response is silent")
    start, end = max(0, peak - int(_BEFORE * sample_rate)), peak + int(early * sample_rate) + 1
    response = response / (response[start:end].norm() * response[peak].sign())
    wet, direct = (
        fftconvolve(speech, part)[offset : offset + len(speech)]
        for part, offset in ((response, peak), (response[start:end], peak - start))
    )
    missing = (0, len(speech) - len(direct))
    return wet, torch.nn.functional.pad(direct, missing)


def loop_with_fades(noise: Tensor, length: int, fade: int) -> Tensor:
    """Repeat noise until it is long enough, each joint a crossfade of half Hann windows.

    Parameters
    ----------
    noise : Tensor
        `[T]`, T at least 1.
    length : int
        Samples wanted.
    fade : int
        Samples of a crossfade; at most half of the noise is faded.

    Returns
    -------
    Tensor
        `[length]`; noise that is long enough is only cut.

    Examples
    --------
    >>> loop_with_fades(torch.ones(10), 25, fade=4).unique()
    tensor([1.])
    """
    fade = min(fade, len(noise) // 2)
    rise = torch.sin(torch.linspace(0, math.pi / 2, fade)).square().to(noise)
    looped = noise
    while len(looped) < length:
        body, tail = looped[: len(looped) - fade], looped[len(looped) - fade :]
        joint = tail * (1 - rise) + noise[:fade] * rise
        looped = torch.cat([body, joint, noise[fade:]])
    return looped[:length]


def fit_lengths(wavs: Sequence[Tensor], mode: Literal["min", "max"]) -> list[Tensor]:
    """Bring signals to one length.

    Parameters
    ----------
    wavs : sequence of Tensor
        `[T]` each, of any lengths.
    mode : {"min", "max"}
        Cut all to the shortest, or append silence up to the longest.

    Returns
    -------
    list of Tensor
        `[T]` each, of one length.

    Raises
    ------
    ValueError
        If the mode is another.

    Examples
    --------
    >>> fit_lengths([torch.ones(3), torch.ones(2)], "max")[1]
    tensor([1., 1., 0.])
    """
    if mode not in ("min", "max"):
        raise ValueError(f"the mode must be 'min' or 'max', not {mode!r}")
    if mode == "min":
        shortest = min(len(wav) for wav in wavs)
        return [wav[:shortest] for wav in wavs]
    longest = max(len(wav) for wav in wavs)
    return [torch.nn.functional.pad(wav, (0, longest - len(wav))) for wav in wavs]
