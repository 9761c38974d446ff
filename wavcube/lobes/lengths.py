"""Lengths of padded batches: relative ones outside (SpeechBrain's), absolute ones inside."""

from __future__ import annotations

import torch
from torch import Tensor


def to_absolute(relative: Tensor | None, size: int, batch: int, device: torch.device) -> Tensor:
    """Turn relative lengths into counts of samples or frames.

    Parameters
    ----------
    relative : Tensor or None
        Relative lengths `[B]` in (0, 1]; None means that every item fills the batch.
    size : int
        Samples or frames of the padded batch.
    batch : int
        Number of items.
    device : torch.device
        Where the result lives.

    Returns
    -------
    Tensor
        Counts `[B]`, int64, each at least 1.

    Raises
    ------
    ValueError
        If the lengths have another shape or leave (0, 1].

    Examples
    --------
    >>> to_absolute(torch.tensor([0.5, 1.0]), 10, 2, torch.device("cpu"))
    tensor([ 5, 10])
    """
    if relative is None:
        return torch.full((batch,), size, dtype=torch.long, device=device)
    if relative.shape != (batch,):
        raise ValueError(f"lengths have shape {tuple(relative.shape)}, the batch needs ({batch},)")
    if not bool(((relative > 0) & (relative <= 1)).all()):
        raise ValueError(f"relative lengths must lie in (0, 1], got {relative.tolist()}")
    # double precision: float32 loses whole samples from some minutes on
    return (relative.to(device).double() * size).round().long().clamp(min=1)


def ceil_division(lengths: Tensor, hop: int) -> Tensor:
    """Count the frames of a hop that cover so many samples.

    Parameters
    ----------
    lengths : Tensor
        Samples `[B]`.
    hop : int
        Samples per frame.

    Returns
    -------
    Tensor
        Frames `[B]`.

    Examples
    --------
    >>> ceil_division(torch.tensor([319, 320, 321]), 320)
    tensor([1, 1, 2])
    """
    return (lengths + hop - 1).div(hop, rounding_mode="floor")


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """Mark the valid positions of a padded batch.

    Parameters
    ----------
    lengths : Tensor
        Counts `[B]`.
    size : int
        Padded length T.

    Returns
    -------
    Tensor
        Booleans `[B, T]`, True where the item is, False in its padding.

    Examples
    --------
    >>> length_mask(torch.tensor([1, 3]), 3)
    tensor([[ True, False, False],
            [ True,  True,  True]])
    """
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]
