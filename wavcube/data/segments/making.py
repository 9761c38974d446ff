"""Making a manifest: of folders of audio, and of manifests in other forms, every row checked."""

from __future__ import annotations

import csv
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from speechbrain.dataio.audio_io import AudioInfo
from tqdm import tqdm

from wavcube.data.audio import inspect_audio
from wavcube.data.prepare import CORPUS_SUFFIXES, utterance_at
from wavcube.data.segments.audio import (
    _LOGGED,
    TOLERANCE,
    check_bad_fraction,
)
from wavcube.data.segments.batches import map_ahead
from wavcube.data.segments.collection import LINE_SUFFIXES, iterate_csv
from wavcube.data.segments.lines import BlockWriter, build_index, iterate_rows
from wavcube.data.segments.row import Segment, parse_row, write_row
from wavcube.data.segments.tars import find_shards
from wavcube.data.transcripts import read_transcripts_beside
from wavcube.utils.errors import one_line
from wavcube.utils.files import atomic_file, walk_files

__all__ = [
    "BadList",
    "Made",
    "make_manifest",
]

logger = logging.getLogger(__name__)


class BadList:
    r"""Lists what is bad in a CSV file, with the reasons; there is no file if nothing is.

    Parameters
    ----------
    path : Path
        The file, with the columns ID and reason. It appears when the `with` ends, also if it ends
        by an exception.

    Raises
    ------
    OSError
        At the end of the `with`, if the file cannot be written, on a full disk for example.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "bad.csv"
    >>> with BadList(path) as bad:
    ...     bad.add("a", "a.wav is damaged")
    >>> path.read_text()
    'ID,reason\na,a.wav is damaged\n'
    >>> bad.judge(50, 0.01)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: 1 of 50 rows are bad, and at most 1.00% may be; ...
    """

    def __init__(self, path: Path) -> None:
        self.path, self.count = path, 0
        self._first: list[str] = []

    def __enter__(self) -> BadList:
        self._atomic = atomic_file(self.path, overwrite=True)
        draft = self._atomic.__enter__()
        self._file = draft.open("w", newline="", encoding="utf-8", errors="backslashreplace")
        self._writer = csv.writer(self._file, lineterminator="\n")
        self._writer.writerow(["ID", "reason"])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            self._file.close()
        except OSError as failure:  # a full disk: no half of a list is left
            self._atomic.__exit__(type(failure), failure, failure.__traceback__)
            raise OSError(failure.errno, failure.strerror, str(self.path)) from failure
        self._atomic.__exit__(None, None, None)
        if not self.count:
            self.path.unlink()
        elif self.count > _LOGGED:
            logger.warning("%d left out, listed in %s", self.count, self.path)

    def add(self, name: str, reason: str) -> None:
        """List one.

        Parameters
        ----------
        name : str
            Its id.
        reason : str
            What is wrong with it.
        """
        self.count += 1
        if self.count <= _LOGGED:
            self._first.append(reason)
            logger.warning("left out: %s", reason)
        self._writer.writerow([name, reason])

    def judge(self, total: int, max_fraction: float) -> None:
        """Raise a ValueError if there are too many.

        Parameters
        ----------
        total : int
            Good and bad ones.
        max_fraction : float
            How many of them may be bad.
        """
        if self.count > max_fraction * total:
            raise ValueError(
                f"{self.count} of {total} rows are bad, and at most {max_fraction:.2%} may be; "
                f"{self.path} lists them: repair or remove them, or raise the limit "
                f"(max_bad_fraction); the first: {self._first[0]}"
            )


class Made(NamedTuple):
    """What :func:`make_manifest` has written.

    Attributes
    ----------
    rows : int
        Of the manifest.
    seconds : float
        Of all of them together.
    bad : int
        How many were left out.
    speakers : int
        Of the manifest, as far as they are known.
    """

    rows: int
    seconds: float
    bad: int
    speakers: int


def make_manifest(
    sources: Sequence[str | Path],
    out: str | Path,
    *,
    root: str | Path | None = None,
    speaker_level: int | None = None,
    max_bad_fraction: float = 0.01,
    overwrite: bool = False,
    progress: bool = False,
) -> Made:
    """Write a manifest in JSON lines, with its index, and check every row against its recording.

    A row whose recording is missing, damaged or too short is left out, and listed with the reason
    in `<out>.bad.csv`. Rows are gone through one by one: the number of them costs no memory.

    Parameters
    ----------
    sources : sequence of str or Path
        Folders of wav and flac files (a text file of the same name holds the transcript), CSVs, and
        JSON lines of ours or of Lhotse's cuts.
    out : str or Path
        Ends in .jsonl or, compressed, in .jsonl.gz.
    root : str or Path, optional
        Relative paths in manifests are relative to it; by default to each manifest's own folder.
    speaker_level : int, optional
        Of the speakers' folders; see :func:`~wavcube.data.manifest.speaker_of`.
    max_bad_fraction : float
        How many rows may be bad.
    overwrite : bool
        Replace an earlier manifest.
    progress : bool
        Show a bar.

    Returns
    -------
    Made
        Counts.

    Raises
    ------
    FileExistsError, FileNotFoundError
        If `out` exists, a source does not.
    ValueError
        If a source is of no such kind or is damaged, an id is there twice, no row is good or too
        many are bad. Nothing is left but the list of what is bad.
    OSError
        If it cannot be written, on a full disk for example.
    """
    out = Path(out)
    if not out.name.endswith(LINE_SUFFIXES):
        raise ValueError(f"{out} must end in {' or '.join(LINE_SUFFIXES)}")
    check_bad_fraction(max_bad_fraction)
    if speaker_level is not None and not any(Path(source).is_dir() for source in sources):
        raise ValueError(f"speaker_level {speaker_level} is for folders of audio, here is none")
    streams = [_stream(Path(source), root, speaker_level) for source in sources]
    final, listed = (out.with_name(out.name + ending) for ending in (".index", ".bad.csv"))
    with atomic_file(out, overwrite=overwrite) as draft:
        made = _write(streams, draft, listed, max_bad_fraction, progress)
        index = draft.with_name(f"{draft.name}.index")
        try:
            build_index(draft, index, progress)
        except ValueError as error:
            raise ValueError(str(error).replace(str(draft), str(out))) from error
        except OSError as error:
            if error.errno is None:
                raise
            raise OSError(error.errno, error.strerror, str(final)) from error
        # no index is ever beside another manifest; a missing one is made anew
        shutil.rmtree(final, ignore_errors=True)
    index.replace(final)
    return made


def _write(
    streams: Sequence[Iterator[Segment]],
    draft: Path,
    listed: Path,
    max_bad_fraction: float,
    progress: bool,
) -> Made:
    """Write the good rows to the draft and list the bad ones."""
    rows, seconds, speakers = 0, 0.0, set[str]()
    with draft.open("wb") as file, BadList(listed) as bad:
        packed = BlockWriter(file) if draft.suffix == ".gz" else None
        write = file.write if packed is None else packed.write
        everything = (segment for stream in streams for segment in stream)
        checked = map_ahead(_check, everything)
        for row in tqdm(checked, desc="checking rows", unit=" rows", disable=not progress):
            if isinstance(row, Segment):
                rows, seconds = rows + 1, seconds + row.duration
                speakers.add(row.speaker)
                write(f"{write_row(row, listed.parent)}\n".encode())
            else:
                segment, reason = row
                bad.add(segment.id, reason)
        if packed is not None:
            packed.close()
        file.flush()
        os.fsync(file.fileno())
    bad.judge(rows + bad.count, max_bad_fraction)
    return Made(rows, seconds, bad.count, len(speakers - {""}))


def _check(segment: Segment) -> Segment | tuple[Segment, str]:
    """Fill in the duration of a row, or tell what is wrong with it."""
    info = _inspected(segment.path)
    if isinstance(info, str):
        return segment, info
    if segment.channel is not None and segment.channel >= info.channels:
        return segment, (
            f"{segment.path}: channel {segment.channel} of {info.channels}, counted from 0"
        )
    lasts = info.duration
    end = segment.start + segment.duration
    if segment.start >= lasts or end > lasts + TOLERANCE:
        return segment, (
            f"{segment.path}: the segment goes from {segment.start:.2f} to {end:.2f} s, its "
            f"recording ends at {lasts:.2f} s"
        )
    return replace(segment, duration=segment.duration or lasts - segment.start)


# the segments of a recording follow each other
@lru_cache(maxsize=1024)
def _inspected(path: str) -> AudioInfo | str:
    """Look into a recording; the reason if it is bad."""
    try:
        return inspect_audio(path)
    except (ValueError, OSError) as error:
        return one_line(error)


def _stream(source: Path, root: str | Path | None, speaker_level: int | None) -> Iterator[Segment]:
    """Go through the rows of a source; what it is is settled at once."""
    if not source.exists():
        raise FileNotFoundError(f"there is no folder or manifest {source}")
    base = source.parent if root is None else Path(root)
    if source.name.endswith(LINE_SUFFIXES):
        return (parse_row(line, place, base) for _, place, line in iterate_rows(source))
    if source.suffix == ".csv":
        return (row for _, row in iterate_csv(source, base))
    if not source.is_dir():
        raise ValueError(
            f"{source} is neither a folder of audio nor a manifest ({', '.join(LINE_SUFFIXES)}, "
            ".csv)"
        )
    if find_shards(source):
        raise ValueError(f"{source} holds shards, which need no manifest: give the folder itself")
    return _walk(source, speaker_level)


def _walk(folder: Path, speaker_level: int | None) -> Iterator[Segment]:
    """Go through a folder's audio files, sorted within each folder."""
    found = False
    for path in walk_files(folder, CORPUS_SUFFIXES):
        found = True
        yield _from_path(path, folder, speaker_level)
    if not found:
        raise ValueError(f"{folder} holds no audio: no {' or '.join(CORPUS_SUFFIXES)} file in it")


def _from_path(path: Path, folder: Path, speaker_level: int | None) -> Segment:
    (row,) = read_transcripts_beside([utterance_at(path, folder, speaker_level)])
    return Segment(row.ID, 0.0, row.wav, 0.0, row.spk_id, row.wrd)
