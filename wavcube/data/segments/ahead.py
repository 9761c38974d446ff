"""Work in threads over an endless stream of items, in order, with few of them in memory."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

__all__ = ["map_ahead"]

Item = TypeVar("Item")
Result = TypeVar("Result")
_AHEAD = 8  # of each thread


def map_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int | None = None
) -> Iterator[Result]:
    """Apply a function to items in several threads.

    Parameters
    ----------
    function : Callable
        What to do; it lets go of Python's lock for the most part, as reading files does.
    items : iterable
        Any number of them; a few are taken in advance.
    threads : int, optional
        By default one for each processor, 8 at most.

    Yields
    ------
    Result
        In the items' order.

    Examples
    --------
    >>> list(map_ahead(str, range(3)))
    ['0', '1', '2']
    """
    threads = threads or min(8, os.cpu_count() or 1)
    stream = iter(items)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for item in islice(stream, threads * _AHEAD):
                waiting.append(pool.submit(function, item))
            while waiting:
                result = waiting.popleft().result()
                for item in islice(stream, 1):
                    waiting.append(pool.submit(function, item))
                yield result
        finally:
            for future in waiting:
                future.cancel()
