"""Zero mean and unit variance: of each item by its own length, or of windows by their whole."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from torch import Tensor

from wavcube.lobes.lengths import length_mask

# the variance of a clip is normalised to one with this added, as transformers' feature extractor
VARIANCE_FLOOR = 1e-7


@dataclass(frozen=True)
class Level:
    """What a waveform is normalised by.

    Attributes
    ----------
    mean, variance : float
        Of its samples.

    Examples
    --------
    >>> import torch
    >>> Level.of_chunks([torch.tensor([1.0]), torch.tensor([3.0])])
    Level(mean=2.0, variance=1.0)
    """

    mean: float
    variance: float

    @classmethod
    def of_chunks(cls, pieces: Iterable[Tensor]) -> Level:
        """Measure a recording that comes in pieces `[T]`."""
        count, total, squares = 0, 0.0, 0.0
        for piece in pieces:
            wide = piece.double()
            count += len(piece)
            total += float(wide.sum())
            squares += float(wide.square().sum())
        mean = total / count
        return cls(mean, max(0.0, squares / count - mean * mean))


def normalise(wavs: Tensor, num_samples: Tensor, level: Level | None = None) -> Tensor:
    """Normalise waveforms that are silent in their padding.

    Parameters
    ----------
    wavs : Tensor
        `[B, T]`.
    num_samples : Tensor
        True lengths `[B]`.
    level : Level, optional
        By default each item's own.

    Returns
    -------
    Tensor
        `[B, T]`, silent in the padding.

    Examples
    --------
    >>> import torch
    >>> normalise(torch.tensor([[1.0, 3.0, 0.0]]), torch.tensor([2]))
    tensor([[-1.,  1.,  0.]])
    """
    padding = ~length_mask(num_samples, wavs.shape[1])
    if level is not None:
        scaled = (wavs - level.mean) / math.sqrt(level.variance + VARIANCE_FLOOR)
        return scaled.masked_fill(padding, 0.0)
    count = num_samples[:, None].to(wavs.dtype)
    centred = (wavs - wavs.sum(1, keepdim=True) / count).masked_fill(padding, 0.0)
    variance = centred.square().sum(1, keepdim=True) / count
    return centred / (variance + VARIANCE_FLOOR).sqrt()
