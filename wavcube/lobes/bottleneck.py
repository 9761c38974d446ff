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
