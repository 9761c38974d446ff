"""Corruptions of the input of a pretrained encoder; its targets are taken from the clean signal.

Mixing of utterances as in WavLM (arXiv 2110.13900, algorithm 1); band limiting and noise make the
encoder's features those of the words rather than of the recording.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """All corruptions in a row.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    mix_probability, mix_ratio_db
        See :func:`mix_utterances`.
    noise_probability, noise_ratio_db
        See :func:`add_coloured_noise`.
    band_probability, band_cutoff
        See :func:`limit_band`.

    Examples
    --------
    >>> Corruption(sample_rate=16000)(torch.randn(3, 100)).shape
    torch.Size([3, 100])
    """

    sample_rate: int
    mix_probability: float = 0.2
    mix_ratio_db: tuple[float, float] = (-5.0, 5.0)
    noise_probability: float = 0.3
    noise_ratio_db: tuple[float, float] = (5.0, 25.0)
    band_probability: float = 0.3
    band_cutoff: tuple[float, float] = (3400.0, 4200.0)

    def __call__(self, wavs: Tensor) -> Tensor:
        """Corrupt `[B, T]`; a new tensor."""
        wavs = mix_utterances(wavs, self.mix_probability, self.mix_ratio_db)
        wavs = add_coloured_noise(wavs, self.noise_probability, self.noise_ratio_db)
        return limit_band(wavs, self.band_probability, self.band_cutoff, self.sample_rate)


def mix_utterances(wavs: Tensor, probability: float, ratio_db: tuple[float, float]) -> Tensor:
    """Add a piece of another item of the batch to some items.

    The piece covers at most half of the item, so that the first speaker stays the main one.

    Parameters
    ----------
    wavs : Tensor
        `[B, T]`.
    probability : float
        Of each item to be mixed into.
    ratio_db : tuple of float
        Range of the energy ratio of item to piece, in dB.

    Returns
    -------
    Tensor
        `[B, T]`, a new tensor.

    Examples
    --------
    >>> mix_utterances(torch.randn(3, 100), 1.0, (-5.0, 5.0)).shape
    torch.Size([3, 100])
    """
    mixed, size = wavs.clone(), wavs.shape[1]
    others = wavs.roll(1, 0)
    for row in (torch.rand(len(wavs)) < probability).nonzero().squeeze(1).tolist():
        length = int(torch.randint(1, size // 2 + 1, ()))
        source, target = torch.randint(0, size - length + 1, (2,)).tolist()
        piece = others[row, source : source + length]
        ratio = float(torch.empty(()).uniform_(*ratio_db))
        mixed[row, target : target + length] += _gain(wavs[row], piece, ratio) * piece
    return mixed


def add_coloured_noise(wavs: Tensor, probability: float, ratio_db: tuple[float, float]) -> Tensor:
    """Add noise whose spectrum falls by a drawn slope (white to brown) to some items.

    Parameters
    ----------
    wavs : Tensor
        `[B, T]`.
    probability : float
        Of each item.
    ratio_db : tuple of float
        Range of the signal-to-noise ratio, in dB.

    Returns
    -------
    Tensor
        `[B, T]`, a new tensor.

    Examples
    --------
    >>> add_coloured_noise(torch.randn(3, 100), 1.0, (5.0, 20.0)).shape
    torch.Size([3, 100])
    """
    noisy, size = wavs.clone(), wavs.shape[1]
    for row in (torch.rand(len(wavs)) < probability).nonzero().squeeze(1).tolist():
        spectrum = torch.fft.rfft(torch.randn(size))
        frequency = torch.arange(1, len(spectrum) + 1)
        noise = torch.fft.irfft(spectrum * frequency ** -float(torch.rand(())), n=size)
        ratio = float(torch.empty(()).uniform_(*ratio_db))
        noisy[row] += _gain(wavs[row], noise, ratio) * noise.to(wavs)
    return noisy


def limit_band(
    wavs: Tensor, probability: float, cutoff: tuple[float, float], sample_rate: int
) -> Tensor:
    """Remove everything above a drawn frequency from some items, as a telephone does.

    Parameters
    ----------
    wavs : Tensor
        `[B, T]`.
    probability : float
        Of each item.
    cutoff : tuple of float
        Range of the highest frequency left, in Hz.
    sample_rate : int
        In Hz.

    Returns
    -------
    Tensor
        `[B, T]`, a new tensor.

    Examples
    --------
    >>> limit_band(torch.randn(3, 100), 1.0, (3400.0, 4000.0), 16000).shape
    torch.Size([3, 100])
    """
    spectrum = torch.fft.rfft(wavs)
    frequency = torch.linspace(0.0, sample_rate / 2, spectrum.shape[1], device=wavs.device)
    limits = torch.empty(len(wavs), 1, device=wavs.device).uniform_(*cutoff)
    chosen = torch.rand(len(wavs), 1, device=wavs.device) < probability
    return torch.fft.irfft(spectrum * ((frequency <= limits) | ~chosen), n=wavs.shape[1])


def _gain(signal: Tensor, other: Tensor, ratio_db: float) -> Tensor:
    """Factor that brings ``other`` to so many dB below the signal's mean energy."""
    ratio = signal.square().mean() / other.square().mean().clamp(min=1e-10)
    return torch.sqrt(ratio * 10 ** (-ratio_db / 10))
