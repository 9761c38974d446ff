"""How shards are given out: in this process, or to several of this machine."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import cache
from multiprocessing.sharedctypes import Synchronized

from wavcube.batch_checks import device_name
from wavcube.features.worker import ShardWriter, Task
from wavcube.processes import one_thread, spread

Engine = Callable[[Task, Sequence[int]], Generator[int, None, None]]

# in a process that Processes has started: its task, and which of them it is
_given: list[tuple[Task, int]] = []


@dataclass(frozen=True)
class Processes:
    """Write shards by so many processes of one thread each.

    A single one is this process. More are started afresh, so a script that asks for them needs the
    usual ``if __name__ == "__main__":``.

    Parameters
    ----------
    count : int
        How many.

    Raises
    ------
    ValueError
        If it is below 1.
    """

    count: int = 1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"{self.count} processes: at least 1 is needed")

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
        ValueError
            If this machine lacks the device.
        OSError
            If one cannot be written.
        ChildProcessError
            If a process dies.
        """
        device_name(task.device)
        if self.count == 1:
            with one_thread():
                yield from map(ShardWriter(task).write, numbers)
            return
        started: Synchronized[int] = multiprocessing.get_context("spawn").Value("i", 0)
        yield from spread(_write, numbers, min(self.count, len(numbers)), _set_up, (task, started))


def _set_up(task: Task, started: Synchronized[int]) -> None:
    with started.get_lock():
        _given.append((task, started.value))
        started.value += 1


@cache
def _writer() -> ShardWriter:
    # not in _set_up: what goes wrong there ends the process, and nobody learns why
    return ShardWriter(*_given[0])


def _write(number: int) -> int:
    return _writer().write(number)
