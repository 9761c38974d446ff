"""Finding an id that is there twice among millions, with 8 bytes for each."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from types import TracebackType

import numpy as np

__all__ = ["UniqueNames"]


class UniqueNames:
    """Collect ids, and refuse two that are the same.

    Digests are kept in a file, which goes when the `with` ends.

    Parameters
    ----------
    path : Path
        The file to make.
    again : Callable
        Goes through all of them once more, as (place, id): to tell where the two are.

    Examples
    --------
    >>> rows = [("line 1", "a"), ("line 2", "b"), ("line 3", "a")]
    >>> with UniqueNames(getfixture("tmp_path") / "names", lambda: iter(rows)) as names:
    ...     for _, name in rows:
    ...         names.add(name)
    ...     names.check()
    Traceback (most recent call last):
    ...
    ValueError: line 3: the id 'a' is that of line 1 already; ids must be unique
    """

    def __init__(self, path: Path, again: Callable[[], Iterator[tuple[str, str]]]) -> None:
        self._path, self._again = path, again
        self._file = path.open("wb")

    def __enter__(self) -> UniqueNames:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, name: str) -> None:
        """Take note of an id.

        Parameters
        ----------
        name : str
            The id.
        """
        self._file.write(hashlib.blake2b(name.encode(), digest_size=8).digest())

    def check(self) -> None:
        """Raise a ValueError if two are the same; it says which and where."""
        self._file.flush()
        digests = np.fromfile(self._path, "<u8")
        order = np.argsort(digests, kind="stable")
        same = np.flatnonzero(digests[order][1:] == digests[order][:-1])
        for position in same:
            first, second = sorted(int(number) for number in order[position : position + 2])
            place, name = next(islice(self._again(), first, None))
            other, twin = next(islice(self._again(), second, None))
            if name == twin:  # not only their digests
                raise ValueError(
                    f"{other}: the id {name!r} is that of {place} already; ids must be unique"
                )
