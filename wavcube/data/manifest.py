"""Manifests: CSV files with one utterance a row.

The format is SpeechBrain's, with the columns ID, duration, wav, spk_id and wrd, and paths that
may start with `$data_root`, so that a corpus can be moved.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Sequence
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
    path = Path(path)
    if not utterances:
        raise ValueError(f"there is no utterance to write to {path}")
    _check_unique(utterances)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, _COLUMNS)
            writer.writeheader()
            for row in utterances:
                wav = _relative(row.wav, data_root)
                writer.writerow(asdict(replace(row, wav=wav, duration=round(row.duration, 6))))
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
    if not path.is_file():
        raise FileNotFoundError(f"there is no manifest {path}")
    root = Path(data_root) if data_root is not None else None
    rows: list[Utterance] = []
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True)
            columns = reader.fieldnames or []
            if "wav" not in columns:
                raise ValueError(f"{path} has no column 'wav'; its columns are {list(columns)}")
            rows = [
                _parse_row(row, f"{path}, row {number}", path.parent, root)
                for number, row in enumerate(reader, start=1)
            ]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is not a CSV file in UTF-8: {error}") from error
    if not rows:
        raise ValueError(f"{path} has a header and no rows")
    _check_unique(rows, f"{path}, ")
    return rows


def _parse_row(row: dict[str, str | None], place: str, here: Path, root: Path | None) -> Utterance:
    if None in row or None in row.values():
        raise ValueError(f"{place}: it has more or fewer fields than the header")
    wav = row["wav"].strip()
    if not wav:
        raise ValueError(f"{place}, column 'wav': it is empty")
    if wav.startswith(_ROOT) and root is None:
        raise ValueError(
            f"{place}, column 'wav': {wav!r} is relative to {_ROOT}, which was not given"
        )
    if wav.startswith(_ROOT):
        wav = wav.removeprefix(_ROOT).lstrip("/")
    wav_path = (root or here) / wav
    name = row.get("ID", wav_path.stem).strip()
    if not name:
        raise ValueError(f"{place}, column 'ID': it is empty")
    duration = _parse_duration(row["duration"], place) if "duration" in row else 0.0
    speaker, words = row.get("spk_id", ""), row.get("wrd", "")
    return Utterance(name, duration, str(wav_path), speaker, words)


def _parse_duration(text: str, place: str) -> float:
    try:
        duration = float(text)
    except ValueError:
        duration = float("nan")
    if not 0 < duration < float("inf"):
        raise ValueError(f"{place}, column 'duration': {text!r} is not a number of seconds above 0")
    return duration


def _check_unique(rows: Sequence[Utterance], place: str = "") -> None:
    first: dict[str, int] = {}
    for number, row in enumerate(rows, start=1):
        if row.ID in first:
            earlier = rows[first[row.ID] - 1]
            raise ValueError(
                f"{place}row {number}, column 'ID': {row.ID!r} was row {first[row.ID]} already "
                f"({earlier.wav} and {row.wav}); IDs must be unique"
            )
        first[row.ID] = number


def _relative(wav: str, data_root: str | Path | None) -> str:
    if data_root is None or not Path(wav).is_relative_to(data_root):
        return wav
    return f"{_ROOT}/{Path(wav).relative_to(data_root).as_posix()}"
