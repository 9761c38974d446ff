"""Adding named loss terms with named weights, strictly."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce

from torch import Tensor


def weighted_sum(terms: Mapping[str, Tensor], weights: Mapping[str, float]) -> Tensor:
    """Add loss terms with the weights of the same names.

    Parameters
    ----------
    terms : Mapping of str to Tensor
        Scalar loss terms of one step.
    weights : Mapping of str to float
        One weight for each term. A weight of zero still needs its term: what is not computed has no
        business in the configuration.

    Returns
    -------
    Tensor
        Scalar ``sum(weights[name] * terms[name])``.

    Raises
    ------
    KeyError
        If the two sets of names differ; the message lists both differences.
    ValueError
        If there is no term at all.

    Examples
    --------
    >>> import torch
    >>> weighted_sum({"mel": torch.tensor(2.0), "kl": torch.tensor(10.0)}, {"mel": 45, "kl": 0.1})
    tensor(91.)
    """
    without_weight = sorted(terms.keys() - weights.keys())
    without_term = sorted(weights.keys() - terms.keys())
    if without_weight or without_term:
        raise KeyError(
            f"loss terms and loss weights must have the same names: terms without a weight "
            f"{without_weight}, weights without a term {without_term}"
        )
    if not terms:
        raise ValueError("weighted_sum needs at least one loss term, got none")
    return reduce(Tensor.add, (weights[name] * term for name, term in terms.items()))


def masked_mean(values: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over items of the mean over the frames that a mask keeps of each.

    Every item counts the same: an item's loss does not depend on its batch, and N processes with B
    items each train as one process with N * B does.

    Parameters
    ----------
    values : Tensor
        One value per frame, ``[B, N]``.
    mask : Tensor, optional
        Bool ``[B, N]``, True for valid frames; all are valid when it is left out.

    Returns
    -------
    Tensor
        Scalar; an item without a valid frame counts as zero, with a zero gradient and not NaN.

    Raises
    ------
    ValueError
        If the mask's shape is not that of the values.

    Examples
    --------
    >>> import torch
    >>> values = torch.tensor([[1.0, 3.0, 9.0], [4.0, 4.0, 4.0]])
    >>> masked_mean(values, torch.tensor([[True, True, False], [True, True, True]]))
    tensor(3.)
    """
    if mask is None:
        return values.mean()
    _check_mask(mask, values)
    return (values.where(mask, 0.0).sum(1) / mask.sum(1).clamp(min=1)).mean()


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
