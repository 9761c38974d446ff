"""Linears of a float16 release: read at every call, or brought to float32 at the first one."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.hooks import RemovableHandle

from wavcube.lobes.linear import Linear

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


def leave_stored(module: nn.Module, weights: Mapping[str, Tensor]) -> None:
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
            if _is_half(child) and child.weight.nbytes >= SMALLEST_BYTES:
                name = f"{path}.{child_name}.weight".lstrip(".")
                setattr(part, child_name, StoredLinear(child, weights, name))


def settle_at_first_use(module: nn.Module) -> None:
    """Let float16 Linears become float32 when they are first called: most of a model may never be.

    Parameters
    ----------
    module : nn.Module
        To be run in float32.

    Examples
    --------
    >>> linear = Linear(4, 3)
    >>> linear.weight.data = linear.weight.data.half()
    >>> settle_at_first_use(linear)
    >>> linear.weight.dtype, linear(torch.randn(2, 4)).dtype, linear.weight.dtype
    (torch.float16, torch.float32, torch.float32)
    """
    for part in module.modules():
        if _is_half(part):
            settle = _SettleOnce()
            settle.handle = part.register_forward_pre_hook(settle)


class _SettleOnce:
    """A hook that goes when its work is done."""

    handle: RemovableHandle

    def __call__(self, linear: nn.Module, given: tuple[Tensor, ...]) -> None:
        del given
        linear.weight.data = linear.weight.data.float()
        self.handle.remove()


def _is_half(part: nn.Module) -> bool:
    return isinstance(part, Linear) and part.weight.dtype == torch.float16
