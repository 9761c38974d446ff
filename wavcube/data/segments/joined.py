"""Several manifests as one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import overload

import numpy as np

from wavcube.data.segments.collection import Segments
from wavcube.data.segments.row import Segment

__all__ = ["JoinedSegments"]


class JoinedSegments(Sequence[Segment]):
    """The segments of several manifests, one after the other.

    Parameters
    ----------
    parts : sequence of Segments
        One or more.

    Examples
    --------
    >>> from wavcube.data.segments.collection import listed_segments
    >>> parts = [listed_segments([Segment(name, 2.0, "a.wav")]) for name in "ab"]
    >>> joined = JoinedSegments(parts)
    >>> joined[1].id, len(joined), joined.seconds
    ('b', 2, 4.0)
    """

    def __init__(self, parts: Sequence[Segments]) -> None:
        self.parts = list(parts)
        self._ends = list(accumulate(len(part) for part in parts))
        self._seconds = list(accumulate(part.seconds for part in parts))

    def __len__(self) -> int:
        """Return how many there are."""
        return self._ends[-1]

    @overload
    def __getitem__(self, number: int) -> Segment: ...

    @overload
    def __getitem__(self, number: slice) -> list[Segment]: ...

    def __getitem__(self, number: int | slice) -> Segment | list[Segment]:
        """Read a row, or several."""
        if isinstance(number, slice):
            return [self[each] for each in range(*number.indices(len(self)))]
        if not -len(self) <= number < len(self):
            raise IndexError(f"row {number} is not within 0..{len(self) - 1}")
        number %= len(self)
        which = bisect_right(self._ends, number)
        return self.parts[which][number - self._before(which)]

    @property
    def seconds(self) -> float:
        """Of all of them together."""
        return self._seconds[-1]

    def draw(self, rng: np.random.Generator) -> int:
        """Draw one, with a probability that is proportional to its duration.

        Parameters
        ----------
        rng : np.random.Generator
            What it depends on.
        """
        which = bisect_right(self._seconds, rng.random() * self.seconds)
        which = min(which, len(self.parts) - 1)
        return self._before(which) + self.parts[which].draw(rng)

    def _before(self, which: int) -> int:
        return self._ends[which - 1] if which else 0
