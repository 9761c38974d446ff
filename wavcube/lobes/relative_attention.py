"""WavLM's attention under gated position biases: over everything, or over a sliding window.

Both are made once for all layers of a forward pass, from the biases of the first one, and are
called with each layer's heads and gates.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from wavcube.lobes.local_attention import LocalAttention
from wavcube.lobes.modes import is_plain_inference

# gated biases that are made at once: what stays in a CPU's cache, and what a GPU has room for
MOST_BIASES_CPU, MOST_BIASES_GPU = 2**21, 2**26
FEWEST_QUERIES = 32

#: (query, key, value, gate) to the weighted values: `[B, H, N, D]` three times and `[B, H, N, 1]`
Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _by_distance(biases: Tensor, distance: Tensor) -> Tensor:
    """Look up `[H, ...]` for distances in -(R - 1)..R - 1, of biases `[H, 2R - 1]`."""
    return biases[:, distance + biases.shape[1] // 2]


class GlobalAttention:
    """Every query sees every key.

    Where no gradient is wanted queries go in blocks, so that no N x N matrix exists: memory grows
    with N alone, and what is read stays in the cache.

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
            return self._attend(query, key, value, gate * self.bias)
        query, gate = query.flip(2), gate.flip(2)
        size = self._block(query)
        blocks = [
            self._attend(q, key, value, g * self.reversed_rows[:, start : start + size])
            for start, q, g in zip(
                range(0, self.frames, size), query.split(size, 2), gate.split(size, 2), strict=True
            )
        ]
        return torch.cat(blocks, 2).flip(2)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
        if self.hidden is not None:
            bias = bias.masked_fill(self.hidden, float("-inf"))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))

    def _block(self, query: Tensor) -> int:
        """Choose how many queries attend at once."""
        most = MOST_BIASES_CPU if query.device.type == "cpu" else MOST_BIASES_GPU
        return max(FEWEST_QUERIES, most // (query.shape[0] * query.shape[1] * self.frames))

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
