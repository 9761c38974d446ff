"""What a converter knows of voices: latents of a speaker, their moments, and a mean pitch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from wavcube.lobes.lengths import length_mask


def masked_moments(x: Tensor, frames: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation over each item's own frames.

    Parameters
    ----------
    x : Tensor
        `[B, N, C]`.
    frames : Tensor
        Counts `[B]`.

    Returns
    -------
    mean, std : Tensor
        `[B, C]` each; the deviation is that of the frames themselves (divided by their number).

    Examples
    --------
    >>> mean, std = masked_moments(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2]))
    >>> mean, std
    (tensor([[2.]]), tensor([[1.]]))
    """
    valid = length_mask(frames, x.shape[1])[..., None]
    count = frames[:, None].to(x.dtype)
    mean = x.masked_fill(~valid, 0.0).sum(1) / count
    rest = (x - mean[:, None]).masked_fill(~valid, 0.0)
    return mean, (rest.square().sum(1) / count).sqrt()


def instance_normalize(x: Tensor, frames: Tensor, smallest_std: float = 1e-3) -> Tensor:
    """Take each item's own mean and deviation from every channel (arXiv 1904.05742).

    What stays the same throughout a recording, as a voice does, is in these moments.

    Parameters
    ----------
    x : Tensor
        `[B, N, C]`.
    frames : Tensor
        Counts `[B]`.
    smallest_std : float
        Deviations below it count as this: a channel that stands still becomes 0, not noise.

    Returns
    -------
    Tensor
        `[B, N, C]`, zero in the padding.

    Examples
    --------
    >>> instance_normalize(torch.tensor([[[1.0], [3.0], [9.0]]]), torch.tensor([2])).flatten()
    tensor([-1.,  1.,  0.])
    """
    mean, std = masked_moments(x, frames)
    x = (x - mean[:, None]) / std[:, None].clamp(min=smallest_std)
    return x.masked_fill(~length_mask(frames, x.shape[1])[..., None], 0.0)


def mean_pitch(log_f0: Tensor, voiced: Tensor) -> Tensor:
    """Average the logarithm of F0 where there is one.

    Parameters
    ----------
    log_f0 : Tensor
        `[B, N]`.
    voiced : Tensor
        Bool `[B, N]`.

    Returns
    -------
    Tensor
        `[B]`, 0 for an item without a voiced frame.
    """
    return log_f0.masked_fill(~voiced, 0.0).sum(1) / voiced.sum(1).clamp(min=1)


@dataclass
class Voice:
    """Whose voice is wanted, for a batch.

    Parameters
    ----------
    latents : Tensor
        Of recordings of the speaker, `[B, M, D]`.
    frames : Tensor
        How many of them are valid, `[B]`.
    pitch : Tensor
        Mean of the logarithm of F0 in Hz, `[B]`; 0 where it is not known.
    embedding : Tensor, optional
        Of a speaker encoder, `[B, E]`.

    Examples
    --------
    >>> voice = Voice(torch.randn(2, 9, 4), torch.tensor([9, 5]), torch.full((2,), 5.0))
    >>> voice.take([1]).latents.shape
    torch.Size([1, 9, 4])
    """

    latents: Tensor
    frames: Tensor
    pitch: Tensor
    embedding: Tensor | None = None

    def take(self, rows: list[int] | Tensor) -> Voice:
        """Give the voices of some items, in a given order."""
        return self._each(lambda part: part[rows])

    def to(self, device: str | torch.device) -> Voice:
        """Move to a device."""
        return self._each(lambda part: part.to(device))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Voice:
        embedding = None if self.embedding is None else change(self.embedding)
        return Voice(change(self.latents), change(self.frames), change(self.pitch), embedding)
