"""Hinge losses and feature matching for a family of discriminators.

Hinge form of Lim and Ye, "Geometric GAN" (arXiv 1705.02894); feature matching of MelGAN (arXiv
1910.06711). All are means over the sub-discriminators, so that a weight keeps its meaning when
their number changes. The functions take the lists that a discriminator returns; they know nothing
else of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import torch
from torch import Tensor


def discriminator_hinge(real_scores: Sequence[Tensor], fake_scores: Sequence[Tensor]) -> Tensor:
    """Hinge loss of the discriminators: real above 1, generated below -1.

    Parameters
    ----------
    real_scores, fake_scores : Sequence of Tensor
        One score map of any shape per sub-discriminator, of real and of generated speech. The
        gradient is for the discriminators alone: let it not go on into generated speech.

    Returns
    -------
    Tensor
        Scalar, float32, mean over the sub-discriminators.

    Raises
    ------
    ValueError
        If the two lists are empty or differ in length.

    Examples
    --------
    >>> import torch
    >>> discriminator_hinge([torch.tensor([0.5])], [torch.tensor([-3.0])])
    tensor(0.5000)
    """
    _check_same_number(real_scores, fake_scores)
    terms = [
        (1.0 - real.float()).relu().mean() + (1.0 + fake.float()).relu().mean()
        for real, fake in zip(real_scores, fake_scores, strict=True)
    ]
    return torch.stack(terms).mean()


def generator_hinge(fake_scores: Sequence[Tensor]) -> Tensor:
    """Hinge loss of the generator: generated speech scored above 1.

    Parameters
    ----------
    fake_scores : Sequence of Tensor
        One score map of any shape per sub-discriminator.

    Returns
    -------
    Tensor
        Scalar, float32, mean over the sub-discriminators.

    Raises
    ------
    ValueError
        If the list is empty.

    Examples
    --------
    >>> import torch
    >>> generator_hinge([torch.tensor([0.5]), torch.tensor([2.0])])
    tensor(0.2500)
    """
    _check_same_number(fake_scores, fake_scores)
    return torch.stack([(1.0 - fake.float()).relu().mean() for fake in fake_scores]).mean()


def feature_matching(
    real_maps: Sequence[Sequence[Tensor]], fake_maps: Sequence[Sequence[Tensor]]
) -> Tensor:
    """L1 distance of the discriminators' feature maps, summed over maps.

    The gradient flows to ``fake_maps`` only, so one pass of the discriminators over real speech may
    serve their own update and this term. :mod:`wavcube.lobes.decoder.discriminators` already leave
    out the first map of each stack, as the paper does; every map given here counts.

    Parameters
    ----------
    real_maps, fake_maps : Sequence of Sequence of Tensor
        Feature maps of each sub-discriminator, for real and for generated speech.

    Returns
    -------
    Tensor
        Scalar, float32: mean over sub-discriminators of the sum over maps of the mean difference.

    Raises
    ------
    ValueError
        If the lists are empty or differ in length.

    Examples
    --------
    >>> import torch
    >>> real = [[torch.zeros(2), torch.zeros(3)], [torch.zeros(4)]]
    >>> fake = [[torch.ones(2), torch.ones(3)], [torch.ones(4)]]
    >>> feature_matching(real, fake)
    tensor(1.5000)
    """
    _check_same_number(real_maps, fake_maps)
    terms = []
    for real, fake in zip(real_maps, fake_maps, strict=True):
        _check_same_number(real, fake)
        pairs = zip(real, fake, strict=True)
        differences = ((a.detach().float() - b.float()).abs().mean() for a, b in pairs)
        terms.append(reduce(Tensor.add, differences))
    return torch.stack(terms).mean()


def _check_same_number(real: Sequence[object], fake: Sequence[object]) -> None:
    if len(real) != len(fake) or not real:
        raise ValueError(
            f"expected the same number (>= 1) of entries for real and generated speech, got "
            f"{len(real)} and {len(fake)}"
        )
