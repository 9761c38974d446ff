"""Coordinates of the latent: a lossless linear change after training."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

# of the largest: what the SSL feature does not know at all would else get no room
SMALLEST_SHARE = 0.02
SMALLEST_VARIANCE = 1e-5  # of the largest: more would not come back from float32


class LatentBasis(nn.Module):
    """Invertible affine map of the latent, chosen once training is over.

    What a decoder can use of a latent does not depend on its coordinates; what a linear head with
    weight decay, a distance or a generative model finds in it does. Trained for reconstruction,
    most of a latent's variance is level and voice, and what is said lies in directions of little
    variance. :meth:`fit` stretches and turns them so that the distance between two latents is that
    between the SSL features which a linear map restores from them. The mean becomes zero, the
    variance one on average over the dimensions, and no dimension stands out.

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
    >>> round(changed.var(0).mean().item(), 3)
    1.0
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

    def config(self) -> dict[str, Any]:
        """Return the constructor arguments as plain data."""
        return {"latent_dim": len(self.mean)}

    @property
    def is_fitted(self) -> bool:
        """Whether it changes anything."""
        return not torch.equal(self.matrix, torch.eye(len(self.mean)).to(self.matrix))

    @torch.no_grad()
    def fit(self, mean: Tensor, covariance: Tensor, cross_covariance: Tensor) -> None:
        """Choose the coordinates by statistics over frames of speech.

        With latents whitened, ``W``, and the singular value decomposition ``U S V^T`` of their
        covariance with the feature, ``W U`` are uncorrelated directions and ``S`` is how much of
        the feature each one restores. They are scaled by ``S`` and then mixed by an orthogonal
        matrix of equally large entries.

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
            If a value is not finite.
        """
        given = [part.double().cpu() for part in (mean, covariance, cross_covariance)]
        if not all(bool(torch.isfinite(part).all()) for part in given):
            raise ValueError("the statistics of the latent hold values that are not finite")
        mean, covariance, cross_covariance = given
        variances, directions = torch.linalg.eigh(covariance)
        floor = SMALLEST_VARIANCE * variances.max()
        white = directions / variances.clamp(min=floor).sqrt()
        uncorrelated, shares, _ = torch.linalg.svd(white.T @ cross_covariance)
        scale = torch.full_like(variances, SMALLEST_SHARE * float(shares.max()))
        scale[: len(shares)] = torch.maximum(scale[: len(shares)], shares)
        scale /= scale.square().mean().sqrt()
        matrix = (white @ uncorrelated * scale) @ _hartley(len(mean)).double()
        self.mean.copy_(mean)
        self.matrix.copy_(matrix)
        self._find_inverse()

    def forward(self, latents: Tensor) -> Tensor:
        """Map latents `[..., D]` to the chosen coordinates."""
        with torch.autocast(latents.device.type, enabled=False):
            return (latents.float() - self.mean.float()) @ self.matrix.float()

    def invert(self, latents: Tensor) -> Tensor:
        """Map back from the chosen coordinates, `[..., D]`."""
        with torch.autocast(latents.device.type, enabled=False):
            return latents.float() @ self.inverse.float() + self.mean.float()

    @torch.no_grad()
    def _find_inverse(self) -> None:
        self.inverse = torch.linalg.inv(self.matrix.double()).to(self.matrix)


def _after_loading(basis: LatentBasis, keys: object) -> None:
    del keys
    basis._find_inverse()


def _hartley(size: int) -> Tensor:
    """Give the orthogonal and symmetric matrix of the discrete Hartley transform."""
    index = torch.arange(size, dtype=torch.float64)
    angle = 2 * math.pi * torch.outer(index, index) / size
    return (angle.cos() + angle.sin()) / math.sqrt(size)
