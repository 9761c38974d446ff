"""Segments of recordings as one sequence, whatever holds them, with few of them in memory."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from wavcube.data.manifest import parse_duration, parse_path
from wavcube.data.segments.audio import read_segment
from wavcube.data.segments.lines import LineRows, group_of
from wavcube.data.segments.row import Segment, hash_rows
from wavcube.data.segments.tars import TarRows, find_shards
from wavcube.data.texts import iterate_rows

__all__ = [
    "JoinedSegments",
    "ListedRows",
    "Segments",
    "is_segments",
    "iterate_csv",
    "listed_segments",
    "open_segments",
    "read_csv",
]


class ListedRows:
    """Rows in memory.

    Parameters
    ----------
    rows : sequence of Segment
        The rows.
    root : Path
        See :func:`~wavcube.data.segments.row.hash_rows`.
    """

    def __init__(self, rows: Sequence[Segment], root: Path = Path()) -> None:
        self.rows, self.root = list(rows), root

    def row(self, number: int) -> Segment:
        """Give a row.

        Parameters
        ----------
        number : int
            From 0.
        """
        return self.rows[number]

    @property
    def content_hash(self) -> str:
        """Hash of all rows."""
        return hash_rows(self.rows, self.root)


def read_csv(path: Path, root: Path) -> list[Segment]:
    """Read a CSV manifest.

    Parameters
    ----------
    path : Path
        As :func:`iterate_csv` takes it, with durations.
    root : Path
        Stands for `$data_root` in it.

    Raises
    ------
    ValueError
        If a row has no duration, an ID is there twice, or there is no row.
    """
    rows: list[Segment] = []
    first: dict[str, str] = {}
    for place, row in iterate_csv(path, root):
        if first.setdefault(row.id, place) != place:
            raise ValueError(
                f"{place}, column 'ID': {row.id!r} is that of {first[row.id]} already; IDs must be "
                "unique"
            )
        if not row.duration:
            raise ValueError(f"{place}: it has no duration; `wavcube manifest` measures them")
        rows.append(row)
    if not rows:
        raise ValueError(f"{path} has a header and no rows")
    return rows


def iterate_csv(path: Path, root: Path) -> Iterator[tuple[str, Segment]]:
    """Go through a CSV manifest without holding it.

    Parameters
    ----------
    path : Path
        With the column wav, and any of ID, duration, start, spk_id and wrd.
    root : Path
        Stands for `$data_root`, and relative paths are relative to it.

    Yields
    ------
    str, Segment
        Place for messages, and row.

    Raises
    ------
    ValueError
        If it is not such a file.
    """
    for place, row in iterate_rows(path, ["wav"]):
        yield place, _from_fields(row, place, path.parent, root)


def _from_fields(row: dict[str, str], place: str, here: Path, root: Path) -> Segment:
    wav = parse_path(row, "wav", place, here, root)
    duration = parse_duration(row["duration"], place) if row.get("duration") else 0.0
    start = row.get("start") or "0"
    try:
        first = float(start)
    except ValueError:
        first = -1.0
    if not 0 <= first < float("inf"):
        raise ValueError(f"{place}, column 'start': {start!r} is not a number of seconds from 0 on")
    name = row.get("ID", wav.stem).strip()
    return Segment(name, duration, str(wav), first, row.get("spk_id", ""), row.get("wrd", ""))


LINE_SUFFIXES = (".jsonl", ".jsonl.gz")


class _Rows(Protocol):
    """Where rows come from."""

    def row(self, number: int) -> Segment:
        """Read a row."""

    @property
    def content_hash(self) -> str:
        """Hash of all rows."""


class Segments(Sequence[Segment]):
    """The rows of a manifest, read one at a time.

    It is safe to share among threads, forked and spawned workers: no file stays open.

    Parameters
    ----------
    rows : _Rows
        Reads them.
    durations : NDArray
        Of each, in seconds, `[N]`; memory-mapped where there may be many.
    ends : NDArray
        Their sums, `[N]`.
    groups : NDArray
        The same number for two segments of one speaker (or, if unknown, of one recording), `[N]`.
    left_out : NDArray, optional
        Numbers of rows that are not part of it, sorted.

    See Also
    --------
    open_segments
    """

    def __init__(
        self,
        rows: _Rows,
        durations: NDArray[np.float32],
        ends: NDArray[np.float64],
        groups: NDArray[np.uint32],
        left_out: NDArray[np.int64] | None = None,
    ) -> None:
        self._rows, self._durations, self._ends, self._groups = rows, durations, ends, groups
        self._left_out = np.zeros(0, np.int64) if left_out is None else left_out

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle without the columns of an index."""
        if isinstance(self._rows, (LineRows, TarRows)):
            return _indexed, (self._rows, self._left_out)
        columns = (self._durations, self._ends, self._groups)
        return Segments, (self._rows, *columns, self._left_out)

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._durations) - len(self._left_out)

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
        return self._rows.row(self._place(number % len(self)))

    @property
    def durations(self) -> NDArray[np.float32]:
        """Seconds of each, `[N]`."""
        return np.delete(self._durations, self._left_out) if self._some_out else self._durations

    @property
    def groups(self) -> NDArray[np.uint32]:
        """The same number for two of one speaker (or, if unknown, of one recording), `[N]`."""
        return np.delete(self._groups, self._left_out) if self._some_out else self._groups

    @property
    def seconds(self) -> float:
        """Of all of them together."""
        return float(self._ends[-1]) - float(self._durations[self._left_out].sum(dtype=np.float64))

    def metadata(self) -> dict[str, Any]:
        """Give plain data that tell whether two are the same, as far as numbers can tell."""
        return {
            "rows": len(self),
            "seconds": round(self.seconds, 3),
            "first": self[0].id,
            "last": self[-1].id,
        }

    @property
    def content_hash(self) -> str:
        """SHA-256 of which sound each of them is, in their order; none is read for it.

        It is that of ids, recordings, places in them, durations and channels: the same for JSON
        lines, compressed or not, and a CSV of the same rows. A recording counts by its relative
        path, so that both may be moved (give paths that are absolute in one form only); a shard by
        its name.

        Raises
        ------
        ValueError
            If there is an index by a version of this package that took no hash.
        """
        whole = self._rows.content_hash
        if not self._some_out:
            return whole
        return hashlib.sha256(f"{whole} without {self._left_out.tolist()}".encode()).hexdigest()

    def read(self, number: int, sample_rate: int) -> Tensor:
        """Read a segment's audio, mono.

        Parameters
        ----------
        number : int
            From 0.
        sample_rate : int
            Wanted, in Hz.

        Returns
        -------
        Tensor
            `[T]`, float32.

        Raises
        ------
        FileNotFoundError
            If there is no such recording.
        ValueError
            If it is damaged, or the segment ends after it.
        """
        return read_segment(self[number], sample_rate)

    def draw(self, rng: np.random.Generator) -> int:
        """Draw one, with a probability that is proportional to its duration.

        Parameters
        ----------
        rng : np.random.Generator
            What it depends on.
        """
        while True:
            place = int(np.searchsorted(self._ends, rng.random() * self._ends[-1], side="right"))
            place = min(place, len(self._ends) - 1)
            before = int(np.searchsorted(self._left_out, place))
            if before == len(self._left_out) or self._left_out[before] != place:
                return place - before

    def without(self, numbers: Sequence[int] | NDArray[np.int64]) -> Segments:
        """Leave some out.

        Parameters
        ----------
        numbers : sequence of int
            Which of them, a small share.

        Returns
        -------
        Segments
            The others, in the same order. It needs no memory for those that stay.

        Raises
        ------
        ValueError
            If none would stay.
        """
        places = np.array([self._place(int(number)) for number in numbers], np.int64)
        left_out = np.union1d(self._left_out, places)
        if len(left_out) >= len(self._durations):
            raise ValueError(f"all of the {len(self)} segments are left out")
        return Segments(self._rows, self._durations, self._ends, self._groups, left_out)

    @property
    def _some_out(self) -> bool:
        return bool(len(self._left_out))

    def _place(self, number: int) -> int:
        """Turn a number into that of the row: before each row left out are so many that stay."""
        kept_before = self._left_out - np.arange(len(self._left_out))
        return number + int(np.searchsorted(kept_before, number, side="right"))


def is_segments(path: str | Path) -> bool:
    """Tell whether a path is that of a large manifest: JSON lines, or a folder of tar files.

    Parameters
    ----------
    path : str or Path
        Any.

    Examples
    --------
    >>> is_segments("speech.jsonl.gz"), is_segments("speech.csv")
    (True, False)
    """
    path = Path(path)
    return path.name.endswith(LINE_SUFFIXES) or (path.is_dir() and bool(find_shards(path)))


def open_segments(
    path: str | Path, *, root: str | Path | None = None, progress: bool = False
) -> Segments:
    r"""Open a manifest of any size.

    Parameters
    ----------
    path : str or Path
        JSON lines (.jsonl, .jsonl.gz), a folder of WebDataset shards (.tar), or a CSV with the
        columns wav and duration, all of which is held in memory. The first time, an index is
        made beside JSON lines and shards.
    root : str or Path, optional
        Relative paths in the manifest are relative to it; by default to the manifest's folder.
    progress : bool
        Show a bar while an index is made.

    Returns
    -------
    Segments
        Its rows.

    Raises
    ------
    FileNotFoundError
        If there is no such manifest.
    ValueError
        If a line is not a row, an id is there twice, a compressed manifest or a shard was cut
        short, or the index is damaged or of another manifest. The audio is not looked at.
    PermissionError
        If an index is needed and nothing may be written beside the manifest.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "speech.jsonl"
    >>> _ = path.write_text('{"id": "a", "path": "a.flac", "start": 60, "duration": 2.5}\n')
    >>> segments = open_segments(path)
    >>> len(segments), segments[0].start, segments.seconds
    (1, 60.0, 2.5)
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no manifest {path}")
    base = path.parent if root is None else Path(root)
    if path.name.endswith(LINE_SUFFIXES):
        return _indexed(LineRows(path, base, progress))
    if path.is_dir() and find_shards(path):
        return _indexed(TarRows(path, progress))
    if path.suffix == ".csv":
        return listed_segments(read_csv(path, base), base)
    raise ValueError(
        f"{path} is not a manifest: give JSON lines ({' or '.join(LINE_SUFFIXES)}), a CSV or a "
        "folder of .tar shards; `wavcube manifest` makes one of a folder of audio"
    )


def _indexed(rows: LineRows | TarRows, left_out: NDArray[np.int64] | None = None) -> Segments:
    columns: dict[str, Any] = rows.index.columns
    return Segments(rows, columns["durations"], columns["ends"], columns["groups"], left_out)


def listed_segments(rows: Sequence[Segment], root: Path = Path()) -> Segments:
    """Make the same of rows in memory.

    Parameters
    ----------
    rows : sequence of Segment
        With durations.
    root : Path
        What :attr:`Segments.content_hash` takes their paths to be relative to.

    Raises
    ------
    ValueError
        If there is none, or one has no duration.

    Examples
    --------
    >>> listed_segments([Segment("a", 2.0, "a.wav"), Segment("b", 1.0, "b.wav")]).seconds
    3.0
    """
    durations = np.array([row.duration for row in rows], np.float32)
    if not len(rows) or not (durations > 0).all():
        raise ValueError("there is no segment, or one whose duration is not above 0 s")
    groups = np.array([group_of(row) for row in rows], np.uint32)
    ends = np.cumsum(durations, dtype=np.float64)
    return Segments(ListedRows(rows, root), durations, ends, groups)


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
