"""Manifests: CSV files with one utterance a row.

The format is SpeechBrain's, with the columns ID, duration, wav, spk_id and wrd, and paths that
may start with `$data_root`, so that a corpus can be moved.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

__all__ = ["Utterance", "read_manifest", "write_manifest"]

_COLUMNS = ("ID", "duration", "wav", "spk_id", "wrd")
_ROOT = "$data_root"


@dataclass(frozen=True)
class Utterance:
    """One row of a manifest.

    Attributes
    ----------
    ID : str
        Unique name.
    duration : float
        In seconds; 0 when it is not known yet.
    wav : str
        Path of the audio file.
    spk_id : str
        Speaker; empty when unknown.
    wrd : str
        Transcript; empty when unknown.
    """

    ID: str
    duration: float
    wav: str
    spk_id: str = ""
    wrd: str = ""

    def as_dict(self) -> dict[str, str | float]:
        """Return the row as SpeechBrain's datasets take it."""
        return asdict(self)


def write_manifest(
    path: str | Path, utterances: Sequence[Utterance], data_root: str | Path | None = None
) -> None:
    """Write a CSV manifest that SpeechBrain's `DynamicItemDataset.from_csv` reads.

    Parameters
    ----------
    path : str | Path
        Of the CSV file, which appears only when complete.
    utterances : Sequence[Utterance]
        The rows.
    data_root : str | Path | None
        Paths within this folder are written relative to it, after `$data_root`.

    Raises
    ------
    ValueError
        When two rows have the same ID or there is no row.
    """
    rows = [replace(row, wav=relative_path(row.wav, data_root)) for row in utterances]
    write_rows(path, rows, {name: name for name in _COLUMNS})


def write_rows(
    path: str | Path, utterances: Sequence[Utterance], columns: Mapping[str, str]
) -> None:
    """Write rows as they are; see `write_manifest`.

    Parameters
    ----------
    path : str | Path
        Of the CSV file, which appears only when complete.
    utterances : Sequence[Utterance]
        The rows, or those of a subclass.
    columns : Mapping[str, str]
        From a column's name to the field that it holds.
    """
    path = Path(path)
    if not utterances:
        raise ValueError(f"there is no utterance to write to {path}")
    check_unique(utterances)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(columns))
            writer.writeheader()
            for row in utterances:
                fields = replace(row, duration=round(row.duration, 6)).as_dict()
                writer.writerow({column: fields[field] for column, field in columns.items()})
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_manifest(path: str | Path, data_root: str | Path | None = None) -> list[Utterance]:
    """Read a manifest, one of ours or a user's own.

    Only the column "wav" is required. Without "ID" the file's name without suffix is taken,
    without "duration" 0 (`wavcube.data.scan.check_files` fills it in); other columns are passed
    over. Relative paths are relative to `data_root`, or to the CSV file's folder without one.

    Parameters
    ----------
    path : str | Path
        CSV file, UTF-8.
    data_root : str | Path | None
        Stands for `$data_root`.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        For anything wrong in it, with row and column.
    """
    path = Path(path)
    root = Path(data_root) if data_root is not None else None
    rows = [_parse_row(row, place, path.parent, root) for place, row in read_rows(path, ["wav"])]
    check_unique(rows, f"{path}, ")
    return rows


def read_rows(path: Path, columns: Sequence[str]) -> list[tuple[str, dict[str, str]]]:
    """Read a CSV file's rows, each with its place for messages.

    Parameters
    ----------
    path : Path
        CSV file, UTF-8, with a header.
    columns : Sequence[str]
        That must be there.

    Returns
    -------
    list[tuple[str, dict[str, str]]]
        Place and fields of each row.

    Raises
    ------
    FileNotFoundError
        When there is no such file.
    ValueError
        When it is no CSV file, lacks a column, has no row, or a row is of another length.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no manifest {path}")
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            found = list(reader.fieldnames or [])
            for column in columns:
                if column not in found:
                    raise ValueError(f"{path} has no column {column!r}; its columns are {found}")
            rows = [(f"{path}, row {number}", row) for number, row in enumerate(reader, start=1)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if not rows:
        raise ValueError(f"{path} has a header and no rows")
    for place, row in rows:
        if None in row or None in row.values():
            raise ValueError(f"{place}: it has more or fewer fields than the header")
    return rows


def _parse_row(row: dict[str, str], place: str, here: Path, root: Path | None) -> Utterance:
    wav = parse_path(row, "wav", place, here, root)
    name = row.get("ID", wav.stem).strip()
    if not name:
        raise ValueError(f"{place}, column 'ID': it is empty")
    duration = parse_duration(row["duration"], place) if "duration" in row else 0.0
    speaker, words = row.get("spk_id", ""), row.get("wrd", "")
    return Utterance(name, duration, str(wav), speaker, words)


def parse_path(row: dict[str, str], column: str, place: str, here: Path, root: Path | None) -> Path:
    """Read a field that names a file.

    Parameters
    ----------
    row : dict[str, str]
        The row's fields.
    column : str
        Which of them.
    place : str
        For messages.
    here : Path
        Folder of the CSV file.
    root : Path | None
        Stands for `$data_root`, and relative paths are relative to it; without one, to `here`.

    Raises
    ------
    ValueError
        When it is empty, or begins with `$data_root` and none is given.
    """
    text = row[column].strip()
    if not text:
        raise ValueError(f"{place}, column {column!r}: it is empty")
    if text.startswith(_ROOT) and root is None:
        raise ValueError(
            f"{place}, column {column!r}: {text!r} is relative to {_ROOT}, which was not given"
        )
    if text.startswith(_ROOT):
        text = text.removeprefix(_ROOT).lstrip("/")
    return (root or here) / text


def parse_duration(text: str, place: str) -> float:
    """Read a duration in seconds; a ValueError names the place of one that is none."""
    try:
        duration = float(text)
    except ValueError:
        duration = float("nan")
    if not 0 < duration < float("inf"):
        raise ValueError(f"{place}, column 'duration': {text!r} is not a number of seconds above 0")
    return duration


def check_unique(rows: Sequence[Utterance], place: str = "") -> None:
    """Refuse two rows with one ID, with a ValueError that names both."""
    first: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        if row.ID in first:
            earlier = rows[first[row.ID] - 1]
            raise ValueError(
                f"{place}row {number}, column 'ID': {row.ID!r} was row {first[row.ID]} already "
                f"({earlier.wav} and {row.wav}); IDs must be unique"
            )
        first[row.ID] = number


def relative_path(wav: str, data_root: str | Path | None) -> str:
    """Write a path within a folder relative to it, after `$data_root`; any other as it is."""
    if data_root is None or not Path(wav).is_relative_to(data_root):
        return wav
    return f"{_ROOT}/{Path(wav).relative_to(data_root).as_posix()}"
