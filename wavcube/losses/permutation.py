"""The assignment of estimates to targets that costs least, for each item as a whole.

Kolbaek et al., "Multi-talker speech separation with utterance-level permutation invariant training"
(arXiv 1703.06284); asteroid's `PITLossWrapper` finds it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def best_assignment(pairwise: Tensor) -> Tensor:
    """Find the assignment that costs least.

    Parameters
    ----------
    pairwise : Tensor
        Loss of every estimate with every target, `[B, S, S]`.

    Returns
    -------
    Tensor
        For each target the place of its estimate, `[B, S]`. With one source nothing is assigned.

    Raises
    ------
    ImportError
        If there are several sources and asteroid is missing.

    Examples
    --------
    >>> best_assignment(torch.tensor([[[9.0, 1.0], [2.0, 9.0]]]))
    tensor([[1, 0]])
    """
    if pairwise.shape[1] == 1:
        return pairwise.new_zeros(pairwise.shape[:2], dtype=torch.long)
    try:
        from asteroid.losses import PITLossWrapper
    except ImportError as error:
        raise ImportError(
            f"separation needs asteroid: pip install 'wavcube[eval]' ({error})"
        ) from error
    # its products would be taken in 16 bits, and a close second assignment for the best
    with torch.autocast(pairwise.device.type, enabled=False), torch.no_grad():
        return PITLossWrapper.find_best_perm(pairwise.float())[1]


def assigned(pairwise: Tensor, assignment: Tensor) -> Tensor:
    """Average the losses of an assignment over sources and items.

    Parameters
    ----------
    pairwise : Tensor
        `[B, S, S]`, estimates by targets.
    assignment : Tensor
        Of :func:`best_assignment`, `[B, S]`.

    Returns
    -------
    Tensor
        Scalar.

    Examples
    --------
    >>> assigned(torch.tensor([[[9.0, 1.0], [2.0, 9.0]]]), torch.tensor([[1, 0]]))
    tensor(1.5000)
    """
    return pairwise.transpose(1, 2).gather(2, assignment[..., None]).mean()


def permutation_invariant(pairwise: Tensor) -> Tensor:
    """Average the losses of the best assignment over sources and items.

    Parameters
    ----------
    pairwise : Tensor
        Loss of every estimate with every target, `[B, S, S]`.

    Returns
    -------
    Tensor
        Scalar.

    Raises
    ------
    ImportError
        If there are several sources and asteroid is missing.

    Examples
    --------
    >>> permutation_invariant(torch.tensor([[[9.0, 1.0], [2.0, 9.0]]]))
    tensor(1.5000)
    """
    return assigned(pairwise, best_assignment(pairwise))
