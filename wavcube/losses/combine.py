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
