"""The processes of a run that torchrun starts: they meet, wait for the first, and tell each other.

They meet in a key-value store, long before they form a group of collectives: whoever waits in a
collective is given up after minutes, and preparing data may take hours. In the store one may wait
for as long as it takes.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import torch
from speechbrain.utils.distributed import (
    MainProcessContext,
    ddp_init_group,
    is_distributed_initialized,
)
from speechbrain.utils.run_opts import RunOptions
from torch import Tensor, nn
from torch.distributed import PrefixStore, ReduceOp, Store
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import Sampler

__all__ = [
    "BatchShare",
]

Value = TypeVar("Value")
POLL, LINGER = 0.1, 5.0  # seconds
DONE, FAILED = "done", "failed"


@dataclass
class _Meeting:
    """Where this process has met the others.

    Parameters
    ----------
    store : Store
        Of all processes.
    rank, size : int
        Number of this process, and of all.
    waits : int
        Times that the main process has been waited for.
    """

    store: Store
    rank: int
    size: int
    waits: int = 0

    def tell(self, key: str, value: str) -> None:
        """Put down what the others wait for, if this is the main process."""
        if self.rank == 0:
            self.store.set(key, value)


_meeting: _Meeting | None = None


def world_size() -> int:
    """Count the processes of this run.

    Examples
    --------
    >>> world_size()
    1
    """
    if is_distributed_initialized():
        return torch.distributed.get_world_size()
    return 1 if _meeting is None else _meeting.size


def rank() -> int:
    """Give the number of this process, from 0.

    Examples
    --------
    >>> rank()
    0
    """
    if is_distributed_initialized():
        return torch.distributed.get_rank()
    return 0 if _meeting is None else _meeting.rank


def is_main() -> bool:
    """Tell whether this is the process that writes and speaks, also outside of a group.

    Examples
    --------
    >>> is_main()
    True
    """
    return rank() == 0


def rendezvous(run_opts: RunOptions) -> RunOptions:
    """Find the other processes, if torchrun has started several; they form no group yet.

    Parameters
    ----------
    run_opts : RunOptions
        Of the command line.

    Returns
    -------
    RunOptions
        The same for this process: on its own device, and without bars where it is not the main one.

    Raises
    ------
    ValueError
        If this process cannot have a device of its own.
    """
    global _meeting
    if not {"RANK", "LOCAL_RANK"} <= os.environ.keys():
        return run_opts
    run_opts = _with_own_device(run_opts, int(os.environ["LOCAL_RANK"]))
    store, rank, size = next(torch.distributed.rendezvous("env://"))
    _meeting = _Meeting(PrefixStore("wavcube", store), rank, size)
    if rank == 0:
        return run_opts
    logging.getLogger().setLevel(logging.ERROR)  # what all have to say the main process says
    told = run_opts.overridden_args | {"noprogressbar"}
    return replace(run_opts, noprogressbar=True, overridden_args=told)


def _with_own_device(run_opts: RunOptions, local: int) -> RunOptions:
    backend, device = run_opts["distributed_backend"], run_opts["device"] or ""
    if backend == "nccl" and (device == "cpu" or not torch.cuda.is_available()):
        raise ValueError(
            "several processes without GPUs talk by gloo: add --distributed_backend=gloo"
            + ("" if device == "cpu" else " --device=cpu")
        )
    if device == "cpu" or not torch.cuda.is_available():
        return run_opts
    count = torch.cuda.device_count()
    if local >= count:
        raise ValueError(
            f"{local + 1} processes on a machine of {count} GPUs: lower --nproc_per_node"
        )
    if ":" in device:
        raise ValueError(
            f"--device={device} is one GPU, and each process needs its own: leave --device out"
        )
    own = replace(run_opts, device=f"cuda:{local}")
    return replace(own, overridden_args=run_opts.overridden_args | {"device"})


def join_group(run_opts: RunOptions) -> None:
    """Form the group of collectives: once the data are prepared, before there is a Brain.

    Parameters
    ----------
    run_opts : RunOptions
        Of :func:`rendezvous`.
    """
    if _meeting is not None and not is_distributed_initialized():
        ddp_init_group(run_opts)


def leave_group() -> None:
    """Part again: what is left to do the main process does alone."""
    if _meeting is not None and is_distributed_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def main_process_first() -> Iterator[None]:
    """Do what stands inside in the main process first, then in all others.

    For what the first writes and the others only find: manifests, caches, tokens. The others wait
    for as long as it takes; when the main process fails there, they end. No collective may stand
    inside.

    Raises
    ------
    SystemExit
        In all but the main process, when that one has failed.

    Examples
    --------
    >>> with main_process_first():
    ...     prepared = True
    """
    if _meeting is None:
        yield
        return
    _meeting.waits += 1
    key = f"main {_meeting.waits}"
    if _meeting.rank != 0:
        _wait(_meeting.store, key)
    try:
        with MainProcessContext():  # SpeechBrain's barriers would wait for those who wait here
            yield
    except BaseException:
        _meeting.tell(key, FAILED)
        raise
    _meeting.tell(key, DONE)


def run_on_main(work: Callable[[], None]) -> None:
    """Do something in the main process alone, the others waiting for as long as it takes.

    Parameters
    ----------
    work : Callable
        Without a collective.

    Examples
    --------
    >>> done = []
    >>> run_on_main(lambda: done.append(1))
    >>> done
    [1]
    """
    with main_process_first():
        if is_main():
            work()


def same_as_main(make: Callable[[], str]) -> str:
    """Return in all processes what the main one makes of it, alone.

    Parameters
    ----------
    make : Callable
        Without a collective.

    Examples
    --------
    >>> same_as_main(lambda: "bf16")
    'bf16'
    """
    if _meeting is None:
        return make()
    key = f"made {_meeting.waits}"
    run_on_main(lambda: _meeting.tell(key, make()))
    return _meeting.store.get(key).decode()


def may_speak() -> bool:
    """Tell whether this process is the first to ask: of a mistake that all make, one speaks.

    The others stay for a moment, so that their end does not cut the first one short.

    Examples
    --------
    >>> may_speak()
    True
    """
    if _meeting is None or _meeting.store.add("speaker", 1) == 1:
        return True
    time.sleep(LINGER)
    return False


def _wait(store: Store, key: str) -> None:
    """Wait for the main process, without blocking signals."""
    while not store.check([key]):
        time.sleep(POLL)
    if store.get(key).decode() == FAILED:
        time.sleep(LINGER)  # it has something to say, and whoever ends first may end all
        raise SystemExit(1)


def all_true(flag: bool) -> bool:
    """Tell whether a flag is true in every process, so that all take the same decision.

    Parameters
    ----------
    flag : bool
        Of this process.

    Examples
    --------
    >>> all_true(True), all_true(False)
    (True, False)
    """
    if not is_distributed_initialized():
        return flag
    vote = torch.tensor(int(flag), device=_device())
    torch.distributed.all_reduce(vote, op=ReduceOp.MIN)
    return bool(vote)


def all_gather(value: Value) -> list[Value]:
    """Collect a plain value of every process, in their order.

    Parameters
    ----------
    value : object
        Of this process.

    Examples
    --------
    >>> all_gather({"a": 1})
    [{'a': 1}]
    """
    if not is_distributed_initialized():
        return [value]
    values: list[Value] = [value] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(values, value)
    return values


def all_mean(value: Tensor) -> Tensor:
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
    >>> all_mean(torch.tensor(3))
    tensor(3)
    """
    if not is_distributed_initialized():
        return value
    total = value.detach().to(torch.promote_types(value.dtype, torch.float32), copy=True)
    torch.distributed.all_reduce(total)
    return total / torch.distributed.get_world_size()


def all_means(values: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Take the means of named scalars over the processes, all at once.

    Parameters
    ----------
    values : Mapping of str to Tensor
        Of the same names in each process.

    Examples
    --------
    >>> all_means({"mel": torch.tensor(0.5)})
    {'mel': tensor(0.5000)}
    """
    if not is_distributed_initialized() or not values:
        return dict(values)
    together = torch.stack([value.detach().float() for value in values.values()])
    return dict(zip(values, all_mean(together), strict=True))


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


def unwrap(module: nn.Module) -> Any:  # noqa: ANN401 - a module of any class
    """Give the module itself where it is wrapped for several processes.

    Examples
    --------
    >>> unwrap(nn.Linear(3, 1))
    Linear(in_features=3, out_features=1, bias=True)
    """
    return module.module if isinstance(module, DistributedDataParallel) else module


def transparent(module: nn.Module) -> nn.Module:
    """Let attributes of a module be found where it is wrapped for several processes.

    Called, it goes through the wrapper, as gradients that are shared need it.

    Examples
    --------
    >>> transparent(nn.Linear(3, 1)).in_features
    3
    """
    return _Transparent(module) if isinstance(module, DistributedDataParallel) else module


class _Transparent(nn.Module):
    def __init__(self, wrapped: DistributedDataParallel) -> None:
        super().__init__()
        self.wrapped = wrapped

    def forward(self, *args: object, **kwargs: object) -> object:
        return self.wrapped(*args, **kwargs)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the module has
        try:
            return super().__getattr__(name)
        except AttributeError:
            wrapped: Any = self._modules["wrapped"]
            return getattr(wrapped.module, name)


def global_batch_size(batch_size: int) -> int:
    """Count the items that all processes take for one update together.

    Parameters
    ----------
    batch_size : int
        Items of one process.

    Examples
    --------
    >>> global_batch_size(8)
    8
    """
    return batch_size * world_size()


class BatchShare(Sampler[int]):
    """A process's part of every batch that all processes make up together.

    With B items for each of P processes, a global batch is what one process alone would take with
    batches of P * B. A last batch that is not full is left out, as there would not be the same
    number for every process.

    Parameters
    ----------
    order : Collection of int
        Indices of the dataset in the order of the epoch: a range, or a sampler with a length that
        is the same in every process.
    batch_size : int
        Items of one process, B.
    rank : int
        Number of the process, from 0.
    size : int
        Number of the processes, P.

    Raises
    ------
    ValueError
        If there is not one full batch.

    Examples
    --------
    >>> [list(BatchShare(range(9), batch_size=2, rank=rank, size=2)) for rank in (0, 1)]
    [[0, 2, 4, 6], [1, 3, 5, 7]]
    """

    def __init__(self, order: Collection[int], batch_size: int, rank: int, size: int) -> None:
        self.order, self.batch_size, self.rank, self.size = order, batch_size, rank, size
        if not len(self):
            raise ValueError(
                f"{len(order)} items do not fill one batch of {batch_size} for each of {size} "
                f"processes: lower batch_size, or start fewer processes"
            )

    def __len__(self) -> int:
        """Return the items of this process in an epoch."""
        return len(self.order) // (self.batch_size * self.size) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        """Yield this process's items of one global batch after the other."""
        together: list[int] = []
        for index in self.order:
            together.append(index)
            if len(together) == self.batch_size * self.size:
                # of a batch sorted by length each process gets short and long items
                yield from together[self.rank :: self.size]
                together = []


def print_main(text: str) -> None:
    """Write a result for the user to standard output; of several processes the main one does.

    Parameters
    ----------
    text : str
        Without the last newline.

    Examples
    --------
    >>> print_main("done")
    done
    """
    if is_main():
        sys.stdout.write(f"{text}\n")
