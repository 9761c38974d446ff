"""Work spread over processes of one thread each, which end when the first one does."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def parallel_map(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    num_processes: int,
    set_up: Callable[..., None] | None = None,
    set_up_with: tuple[Any, ...] = (),
) -> Iterator[Result]:
    """Work on items in processes that are started afresh.

    A script that calls it needs the usual ``if __name__ == "__main__":``. Ctrl-C reaches this
    process alone. When the results are no longer asked for, a process dies, or this one is killed,
    the others end at once, wherever they are; unless this one is killed they have ended when this
    returns.

    Parameters
    ----------
    work : Callable
        Of a module, for it is found by its name. What it raises is raised here.
    items : Iterable
        What it is given.
    num_processes : int
        At least 1.
    set_up : Callable, optional
        Called once in every process, before its first item.
    set_up_with : tuple
        Its arguments.

    Yields
    ------
    object
        Results in the order of the items.

    Raises
    ------
    ChildProcessError
        If a process dies.
    """
    context = multiprocessing.get_context("spawn")  # a fork of a process with threads may hang
    listen, hold = context.Pipe(duplex=False)
    pool = ProcessPoolExecutor(
        num_processes, context, initializer=_begin, initargs=(listen, set_up, set_up_with)
    )
    before = set(multiprocessing.active_children())
    workers: set[BaseProcess] = set()
    try:
        try:
            with _without_interrupts(), _thread_variables():  # processes start when work is given
                # not pool.map: it cancels what the pool marks as failed, and the pool's own thread
                # may end of that before it has ended the workers
                waiting = deque(pool.submit(work, item) for item in items)
        finally:
            workers |= set(multiprocessing.active_children()) - before
        while waiting:
            yield waiting.popleft().result()
        pool.shutdown()
    except BrokenProcessPool as error:
        raise ChildProcessError(
            "a worker process died: it was killed, perhaps because memory ran out"
        ) from error
    finally:
        hold.close()
        pool.shutdown(cancel_futures=True)
        listen.close()
        for worker in workers:
            worker.join()


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute on one thread, so that results are those of a process of :func:`parallel_map`.

    Examples
    --------
    >>> with one_thread():
    ...     torch.get_num_threads()
    1
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with _thread_variables():
            yield
    finally:
        torch.set_num_threads(threads)


def _begin(
    listen: Connection, set_up: Callable[..., None] | None, set_up_with: tuple[Any, ...]
) -> None:
    threading.Thread(target=_end_with_the_first, args=(listen,), daemon=True).start()
    torch.set_num_threads(1)
    if set_up is not None:
        set_up(*set_up_with)


def _end_with_the_first(listen: Connection) -> None:
    """Wait for the other end, which only the first process holds, to be closed."""
    try:
        listen.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C does not reach: only this one is to tell of it."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _thread_variables() -> Iterator[None]:
    """Let processes that are started meanwhile read one thread from their environment."""
    before = {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    try:
        yield
    finally:
        for name in _THREAD_VARIABLES:
            os.environ.pop(name, None)
        os.environ.update(before)
