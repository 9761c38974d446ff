"""Linears whose matrices stay where they are stored: memory for one at a time, not for all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavcube.lobes.layers.linear import Linear

# looking up a smaller matrix costs more than its memory is worth
SMALLEST_BYTES = 2**20


class StoredLinear(nn.Module):
    """A Linear that takes its matrix from a mapping at every call, and keeps nothing of it.

    Parameters
    ----------
    linear : nn.Linear
        Whose sizes and bias to take.
    weights : mapping of str to Tensor
        Gives the matrix, `[out_features, in_features]`.
    name : str
        Of the matrix there.

    Examples
    --------
    >>> linear, x = nn.Linear(4, 3), torch.randn(2, 5, 4)
    >>> stored = StoredLinear(linear, {"a.weight": linear.weight.detach()}, "a.weight")
    >>> bool(torch.equal(stored(x), linear(x)))
    True
    """

    def __init__(self, linear: nn.Linear, weights: Mapping[str, Tensor], name: str) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.bias = linear.bias
        self.weights, self.name = weights, name

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., in_features]` to `[..., out_features]`."""
        return F.linear(x, self.weights[self.name].to(x.device), self.bias)

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        """Give the matrix as if it were kept, so that the model can be written."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        destination[f"{prefix}weight"] = self.weights[self.name]


def offload_linears(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Replace the large float16 Linears of a module in place by those that stay stored.

    Parameters
    ----------
    module : nn.Module
        To be run under autocast.
    weights : mapping of str to Tensor
        Where its weights are, by their names in it.
    """
    for path, part in list(module.named_modules()):
        for child_name, child in list(part.named_children()):
            if isinstance(child, Linear) and _is_large_half(child.weight):
                name = f"{path}.{child_name}.weight".lstrip(".")
                setattr(part, child_name, StoredLinear(child, weights, name))


def _is_large_half(weight: Tensor) -> bool:
    return weight.dtype == torch.float16 and weight.nbytes >= SMALLEST_BYTES
