"""Text files of the user: UTF-8 with or without a byte-order mark; their lines, and CSV tables."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

__all__ = ["iterate_rows", "read_lines", "read_rows", "read_text"]


def read_text(path: str | Path) -> str:
    r"""Read a text file.

    Parameters
    ----------
    path : str or Path
        UTF-8; a byte-order mark, as Windows' editors put it, is not part of the text.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not UTF-8; the message names the file.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.txt"
    >>> _ = path.write_bytes(b"\xef\xbb\xbfone\r\ntwo")
    >>> read_text(path)
    'one\ntwo'
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no text file {path}")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8: {error}") from error


def read_lines(path: str | Path) -> list[str]:
    r"""Read the lines of a text file, without their ends.

    Only a line feed, a carriage return or both end a line: separators that a text may hold
    (U+2028, U+0085, form feeds), at which ``str.splitlines`` ends one too, do not.

    Parameters
    ----------
    path : str or Path
        As :func:`read_text` takes it.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.txt"
    >>> _ = path.write_text("one\u2028still one\ntwo", encoding="utf-8")
    >>> len(read_lines(path))
    2
    """
    return read_text(path).split("\n")


def iterate_rows(
    path: str | Path, columns: Sequence[str] = ()
) -> Iterator[tuple[str, dict[str, str]]]:
    """Go through a CSV table without holding it.

    Parameters
    ----------
    path : str or Path
        CSV file, UTF-8, with a header.
    columns : Sequence[str]
        That must be there.

    Yields
    ------
    str, dict[str, str]
        Place for messages, and fields, of each row.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not a CSV file, lacks a column, or a row is of another length than the header; a
        quote that is never closed is named with its row, and does not swallow those after it.
    """
    path, number = Path(path), 0
    if not path.is_file():
        raise FileNotFoundError(f"there is no manifest {path}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            found = list(reader.fieldnames or [])
            for column in columns:
                if column not in found:
                    raise ValueError(f"{path} has no column {column!r}; its columns are {found}")
            for number, row in enumerate(reader, start=1):
                place = f"{path}, row {number}"
                if None in row or None in row.values():
                    raise ValueError(f"{place}: it has more or fewer fields than the header")
                yield place, row
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}") from error
    except csv.Error as error:
        raise ValueError(
            f"{path}, row {number + 1}: not a row of a CSV file ({error}); is a quote open?"
        ) from error


def read_rows(path: str | Path, columns: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Read all rows of a CSV table, of which there is at least one.

    Parameters
    ----------
    path, columns
        As :func:`iterate_rows` takes them.

    Raises
    ------
    FileNotFoundError, ValueError
        As there, or if there is no row.
    """
    rows = list(iterate_rows(path, columns))
    if not rows:
        raise ValueError(f"{path} has a header and no rows")
    return rows
