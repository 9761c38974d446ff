"""A straight way around an encoder's layers, for what they throw away."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable


class AcousticSkip(Configurable):
    """Linear map of the encoder's front end that is added to the latent.

    An SSL encoder's layers keep what is said; level, pitch and voice must be carved out of them
    again. The front end still has all of it, and a linear map is learned fast: at a small size
    this is what reconstruction is short of. It starts at zero: the latent is the bottleneck's alone
    until training says otherwise.

    Parameters
    ----------
    front_dim : int
        Width F of the front end.
    latent_dim : int
        Width D of the latent.

    Examples
    --------
    >>> AcousticSkip(8, 4)(torch.randn(2, 5, 8)).abs().max().item()
    0.0
    """

    def __init__(self, front_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(front_dim, latent_dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, front: Tensor) -> Tensor:
        """Map `[B, N, F]` to `[B, N, D]`, in float32 also under autocast."""
        with torch.autocast(front.device.type, enabled=False):
            return self.linear(front.float())
