"""Rotary positions with half-split pairing.

Su et al., "RoFormer: Enhanced transformer with rotary position embedding" (arXiv 2104.09864).
Channel i of a head is paired with channel i + D/2, as in GPT-NeoX (not with channel i + 1).
"""

from __future__ import annotations

import torch
from torch import Tensor


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
