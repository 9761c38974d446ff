"""A straight way around an encoder's layers, for what they throw away."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


class AcousticSkip(nn.Module):
    """Linear map of the encoder's input embedding that is added to the latent.

    An SSL encoder's layers keep what is said; level, pitch and voice must be carved out of them
    again. The input embedding still has all of it, linearly. At a small size that is what
    reconstruction is short of. It starts at zero: the latent is the bottleneck's alone until
    training says otherwise.

    Parameters
    ----------
    dim : int
        Width C of the encoder.
    latent_dim : int
        Width D of the latent.

    Examples
    --------
    >>> import torch
    >>> AcousticSkip(8, 4)(torch.randn(2, 5, 8)).abs().max().item()
    0.0
    """

    def __init__(self, dim: int, latent_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, latent_dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def config(self) -> dict[str, Any]:
        """Return the constructor arguments as plain data."""
        return {"dim": self.linear.in_features, "latent_dim": self.linear.out_features}

    def forward(self, embedding: Tensor) -> Tensor:
        """Map `[B, N, C]` to `[B, N, D]`."""
        return self.linear(embedding)
