"""CSV manifests as segments: gone through row by row, or all of them in memory."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from wavcube.data.manifest import parse_duration, parse_path
from wavcube.data.segments.identity import hash_rows
from wavcube.data.segments.row import Segment

__all__ = ["ListedRows", "iterate_csv", "read_csv"]


class ListedRows:
    """Rows in memory.

    Parameters
    ----------
    rows : sequence of Segment
        The rows.
    root : Path
        See :func:`~wavcube.data.segments.identity.hash_rows`.
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
        See there.

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
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            if "wav" not in (reader.fieldnames or []):
                raise ValueError(f"{path} has no column 'wav'; its columns are {reader.fieldnames}")
            for number, row in enumerate(reader, start=1):
                place = f"{path}, row {number}"
                if None in row or None in row.values():
                    raise ValueError(f"{place}: it has more or fewer fields than the header")
                yield place, _from_fields(row, place, path.parent, root)
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}") from error


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
