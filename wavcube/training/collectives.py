"""What the processes of a group tell each other; a process on its own tells itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import torch
from speechbrain.utils.distributed import is_distributed_initialized
from torch import Tensor, nn
from torch.distributed import ReduceOp

Value = TypeVar("Value")


def everywhere(flag: bool) -> bool:
    """Tell whether a flag is true in every process, so that all take the same decision.

    Parameters
    ----------
    flag : bool
        Of this process.

    Examples
    --------
    >>> everywhere(True), everywhere(False)
    (True, False)
    """
    if not is_distributed_initialized():
        return flag
    vote = torch.tensor(int(flag), device=_device())
    torch.distributed.all_reduce(vote, op=ReduceOp.MIN)
    return bool(vote)


def gathered(value: Value) -> list[Value]:
    """Collect a plain value of every process, in their order.

    Parameters
    ----------
    value : object
        Of this process.

    Examples
    --------
    >>> gathered({"a": 1})
    [{'a': 1}]
    """
    if not is_distributed_initialized():
        return [value]
    values: list[Value | None] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def mean_everywhere(value: Tensor) -> Tensor:
    """Take the mean of a tensor over the processes.

    Parameters
    ----------
    value : Tensor
        Of the same shape in each; it is left as it is.

    Returns
    -------
    Tensor
        Floating-point where there are several processes.

    Examples
    --------
    >>> mean_everywhere(torch.tensor(3))
    tensor(3)
    """
    if not is_distributed_initialized():
        return value
    total = value.detach().to(torch.promote_types(value.dtype, torch.float32), copy=True)
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


def means_everywhere(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the means of named scalars over the processes, all at once.

    Parameters
    ----------
    values : Mapping of str to Tensor
        Of the same names in each process.

    Examples
    --------
    >>> means_everywhere({"mel": torch.tensor(0.5)})
    {'mel': tensor(0.5000)}
    """
    if not is_distributed_initialized() or not values:
        return dict(values)
    together = torch.stack([value.detach().float() for value in values.values()])
    return dict(zip(values, mean_everywhere(together), strict=True))


@torch.no_grad()
def same_everywhere(*modules: nn.Module | None) -> None:
    """Give modules the parameters and buffers that they have in the main process.

    Parameters
    ----------
    *modules : nn.Module, optional
        Of the same sizes in each process; None is passed over.

    Examples
    --------
    >>> same_everywhere(nn.Linear(2, 2), None)
    """
    if not is_distributed_initialized():
        return
    for module in filter(None, modules):
        for value in (*module.parameters(), *module.buffers()):
            own = value.to(_device())
            torch.distributed.broadcast(own, src=0)
            value.copy_(own)


def _device() -> str:
    """Give the device that the group can tell tensors of."""
    return "cuda" if torch.distributed.get_backend() == "nccl" else "cpu"
