"""The paper's backbone: a causal rotary transformer, an upsampler and a local vocoder.

WavCube (arXiv 2605.06407); sizes of the released models are the defaults.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.decoder.rotary_transformer import (
    RotaryTransformerLayer,
    causal_attention,
    rotary_table,
)
from wavcube.lobes.lengths import length_mask


class TransposedUpsampler(nn.Module):
    """Double the frame rate: transposed convolution, one-group GroupNorm, drop of the last frame.

    The statistics are those of an item's own untrimmed output, 2 N + 1 frames, whatever it is
    padded to: N masked frames give the same as N frames alone.

    Parameters
    ----------
    input_dim : int
        Width of the input.
    output_dim : int
        Width of the output.

    Examples
    --------
    >>> upsampler = TransposedUpsampler(8, 4)
    >>> upsampler(torch.randn(2, 5, 8), torch.tensor([3, 5])).shape
    torch.Size([2, 10, 4])
    """

    stride = 2
    kernel_size = 3

    def __init__(self, input_dim: int, output_dim: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose1d(input_dim, output_dim, self.kernel_size, self.stride)
        self.norm = nn.GroupNorm(1, output_dim)

    def forward(self, x: Tensor, num_frames: Tensor | None = None) -> Tensor:
        """Upsample.

        Parameters
        ----------
        x : Tensor
            Frames `[B, N, C]`.
        num_frames : Tensor or None
            Valid frames of each item `[B]`; None means all of them.

        Returns
        -------
        Tensor
            Frames `[B, 2 * N, output_dim]`, zero in the padding.
        """
        kept = x.shape[1] * self.stride
        if num_frames is None:
            return self.norm(self.conv(x.transpose(1, 2)))[:, :, :kept].transpose(1, 2)
        valid = length_mask(num_frames, x.shape[1])[..., None]
        up = self.conv(x.masked_fill(~valid, 0.0).transpose(1, 2)).transpose(1, 2)
        untrimmed = num_frames * self.stride + self.kernel_size - self.stride
        up = self._normalise(up.float(), untrimmed)[:, :kept]
        inside = length_mask(num_frames * self.stride, kept)[..., None]
        return up.masked_fill(~inside, 0.0)

    def _normalise(self, x: Tensor, lengths: Tensor) -> Tensor:
        """Apply the GroupNorm over each item's first frames of `[B, T, C]`."""
        inside = length_mask(lengths, x.shape[1])[..., None]
        count = (lengths * x.shape[2]).to(x.dtype)[:, None, None]
        mean = x.masked_fill(~inside, 0.0).sum(dim=(1, 2), keepdim=True) / count
        centred = (x - mean).masked_fill(~inside, 0.0)
        variance = centred.square().sum(dim=(1, 2), keepdim=True) / count
        scaled = centred * torch.rsqrt(variance + self.norm.eps)
        return scaled * self.norm.weight + self.norm.bias


class CausalTransformerBackbone(Configurable):
    """Decode latents with causal attention, double their rate and hand them to a vocoder.

    Parameters
    ----------
    latent_dim : int
        Width D of the latents.
    vocoder : nn.Module
        Maps coarse frames `[B, 2 N, vocoder.input_dim]` and their counts to hidden frames
        `[B, 2 N, vocoder.dim]`: LocalVocoder.
    width : int
        Width of the causal layers.
    num_layers : int
        Number of causal layers.
    num_heads : int
        Attention heads of each causal layer.
    ffn_dim : int
        Width of the feed-forward parts of the causal layers.

    Examples
    --------
    >>> from wavcube.lobes.decoder.local_vocoder import LocalVocoder
    >>> vocoder = LocalVocoder(input_dim=4, dim=8, num_layers=1, num_heads=2, ffn_dim=16)
    >>> backbone = CausalTransformerBackbone(6, vocoder, 16, num_layers=1, num_heads=2, ffn_dim=32)
    >>> hidden, lengths = backbone(torch.randn(2, 5, 6), torch.tensor([3, 5]))
    >>> hidden.shape, lengths
    (torch.Size([2, 10, 8]), tensor([ 6, 10]))
    """

    vocoder: Any  # with `input_dim`, `dim` and `window`

    def __init__(
        self,
        latent_dim: int,
        vocoder: nn.Module,
        width: int = 1024,
        num_layers: int = 24,
        num_heads: int = 16,
        ffn_dim: int = 4096,
    ) -> None:
        super().__init__()
        self.latent_dim, self.width = latent_dim, width
        self.vocoder = vocoder
        self.num_heads, self.ffn_dim = num_heads, ffn_dim
        self.embed = nn.Linear(latent_dim, width)
        self.layers = nn.ModuleList(
            RotaryTransformerLayer(width, num_heads, ffn_dim) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.upsampler = TransposedUpsampler(width, self.vocoder.input_dim)

    @property
    def dim(self) -> int:
        """Width C of the hidden frames that the backbone gives."""
        return self.vocoder.dim

    @property
    def upsampling(self) -> int:
        """Hidden frames per latent frame."""
        return self.upsampler.stride

    @property
    def context(self) -> None:
        """None: a frame depends on all that came before, and through the GroupNorm on all."""
        return None

    def forward(
        self, latents: Tensor, num_frames: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Turn latents into hidden frames for a waveform head.

        Parameters
        ----------
        latents : Tensor
            Latents `[B, N, D]`.
        num_frames : Tensor or None
            Valid latents of each item `[B]`; None means all of them.

        Returns
        -------
        hidden : Tensor
            Frames `[B, 2 * N, C]`; what stands in the padding has no meaning.
        lengths : Tensor or None
            Valid hidden frames of each item `[B]`; None when num_frames is.
        """
        lengths = None
        if num_frames is not None:
            lengths = num_frames * self.upsampling
            # attention gives the padding no weight, but zero times NaN is NaN
            valid = length_mask(num_frames, latents.shape[1])[..., None]
            latents = latents.masked_fill(~valid, 0.0)
        coarse = self.upsampler(self.decode_causally(latents), num_frames)
        return self.vocoder(coarse, lengths), lengths

    def decode_causally(self, latents: Tensor) -> Tensor:
        """Run the causal half, in which frame n depends on the latents 0 to n only.

        Parameters
        ----------
        latents : Tensor
            Latents `[B, N, D]`.

        Returns
        -------
        Tensor
            Frames `[B, N, width]`.
        """
        table = rotary_table(latents.shape[1], self.width // self.num_heads, latents.device)
        hidden = self.embed(latents)
        for layer in self.layers:
            hidden = layer(hidden, table, causal_attention)
        return self.norm(hidden)
