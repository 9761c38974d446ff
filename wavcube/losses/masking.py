"""Keeping the padding of a batch out of a criterion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor

_own_count: Callable[[Tensor], Tensor] | None = None


@contextmanager
def counting(count: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Divide masked means by another count than that of the frames at hand.

    Where several processes each have a part of a batch and the mean of their gradients is taken,
    the mean over all processes of what they count makes theirs the gradient of the whole batch:
    a process with more frames weighs more.

    Parameters
    ----------
    count : Callable
        Given the frames that a mask keeps, a scalar, returns what to divide by. All processes call
        it as often, in the same order.

    Examples
    --------
    >>> import torch
    >>> with counting(lambda frames: 2 * frames):
    ...     masked_mean(torch.tensor([[1.0, 3.0]]), torch.tensor([[True, True]]))
    tensor(1.)
    """
    global _own_count
    before, _own_count = _own_count, count
    try:
        yield
    finally:
        _own_count = before


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the frames that a mask keeps.

    Parameters
    ----------
    values : Tensor
        One value per frame, ``[B, N]``.
    mask : Tensor, optional
        Bool ``[B, N]``, True for valid frames; all are valid when it is left out.

    Returns
    -------
    Tensor
        Scalar mean, every valid frame of the batch counting the same; zero where no frame is valid
        (so that an empty batch gives a zero gradient instead of NaN).

    Raises
    ------
    ValueError
        If the mask's shape is not that of the values.

    Examples
    --------
    >>> import torch
    >>> masked_mean(torch.tensor([[1.0, 3.0, 9.0]]), torch.tensor([[True, True, False]]))
    tensor(2.)
    """
    if mask is None:
        return values.mean()
    _check_mask(mask, values)
    count = mask.sum()
    if _own_count is not None:
        count = _own_count(count)
    return values.where(mask, 0.0).sum() / count.where(count > 0, 1)


def zero_padding(features: Tensor, mask: Tensor) -> Tensor:
    """Replace the frames that a mask leaves out by zeros, whatever stands there.

    Done before the arithmetic of a criterion, not after: 0 * NaN is NaN, in the gradient too.

    Parameters
    ----------
    features : Tensor
        Frames, ``[B, N, C]``.
    mask : Tensor
        Bool ``[B, N]``, True for valid frames.

    Returns
    -------
    Tensor
        ``[B, N, C]``; no gradient reaches the frames left out.

    Raises
    ------
    ValueError
        If the mask's shape is not ``[B, N]``.

    Examples
    --------
    >>> import torch
    >>> zero_padding(torch.tensor([[[5.0], [float("nan")]]]), torch.tensor([[True, False]]))
    tensor([[[5.],
             [0.]]])
    """
    _check_mask(mask, features[..., 0])
    return features.where(mask.unsqueeze(-1), 0.0)


def _check_mask(mask: Tensor, frames: Tensor) -> None:
    if mask.shape != frames.shape:
        raise ValueError(
            f"the mask {tuple(mask.shape)} must have one entry for each frame {tuple(frames.shape)}"
        )
