"""A convolution whose kernel is its direction times its length, and which can be pickled."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["WeightNormConv1d"]


class WeightNormConv1d(nn.Module):
    """A convolution of normed weight, as ``torch.nn.utils.parametrizations.weight_norm`` makes it.

    torch gives each such module a class of its own, which pickle refuses. Names of weights and
    results are the same.

    Parameters
    ----------
    conv : torch.nn.Conv1d
        With torch's weight norm, of stride 1; its weights are taken over.

    Examples
    --------
    >>> from torch.nn.utils.parametrizations import weight_norm
    >>> conv = weight_norm(nn.Conv1d(4, 4, 3, groups=2), dim=2)
    >>> own, wav = WeightNormConv1d(conv), torch.randn(1, 4, 9)
    >>> torch.allclose(own(wav), conv(wav)), own.state_dict().keys() == conv.state_dict().keys()
    (True, True)
    """

    bias: Tensor | None

    def __init__(self, conv: nn.Conv1d) -> None:
        super().__init__()
        normed: Any = conv
        parts = normed.parametrizations.weight
        self.dim: int = parts[0].dim
        self.padding, self.groups = conv.padding, conv.groups
        self.bias = conv.bias
        # named as torch's own, so that releases stay as they are
        weight = nn.Module()
        weight.original0, weight.original1 = parts.original0, parts.original1
        self.parametrizations = nn.ModuleDict({"weight": weight})

    @property
    def weight(self) -> Tensor:
        """The kernel `[C, C / groups, K]`."""
        parts: Any = self.parametrizations["weight"]
        return torch._weight_norm(parts.original1, parts.original0, self.dim)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve.

        Parameters
        ----------
        x : Tensor
            `[B, C, T]`.
        """
        return functional.conv1d(
            x, self.weight, self.bias, padding=self.padding, groups=self.groups
        )
