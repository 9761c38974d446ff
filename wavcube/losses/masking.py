"""Keeping the padding of a batch out of a criterion."""

from __future__ import annotations

from torch import Tensor


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
    return values.where(mask, 0.0).sum() / mask.sum().clamp(min=1)


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
