"""How shards are given out: in this process, or to several of this machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.sharedctypes import Synchronized

import torch

from wavcube.data.checks import device_name
from wavcube.features.worker import ShardWriter, Task
from wavcube.utils.processes import one_thread, parallel_map

Engine = Callable[[Task, Sequence[int]], Generator[int, None, None]]

# in a process that Processes has started: its task and its device
_given: list[tuple[Task, str]] = []


@dataclass(frozen=True)
class Processes:
    """Write shards by so many processes of one thread each.

    A single one is this process. More are started afresh, so a script that asks for them needs the
    usual ``if __name__ == "__main__":``.

    Parameters
    ----------
    count : int
        How many.
    device : str
        Where they compute, as torch names it; of several GPUs "cuda" gives them one in turn.

    Raises
    ------
    ValueError
        If the number is below 1, or this machine lacks the device.
    """

    count: int = 1
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"{self.count} processes: at least 1 is needed")
        device_name(self.device)

    def __call__(self, task: Task, numbers: Sequence[int]) -> Generator[int, None, None]:
        """Write shards.

        Parameters
        ----------
        task : Task
            What to do.
        numbers : sequence of int
            Which of its shards.

        Yields
        ------
        int
            Number of a shard that is written.

        Raises
        ------
        OSError
            If one cannot be computed or written.
        ChildProcessError
            If a process dies.
        """
        if self.count == 1:
            with one_thread():
                yield from map(ShardWriter(task, self.device).write, numbers)
            return
        started: Synchronized[int] = multiprocessing.get_context("spawn").Value("i", 0)
        count = min(self.count, len(numbers))
        yield from parallel_map(_write, numbers, count, _set_up, (task, self.device, started))


def worker_device(device: str, worker: int) -> str:
    """Choose the device of a process.

    Parameters
    ----------
    device : str
        As torch names it.
    worker : int
        Which of this machine's processes it is, from 0.

    Returns
    -------
    str
        The same, but of several GPUs one in turn where none is named.

    Examples
    --------
    >>> worker_device("cpu", 3)
    'cpu'
    """
    if device == "cuda" and torch.cuda.device_count() > 1:
        return f"cuda:{worker % torch.cuda.device_count()}"
    return device


def _set_up(task: Task, device: str, started: Synchronized[int]) -> None:
    with started.get_lock():
        _given.append((task, worker_device(device, started.value)))
        started.value += 1


@cache
def _writer() -> ShardWriter:
    # not in _set_up: what goes wrong there ends the process, and nobody learns why
    return ShardWriter(*_given[0])


def _write(number: int) -> int:
    return _writer().write(number)
