"""WavLM's attention under gated position biases: over everything, or over a sliding window.

Both are made once for all layers of a forward pass, from the biases of the first one, and are
called with each layer's heads and gates.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from wavcube.lobes.layers.local_attention import LocalAttention
from wavcube.lobes.layers.modes import is_plain_inference

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
