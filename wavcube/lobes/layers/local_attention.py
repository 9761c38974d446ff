"""Attention over a sliding window at a cost of O(T x window), through torch's own kernel."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from wavcube.lobes.lengths import length_mask

MIN_BLOCK = 64


class LocalAttention:
    """Attention in which frame t sees the frames t - left to t + right of its own item.

    Queries are cut into blocks; a block sees itself, `left` frames before it and `right` frames
    after it, with a mask that cuts the exact window. The result
    equals attention under a full T x T mask, at a cost and memory linear in T. One instance
    serves all layers of a forward pass, so that the mask is made once.

    Parameters
    ----------
    window : Sequence of int
        Frames seen to the left and to the right, (left, right), neither negative.
    length : int
        Padded number of frames T.
    lengths : Tensor or None
        Valid frames of each item `[B]`; None means all of them.
    device : torch.device or None
        Where the tensors live.

    Raises
    ------
    ValueError
        If the window is not two non-negative numbers.

    Examples
    --------
    >>> attend = LocalAttention((4, 1), length=50)
    >>> q, k, v = torch.randn(3, 2, 4, 50, 8)
    >>> attend(q, k, v).shape
    torch.Size([2, 4, 50, 8])
    """

    def __init__(
        self,
        window: Sequence[int],
        length: int,
        lengths: Tensor | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.left, self.right = check_window(window)
        self.length = length
        self.block = max((self.left + self.right) // 4, MIN_BLOCK)
        self.blocks = -(-length // self.block)
        self.mask = self._mask(lengths, device)

    def __call__(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        bias: Tensor | None = None,
        gate: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Parameters
        ----------
        query, key, value : Tensor
            Heads `[B, H, T, D]`, positions already applied.
        bias : Tensor, optional
            Added to the scores of a block, `[H, block, left + block + right]`; every block has
            the same :meth:`distances`.
        gate : Tensor, optional
            Factor of each query's biases, `[B, H, T, 1]`.

        Returns
        -------
        Tensor
            Weighted values `[B, H, T, D]`; those of padded frames have no meaning.
        """
        batch, heads, _, width = query.shape
        mask = self.mask.expand(batch, -1, -1, -1).flatten(0, 1)[:, None]
        if bias is not None:
            if gate is not None:
                bias = self._in_blocks(gate).transpose(1, 2).flatten(0, 1) * bias
            mask = bias.masked_fill(~mask, float("-inf")).to(query.dtype)
        query = self._in_blocks(query).transpose(1, 2).flatten(0, 1)
        key, value = (self._with_neighbours(x).transpose(1, 2).flatten(0, 1) for x in (key, value))
        # [B * blocks, H, block, D] against [B * blocks, H, left + block + right, D]
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        out = out.unflatten(0, (batch, self.blocks)).transpose(1, 2)
        return out.reshape(batch, heads, self.blocks * self.block, width)[:, :, : self.length]

    def distances(self, device: torch.device | None = None) -> Tensor:
        """Key position minus query position within a block: `[block, left + block + right]`."""
        query = torch.arange(self.block, device=device)[:, None]
        return torch.arange(-self.left, self.block + self.right, device=device)[None, :] - query

    def _in_blocks(self, x: Tensor) -> Tensor:
        """Cut `[B, H, T, D]` into `[B, H, blocks, block, D]`, with zeros at the end."""
        x = F.pad(x, (0, 0, 0, self.blocks * self.block - self.length))
        return x.unflatten(2, (self.blocks, self.block))

    def _with_neighbours(self, x: Tensor) -> Tensor:
        """Give each block its window's frames: `[B, H, blocks, left + block + right, D]`."""
        after = self.blocks * self.block - self.length + self.right
        x = F.pad(x, (0, 0, self.left, after))
        return x.unfold(2, self.left + self.block + self.right, self.block).transpose(-1, -2)

    def _mask(self, lengths: Tensor | None, device: torch.device | None) -> Tensor:
        """Tell which keys a query sees: `[B or 1, blocks, block, left + block + right]`."""
        padded = self.blocks * self.block
        if lengths is None:
            lengths = torch.full((1,), self.length, device=device)
        distance = self.distances(device)
        band = (distance >= -self.left) & (distance <= self.right)
        valid = length_mask(lengths, padded).unflatten(1, (self.blocks, self.block))
        around = F.pad(valid.flatten(1), (self.left, self.right))
        keys = around.unfold(1, distance.shape[1], self.block)
        # queries of the padding see their whole band: a row without any key would give NaN
        return band & (keys[:, :, None, :] | ~valid[:, :, :, None])


def check_window(window: Sequence[int]) -> tuple[int, int]:
    """Refuse a window that is not two non-negative numbers.

    Parameters
    ----------
    window : Sequence of int
        Frames seen to the left and to the right.

    Returns
    -------
    tuple of int
        (left, right).

    Raises
    ------
    ValueError
        If it is anything else.

    Examples
    --------
    >>> check_window([40, 10])
    (40, 10)
    """
    if len(window) != 2 or min(window) < 0:
        raise ValueError(f"window={tuple(window)} must be (left, right), both at least 0")
    return int(window[0]), int(window[1])
