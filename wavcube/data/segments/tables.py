"""Columns of numbers beside a manifest: written row by row, memory-mapped when read."""

from __future__ import annotations

import json
import logging
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from wavcube.utils.atomic import atomic_folder

__all__ = ["Index", "TableWriter", "open_index", "write_index"]

logger = logging.getLogger(__name__)

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
