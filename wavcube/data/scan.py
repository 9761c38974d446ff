"""Looking through audio files before training: what is there, how long it is, what is bad."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from wavcube.data.audio import inspect_audio
from wavcube.data.manifest import Utterance
from wavcube.data.speakers import speaker_of

__all__ = [
    "CORPUS_SUFFIXES",
    "BadFile",
    "Scan",
    "check_files",
    "find_audio",
    "scan_audio_folder",
    "utterance_at",
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
    :func:`~wavcube.data.speakers.speaker_of`. Hidden files and folders are passed over.

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
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    found: list[Path] = []
    for parent, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(parent, name)
            for name in names
            if name.lower().endswith(CORPUS_SUFFIXES) and not name.startswith(".")
        ]
    if not found:
        raise ValueError(f"{folder} holds no audio: no {' or '.join(CORPUS_SUFFIXES)} file in it")
    return sorted(found)


def _check_file(row: Utterance) -> Utterance | BadFile:
    try:
        duration = inspect_audio(row.wav).duration
    except (ValueError, OSError) as error:
        return BadFile(row.wav, str(error))
    if row.duration and abs(row.duration - duration) > _DURATION_TOLERANCE:
        reason = f"{row.wav} lasts {duration:.2f} s, but its manifest says {row.duration:.2f} s"
        return BadFile(row.wav, reason)
    return replace(row, duration=duration)


def utterance_at(path: Path, folder: Path, speaker_level: int | None = None) -> Utterance:
    """Name a file of a folder of audio as :func:`scan_audio_folder` does; nothing is read.

    Parameters
    ----------
    path : Path
        Of the file.
    folder : Path
        That was searched.
    speaker_level : int, optional
        See :func:`~wavcube.data.speakers.speaker_of`.

    Examples
    --------
    >>> utterance_at(Path("speech/ann/a.wav"), Path("speech")).ID
    'ann-a'
    """
    name = "-".join(path.relative_to(folder).with_suffix("").parts)
    return Utterance(name, 0.0, str(path), speaker_of(path, folder, speaker_level))
