"""Other sample rates, by soxr: memory and time are in proportion to the sound at any two rates.

torchaudio's filter has as many taps as the rates' common period, which is 12 GiB from 44 099 Hz to
16 kHz.
"""

from __future__ import annotations

import numpy as np
import soxr
import torch
from torch import Tensor

__all__ = [
    "ResampleStream",
    "resample",
    "resampled_length",
]


def resampled_length(num_samples: int, rate: int, new_rate: int) -> int:
    """Count the samples that a waveform has at another rate, rounded up.

    Parameters
    ----------
    num_samples : int
        At the present rate.
    rate, new_rate : int
        Present and wanted rate in Hz.

    Returns
    -------
    int
        ``ceil(num_samples * new_rate / rate)``.

    Examples
    --------
    >>> resampled_length(441, 44100, 16000), resampled_length(1, 48000, 16000)
    (160, 1)
    """
    return -(-num_samples * new_rate // rate)


class ResampleStream:
    """Resample a waveform that comes block by block; joined, the result is that of the whole.

    Parameters
    ----------
    rate, new_rate : int
        Present and wanted rate in Hz.

    Examples
    --------
    >>> stream = ResampleStream(8000, 16000)
    >>> sum(len(stream.push(block)) for block in torch.zeros(3, 1000)) + len(stream.flush())
    6000
    """

    def __init__(self, rate: int, new_rate: int) -> None:
        self._rates = rate, new_rate
        self._stream = soxr.ResampleStream(rate, new_rate, 1, dtype="float32")
        self._taken = self._given = 0

    def push(self, block: Tensor) -> Tensor:
        """Take the next samples and give those that are ready.

        Parameters
        ----------
        block : Tensor
            `[T]`, float32.

        Returns
        -------
        Tensor
            `[T']`, float32; it may be empty.
        """
        self._taken += len(block)
        made = self._stream.resample_chunk(block.numpy())
        self._given += len(made)
        return torch.from_numpy(made)

    def flush(self) -> Tensor:
        """Give what is left after the last block.

        Returns
        -------
        Tensor
            `[T']`, float32.
        """
        made = self._stream.resample_chunk(_silence(*self._rates, np.float32), last=True)
        left = resampled_length(self._taken, *self._rates) - self._given
        return torch.from_numpy(made[:left])


def resample(wav: Tensor, rate: int, new_rate: int) -> Tensor:
    """Change the sample rate by band-limited interpolation, on the CPU and without gradient.

    Parameters
    ----------
    wav : Tensor
        `[T]`, float32 or float64.
    rate, new_rate : int
        Present and wanted rate in Hz; where they are equal, `wav` is returned.

    Returns
    -------
    Tensor
        `[ceil(T * new_rate / rate)]`, of the same type on the same device.

    Examples
    --------
    >>> resample(torch.ones(441), 44100, 16000).shape
    torch.Size([160])
    """
    if rate == new_rate:
        return wav
    samples = wav.detach().cpu().numpy()
    longer = np.concatenate([samples, _silence(rate, new_rate, samples.dtype)])
    made = soxr.resample(longer, rate, new_rate)[: resampled_length(len(samples), rate, new_rate)]
    return torch.from_numpy(made).to(wav.device)


def _silence(rate: int, new_rate: int, dtype: np.typing.DTypeLike) -> np.ndarray:
    """Make what brings the last sample out: soxr rounds their number to the nearest."""
    return np.zeros(-(-rate // new_rate), dtype)
