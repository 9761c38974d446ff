"""Means over the valid part of a padded batch."""

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
    if mask.shape != values.shape:
        raise ValueError(
            f"the mask {tuple(mask.shape)} must have one entry for each frame {tuple(values.shape)}"
        )
    return values.where(mask, 0.0).sum() / mask.sum().clamp(min=1)
