"""The semantic bottleneck: an SSL feature to the latent and back (arXiv 2605.06407)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.ssl.transformer import RelativeTransformer

# exp(-12 / 2) to exp(12 / 2): keeps the KL term and its gradient finite
LOG_VARIANCE_LIMIT = 12.0


class _Projection(nn.Sequential):
    """Two linear layers through the mean of both widths, then a LayerNorm."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        middle = (dim_in + dim_out) // 2
        super().__init__(
            nn.Linear(dim_in, middle),
            nn.GELU(),
            nn.Linear(middle, dim_out),
            nn.LayerNorm(dim_out, eps=1e-6),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., dim_in]` to `[..., dim_out]`, in float32 also under autocast.

        It is a thousandth of the work, and what it rounds a white latent makes loud.
        """
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(x.float())


class SemanticEncoder(nn.Module):
    """From the SSL feature to the latent.

    Parameters
    ----------
    dim, latent_dim : int
        Widths of the feature and of the latent.
    num_layers, num_heads, ffn_dim : int
        Of the transformer before the projection.
    window : int, optional
        See :class:`~wavcube.lobes.ssl.transformer.RelativeTransformer`.

    Examples
    --------
    >>> SemanticEncoder(16, 8, 1, 2, 32)(torch.randn(2, 5, 16)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        latent_dim: int,
        num_layers: int,
        num_heads: int,
        ffn_dim: int,
        window: int | None = None,
    ) -> None:
        super().__init__()
        self.layers = RelativeTransformer(dim, num_layers, num_heads, ffn_dim, window=window)
        self.projection = _Projection(dim, latent_dim)

    def forward(self, feature: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map `[B, N, C]` to `[B, N, D]` under a mask `[B, N]` (True is valid)."""
        return self.projection(self.layers(feature, mask))


class SemanticDecoder(nn.Module):
    """From the latent back to the SSL feature; needed in training only.

    Parameters
    ----------
    dim, latent_dim, num_layers, num_heads, ffn_dim, window
        See :class:`SemanticEncoder`.
    with_linear : bool
        Also have a linear map to the feature.

    Examples
    --------
    >>> SemanticDecoder(16, 8, 1, 2, 32)(torch.randn(2, 5, 8)).shape
    torch.Size([2, 5, 16])
    """

    def __init__(
        self,
        dim: int,
        latent_dim: int,
        num_layers: int,
        num_heads: int,
        ffn_dim: int,
        window: int | None = None,
        with_linear: bool = False,
    ) -> None:
        super().__init__()
        self.projection = _Projection(latent_dim, dim)
        self.layers = RelativeTransformer(dim, num_layers, num_heads, ffn_dim, window=window)
        self.linear = nn.Linear(latent_dim, dim) if with_linear else None

    def forward(self, latent: Tensor, mask: Tensor | None = None) -> Tensor:
        """Map `[B, N, D]` to `[B, N, C]` under a mask `[B, N]` (True is valid)."""
        return self.layers(self.projection(latent), mask)


class SemanticBottleneck(Configurable):
    """Autoencoder of the SSL feature.

    Parameters
    ----------
    dim : int
        Width C of the SSL feature.
    latent_dim : int
        Width D of the latent.
    num_layers, num_heads, ffn_dim : int
        Of the transformer on each side: layers of WavLM's kind.
    with_decoder : bool
        Keep the side that restores the feature. Releases do without.
    window : int, optional
        Frames that attention sees to each side; by default all.
    with_linear : bool
        Give the decoder a linear map to the feature too, so that training can ask for a latent
        from which a linear probe reads what the feature knows. Part of the decoder.

    Examples
    --------
    >>> bottleneck = SemanticBottleneck(16, 8, num_layers=1, num_heads=2, ffn_dim=32)
    >>> latent = bottleneck.encode(torch.randn(2, 5, 16))
    >>> latent.shape, bottleneck.decode(latent).shape
    (torch.Size([2, 5, 8]), torch.Size([2, 5, 16]))
    """

    def __init__(
        self,
        dim: int,
        latent_dim: int = 128,
        num_layers: int = 3,
        num_heads: int = 16,
        ffn_dim: int = 4096,
        with_decoder: bool = True,
        window: int | None = None,
        with_linear: bool = False,
    ) -> None:
        super().__init__()
        sizes = dim, latent_dim, num_layers, num_heads, ffn_dim, window
        self.latent_dim, self.with_linear = latent_dim, with_linear
        self.semantic_encoder = SemanticEncoder(*sizes)
        self.semantic_decoder = SemanticDecoder(*sizes, with_linear) if with_decoder else None

    def copy_layers_from(self, stack: RelativeTransformer) -> None:
        """Start both transformers as copies of the first layers of an SSL encoder's.

        Parameters
        ----------
        stack : RelativeTransformer
            At least as deep, of the same width.
        """
        for side in (self.semantic_encoder, self.semantic_decoder):
            if side is not None:
                first = list(stack)[: len(side.layers)]
                for ours, theirs in zip(side.layers, first, strict=True):
                    ours.load_state_dict(theirs.state_dict())

    def encode(self, feature: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compress.

        Parameters
        ----------
        feature : Tensor
            `[B, N, C]`.
        mask : Tensor, optional
            `[B, N]`, True where valid.

        Returns
        -------
        Tensor
            `[B, N, D]`.
        """
        return self.semantic_encoder(feature, mask)

    def decode(self, latent: Tensor, mask: Tensor | None = None) -> Tensor:
        """Restore the feature.

        Parameters
        ----------
        latent : Tensor
            `[B, N, D]`.
        mask : Tensor, optional
            `[B, N]`, True where valid.

        Returns
        -------
        Tensor
            `[B, N, C]`.

        Raises
        ------
        ValueError
            If this side was left out.
        """
        if self.semantic_decoder is None:
            raise ValueError(
                "this model has no semantic decoder (releases leave it out): load it for training"
            )
        return self.semantic_decoder(latent, mask)

    def decode_linearly(self, latent: Tensor) -> Tensor | None:
        """Restore the feature `[B, N, C]` by the linear map; None for a model without one."""
        linear = None if self.semantic_decoder is None else self.semantic_decoder.linear
        return None if linear is None else linear(latent)


class VariationalBottleneck(SemanticBottleneck):
    """Bottleneck whose latent is a Gaussian: drawn in training, its mean at inference.

    Parameters
    ----------
    dim, latent_dim, num_layers, num_heads, ffn_dim, with_decoder, window, with_linear
        See :class:`SemanticBottleneck`.

    Examples
    --------
    >>> bottleneck = VariationalBottleneck(16, 8, num_layers=1, num_heads=2, ffn_dim=32).eval()
    >>> mu, log_variance = bottleneck.posterior(torch.randn(2, 5, 16))
    >>> mu.shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        latent_dim: int = 128,
        num_layers: int = 3,
        num_heads: int = 16,
        ffn_dim: int = 4096,
        with_decoder: bool = True,
        window: int | None = None,
        with_linear: bool = False,
    ) -> None:
        super().__init__(
            dim, latent_dim, num_layers, num_heads, ffn_dim, with_decoder, window, with_linear
        )
        self.mean = nn.Linear(latent_dim, latent_dim)
        self.log_variance = nn.Linear(latent_dim, latent_dim)

    def posterior(self, feature: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and log-variance of the latent, `[B, N, D]` each; the latter within +-12."""
        hidden = self.semantic_encoder(feature, mask)
        limit = LOG_VARIANCE_LIMIT
        return self.mean(hidden), self.log_variance(hidden).clamp(-limit, limit)

    def encode(self, feature: Tensor, mask: Tensor | None = None) -> Tensor:
        """Compress; see :meth:`SemanticBottleneck.encode`. Deterministic in eval mode."""
        return self.sample(*self.posterior(feature, mask))

    def sample(self, mean: Tensor, log_variance: Tensor) -> Tensor:
        """Draw a latent `[B, N, D]` in training; the mean in eval mode."""
        if not self.training:
            return mean
        return mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)


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
