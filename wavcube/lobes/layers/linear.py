"""A Linear that runs on oneDNN where that is the faster of torch's two libraries."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavcube.lobes.layers.modes import is_plain_inference

# below so many rows the call costs more than the kernel saves
FEWEST_ROWS = 8


class Linear(nn.Linear):
    """torch's Linear, with the float32 kernel that torch.compile takes on a CPU.

    In eager mode torch multiplies float32 matrices by MKL, which is slower than oneDNN on many
    processors (AMD EPYC, 500 x 1024 x 4096, one thread: 82 against 104 GFLOP/s). Only where no
    gradient is wanted; weights and results are the same but for rounding.

    Parameters
    ----------
    in_features, out_features, bias, device, dtype
        See :class:`torch.nn.Linear`.

    Examples
    --------
    >>> Linear(4, 3)(torch.randn(2, 5, 4)).shape
    torch.Size([2, 5, 3])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map `[..., in_features]` to `[..., out_features]`."""
        if not self._suits_onednn(x):
            return super().forward(x)
        return self._by_onednn(x, "none", "")

    def _by_onednn(self, x: Tensor, activation: str, algorithm: str) -> Tensor:
        return torch.ops.mkldnn._linear_pointwise(
            x, self.weight, self.bias, activation, [], algorithm
        )

    def _suits_onednn(self, x: Tensor) -> bool:
        return bool(
            is_plain_inference()
            and x.device.type == "cpu"
            and x.dtype == self.weight.dtype == torch.float32
            and x.numel() >= FEWEST_ROWS * self.in_features
            and not torch.is_autocast_enabled("cpu")
            and torch.backends.mkldnn.enabled
            and torch.backends.mkldnn.is_available()
        )


def linear_gelu(linear: nn.Module, x: Tensor) -> Tensor:
    """Apply a Linear and an exact GELU, in one kernel where that is the same.

    oneDNN takes the GELU of what it still holds in registers; by itself it goes through the
    memory of the widest activations twice more (4 to 7 % of a feed-forward part on an AMD EPYC).

    Parameters
    ----------
    linear : nn.Module
        :class:`Linear`, or what took the place of one.
    x : Tensor
        `[..., in_features]`.

    Returns
    -------
    Tensor
        `[..., out_features]`.

    Examples
    --------
    >>> linear_gelu(Linear(4, 3), torch.randn(2, 5, 4)).shape
    torch.Size([2, 5, 3])
    """
    # hooks are promised what comes out of the Linear
    hooked = linear._forward_hooks or linear._forward_pre_hooks
    if type(linear) is Linear and linear._suits_onednn(x) and not hooked:
        return linear._by_onednn(x, "gelu", "none")
    return F.gelu(linear(x))


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
        If that is not a CPU.
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
