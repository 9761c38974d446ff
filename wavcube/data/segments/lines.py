"""A manifest in JSON lines, plain or compressed, with an index that finds every row.

The index lies beside the manifest, in the folder `<manifest>.index`: where each row begins, its
duration, the durations' sums, and a number for its speaker (or recording). BGZF, as this package
writes it, is read in place. Ordinary gzip cannot be read from the middle: its index holds a copy
of the rows in BGZF, made once.
"""

from __future__ import annotations

import gzip
import hashlib
import zlib
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from tqdm import tqdm

from wavcube.data.segments import blocks
from wavcube.data.segments.identity import RowsHash
from wavcube.data.segments.names import UniqueNames
from wavcube.data.segments.row import Segment, parse_row
from wavcube.data.segments.tables import HASH, Index, one_at_a_time, open_index, write_index

__all__ = ["LineRows", "build_index", "group_of", "iterate_rows"]

_COLUMNS = {"offsets": "Q", "durations": "f", "ends": "d", "groups": "I"}
_COPY = "rows.jsonl.gz"


class LineRows:
    """The rows of a manifest in JSON lines, each read from its file when it is asked for.

    Parameters
    ----------
    path : Path
        Ends in .jsonl or .jsonl.gz.
    root : Path
        Relative paths in it are relative to this.
    progress : bool
        Show a bar while the index is made, which happens once.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        See :func:`~wavcube.data.segments.open_segments`.
    """

    def __init__(self, path: Path, root: Path, progress: bool = False) -> None:
        self.path, self.root = path, root
        folder = path.with_name(f"{path.name}.index")
        index = open_index(folder)
        if index is None:
            with one_at_a_time(folder):
                index = open_index(folder)  # another process may have made it meanwhile
                if index is None:
                    build_index(path, folder, progress)
                    index = open_index(folder)
        assert index is not None
        _check_source(path, index)
        self.index = index
        self.form: str = index.note["form"]

    @property
    def content_hash(self) -> str:
        """Hash of all rows."""
        return self.index.content_hash

    def row(self, number: int) -> Segment:
        """Read a row.

        Parameters
        ----------
        number : int
            From 0.

        Raises
        ------
        ValueError
            If no row is where the index says.
        """
        offset = int(self.index.columns["offsets"][number])
        if self.form == "plain":
            with self.path.open("rb") as file:
                file.seek(offset)
                line = file.readline()
        else:
            copy = self.form == "copy"
            line = blocks.read_line(self.index.folder / _COPY if copy else self.path, offset)
        place = f"{self.path}, row {number + 1} (if it was changed, remove {self.index.folder})"
        return parse_row(line, place, self.root)


def iterate_rows(path: Path) -> Iterator[tuple[int, str, bytes]]:
    """Go through a manifest's lines, of whatever compression; blank ones are passed over.

    Parameters
    ----------
    path : Path
        The manifest.

    Yields
    ------
    int, str, bytes
        Offset, place for messages, and line.

    Raises
    ------
    ValueError
        If a compressed one is damaged or was cut short.
    """
    number = 0
    try:
        for number, (offset, line) in enumerate(_lines(path), start=1):
            if not line.isspace():
                yield offset, f"{path}, line {number}", line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ValueError(
            f"{path} was cut short or is damaged after line {number} ({error}): copy it again"
        ) from error


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    if path.suffix == ".gz" and blocks.is_blocked(path):
        yield from blocks.iterate_lines(path)
        return
    offset = 0
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as file:
        for line in file:
            yield offset, line
            offset += len(line)


def build_index(path: Path, folder: Path, progress: bool = False) -> None:
    """Write the index of a manifest, complete or not at all.

    Parameters
    ----------
    path : Path
        The manifest.
    folder : Path
        The index, made anew.
    progress : bool
        Show a bar.

    Raises
    ------
    ValueError
        If a line is no row or has no duration, an id is there twice, there is no row, or a
        compressed manifest is damaged.
    """
    form = "plain"
    if path.suffix == ".gz":
        form = "blocks" if blocks.is_blocked(path) else "copy"
    with (
        tqdm(desc="making the index", unit=" rows", disable=not progress) as bar,
        write_index(folder, _describe(path), _COLUMNS) as (table, draft, more),
        UniqueNames(draft / "names.bin", lambda: _ids(path)) as names,
        (draft / _COPY).open("wb") if form == "copy" else nullcontext() as copy,
    ):
        writer = None if copy is None else blocks.BlockWriter(copy)
        end, rows = 0.0, RowsHash()
        for offset, place, line in iterate_rows(path):
            segment = parse_row(line, place, "")
            if not segment.duration:
                raise ValueError(f"{place}: it has no 'duration'; `wavcube manifest` measures them")
            end += segment.duration
            names.add(segment.id)
            rows.add(segment, segment.path)
            table.append(
                offsets=offset if writer is None else writer.write(line.rstrip() + b"\n"),
                durations=segment.duration,
                ends=end,
                groups=group_of(segment),
            )
            bar.update()
        names.check()
        if writer is not None:
            writer.close()
        more |= {"form": form, "seconds": end, HASH: rows.hexdigest()}


def _ids(path: Path) -> Iterator[tuple[str, str]]:
    for _, place, line in iterate_rows(path):
        yield place, parse_row(line, place, "").id


def group_of(segment: Segment) -> int:
    """Give a number to all that a speaker, or else a recording, has spoken.

    Parameters
    ----------
    segment : Segment
        A row.
    """
    return zlib.crc32((segment.speaker or segment.path).encode())


def _describe(path: Path) -> dict[str, Any]:
    found = path.stat()
    described = {"size": found.st_size, "mtime_ns": found.st_mtime_ns}
    return {**described, "sha256": _digest(path)}


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(1 << 20):
            digest.update(data)
    return digest.hexdigest()


def _check_source(path: Path, index: Index) -> None:
    """Make sure that an index is of this manifest; a copy may have got another time."""
    source, found = index.note["source"], path.stat()
    if source["size"] == found.st_size and (
        source["mtime_ns"] == found.st_mtime_ns or source["sha256"] == _digest(path)
    ):
        return
    raise ValueError(
        f"the index {index.folder} does not match {path}, whose content is another by now: remove "
        "the index, and it is made anew"
    )
