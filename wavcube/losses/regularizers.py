"""Regularisers of the latent."""

from __future__ import annotations

import torch
from torch import Tensor

from wavcube.losses.combine import masked_mean, zero_padding


def kl_divergence(mu: Tensor, log_variance: Tensor, mask: Tensor | None = None) -> Tensor:
    """Kullback-Leibler divergence of a diagonal Gaussian posterior from the unit Gaussian.

    Kingma and Welling, "Auto-Encoding Variational Bayes" (arXiv 1312.6114), appendix B: summed over
    the latent's dimensions, averaged over valid frames. Computed in float32 under autocast.

    Parameters
    ----------
    mu : Tensor
        Means, ``[B, N, D]``.
    log_variance : Tensor
        Natural logarithms of the variances, ``[B, N, D]``.
    mask : Tensor, optional
        Bool ``[B, N]``, True for valid frames.

    Returns
    -------
    Tensor
        Scalar, float32, in nats per frame; zero for the unit Gaussian.

    Raises
    ------
    ValueError
        If the shapes differ or the mask does not fit them.

    Examples
    --------
    >>> import torch
    >>> kl_divergence(torch.ones(1, 5, 4), torch.zeros(1, 5, 4))
    tensor(2.)
    """
    if mu.shape != log_variance.shape or mu.dim() != 3:
        raise ValueError(
            f"expected mean and log-variance of the same shape [B, N, D], got {tuple(mu.shape)} "
            f"and {tuple(log_variance.shape)}"
        )
    with torch.autocast(mu.device.type, enabled=False):
        mu, log_variance = mu.float(), log_variance.float()
        if mask is not None:
            mu, log_variance = zero_padding(mu, mask), zero_padding(log_variance, mask)
        divergence = 0.5 * (mu.square() + log_variance.exp() - 1.0 - log_variance).sum(dim=-1)
        return masked_mean(divergence, mask)
