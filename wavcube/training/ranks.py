"""The processes of a run that torchrun starts: how they meet, wait for the first, and speak once.

They meet in a key-value store, long before they form a group of collectives: whoever waits in a
collective is given up after minutes, and preparing data may take hours. In the store one may wait
for as long as it takes.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from speechbrain.utils.distributed import (
    MainProcessContext,
    ddp_init_group,
    is_distributed_initialized,
)
from speechbrain.utils.run_opts import RunOptions
from torch.distributed import PrefixStore, Store

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


def num_processes() -> int:
    """Count the processes of this run.

    Examples
    --------
    >>> num_processes()
    1
    """
    if is_distributed_initialized():
        return torch.distributed.get_world_size()
    return 1 if _meeting is None else _meeting.size


def process_number() -> int:
    """Give the number of this process, from 0.

    Examples
    --------
    >>> process_number()
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
    return process_number() == 0


def meet(run_opts: RunOptions) -> RunOptions:
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
        Of :func:`meet`.
    """
    if _meeting is not None and not is_distributed_initialized():
        ddp_init_group(run_opts)


def leave_group() -> None:
    """Part again: what is left to do the main process does alone."""
    if _meeting is not None and is_distributed_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def main_first() -> Iterator[None]:
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
    >>> with main_first():
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


def on_main(work: Callable[[], None]) -> None:
    """Do something in the main process alone, the others waiting for as long as it takes.

    Parameters
    ----------
    work : Callable
        Without a collective.

    Examples
    --------
    >>> done = []
    >>> on_main(lambda: done.append(1))
    >>> done
    [1]
    """
    with main_first():
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
    on_main(lambda: _meeting.tell(key, make()))
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
