"""A manifest in JSON lines, plain or compressed, with an index that finds every row.

The index lies beside the manifest, in the folder `<manifest>.index`: where each row begins, its
duration, the durations' sums, and a number for its speaker (or recording). BGZF, as this package
writes it, is read in place. Ordinary gzip cannot be read from the middle: its index holds a copy
of the rows in BGZF, made once.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import logging
import struct
import zlib
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray
from tqdm import tqdm

from wavcube.data.segments.row import RowsHash, Segment, UniqueNames, parse_row
from wavcube.utils.files import atomic_folder

__all__ = [
    "BlockWriter",
    "Index",
    "LineRows",
    "TableWriter",
    "build_index",
    "group_of",
    "is_blocked",
    "iterate_lines",
    "iterate_rows",
    "open_index",
    "read_line",
    "write_index",
]

logger = logging.getLogger(__name__)

_HEADER = struct.Struct("<4BI2BH2B2H")
_FIXED = (0x1F, 0x8B, 8, 4, 0, 0, 255, 6, ord("B"), ord("C"), 2)
# of data in a block, so that a compressed one stays below 64 KiB whatever it holds
_BLOCK = 65280
_END = bytes.fromhex("1f8b08040000000000ff0600424302001b0003000000000000000000")


class BlockWriter:
    r"""Write lines to a BGZF file.

    Parameters
    ----------
    file : BinaryIO
        Open for writing. :meth:`close` writes the last block and leaves it open.

    Examples
    --------
    >>> import gzip, io
    >>> file = io.BytesIO()
    >>> writer = BlockWriter(file)
    >>> writer.write(b"one\n"), writer.write(b"two\n")
    (0, 4)
    >>> writer.close()
    >>> gzip.decompress(file.getvalue())
    b'one\ntwo\n'
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._data = bytearray()
        self._start = 0

    def write(self, line: bytes) -> int:
        """Write a line and return its virtual offset.

        Parameters
        ----------
        line : bytes
            With its end.
        """
        place = self._start << 16 | len(self._data)
        self._data += line
        while len(self._data) >= _BLOCK:
            self._flush(_BLOCK)
        return place

    def close(self) -> None:
        """Write what is left, and the mark of the file's end."""
        if self._data:
            self._flush(len(self._data))
        self._file.write(_END)

    def _flush(self, size: int) -> None:
        data = bytes(self._data[:size])
        packer = zlib.compressobj(6, zlib.DEFLATED, -15)
        packed = packer.compress(data) + packer.flush()
        total = _HEADER.size + len(packed) + 8
        self._file.write(_HEADER.pack(*_FIXED, total - 1))
        self._file.write(packed + struct.pack("<2I", zlib.crc32(data), len(data)))
        self._start += total
        del self._data[:size]


def is_blocked(path: str | Path) -> bool:
    """Tell whether a file is BGZF.

    Parameters
    ----------
    path : str or Path
        Of a file.
    """
    with Path(path).open("rb") as file:
        return _size_of(file.read(_HEADER.size)) is not None


def iterate_lines(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Go through a BGZF file's lines.

    Parameters
    ----------
    path : str or Path
        Of the file.

    Yields
    ------
    int, bytes
        Virtual offset and line, with its end.

    Raises
    ------
    ValueError
        If a block is damaged, or the file was cut short.
    """
    place, rest = 0, b""
    with Path(path).open("rb") as file:
        while True:
            start = file.tell()
            data = _read_block(file, path)
            if not data:
                break
            lines = (rest + data).split(b"\n")
            offset = -len(rest)  # of the line, in this block
            for line in lines[:-1]:
                yield (place if offset < 0 else start << 16 | offset), line + b"\n"
                offset += len(line) + 1
            rest = lines[-1]
            if offset >= 0:
                place = start << 16 | offset
    if rest:
        yield place, rest


def read_line(path: str | Path, place: int) -> bytes:
    """Read one line.

    Parameters
    ----------
    path : str or Path
        Of a BGZF file.
    place : int
        Virtual offset of its first byte.

    Raises
    ------
    ValueError
        If there is no block, or a damaged one.
    """
    with Path(path).open("rb") as file:
        file.seek(place >> 16)
        data = _read_block(file, path)[place & 0xFFFF :]
        while b"\n" not in data:
            more = _read_block(file, path)
            if not more:
                return data
            data += more
    return data[: data.index(b"\n") + 1]


def _size_of(header: bytes) -> int | None:
    """Give the size of the block that begins so; None if none does."""
    if len(header) < _HEADER.size:
        return None
    *fixed, size = _HEADER.unpack(header)
    # the time of writing, extra flags and the system may be anything
    same = (*fixed[:4], *fixed[7:]) == (*_FIXED[:4], *_FIXED[7:])
    return size + 1 if same else None


def _read_block(file: BufferedReader, path: str | Path) -> bytes:
    """Read the data of the next block that holds any; none at the file's end."""
    while True:
        start = file.tell()
        header = file.read(_HEADER.size)
        size = _size_of(header)
        if size is None and len(header) == _HEADER.size:
            raise ValueError(f"{path}, byte {start}: it is damaged, no block of BGZF begins here")
        body = b"" if size is None else file.read(size - len(header))
        if size is None or len(header) + len(body) != size:
            raise ValueError(f"{path} was cut short at byte {start}: copy it again")
        try:
            data = zlib.decompress(body[:-8], -15)
        except zlib.error as error:
            raise ValueError(f"{path}, byte {start}: it is damaged ({error})") from error
        if struct.unpack("<2I", body[-8:]) != (zlib.crc32(data), len(data)):
            raise ValueError(f"{path}, byte {start}: it is damaged, a checksum is wrong")
        # files that were joined have the mark of the end in their middle
        if data or not file.peek(1):
            return data


VERSION = 1
_NOTE, HASH = "index.json", "rows_sha256"
_ROWS_AT_ONCE = 65536
# array's codes, and numpy's for the same bytes
_TYPES = {"Q": "<u8", "I": "<u4", "f": "<f4", "d": "<f8"}


class TableWriter:
    """Append rows of numbers to one file for each column.

    Parameters
    ----------
    folder : Path
        Where the files are made.
    columns : Mapping of str to str
        From a column's name to its type: "Q", "I" (unsigned, 8 and 4 bytes), "f", "d" (floats).
    """

    def __init__(self, folder: Path, columns: Mapping[str, str]) -> None:
        self.columns, self.rows = dict(columns), 0
        self._buffers: dict[str, array[Any]] = {name: array(code) for name, code in columns.items()}
        self._files = {name: (folder / f"{name}.bin").open("wb") for name in columns}

    def append(self, **values: float) -> None:
        """Add a row.

        Parameters
        ----------
        **values : float
            One for each column.
        """
        for name, buffer in self._buffers.items():
            buffer.append(values[name])
        self.rows += 1
        if self.rows % _ROWS_AT_ONCE == 0:
            self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._flush()
        for file in self._files.values():
            file.close()

    def _flush(self) -> None:
        for name, buffer in self._buffers.items():
            buffer.tofile(self._files[name])
            del buffer[:]


class Index:
    """What :func:`write_index` has left.

    Parameters
    ----------
    folder : Path
        Where it is.
    note : Mapping
        Content of its `index.json`.

    Raises
    ------
    ValueError
        If a column is missing or of another length.
    """

    def __init__(self, folder: Path, note: Mapping[str, Any]) -> None:
        self.folder, self.note, self.rows = folder, note, int(note["rows"])
        self.columns: dict[str, NDArray[Any]] = {}
        for name, code in note["columns"].items():
            path, dtype = folder / f"{name}.bin", np.dtype(_TYPES[code])
            size = path.stat().st_size if path.is_file() else None
            if size != self.rows * dtype.itemsize:
                raise ValueError(
                    f"the index {folder} is damaged ({path.name} has {size} bytes, not "
                    f"{self.rows * dtype.itemsize}): remove it, and it is made anew"
                )
            self.columns[name] = np.memmap(path, dtype, "r", shape=(self.rows,))

    @property
    def content_hash(self) -> str:
        """Hash of all rows, taken when they were gone through."""
        if HASH not in self.note:
            raise ValueError(
                f"the index {self.folder} was made by an earlier version, which did not hash the "
                "rows: remove it, and it is made anew"
            )
        return str(self.note[HASH])

    def __reduce__(self) -> tuple[type[Index], tuple[Path, Mapping[str, Any]]]:
        """Pickle where it is: other processes map the files, nothing of them is sent."""
        return Index, (self.folder, self.note)


@contextmanager
def write_index(
    folder: Path, source: Mapping[str, Any], columns: Mapping[str, str]
) -> Iterator[tuple[TableWriter, Path, dict[str, Any]]]:
    """Write an index, which appears under its name when it is complete.

    Parameters
    ----------
    folder : Path
        Its name.
    source : Mapping
        What tells the manifest that it belongs to; see :func:`open_index`.
    columns : Mapping of str to str
        As in :class:`TableWriter`.

    Yields
    ------
    TableWriter, Path, dict
        To append the rows to; the folder as it is being written; what else `index.json` says.

    Raises
    ------
    ValueError
        If the body appends no row.
    OSError
        If it cannot be written.
    """
    with atomic_folder(folder, overwrite=True) as draft:
        table, more = TableWriter(draft, columns), dict[str, Any]()
        try:
            yield table, draft, more
        finally:
            table.close()
        if not table.rows:
            raise ValueError(f"{folder.with_suffix('')} has no row")
        note = {"version": VERSION, "rows": table.rows, "columns": dict(columns), "source": source}
        text = json.dumps({**note, **more}, indent=2)
        (draft / _NOTE).write_text(f"{text}\n", encoding="utf-8")


@contextmanager
def one_at_a_time(folder: Path) -> Iterator[None]:
    """Let the processes that want to write one index wait for each other.

    Parameters
    ----------
    folder : Path
        The index.

    Raises
    ------
    PermissionError
        If nothing may be written there.
    """
    lock = folder.with_name(f".{folder.name}.lock")
    try:
        lock.touch()
    except OSError as error:
        raise PermissionError(
            f"the index {folder} cannot be written ({error.strerror}): write the manifest to a "
            "folder of your own by `wavcube manifest`"
        ) from error
    with FileLock(lock):
        yield


def open_index(folder: Path) -> Index | None:
    """Open an index; None where there is none.

    Parameters
    ----------
    folder : Path
        Its name.

    Raises
    ------
    ValueError
        If it is damaged, or of another version of this package.
    """
    try:
        note = json.loads((folder / _NOTE).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except ValueError as error:
        raise ValueError(f"the index {folder} is damaged: remove it, it is made anew") from error
    if note.get("version") != VERSION:
        raise ValueError(
            f"the index {folder} is of version {note.get('version')}, this package reads "
            f"{VERSION}: remove it, and it is made anew"
        )
    return Index(folder, note)


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
            line = read_line(self.index.folder / _COPY if copy else self.path, offset)
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
    if path.suffix == ".gz" and is_blocked(path):
        yield from iterate_lines(path)
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
        If a line is not a row or has no duration, an id is there twice, there is no row, or a
        compressed manifest is damaged.
    """
    form = "plain"
    if path.suffix == ".gz":
        form = "blocks" if is_blocked(path) else "copy"
    with (
        tqdm(desc="making the index", unit=" rows", disable=not progress) as bar,
        write_index(folder, _describe(path), _COLUMNS) as (table, draft, more),
        UniqueNames(draft / "names.bin", lambda: _ids(path)) as names,
        (draft / _COPY).open("wb") if form == "copy" else nullcontext() as copy,
    ):
        writer = None if copy is None else BlockWriter(copy)
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
    return zlib.crc32((segment.speaker or segment.path).encode(errors="surrogateescape"))


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
