"""Several families of discriminators as one module."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from wavcube.losses import discriminator_hinge, feature_matching, generator_hinge


@dataclass
class AdversarialLosses:
    """Adversarial losses of one batch, scalars.

    Parameters
    ----------
    discriminator : Tensor
        Hinge loss of the discriminators.
    adversarial : Tensor
        Hinge loss of the generator.
    feature_matching : Tensor
        Distance of the feature maps.
    """

    discriminator: Tensor
    adversarial: Tensor
    feature_matching: Tensor


class Discriminators(nn.ModuleDict):
    """Discriminators by name, judging real and generated speech once each.

    One graph serves both sides: its losses must be sent backward to the parameters of their own
    side only, as :class:`~wavcube.training.optimizers.OptimizerSet` does. The terms of the families
    are added (WavCube weighs its two alike).

    Parameters
    ----------
    families : Mapping of str to nn.Module
        Such as MultiPeriodDiscriminator and MultiResolutionDiscriminator.

    Examples
    --------
    >>> import torch
    >>> from wavcube.lobes.decoder.discriminators import MultiPeriodDiscriminator
    >>> discriminators = Discriminators({"period": MultiPeriodDiscriminator((2,), (4, 4))})
    >>> real = torch.randn(2, 1600)
    >>> discriminators(real, real).feature_matching.item()
    0.0
    """

    def __init__(self, families: Mapping[str, nn.Module]) -> None:
        super().__init__(dict(families))

    def forward(self, real: Tensor, generated: Tensor) -> AdversarialLosses:
        """Tell real from generated speech.

        Parameters
        ----------
        real, generated : Tensor
            Waveforms `[B, T]`, silent in the padding.

        Returns
        -------
        AdversarialLosses
            The losses of both sides.
        """
        by_family: list[tuple[Tensor, Tensor, Tensor]] = []
        # the normed weights are made once for both
        with parametrize.cached():
            for discriminator in self.values():
                # not as one batch: the generator's gradient would go back through real speech, too
                real_scores, real_maps = discriminator(real)
                fake_scores, fake_maps = discriminator(generated)
                judged = discriminator_hinge(real_scores, fake_scores)
                matching = feature_matching(real_maps, fake_maps)
                by_family.append((judged, generator_hinge(fake_scores), matching))
        terms = zip(*by_family, strict=True)
        return AdversarialLosses(*(torch.stack(families).sum() for families in terms))
