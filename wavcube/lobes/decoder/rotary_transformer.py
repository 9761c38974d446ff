"""The pre-norm rotary transformer layer that both halves of the paper's decoder are made of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavcube.lobes.layers.linear import Linear, linear_gelu
from wavcube.lobes.layers.modes import RecomputableLayer


def rotary_table(
    length: int,
    head_dim: int,
    device: torch.device | None = None,
    theta: float = 1e4,
    start: int = 0,
) -> tuple[Tensor, Tensor]:
    """Give the cosines and sines of every position's rotation angles.

    Parameters
    ----------
    length : int
        Number of positions T.
    head_dim : int
        Width D of an attention head, even.
    device : torch.device or None
        Where the table lives.
    theta : float
        Base of the geometric series of wavelengths.
    start : int
        First position.

    Returns
    -------
    cosine, sine : Tensor
        Tables `[T, D / 2]`, float32.

    Raises
    ------
    ValueError
        If head_dim is odd.

    Examples
    --------
    >>> cosine, sine = rotary_table(3, 4)
    >>> cosine.shape, float(sine[0].abs().max())
    (torch.Size([3, 2]), 0.0)
    """
    if head_dim % 2:
        raise ValueError(f"heads of width {head_dim} cannot be rotated: the width must be even")
    exponents = torch.arange(0, head_dim, 2, device=device, dtype=torch.float32) / head_dim
    if start:
        # far positions times a frequency lose the angle in float32, and some devices have no more
        positions = torch.arange(start, start + length, dtype=torch.float64)
        angles = torch.outer(positions, (theta**-exponents).cpu().double())
        return angles.cos().float().to(device), angles.sin().float().to(device)
    positions = torch.arange(length, device=device, dtype=torch.float32)
    angles = torch.outer(positions, theta**-exponents)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, table: tuple[Tensor, Tensor]) -> Tensor:
    """Rotate queries or keys by their positions.

    Parameters
    ----------
    x : Tensor
        Queries or keys `[B, H, T, D]`.
    table : tuple of Tensor
        Cosines and sines `[T, D / 2]` of `rotary_table`.

    Returns
    -------
    Tensor
        Rotated `[B, H, T, D]` of x's dtype; lengths of vectors are kept.

    Examples
    --------
    >>> x = torch.randn(1, 2, 3, 4)
    >>> bool(torch.allclose(rotate(x, rotary_table(3, 4)).norm(dim=-1), x.norm(dim=-1)))
    True
    """
    cosine, sine = table
    first, second = x.float().chunk(2, dim=-1)
    rotated = torch.cat((first * cosine - second * sine, first * sine + second * cosine), dim=-1)
    return rotated.to(x.dtype)


Attend = Callable[[Tensor, Tensor, Tensor], Tensor]


def causal_attention(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attend to the present and the past.

    Right padding needs no mask: it lies in the future of every valid frame.

    Parameters
    ----------
    query, key, value : Tensor
        Heads `[B, H, T, D]`.

    Returns
    -------
    Tensor
        Weighted values `[B, H, T, D]`.

    Examples
    --------
    >>> import torch
    >>> x = torch.randn(1, 2, 3, 4)
    >>> bool(torch.allclose(causal_attention(x, x, x)[:, :, 0], x[:, :, 0]))
    True
    """
    return F.scaled_dot_product_attention(query, key, value, is_causal=True)


class RotarySelfAttention(nn.Module):
    """Multi-head self-attention with rotary positions; the key projection has no bias.

    Parameters
    ----------
    dim : int
        Width C.
    num_heads : int
        Number of heads; must divide C into even widths.

    Examples
    --------
    >>> import torch
    >>> from wavcube.lobes.decoder.rotary_transformer import rotary_table
    >>> attention = RotarySelfAttention(dim=8, num_heads=2)
    >>> attention(torch.randn(1, 3, 8), rotary_table(3, 4), causal_attention).shape
    torch.Size([1, 3, 8])
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % (2 * num_heads):
            raise ValueError(
                f"dim={dim} cannot be split into num_heads={num_heads} heads of even width"
            )
        self.num_heads = num_heads
        self.q_proj = Linear(dim, dim)
        self.k_proj = Linear(dim, dim, bias=False)
        self.v_proj = Linear(dim, dim)
        self.out_proj = Linear(dim, dim)

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """Mix frames.

        Parameters
        ----------
        x : Tensor
            Frames `[B, T, C]`.
        table : tuple of Tensor
            Cosines and sines of `rotary_table`.
        attend : callable
            Attention over heads `[B, H, T, D]`: which frame sees which.

        Returns
        -------
        Tensor
            Mixed frames `[B, T, C]`.
        """
        query, key, value = (
            project(x).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
            for project in (self.q_proj, self.k_proj, self.v_proj)
        )
        mixed = attend(rotate(query, table), rotate(key, table), value)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class RotaryTransformerLayer(RecomputableLayer):
    """Pre-norm transformer layer: rotary attention, then two Linears with an exact GELU between.

    Parameters
    ----------
    dim : int
        Width C.
    num_heads : int
        Number of heads.
    ffn_dim : int
        Width of the feed-forward part.

    Examples
    --------
    >>> import torch
    >>> from wavcube.lobes.decoder.rotary_transformer import rotary_table
    >>> layer = RotaryTransformerLayer(dim=8, num_heads=2, ffn_dim=16)
    >>> layer(torch.randn(1, 3, 8), rotary_table(3, 4), causal_attention).shape
    torch.Size([1, 3, 8])
    """

    def __init__(self, dim: int, num_heads: int, ffn_dim: int) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = RotarySelfAttention(dim, num_heads)
        self.ffn_norm = nn.LayerNorm(dim)
        self.ffn_in = Linear(dim, ffn_dim)
        self.ffn_out = Linear(ffn_dim, dim)

    @property
    def ffn_dim(self) -> int:
        """Width of the feed-forward part."""
        return self.ffn_in.out_features

    def forward(self, x: Tensor, table: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
        """Refine frames.

        Parameters
        ----------
        x : Tensor
            Frames `[B, T, C]`.
        table : tuple of Tensor
            Cosines and sines of `rotary_table`.
        attend : callable
            Attention over heads `[B, H, T, D]`.

        Returns
        -------
        Tensor
            Frames `[B, T, C]`.
        """
        x = x + self.attention(self.attention_norm(x), table, attend)
        return x + self.ffn_out(linear_gelu(self.ffn_in, self.ffn_norm(x)))
