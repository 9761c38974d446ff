"""The assignment of estimates to targets that costs least, for each item as a whole.

Kolbaek et al., "Multi-talker speech separation with utterance-level permutation invariant training"
(arXiv 1703.06284); asteroid's `PITLossWrapper` finds it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def permutation_invariant(pairwise: Tensor) -> Tensor:
    """Average the losses of the best assignment over sources and items.

    Parameters
    ----------
    pairwise : Tensor
        Loss of every estimate with every target, `[B, S, S]`.

    Returns
    -------
    Tensor
        Scalar. With one source there is nothing to assign.

    Raises
    ------
    ImportError
        If there are several sources and asteroid is missing.

    Examples
    --------
    >>> permutation_invariant(torch.tensor([[[5.0, 1.0], [2.0, 5.0]]]))
    tensor(1.5000)
    """
    if pairwise.shape[1] == 1:
        return pairwise.mean()
    try:
        from asteroid.losses import PITLossWrapper
    except ImportError as error:
        raise ImportError(
            f"separation needs asteroid: pip install 'wavcube[eval]' ({error})"
        ) from error
    # its products would be taken in 16 bits, and a close second assignment for the best
    with torch.autocast(pairwise.device.type, enabled=False):
        return PITLossWrapper.find_best_perm(pairwise.float())[0].mean()
