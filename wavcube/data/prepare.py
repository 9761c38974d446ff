"""Turning audio into manifests, once: written last of all is a marker that tells how.

A second call with the same arguments on the same files returns at once; changed arguments,
changed files or a damaged manifest make everything anew.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from wavcube.data.audio import inspect_audio
from wavcube.data.manifest import (
    Row,
    Utterance,
    hold_out_utterances,
    read_manifest,
    speaker_of,
    write_manifest,
)
from wavcube.utils.files import walk_files, write_atomically

__all__ = [
    "CORPUS_SUFFIXES",
    "BadFile",
    "Scan",
    "check_files",
    "check_same_data",
    "find_audio",
    "fingerprint",
    "prepare_once",
    "prepare_own_audio",
    "prepared_manifests",
    "require_equal_length",
    "scan_audio_folder",
    "split_by_name",
    "split_in_three",
    "utterance_at",
    "write_prepared",
]

logger = logging.getLogger(__name__)

# of training data: lossless, and read from the middle without decoding what comes before
CORPUS_SUFFIXES = (".wav", ".flac")
# Durations in manifests are rounded, some to 1/100 s.
_DURATION_TOLERANCE = 0.05
_LISTED = 10


@dataclass(frozen=True)
class BadFile:
    """A file left out of a corpus, and why."""

    wav: str
    reason: str


# rows of each manifest, and the files that were left out
Made = tuple[Mapping[str, Sequence[Any]], Sequence[BadFile]]


class Scan(NamedTuple):
    """What a check has found: good utterances and bad files, in the order given."""

    utterances: list[Utterance]
    bad: list[BadFile]


def check_files(
    utterances: Iterable[Utterance],
    *,
    max_bad_fraction: float = 0.01,
    progress: bool = False,
) -> Scan:
    """Look into every file's header, and fill in or check the duration.

    A bad file is logged with its reason, counted and left out.

    Parameters
    ----------
    utterances : Iterable[Utterance]
        To check.
    max_bad_fraction : float
        How many of them may be bad before the run stops.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    Scan
        Utterances with durations as the files have them, and the bad files.

    Raises
    ------
    ValueError
        When more than `max_bad_fraction` are bad; lists some of them.
    """
    candidates = list(utterances)
    bad: list[BadFile] = []
    good: list[Utterance] = []
    with ThreadPoolExecutor(max_workers=min(8, os.cpu_count() or 1)) as pool:
        results = pool.map(_check_file, candidates)
        bar = tqdm(
            results, total=len(candidates), desc="checking audio", disable=not progress, unit="file"
        )
        for result in bar:
            (bad if isinstance(result, BadFile) else good).append(result)
    if len(bad) > max_bad_fraction * len(candidates):
        shown = "\n  ".join(file.reason for file in bad[:_LISTED])
        more = f"\n  and {len(bad) - _LISTED} more" if len(bad) > _LISTED else ""
        raise ValueError(
            f"{len(bad)} of {len(candidates)} audio files are bad, and at most "
            f"{max_bad_fraction:.2%} may be; repair or remove them, or raise the limit "
            f"(max_bad_fraction):\n  {shown}{more}"
        )
    for file in bad:
        logger.warning("left out: %s", file.reason)
    if bad:
        logger.warning("%d of %d audio files left out", len(bad), len(candidates))
    return Scan(good, bad)


def scan_audio_folder(
    folder: str | Path, *, max_bad_fraction: float = 0.01, progress: bool = False
) -> Scan:
    """List every wav and flac file in a folder and below it, sorted by path.

    The ID is the path within the folder without its suffix, joined by "-"; the speaker is that of
    :func:`~wavcube.data.manifest.speaker_of`. Hidden files and folders are passed over.

    Parameters
    ----------
    folder : str | Path
        To search.
    max_bad_fraction, progress
        As in `check_files`.

    Raises
    ------
    FileNotFoundError
        When there is no such folder.
    ValueError
        When it holds no audio, two files get the same ID, or too many are bad.
    """
    files = find_audio(folder)
    return check_files(
        [utterance_at(path, Path(folder)) for path in files],
        max_bad_fraction=max_bad_fraction,
        progress=progress,
    )


def find_audio(folder: str | Path) -> list[Path]:
    """List the paths of all wav and flac files in a folder and below it, sorted.

    Raises
    ------
    FileNotFoundError, ValueError
        When there is no such folder, or no audio in it.
    """
    found = sorted(walk_files(folder, CORPUS_SUFFIXES))
    if not found:
        raise ValueError(f"{folder} holds no audio: no {' or '.join(CORPUS_SUFFIXES)} file in it")
    return found


def _check_file(row: Utterance) -> Utterance | BadFile:
    try:
        duration = inspect_audio(row.wav).duration
    except (ValueError, OSError) as error:
        return BadFile(row.wav, str(error))
    if row.duration and abs(row.duration - duration) > _DURATION_TOLERANCE:
        reason = f"{row.wav} lasts {duration:.2f} s, but its manifest says {row.duration:.2f} s"
        return BadFile(row.wav, reason)
    return replace(row, duration=duration)


def require_equal_length(wav: str, partner: str) -> None:
    """Raise a ValueError where two recordings, noisy and clean, differ in rate or length."""
    (frames, rate), (others, other_rate) = (
        (info.frames, info.sample_rate) for info in map(inspect_audio, (wav, partner))
    )
    if (frames, rate) != (others, other_rate):
        raise ValueError(
            f"{wav} has {frames} samples at {rate} Hz, its partner {partner} {others} at "
            f"{other_rate} Hz; partners must be equally long"
        )


def utterance_at(path: Path, folder: Path, speaker_level: int | None = None) -> Utterance:
    """Name a file of a folder of audio as :func:`scan_audio_folder` does; nothing is read.

    Parameters
    ----------
    path : Path
        Of the file.
    folder : Path
        That was searched.
    speaker_level : int, optional
        See :func:`~wavcube.data.manifest.speaker_of`.

    Examples
    --------
    >>> utterance_at(Path("speech/ann/a.wav"), Path("speech")).ID
    'ann-a'
    """
    name = "-".join(path.relative_to(folder).with_suffix("").parts)
    speaker = speaker_of(path, folder, speaker_level)
    return Utterance(as_text(name), 0.0, str(path), as_text(speaker))


def as_text(name: str) -> str:
    r"""Spell out the bytes of a file's name that are not text, so that it can be written as one.

    Parameters
    ----------
    name : str
        As Python gives it.

    Examples
    --------
    >>> as_text("caf\udce9.wav")
    'caf\\xe9.wav'
    """
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


_MARKER = "prepared.json"
_BAD_FILES = "bad_files.csv"


def prepare_own_audio(
    source: str | Path,
    out_folder: str | Path,
    *,
    valid_fraction: float = 0.1,
    test_fraction: float = 0.1,
    seed: int = 1234,
    max_bad_fraction: float = 0.01,
    progress: bool = True,
) -> dict[str, Path]:
    """Prepare a user's own audio: any folder of wav and flac files, or a CSV manifest.

    Utterances for validation and test are drawn at random, whoever speaks them.

    Parameters
    ----------
    source : str | Path
        Folder, or CSV file with at least the column "wav".
    out_folder : str | Path
        For `train.csv`, `valid.csv`, `test.csv`; and `bad_files.csv` when files were left out.
    valid_fraction, test_fraction : float
        Shares of all utterances, at least one each.
    seed : int
        Draws them.
    max_bad_fraction : float
        How many files may be bad before the run stops.
    progress : bool
        Whether to show a progress bar.

    Returns
    -------
    dict[str, Path]
        Manifest of "train", "valid" and "test". Paths in them that start with `$data_root` are
        relative to `source`, or to the folder it is in.

    Raises
    ------
    FileNotFoundError
        When there is no such source.
    ValueError
        When there is no audio, fewer than three utterances, or too many bad files.
    """
    source = Path(source)
    if not source.exists():
        raise FileNotFoundError(f"there is no folder or CSV file {source}")
    is_manifest = source.is_file()
    rows = read_manifest(source, source.parent) if is_manifest else []
    files = [source, *(Path(row.wav) for row in rows)] if is_manifest else find_audio(source)
    arguments = {
        "source": str(source.resolve()),
        "valid_fraction": valid_fraction,
        "test_fraction": test_fraction,
        "seed": seed,
        "max_bad_fraction": max_bad_fraction,
    }

    def make() -> Made:
        limits: dict[str, Any] = {"max_bad_fraction": max_bad_fraction, "progress": progress}
        scan = check_files(rows, **limits) if is_manifest else scan_audio_folder(source, **limits)
        if len(scan.utterances) < 3:
            raise ValueError(
                f"{source} has {len(scan.utterances)} utterances; training, validation and test "
                "need one each at the least"
            )
        parts = split_in_three(
            scan.utterances, hold_out_utterances, valid_fraction, test_fraction, seed
        )
        return parts, scan.bad

    data_root = source.parent if is_manifest else source
    return prepare_once(out_folder, arguments, files, make, data_root=data_root)


def split_in_three(
    rows: Sequence[Row],
    hold_out: Callable[[Sequence[Row], float, int], tuple[list[Row], list[Row]]],
    valid_fraction: float,
    test_fraction: float,
    seed: int,
) -> dict[str, list[Row]]:
    """Hold shares of all rows out for validation and test.

    Parameters
    ----------
    rows : Sequence[Utterance]
        At least three.
    hold_out : Callable
        Draws a share, such as :func:`~wavcube.data.manifest.hold_out_utterances`.
    valid_fraction, test_fraction : float
        Of all rows, or of their speakers.
    seed : int
        Draws them.

    Examples
    --------
    >>> rows = [Utterance(f"{i}", 1.0, "a.wav") for i in range(10)]
    >>> parts = split_in_three(rows, hold_out_utterances, 0.2, 0.1, seed=0)
    >>> {role: len(part) for role, part in parts.items()}
    {'train': 7, 'valid': 2, 'test': 1}
    """
    rest, test = hold_out(rows, test_fraction, seed)
    # of what is left, the share that is valid_fraction of everything
    train, valid = hold_out(rest, valid_fraction * len(rows) / len(rest), seed + 1)
    return {"train": train, "valid": valid, "test": test}


def split_by_name(
    rows: Sequence[Utterance], chosen: Mapping[str, Sequence[str]]
) -> dict[str, list[Utterance]]:
    """Give validation and test the speakers that are named, and training all others.

    Parameters
    ----------
    rows : Sequence[Utterance]
        With speakers.
    chosen : Mapping[str, Sequence[str]]
        Speakers of "valid" and "test".

    Raises
    ------
    ValueError
        If a speaker is unknown or in both, a role has none, or nobody is left to train on.

    Examples
    --------
    >>> rows = [Utterance(name, 1.0, "a.wav", name) for name in "abcd"]
    >>> parts = split_by_name(rows, {"valid": ["b"], "test": ["c"]})
    >>> {role: [row.ID for row in part] for role, part in parts.items()}
    {'train': ['a', 'd'], 'valid': ['b'], 'test': ['c']}
    """
    known = sorted({row.spk_id for row in rows})
    for role, names in chosen.items():
        unknown = [name for name in names if name not in known]
        if unknown or not names:
            raise ValueError(
                f"{role}_speakers must name speakers of the data, not {unknown or list(names)}; "
                f"there are: {', '.join(known)}"
            )
    both = sorted(set(chosen["valid"]) & set(chosen["test"]))
    if both:
        raise ValueError(f"speakers {', '.join(both)} are in valid_speakers and test_speakers")
    apart = {name for names in chosen.values() for name in names}
    manifests = {"train": [row for row in rows if row.spk_id not in apart]}
    if not manifests["train"]:
        raise ValueError(f"nobody is left to train on: all of {', '.join(known)} are held out")
    for role, names in chosen.items():
        manifests[role] = [row for row in rows if row.spk_id in names]
    return manifests


def check_same_data(path: str | Path, data: Mapping[str, Any], what: str = "data") -> None:
    """Note down what a run trains on, or how, and refuse to go on with anything else.

    Parameters
    ----------
    path : str or Path
        The note, JSON, in the run's folder.
    data : mapping
        Plain data: folders and whatever else chooses the speech.
    what : str
        It is, for the message.

    Raises
    ------
    ValueError
        If the note is there and tells otherwise.

    Examples
    --------
    >>> note = getfixture("tmp_path") / "data.json"
    >>> check_same_data(note, {"data_folder": "a"})
    >>> check_same_data(note, {"data_folder": "b"})
    Traceback (most recent call last):
    ...
    ValueError: ... choose another output_folder, or remove ... if it is the same speech elsewhere
    """
    path, text = Path(path), json.dumps(dict(data), indent=2, default=str)
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, text.encode(), overwrite=True)
        return
    noted = json.loads(path.read_text(encoding="utf-8"))
    now = json.loads(text)
    changed = {name: noted.get(name) for name in now if noted.get(name) != now[name]}
    if changed:
        same = f", or remove {path} if it is the same speech elsewhere" if what == "data" else ""
        raise ValueError(
            f"{path.parent} is of a run with other {what}: {changed}; choose another output_folder"
            f"{same}"
        )


def fingerprint(files: Iterable[Path]) -> str:
    """Digest of some files' paths, sizes and times of change, to notice that a corpus has changed.

    It reads no file. A copy that did not keep the times counts as changed: it is checked once
    more, and the same manifests come out.
    """
    digest = hashlib.sha256()
    for path in files:
        found = path.stat() if path.is_file() else None
        state = f"{found.st_size} {found.st_mtime_ns}" if found else "missing"
        digest.update(f"{path.absolute()} {state}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def prepare_once(
    out_folder: str | Path,
    arguments: Mapping[str, Any],
    files: Iterable[Path],
    make: Callable[[], Made],
    *,
    data_root: str | Path,
    write: Callable[[Path, Sequence[Any], str | Path | None], None] = write_manifest,
) -> dict[str, Path]:
    """Make a corpus's manifests, unless an earlier call has, with these arguments, of these files.

    Parameters
    ----------
    out_folder : str | Path
        Of the manifests; made if missing.
    arguments : Mapping[str, Any]
        Plain data on which the manifests depend.
    files : iterable of Path
        On which they depend as well: audio, transcripts, tables.
    make : Callable
        Gives the rows of each manifest, and the bad files.
    data_root, write
        As :func:`write_prepared` takes them.

    Returns
    -------
    dict[str, Path]
        CSV file of each.
    """
    complete = {**arguments, "files": fingerprint(files)}
    done = prepared_manifests(out_folder, complete)
    if done is not None:
        return done
    manifests, bad = make()
    return write_prepared(
        out_folder, manifests, complete, data_root=data_root, bad=bad, write=write
    )


def prepared_manifests(
    out_folder: str | Path, arguments: Mapping[str, Any]
) -> dict[str, Path] | None:
    """Return the manifests that `write_prepared` left for these arguments, None without them."""
    out_folder = Path(out_folder)
    try:
        marker = json.loads((out_folder / _MARKER).read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    if marker["arguments"] != json.loads(json.dumps(arguments)):
        return None
    manifests = {name: out_folder / f"{name}.csv" for name in marker["manifests"]}
    whole = all(
        path.is_file() and _digest(path) == marker["manifests"][name]
        for name, path in manifests.items()
    )
    return manifests if whole else None


def write_prepared(
    out_folder: str | Path,
    manifests: Mapping[str, Sequence[Any]],
    arguments: Mapping[str, Any],
    *,
    data_root: str | Path,
    bad: Sequence[BadFile] = (),
    write: Callable[[Path, Sequence[Any], str | Path | None], None] = write_manifest,
) -> dict[str, Path]:
    """Write manifests and, last, the marker that says how they were made.

    Parameters
    ----------
    out_folder : str | Path
        Made if missing.
    manifests : Mapping[str, Sequence[Any]]
        Rows of each, by its name without suffix: what `write` takes, with `duration` and `spk_id`.
    arguments : Mapping[str, Any]
        Plain data; `prepared_manifests` compares them.
    data_root : str | Path
        As in `write_manifest`.
    bad : Sequence[BadFile]
        Listed in `bad_files.csv`.
    write : Callable
        Writes a manifest, as `write_manifest` does those of utterances.

    Returns
    -------
    dict[str, Path]
        CSV file of each.
    """
    out_folder = Path(out_folder)
    out_folder.mkdir(parents=True, exist_ok=True)
    (out_folder / _MARKER).unlink(missing_ok=True)
    _write_bad(out_folder / _BAD_FILES, bad)
    paths = {name: out_folder / f"{name}.csv" for name in manifests}
    for name, rows in manifests.items():
        write(paths[name], rows, data_root)
        minutes = sum(row.duration for row in rows) / 60
        speakers = len({row.spk_id for row in rows})
        logger.info(
            "%s: %d utterances, %.1f minutes, %d speakers", name, len(rows), minutes, speakers
        )
    marker = {
        "arguments": dict(arguments),
        "manifests": {name: _digest(path) for name, path in paths.items()},
    }
    text = f"{json.dumps(marker, indent=2)}\n"
    write_atomically(out_folder / _MARKER, text.encode(), overwrite=True)
    return paths


def _write_bad(path: Path, bad: Sequence[BadFile]) -> None:
    if not bad:
        path.unlink(missing_ok=True)
        return
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["wav", "reason"])
        writer.writerows((item.wav, item.reason) for item in bad)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def extra_speech(
    folders: Iterable[str | Path],
    kept_apart: Iterable[Utterance],
    *,
    max_bad_fraction: float = 0.01,
) -> list[Utterance]:
    """List the audio of some folders, none of which may be needed for validation or test.

    Parameters
    ----------
    folders : iterable of str or Path
        Searched recursively.
    kept_apart : iterable of Utterance
        What must not be trained on.
    max_bad_fraction : float
        How many files of a folder may be bad before the run stops.

    Returns
    -------
    list of Utterance
        In the folders' order, each sorted by path.

    Raises
    ------
    FileNotFoundError
        If there is no such folder.
    ValueError
        If a folder holds no audio, too many bad files, or a file that is kept apart.

    Examples
    --------
    >>> extra_speech([], [])
    []
    """
    apart = {Path(row.wav).resolve() for row in kept_apart}
    found: list[Utterance] = []
    for folder in folders:
        rows: Sequence[Utterance] = scan_audio_folder(
            folder, max_bad_fraction=max_bad_fraction
        ).utterances
        both = [row.wav for row in rows if Path(row.wav).resolve() in apart]
        if both:
            raise ValueError(
                f"{folder} is for training, but {len(both)} of its files are kept for validation "
                f"or test, such as {both[0]}"
            )
        found.extend(rows)
    return found
