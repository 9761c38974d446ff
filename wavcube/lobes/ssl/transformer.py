"""WavLM's transformer layer with the gated relative position bias, on torch's fused attention.

The SSL encoder and both sides of the semantic bottleneck are made of it. Parameter names are those
of transformers' WavLM, so that its weights load strictly. WavLM: arXiv 2110.13900, section III-B.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavcube.lobes.layers.linear import Linear, linear_gelu
from wavcube.lobes.layers.local_attention import LocalAttention
from wavcube.lobes.layers.modes import RecomputableLayer, is_plain_inference

# gated biases that are made at once: what stays in a CPU's cache, there in bf16, where they are
# gone through more often, and what a GPU has room for
MOST_BIASES_CPU, MOST_BIASES_ROUNDED, MOST_BIASES_GPU = 2**22, 2**20, 2**26
# torch's kernel is slow on few queries: half as fast on 64 as on 800
FEWEST_QUERIES = 256

#: (query, key, value, gate) to the weighted values: `[B, H, N, D]` three times and `[B, H, N, 1]`
Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _is_rounded(query: Tensor) -> bool:
    """Tell whether it is in bf16 on a CPU."""
    return query.device.type == "cpu" and query.dtype == torch.bfloat16


def _attend_by_products(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """Attend in bf16 on a CPU, where torch's kernel is no faster than in float32.

    The scores stay in float32 and take the place of `bias`.
    """
    scores = bias.add_(query @ key.transpose(2, 3), alpha=query.shape[3] ** -0.5)
    return torch.softmax(scores, dim=3, out=scores).to(value.dtype) @ value


def _by_distance(biases: Tensor, distance: Tensor) -> Tensor:
    """Look up `[H, ...]` for distances in -(R - 1)..R - 1, of biases `[H, 2R - 1]`."""
    return biases[:, distance + biases.shape[1] // 2]


class GlobalAttention:
    """Every query sees every key.

    Where no gradient is wanted heads go in groups, and their queries in blocks if there are many:
    no N x N matrix of all heads exists, memory grows with N alone, and the gated biases stay in the
    cache.

    Parameters
    ----------
    biases : Tensor
        Of the distances key - query, `[H, 2N - 1]`, from -(N - 1) on.
    mask : Tensor or None
        `[B, N]`, True where a key may be attended to.

    Examples
    --------
    >>> attend = GlobalAttention(torch.zeros(2, 9), mask=None)
    >>> attend(*torch.randn(3, 1, 2, 5, 4), gate=torch.ones(1, 2, 5, 1)).shape
    torch.Size([1, 2, 5, 4])
    """

    def __init__(self, biases: Tensor, mask: Tensor | None) -> None:
        self.frames = biases.shape[1] // 2 + 1
        self.hidden = None if mask is None else ~mask[:, None, None, :]
        # row r of the view belongs to query N - 1 - r: biases[r : r + N]
        self.reversed_rows = biases.unfold(1, self.frames, 1)
        self.scratch: Tensor | None = None
        self.bias = None if is_plain_inference() else self._all_rows(biases)

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, gate: Tensor) -> Tensor:
        """Attend.

        Parameters
        ----------
        query, key, value : Tensor
            `[B, H, N, D]`.
        gate : Tensor
            Factor of each query's biases, `[B, H, N, 1]`.

        Returns
        -------
        Tensor
            `[B, H, N, D]`.
        """
        if self.bias is not None:
            return self._attend(query, key, value, self._masked(gate * self.bias))
        query, gate = query.flip(2), gate.flip(2)
        heads, size = self._piece(query)
        # as the kernel lays it out, so that joining the heads copies nothing
        out = torch.empty_like(query.transpose(1, 2)).transpose(1, 2)
        for head in range(0, query.shape[1], heads):
            some = slice(head, head + heads)
            for start in range(0, self.frames, size):
                rows = slice(start, start + size)
                bias = self._gated(gate[:, some, rows], self.reversed_rows[some, rows])
                out[:, some, rows] = self._attend(
                    query[:, some, rows], key[:, some], value[:, some], self._masked(bias)
                )
        return out.flip(2)

    def _gated(self, gate: Tensor, rows: Tensor) -> Tensor:
        """Multiply in memory that is taken once: asking the system for it costs as much again."""
        if torch.compiler.is_compiling():
            return gate * rows
        shape = gate.shape[:3] + rows.shape[2:]
        if self.scratch is None or self.scratch.numel() < shape.numel():
            self.scratch = rows.new_empty(shape.numel())
        return torch.mul(gate, rows, out=self.scratch[: shape.numel()].view(shape))

    def _masked(self, bias: Tensor) -> Tensor:
        """Hide the padding's keys, in place."""
        return bias if self.hidden is None else bias.masked_fill_(self.hidden, float("-inf"))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        # a CPU's kernel adds float32 to any scores; autocast would round the biases first
        if self.bias is not None or bias.device.type != "cpu":
            bias = bias.to(query.dtype)
        with torch.autocast(query.device.type, enabled=False):
            if self.bias is None and _is_rounded(query):
                return _attend_by_products(query, key, value, bias)
            return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)

    def _piece(self, query: Tensor) -> tuple[int, int]:
        """Choose how many heads, and how many of their queries, attend at once."""
        most = MOST_BIASES_CPU if query.device.type == "cpu" else MOST_BIASES_GPU
        if _is_rounded(query):
            most = MOST_BIASES_ROUNDED
        row = query.shape[0] * self.frames
        heads = min(query.shape[1], max(1, most // (row * self.frames)))
        return heads, min(self.frames, max(FEWEST_QUERIES, most // (row * heads)))

    def _all_rows(self, biases: Tensor) -> Tensor:
        position = torch.arange(self.frames, device=biases.device)
        return _by_distance(biases, position[None, :] - position[:, None])


class RelativeLocalAttention:
    """A query sees the keys at most `window` frames away, at a cost of O(N x window).

    Parameters
    ----------
    biases_of : callable
        From a reach R to the biases of the distances -(R - 1)..R - 1, `[H, 2R - 1]`.
    window : int
        Frames seen to each side.
    frames : int
        Padded length N.
    mask : Tensor or None
        `[B, N]`, True where a key may be attended to: a prefix of each item.

    Examples
    --------
    >>> attend = RelativeLocalAttention(lambda reach: torch.zeros(2, 2 * reach - 1), 3, 9, None)
    >>> attend(*torch.randn(3, 1, 2, 9, 4), gate=torch.ones(1, 2, 9, 1)).shape
    torch.Size([1, 2, 9, 4])
    """

    def __init__(
        self,
        biases_of: Callable[[int], Tensor],
        window: int,
        frames: int,
        mask: Tensor | None,
    ) -> None:
        biases = biases_of(window + 1)
        lengths = None if mask is None else mask.sum(1)
        self.attend = LocalAttention((window, window), frames, lengths, biases.device)
        # what lies outside the window is masked: any bias will do there
        self.bias = _by_distance(
            biases, self.attend.distances(biases.device).clamp(-window, window)
        )

    def __call__(self, query: Tensor, key: Tensor, value: Tensor, gate: Tensor) -> Tensor:
        """Attend; see :class:`GlobalAttention`. Padded frames' results have no meaning."""
        return self.attend(query, key, value, self.bias, gate)


@lru_cache(maxsize=32)
@torch.inference_mode(False)  # a tensor made in that mode, kept here, could not serve training
def _distance_buckets(frames: int, num_buckets: int, max_distance: int) -> Tensor:
    """Buckets of the relative distances -(N-1)..N-1, as T5 and WavLM number them.

    Half of the buckets belong to each sign; of those, half are exact and half grow with the
    logarithm up to ``max_distance``.
    """
    distance = torch.arange(-(frames - 1), frames)
    half, magnitude = num_buckets // 2, distance.abs()
    exact = half // 2
    # float32 as in the reference: rounding decides the bucket at the edges
    ratio = torch.log(magnitude.clamp(min=1).float() / exact) / math.log(max_distance / exact)
    large = (exact + (ratio * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(magnitude < exact, magnitude, large) + (distance > 0).long() * half


class GatedRelativeAttention(nn.Module):
    """Self-attention whose position bias is gated by the content of the query.

    Parameters
    ----------
    dim : int
        Width C.
    num_heads : int
        Heads H; divides C.
    num_buckets, max_distance : int
        Size and reach (frames) of the table of relative positions.
    owns_table : bool
        Whether this layer holds the table. As in WavLM the first layer of a stack does, and hands
        its bias on.

    Examples
    --------
    >>> attention = GatedRelativeAttention(8, 2)
    >>> attention(torch.randn(3, 5, 8), attention.plan(5)).shape
    torch.Size([3, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        num_buckets: int = 320,
        max_distance: int = 800,
        owns_table: bool = True,
    ) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"width {dim} is not a multiple of the {num_heads} heads")
        self.num_heads, self.num_buckets, self.max_distance = num_heads, num_buckets, max_distance
        self.q_proj = Linear(dim, dim)
        self.k_proj = Linear(dim, dim)
        self.v_proj = Linear(dim, dim)
        self.out_proj = Linear(dim, dim)
        self.gru_rel_pos_const = nn.Parameter(torch.ones(1, num_heads, 1, 1))
        self.gru_rel_pos_linear = nn.Linear(dim // num_heads, 8)
        if owns_table:
            self.rel_attn_embed = nn.Embedding(num_buckets, num_heads)

    def plan(self, frames: int, mask: Tensor | None = None, window: int | None = None) -> Attend:
        """Lay out the positions of a forward pass, once for all layers of a stack.

        Parameters
        ----------
        frames : int
            Number of positions N.
        mask : Tensor, optional
            `[B, N]`, True where a key may be attended to.
        window : int, optional
            Frames seen to each side; by default all. The cost is then O(N x window).

        Returns
        -------
        callable
            For :meth:`forward`.
        """
        if window is None or frames <= window + 1:
            return GlobalAttention(self._biases(frames), mask)
        return RelativeLocalAttention(self._biases, window, frames, mask)

    def _biases(self, reach: int) -> Tensor:
        """Biases, before the gate, of the distances -(R - 1)..R - 1 of a reach R: `[H, 2R - 1]`."""
        buckets = _distance_buckets(reach, self.num_buckets, self.max_distance)
        return self.rel_attn_embed(buckets.to(self.rel_attn_embed.weight.device)).t()

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        """Attend.

        Parameters
        ----------
        x : Tensor
            `[B, N, C]`.
        attend : callable
            Of the stack's first layer; see :meth:`plan`.

        Returns
        -------
        Tensor
            `[B, N, C]`.
        """
        batch, frames, dim = x.shape
        heads = x.view(batch, frames, self.num_heads, -1).transpose(1, 2)
        gates = torch.sigmoid(self.gru_rel_pos_linear(heads).unflatten(-1, (2, 4)).sum(-1))
        gate = gates[..., :1] * (gates[..., 1:] * self.gru_rel_pos_const - 1.0) + 2.0
        query, key, value = (
            proj(x).view(batch, frames, self.num_heads, -1).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        out = attend(query, key, value, gate)
        return self.out_proj(out.transpose(1, 2).reshape(batch, frames, dim))


class FeedForward(nn.Module):
    """Two linear layers with an exact GELU between them, under WavLM's parameter names.

    Parameters
    ----------
    dim, hidden_dim : int
        Outer and inner width.

    Examples
    --------
    >>> FeedForward(8, 16)(torch.randn(2, 5, 8)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.intermediate_dense = Linear(dim, hidden_dim)
        self.output_dense = Linear(hidden_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[B, N, C]` to `[B, N, C]`."""
        return self.output_dense(linear_gelu(self.intermediate_dense, x))


class RelativeTransformerLayer(RecomputableLayer):
    """One layer of a WavLM encoder.

    Parameters
    ----------
    dim, num_heads, ffn_dim : int
        Width, heads and inner width of the feed-forward part.
    num_buckets, max_distance : int
        See :class:`GatedRelativeAttention`.
    eps : float
        Of both LayerNorms.
    pre_norm : bool
        Normalise before each part (WavLM-Large, ``do_stable_layer_norm``) or after it (Base).
    owns_table : bool
        Whether this is the first layer of a stack.

    Examples
    --------
    >>> layer = RelativeTransformerLayer(8, 2, 16)
    >>> layer(torch.randn(2, 5, 8), layer.attention.plan(5)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        num_heads: int,
        ffn_dim: int,
        num_buckets: int = 320,
        max_distance: int = 800,
        eps: float = 1e-5,
        pre_norm: bool = True,
        owns_table: bool = True,
    ) -> None:
        super().__init__()
        self.pre_norm = pre_norm
        self.attention = GatedRelativeAttention(
            dim, num_heads, num_buckets, max_distance, owns_table
        )
        self.layer_norm = nn.LayerNorm(dim, eps=eps)
        self.feed_forward = FeedForward(dim, ffn_dim)
        self.final_layer_norm = nn.LayerNorm(dim, eps=eps)

    def forward(self, x: Tensor, attend: Attend) -> Tensor:
        """Transform `[B, N, C]`; see :meth:`GatedRelativeAttention.forward`."""
        if self.pre_norm:
            x = x + self.attention(self.layer_norm(x), attend)
            return x + self.feed_forward(self.final_layer_norm(x))
        x = self.layer_norm(x + self.attention(x, attend))
        return self.final_layer_norm(x + self.feed_forward(x))


class RelativeTransformer(nn.ModuleList):
    """A stack of :class:`RelativeTransformerLayer` that share the first one's position table.

    Parameters
    ----------
    dim, num_layers, num_heads, ffn_dim : int
        Sizes.
    num_buckets, max_distance : int
        See :class:`GatedRelativeAttention`.
    eps : float
        Of the LayerNorms.
    pre_norm : bool
        See :class:`RelativeTransformerLayer`.
    window : int, optional
        Frames that attention sees to each side, for a cost linear in the length; by default all,
        as WavLM. What is shorter than the window gives the same either way.

    Examples
    --------
    >>> RelativeTransformer(8, 2, num_heads=2, ffn_dim=16)(torch.randn(2, 5, 8)).shape
    torch.Size([2, 5, 8])
    """

    def __init__(
        self,
        dim: int,
        num_layers: int,
        num_heads: int,
        ffn_dim: int,
        num_buckets: int = 320,
        max_distance: int = 800,
        eps: float = 1e-5,
        pre_norm: bool = True,
        window: int | None = None,
    ) -> None:
        if window is not None and window < 0:
            raise ValueError(f"a window of {window} frames; it must be at least 0, or None for all")
        super().__init__(
            RelativeTransformerLayer(
                dim, num_heads, ffn_dim, num_buckets, max_distance, eps, pre_norm, index == 0
            )
            for index in range(num_layers)
        )
        self.window = window

    def hidden_states(
        self, x: Tensor, mask: Tensor | None = None, keep_all: bool = True
    ) -> list[Tensor]:
        """Give the input and every layer's output, `[B, N, C]` each, or only the last."""
        states = [x]
        if len(self):
            layers = [layer for layer in self if isinstance(layer, RelativeTransformerLayer)]
            attend = layers[0].attention.plan(x.shape[1], mask, self.window)
            for layer in layers:
                states.append(layer(states[-1], attend))
                if not keep_all:
                    del states[0]
        return states

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Transform `[B, N, C]` under a key mask `[B, N]` (True is valid)."""
        return self.hidden_states(x, mask, keep_all=False)[-1]
