"""Manifests: CSV files with one utterance a row.

The format is SpeechBrain's, with the columns ID, duration, wav, spk_id and wrd, and paths that
may start with `$data_root`, so that a corpus can be moved.
"""

from __future__ import annotations

import csv
import os
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from wavcube.data.texts import read_rows

__all__ = [
    "Utterance",
    "describe_split",
    "evenly_spaced",
    "hold_out_speakers",
    "hold_out_utterances",
    "read_manifest",
    "require_disjoint_speakers",
    "speaker_of",
    "write_manifest",
]

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

    Raises
    ------
    ValueError
        As there, and where a file's name is not text.
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
                try:
                    writer.writerow({column: fields[field] for column, field in columns.items()})
                except UnicodeEncodeError as error:
                    raise ValueError(
                        f"{row.wav!a}: a name that is not UTF-8 has no place in a CSV; rename the "
                        "file, or give the manifest that `wavcube manifest` makes"
                    ) from error
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def read_manifest(path: str | Path, data_root: str | Path | None = None) -> list[Utterance]:
    """Read a manifest, one of ours or a user's own.

    Only the column "wav" is required. Without "ID" the file's name without suffix is taken,
    without "duration" 0 (`wavcube.data.prepare.check_files` fills it in); other columns are passed
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


_LISTED = 5
Item = TypeVar("Item")
Row = TypeVar("Row", bound=Utterance)


def hold_out_speakers(
    utterances: Sequence[Row], count: int, seed: int
) -> tuple[list[Row], list[Row]]:
    """Hold out all utterances of some speakers.

    Parameters
    ----------
    utterances : Sequence[Utterance]
        All of them, with speakers.
    count : int
        How many speakers to hold out.
    seed : int
        Draws the speakers.

    Returns
    -------
    kept, held_out : tuple[list[Utterance], list[Utterance]]
        Both in the order given.

    Raises
    ------
    ValueError
        When a speaker is unknown, or no speaker would be left on either side.

    Examples
    --------
    >>> rows = [Utterance(f"{s}-{i}", 1.0, "a.wav", s) for s in "abc" for i in range(2)]
    >>> kept, held_out = hold_out_speakers(rows, 1, seed=0)
    >>> len(kept), len(held_out), len({row.spk_id for row in held_out})
    (4, 2, 1)
    """
    unknown = [row.ID for row in utterances if not row.spk_id]
    if unknown:
        raise ValueError(f"speakers cannot be held out: {unknown[0]!r} has no speaker")
    speakers = sorted({row.spk_id for row in utterances})
    if not 1 <= count < len(speakers):
        raise ValueError(
            f"from 1 to {len(speakers) - 1} of the {len(speakers)} speakers can be held out, "
            f"not {count}"
        )
    chosen = set(random.Random(seed).sample(speakers, count))
    kept = [row for row in utterances if row.spk_id not in chosen]
    return kept, [row for row in utterances if row.spk_id in chosen]


def hold_out_utterances(
    utterances: Sequence[Row], fraction: float, seed: int
) -> tuple[list[Row], list[Row]]:
    """Hold out a share of the utterances, whoever speaks them, and at least one.

    Parameters
    ----------
    utterances : Sequence[Utterance]
        All of them.
    fraction : float
        Share to hold out, above 0 and below 1.
    seed : int
        Draws the utterances.

    Returns
    -------
    kept, held_out : tuple[list[Utterance], list[Utterance]]
        Both in the order given.

    Raises
    ------
    ValueError
        When the share is out of range or leaves nothing.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"the share to hold out is between 0 and 1, not {fraction}")
    count = max(1, round(fraction * len(utterances)))
    if count >= len(utterances):
        raise ValueError(
            f"{count} of {len(utterances)} utterances cannot be held out: none would be left"
        )
    chosen = set(random.Random(seed).sample(range(len(utterances)), count))
    kept = [row for index, row in enumerate(utterances) if index not in chosen]
    return kept, [row for index, row in enumerate(utterances) if index in chosen]


def require_disjoint_speakers(manifests: Mapping[str, Sequence[Utterance]]) -> None:
    """Make sure that nobody speaks in two manifests.

    Raises
    ------
    ValueError
        When somebody does; names some of them.
    """
    names = sorted(manifests)
    speakers = {name: {row.spk_id for row in manifests[name]} - {""} for name in names}
    for index, one in enumerate(names):
        for two in names[index + 1 :]:
            common = sorted(speakers[one] & speakers[two])
            if common:
                raise ValueError(
                    f"{len(common)} speakers are in both {one} and {two}, for example "
                    f"{', '.join(common[:_LISTED])}: a score on known speakers says little"
                )


def describe_split(parts: Mapping[str, Sequence[Any]]) -> str:
    """Say how much speech each part holds.

    Parameters
    ----------
    parts : Mapping[str, Sequence]
        Rows of known durations by name; what has its `seconds`, as large manifests do, is not
        gone through.

    Returns
    -------
    str
        One line.

    Examples
    --------
    >>> rows = [Utterance(f"{i}", 45.0, "a.wav") for i in range(4)]
    >>> describe_split({"train": rows, "test": rows[:1]})
    'utterances: train 4 (3.0 minutes), test 1 (0.8 minutes)'
    """
    sizes = [
        f"{name} {len(rows)} ({_seconds(rows) / 60:.1f} minutes)" for name, rows in parts.items()
    ]
    return f"utterances: {', '.join(sizes)}"


def _seconds(rows: Sequence[Any]) -> float:
    known = getattr(rows, "seconds", None)
    return sum(row.duration for row in rows) if known is None else known


def evenly_spaced(items: Sequence[Item], count: int) -> list[Item]:
    """Pick items at even distances.

    Parameters
    ----------
    items : Sequence
        Sorted in some way, such as by speaker.
    count : int
        How many at most.

    Examples
    --------
    >>> evenly_spaced("abcdefgh", 3)
    ['a', 'c', 'f']
    """
    if count >= len(items):
        return list(items)
    return [items[index * len(items) // count] for index in range(count)]


# LibriSpeech's speaker/chapter/speaker-chapter-number and VCTK's speaker/speaker_number
_CHAPTERS = re.compile(r"(\d+)-(\d+)-\d+")
_SENTENCES = re.compile(r"([ps]\d+)_\d+(_mic\d)?")


def speaker_of(path: Path, folder: Path, level: int | None = None) -> str:
    """Tell the speaker of a file of a folder of audio.

    Files and folders that are named as LibriSpeech's `61/70968/61-70968-0000` or VCTK's
    `p225/p225_001` tell it, whichever of their folders is searched. Otherwise it is the first
    folder below.

    Parameters
    ----------
    path : Path
        Of the file.
    folder : Path
        That was searched, and holds it.
    level : int, optional
        The folders of this level are the speakers, whatever their names: 1 is the first below.

    Returns
    -------
    str
        Empty if nothing tells it.

    Raises
    ------
    ValueError
        If the level is below 1, or the file does not lie so deep.

    Examples
    --------
    >>> libri = Path("test-other/61/70968/61-70968-0000.flac")
    >>> [speaker_of(libri, Path(folder)) for folder in ("", "test-other", "test-other/61")]
    ['61', '61', '61']
    >>> speaker_of(Path("wav48/p225/p225_001.wav"), Path("wav48/p225"))
    'p225'
    >>> speaker_of(Path("ann/session1/session1_003.wav"), Path("."))
    'ann'
    >>> speaker_of(Path("small/100/book/01_page.flac"), Path("."))
    'small'
    >>> speaker_of(Path("small/100/book/01_page.flac"), Path("."), level=2)
    '100'
    """
    inside = path.relative_to(folder).parts[:-1]
    if level is not None:
        if not 1 <= level <= len(inside):
            raise ValueError(
                f"{path} lies in {len(inside)} folders of {folder}: there is no level {level}"
            )
        return inside[level - 1]
    parent, *more = path.absolute().parents
    told = _CHAPTERS.fullmatch(path.stem)
    if told and more and (more[0].name, parent.name) == told.groups():
        return told[1]
    told = _SENTENCES.fullmatch(path.stem)
    if told and parent.name == told[1]:
        return told[1]
    return inside[0] if inside else ""
