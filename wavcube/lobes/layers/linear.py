"""A Linear that runs on oneDNN where that is the faster of torch's two libraries."""

from __future__ import annotations

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
