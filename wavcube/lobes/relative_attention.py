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

#: (query, key, value, gate) to the weighted values: `[B, H, N, D]` three times and `[B, H, N, 1]`
Attend = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def _by_distance(biases: Tensor, distance: Tensor) -> Tensor:
    """Look up `[H, ...]` for distances in -(R - 1)..R - 1, of biases `[H, 2R - 1]`."""
    return biases[:, distance + biases.shape[1] // 2]


class GlobalAttention:
    """Every query sees every key.

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
        position = torch.arange(biases.shape[1] // 2 + 1, device=biases.device)
        self.bias = _by_distance(biases, position[None, :] - position[:, None])
        self.hidden = None if mask is None else ~mask[:, None, None, :]

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
        bias = gate * self.bias
        if self.hidden is not None:
            bias = bias.masked_fill(self.hidden, float("-inf"))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias.to(query.dtype))


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
