"""Linears in int8 on a CPU: weights by output, activations by frame, at each call."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn

from wavcube.lobes.layers.linear import Linear

# of what 8 bits hold; of weights where products are added in pairs of 16 bits
LARGEST, LARGEST_IN_PAIRS = 127, 63


class QuantizedLinear(nn.Module):
    """A Linear that multiplies 8-bit integers; for inference on a CPU.

    Each output's weights and each frame's activations are scaled by their own largest value, so
    that nothing needs to be calibrated, and the result of a frame does not depend on others. One
    alone is about 1 % off; benchmarks/README.md says what many make together, and what was tried.

    Parameters
    ----------
    linear : nn.Linear
        Whose weights to take.

    Examples
    --------
    >>> linear, x = nn.Linear(64, 32), torch.randn(2, 20, 64)
    >>> made = QuantizedLinear(linear)(x)
    >>> bool((made - linear(x)).norm() < 0.02 * linear(x).norm())
    True
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        weight, scale = _to_integers(linear.weight.detach().float(), _largest_weight())
        self.register_buffer("weight", weight.t().contiguous())
        self.register_buffer("scale", scale.squeeze(1))
        bias = None if linear.bias is None else linear.bias.detach().float().clone()
        self.register_buffer("bias", bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., in_features]` to `[..., out_features]`."""
        rows, scale = _to_integers(x.reshape(-1, self.in_features))
        made = torch._int_mm(rows, self.weight).float()
        made = made.mul_(self.scale).mul_(scale)
        if self.bias is not None:
            made += self.bias
        return made.view(*x.shape[:-1], self.out_features)


@cache
def _largest_weight() -> int:
    """Return the largest weight with which products stay exact on this processor.

    One without VNNI adds two products in 16 bits and cuts off what is beyond; tried, since flags do
    not tell which kernel multiplies.
    """
    rows = torch.full((32, 64), LARGEST, dtype=torch.int8)
    is_exact = bool((torch._int_mm(rows, rows.t().contiguous()) == 64 * LARGEST**2).all())
    return LARGEST if is_exact else LARGEST_IN_PAIRS


def _to_integers(rows: Tensor, largest: int = LARGEST) -> tuple[Tensor, Tensor]:
    """Scale rows `[N, C]` to -largest..largest; give them and the factors `[N, 1]` back."""
    scale = rows.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / largest
    return (rows / scale).round_().to(torch.int8), scale


def quantize_linears(module: nn.Module, device: torch.device) -> None:
    """Replace the large Linears of a module in place: those of its transformers and blocks.

    Parameters
    ----------
    module : nn.Module
        In eval mode.
    device : torch.device
        Where it is.

    Raises
    ------
    ValueError
        If that is no CPU.
    """
    if device.type != "cpu":
        raise ValueError(f"int8 runs on a CPU, not on {device}: take precision 'bf16' there")
    for part in list(module.modules()):
        for name, child in list(part.named_children()):
            if isinstance(child, Linear):
                setattr(part, name, QuantizedLinear(child))


def has_matrices(module: nn.Module) -> bool:
    """Tell whether there is anything for :func:`halve_matrices` in a module."""
    return any(isinstance(part, Linear) for part in module.modules())


def halve_matrices(module: nn.Module, dtype: torch.dtype) -> None:
    """Keep the matrices of a module's transformers and blocks in half precision, in place.

    Autocast would round them at every call; so they take half of the memory, too.

    Parameters
    ----------
    module : nn.Module
        In eval mode, to be run under autocast.
    dtype : torch.dtype
        Autocast's.
    """
    for part in module.modules():
        if isinstance(part, Linear):
            part.weight.data = part.weight.data.to(dtype)
