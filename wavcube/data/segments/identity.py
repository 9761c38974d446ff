"""What tells one list of segments from another, in one hash, whatever form the list has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from wavcube.data.segments.row import Segment

__all__ = ["RowsHash", "hash_rows"]


class RowsHash:
    """SHA-256 of which segments there are, fed one after the other, in their order.

    Of each it takes what decides which sound is meant: id, recording, place in it, channel. A
    change of a speaker or a text leaves it as it is.

    Examples
    --------
    >>> one, two = RowsHash(), RowsHash()
    >>> one.add(Segment("a", 2.0, "/here/a.wav", speaker="p1"), "a.wav")
    >>> two.add(Segment("a", 2.0, "/there/a.wav"), "a.wav")
    >>> one.hexdigest() == two.hexdigest()
    True
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, segment: Segment, recording: str) -> None:
        """Take the next one.

        Parameters
        ----------
        segment : Segment
            Of which the path is left out.
        recording : str
            The path, relative to what may be moved.
        """
        told = (segment.id, recording, segment.start, segment.duration, segment.channel)
        self._digest.update(repr(told).encode())

    def hexdigest(self) -> str:
        """Give the hash of all so far."""
        return self._digest.hexdigest()


def hash_rows(rows: Iterable[Segment], root: Path) -> str:
    """Hash segments that are in memory.

    Parameters
    ----------
    rows : iterable of Segment
        In their order.
    root : Path
        May be moved: paths within it count as relative to it, any other as they are.

    Examples
    --------
    >>> here, there = ([Segment("a", 2.0, f"/{name}/a.wav")] for name in ("here", "there"))
    >>> hash_rows(here, Path("/here")) == hash_rows(there, Path("/there"))
    True
    """
    found = RowsHash()
    for row in rows:
        path = Path(row.path)
        found.add(row, str(path.relative_to(root) if path.is_relative_to(root) else path))
    return found.hexdigest()
