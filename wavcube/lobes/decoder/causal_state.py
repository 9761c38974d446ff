"""The paper's decoder on latents that come in pieces: what it must remember of those before."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from wavcube.lobes.decoder.causal_transformer import CausalTransformerBackbone, TransposedUpsampler
from wavcube.lobes.decoder.rotary import rotary_table


class CachedAttention:
    """Causal attention that remembers keys and values.

    Parameters
    ----------
    history : int
        Frames of the past that are kept.

    Examples
    --------
    >>> attend = CachedAttention(history=4)
    >>> q, k, v = torch.randn(3, 1, 2, 3, 4)
    >>> attend(q, k, v).shape, attend.past
    (torch.Size([1, 2, 3, 4]), 3)
    """

    def __init__(self, history: int) -> None:
        self.history = history
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    @property
    def past(self) -> int:
        """Frames that are remembered."""
        return 0 if self._keys is None else self._keys.shape[2]

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from `[B, H, n, D]` to themselves and to what came before."""
        past, new = self.past, query.shape[2]
        if self._keys is not None and self._values is not None:
            key = torch.cat([self._keys, key], dim=2)
            value = torch.cat([self._values, value], dim=2)
        self._keys, self._values = (x[:, :, -self.history :] for x in (key, value))
        mask = torch.ones(new, past + new, dtype=torch.bool, device=query.device).tril(past)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


class CausalState:
    """The causal half of the backbone.

    What it gives equals :meth:`CausalTransformerBackbone.decode_causally` of everything as long as
    that is no longer than the history; beyond, a frame sees the last `history` ones.

    Parameters
    ----------
    backbone : CausalTransformerBackbone
        Whose layers are run.
    history : int
        Frames of the past that attention sees.

    Examples
    --------
    >>> from wavcube.testing import tiny_decoder
    >>> state = CausalState(tiny_decoder("transformer").backbone, history=100)
    >>> state.push(torch.randn(1, 3, 8)).shape
    torch.Size([1, 3, 16])
    """

    def __init__(self, backbone: CausalTransformerBackbone, history: int) -> None:
        if history < 1:
            raise ValueError(f"a history of {history} frames: at least 1 is needed")
        self.backbone = backbone
        self._position = 0
        self._attention = [CachedAttention(history) for _ in backbone.layers]

    def push(self, latents: Tensor) -> Tensor:
        """Map the next latents `[B, n, D]` to frames `[B, n, width]`."""
        backbone, count = self.backbone, latents.shape[1]
        head_dim = backbone.width // backbone.num_heads
        table = rotary_table(count, head_dim, latents.device, start=self._position)
        self._position += count
        hidden = backbone.embed(latents)
        for layer, attend in zip(backbone.layers, self._attention, strict=True):
            hidden = layer(hidden, table, attend)
        return backbone.norm(hidden)


class UpsamplerState:
    """The upsampler: its convolution exactly, its GroupNorm by the statistics of what came so far.

    Parameters
    ----------
    upsampler : TransposedUpsampler
        Whose weights are used.

    Examples
    --------
    >>> state = UpsamplerState(TransposedUpsampler(8, 4))
    >>> state.normalise(state.push(torch.randn(1, 3, 8))).shape
    torch.Size([1, 6, 4])
    """

    def __init__(self, upsampler: TransposedUpsampler) -> None:
        self.upsampler = upsampler
        self._last: Tensor | None = None
        self._count = 0
        self._sum = self._squares = torch.zeros((), dtype=torch.double)

    def push(self, x: Tensor) -> Tensor:
        """Map `[B, n, C]` to frames `[B, 2 n, output_dim]` before the norm, and count them."""
        made = self._convolve(x)[:, : x.shape[1] * self.upsampler.stride]
        self._last = x[:, -1:]
        self._add(made)
        return made

    def finish(self) -> None:
        """Count the one frame more that the convolution makes of the last input."""
        stride = self.upsampler.stride
        if self._last is None:
            raise ValueError("nothing was pushed: there is nothing to finish")
        self._add(self._convolve(self._last[:, :0])[:, : self.upsampler.kernel_size - stride])

    def normalise(self, made: Tensor) -> Tensor:
        """Apply the GroupNorm to frames `[B, m, output_dim]` by the statistics that are known."""
        norm = self.upsampler.norm
        mean = self._sum / self._count
        variance = (self._squares / self._count - mean.square()).clamp(min=0.0)
        scale = torch.rsqrt(variance + norm.eps)
        centred = (made.float() - mean.float()) * scale.float()
        return centred * norm.weight + norm.bias

    def _convolve(self, x: Tensor) -> Tensor:
        """Convolve new frames; those that the remembered one made alone are left out."""
        remembered = 0 if self._last is None else 1
        if self._last is not None:
            x = torch.cat([self._last, x], dim=1)
        made = self.upsampler.conv(x.transpose(1, 2)).transpose(1, 2)
        return made[:, remembered * self.upsampler.stride :]

    def _add(self, made: Tensor) -> None:
        self._count += made.shape[1] * made.shape[2]
        wide = made.double()
        self._sum = self._sum.to(wide.device) + wide.sum(dim=(1, 2), keepdim=True)
        self._squares = self._squares.to(wide.device) + wide.square().sum(dim=(1, 2), keepdim=True)
