"""Coordinates of the latent: an invertible linear change after training."""

from __future__ import annotations

import torch
from torch import Tensor

from wavcube.lobes.configurable import Configurable

SMALLEST_VARIANCE = 0.001  # of the mean: what float32 rounds is not to be made loud


class LatentBasis(Configurable):
    """Invertible affine map of the latent, chosen once training is over.

    What a decoder can make of a latent does not depend on its coordinates; what a linear head with
    weight decay, a distance or a generative model finds in it does. In a latent trained for
    reconstruction level and voice make most of the variance, and what is said little. :meth:`fit`
    whitens it and turns it towards the SSL feature: the dimensions have zero mean, variance one and
    no correlation, and the first ones restore most of the feature. Only directions of next to no
    variance stay quieter.

    Until it is fitted it changes nothing.

    Parameters
    ----------
    latent_dim : int
        Width D of the latent.

    Examples
    --------
    >>> basis = LatentBasis(4)
    >>> latents, features = torch.randn(50, 4), torch.randn(50, 6)
    >>> basis.fit(latents.mean(0), torch.cov(latents.T), latents.T @ features / 50)
    >>> changed = basis(latents)
    >>> bool((torch.cov(changed.T) - torch.eye(4)).abs().max() < 1e-4)
    True
    >>> torch.allclose(basis.invert(changed), latents, atol=1e-4)
    True
    """

    mean: Tensor
    matrix: Tensor
    inverse: Tensor

    def __init__(self, latent_dim: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent_dim))
        self.register_buffer("matrix", torch.eye(latent_dim))
        # of the matrix as it is stored: rounded separately, the two would not be each other's
        self.register_buffer("inverse", torch.eye(latent_dim), persistent=False)
        self.register_load_state_dict_post_hook(_after_loading)

    @property
    def is_fitted(self) -> bool:
        """Whether it changes anything."""
        return not torch.equal(self.matrix, torch.eye(len(self.mean)).to(self.matrix))

    @torch.no_grad()
    def fit(self, mean: Tensor, covariance: Tensor, cross_covariance: Tensor) -> None:
        """Choose the coordinates by statistics over frames of speech.

        With latents whitened by ``W`` (``SMALLEST_VARIANCE`` of the mean is the least that is
        stretched to one) and the singular value decomposition ``U S V^T`` of their covariance with
        the feature, the map is ``W U``: the singular values, in falling order, are how much of the
        feature each dimension restores.

        Parameters
        ----------
        mean : Tensor
            Of the latents before this map, `[D]`.
        covariance : Tensor
            Of the same, `[D, D]`.
        cross_covariance : Tensor
            Between them and the SSL feature, `[D, C]`.

        Raises
        ------
        ValueError
            If a value is not finite, or the latents do not vary. Nothing has changed then.
        """
        given = [part.detach().cpu().double() for part in (mean, covariance, cross_covariance)]
        if not all(bool(torch.isfinite(part).all()) for part in given):
            raise ValueError("the statistics of the latent hold values that are not finite")
        mean, covariance, cross_covariance = given
        variances, directions = torch.linalg.eigh(covariance)
        if variances.max() <= 0.0:
            raise ValueError("the latent does not vary: there is nothing to choose coordinates by")
        floor = SMALLEST_VARIANCE * variances.mean()
        white = directions / variances.clamp(min=floor).sqrt()
        turned, _, _ = torch.linalg.svd(white.T @ cross_covariance)
        self.mean.copy_(mean)
        self.matrix.copy_(white @ turned)
        self._find_inverse()

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents `[..., D]` to the chosen coordinates, in float32 also under autocast."""
        with torch.autocast(latents.device.type, enabled=False):
            changed = (latents.float() - self.mean.float()) @ self.matrix.float()
        return changed.to(latents.dtype)

    def invert(self, latents: Tensor) -> Tensor:
        """Map back from the chosen coordinates, `[..., D]`."""
        with torch.autocast(latents.device.type, enabled=False):
            changed = latents.float() @ self.inverse.float() + self.mean.float()
        return changed.to(latents.dtype)

    @torch.no_grad()
    def _find_inverse(self) -> None:
        inverse, failed = torch.linalg.inv_ex(self.matrix.cpu().double())
        if failed or not bool(torch.isfinite(inverse).all()):
            raise ValueError("latent_basis.matrix has no inverse: the file was damaged")
        self.inverse = inverse.to(self.matrix)


def _after_loading(basis: LatentBasis, keys: object) -> None:
    del keys
    basis._find_inverse()
