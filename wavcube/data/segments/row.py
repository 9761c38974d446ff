"""Rows of a manifest in JSON lines: ours, and the cuts of Lhotse (LibriHeavy)."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

__all__ = [
    "RowsHash",
    "Segment",
    "hash_rows",
    "parse_row",
    "write_row",
]

Seconds = float


@dataclass(frozen=True)
class Segment:
    """A stretch of a recording: one row of a manifest.

    Attributes
    ----------
    id : str
        Unique name.
    duration : float
        In seconds; 0 when the manifest does not tell.
    path : str
        Of the recording, or of the tar file that it is in.
    start : float
        Where it begins in the recording, in seconds.
    speaker : str
        Empty when unknown.
    text : str
        Transcript; empty when unknown.
    channel : int, optional
        Which channel of the recording, from 0; by default their mean.
    member : tuple of int, optional
        First byte and number of bytes of the recording within a tar file.
    """

    id: str
    duration: Seconds
    path: str
    start: Seconds = 0.0
    speaker: str = ""
    text: str = ""
    channel: int | None = None
    member: tuple[int, int] | None = None


def parse_row(line: bytes | str, place: str, root: str | Path) -> Segment:
    """Read one line of a manifest.

    Our own form has the keys "id" and "path", and may have "start", "duration", "speaker", "text"
    and "channel". A Lhotse cut of one recording in a file is told by its "recording"; of
    LibriHeavy's two texts it is the book's, with case and punctuation.

    Parameters
    ----------
    line : bytes or str
        JSON.
    place : str
        For messages: the file and the line's number.
    root : str or Path
        Relative paths are relative to it.

    Returns
    -------
    Segment
        Of duration 0 if the line does not tell it.

    Raises
    ------
    ValueError
        If it is not JSON, or not such a row.

    Examples
    --------
    >>> parse_row('{"id": "a", "path": "a.flac", "duration": 2}', "line 1", "/speech")
    Segment(id='a', duration=2.0, path='/speech/a.flac', start=0.0, speaker='', text='', \
channel=None, member=None)
    """
    try:
        row = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{place}: it is not JSON ({error})") from error
    if not isinstance(row, dict):
        raise ValueError(f"{place}: a row is an object in braces, not {type(row).__name__}")
    if "recording" in row or "tracks" in row:
        row = _from_cut(row, place)
    path = _text(row, "path", place)
    return Segment(
        _text(row, "id", place),
        _seconds(row, "duration", place),
        str(Path(root) / path),
        _seconds(row, "start", place),
        _text(row, "speaker", place, ""),
        _text(row, "text", place, ""),
        _channel(row, place),
    )


def write_row(segment: Segment, root: str | Path) -> str:
    """Write a row in our own form.

    Parameters
    ----------
    segment : Segment
        Not within a tar file.
    root : str or Path
        The manifest's folder: a path within it is written relative to it, any other absolute.

    Returns
    -------
    str
        JSON, without the line's end.

    Examples
    --------
    >>> write_row(Segment("a", 2.0, "/speech/a.flac"), "/speech")
    '{"id": "a", "path": "a.flac", "start": 0.0, "duration": 2.0, "speaker": "", "text": ""}'
    """
    path = Path(segment.path).absolute()
    if path.is_relative_to(Path(root).absolute()):
        path = path.relative_to(Path(root).absolute())
    row: dict[str, Any] = {
        "id": segment.id,
        "path": path.as_posix(),
        "start": round(segment.start, 6),
        "duration": round(segment.duration, 6),
        "speaker": segment.speaker,
        "text": segment.text,
    }
    if segment.channel is not None:
        row["channel"] = segment.channel
    text = json.dumps(row, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:  # a file's name that is not text, whose bytes JSON spells out
        return json.dumps(row)
    return text


def _from_cut(cut: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Turn a cut into a row of our own form."""
    recording = cut.get("recording")
    if not isinstance(recording, Mapping):
        raise ValueError(f"{place}: a cut of several recordings ({cut.get('type')}) is not read")
    sources = recording.get("sources")
    if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], Mapping):
        raise ValueError(f"{place}: its recording must have one source, and has {sources!r:.80}")
    source = sources[0]
    if source.get("type") != "file":
        raise ValueError(f"{place}: its recording is a {source.get('type')!r}, only files are read")
    if recording.get("transforms"):
        raise ValueError(f"{place}: its recording has transforms, which are not applied here")
    told = [item for item in cut.get("supervisions") or [] if isinstance(item, Mapping)]
    texts = [_cut_text(item) for item in told]
    speakers = [item["speaker"] for item in told if item.get("speaker")]
    channel, channels = cut.get("channel"), source.get("channels")
    if isinstance(channels, list) and channel in channels:
        channel = channels.index(channel)
    return {
        **{key: cut[key] for key in ("id", "start", "duration") if key in cut},
        "path": source.get("source"),
        "text": " ".join(text for text in texts if text),
        "speaker": speakers[0] if speakers else "",
        "channel": channel if isinstance(channel, int) else None,
    }


def _cut_text(supervision: Mapping[str, Any]) -> str:
    text = supervision.get("text")
    if text:
        return str(text)
    texts = (supervision.get("custom") or {}).get("texts") or [""]
    return str(texts[0])


def _text(row: Mapping[str, Any], key: str, place: str, default: str | None = None) -> str:
    value = row.get(key, default)
    value = default if value is None else value
    if not isinstance(value, str) or (not value and default is None):
        raise ValueError(f"{place}: {key!r} must be a text, not {value!r}")
    return value


def _seconds(row: Mapping[str, Any], key: str, place: str) -> Seconds:
    value = row.get(key, 0.0)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    # a duration that is told must be above 0
    lowest_is_bad = key == "duration" and key in row and value == 0
    if not number or not math.isfinite(value) or value < 0 or lowest_is_bad:
        above = "above 0" if key == "duration" else "from 0 on"
        raise ValueError(f"{place}: {key!r} must be a number of seconds {above}, not {value!r}")
    return float(value)


def _channel(row: Mapping[str, Any], place: str) -> int | None:
    value = row.get("channel")
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{place}: 'channel' must be a whole number from 0 on, not {value!r}")
    return value


class RowsHash:
    """SHA-256 of which segments there are, fed one after the other, in their order.

    Of each it takes what decides which sound is meant: id, recording, place in it, channel. A
    change of a speaker or a text leaves it as it is.

    Examples
    --------
    >>> one, two = RowsHash(), RowsHash()
    >>> one.add(Segment("a", 2.0, "/here/a.wav", speaker="p1"), "a.wav")
    >>> two.add(Segment("a", 2.0, "/there/a.wav"), "a.wav")
    >>> one.hexdigest() == two.hexdigest()
    True
    """

    def __init__(self) -> None:
        self._digest = hashlib.sha256()

    def add(self, segment: Segment, recording: str) -> None:
        """Take the next one.

        Parameters
        ----------
        segment : Segment
            Of which the path is left out.
        recording : str
            The path, relative to what may be moved.
        """
        told = (segment.id, recording, segment.start, segment.duration, segment.channel)
        self._digest.update(repr(told).encode())

    def hexdigest(self) -> str:
        """Give the hash of all so far."""
        return self._digest.hexdigest()


def hash_rows(rows: Iterable[Segment], root: Path) -> str:
    """Hash segments that are in memory.

    Parameters
    ----------
    rows : iterable of Segment
        In their order.
    root : Path
        May be moved: paths within it count as relative to it, any other as they are.

    Examples
    --------
    >>> here, there = ([Segment("a", 2.0, f"/{name}/a.wav")] for name in ("here", "there"))
    >>> hash_rows(here, Path("/here")) == hash_rows(there, Path("/there"))
    True
    """
    found = RowsHash()
    for row in rows:
        path = Path(row.path)
        found.add(row, str(path.relative_to(root) if path.is_relative_to(root) else path))
    return found.hexdigest()


class UniqueNames:
    """Collect ids, and refuse two that are the same.

    Digests are kept in a file, which goes when the `with` ends.

    Parameters
    ----------
    path : Path
        The file to make.
    again : Callable
        Goes through all of them once more, as (place, id): to tell where the two are.

    Examples
    --------
    >>> rows = [("line 1", "a"), ("line 2", "b"), ("line 3", "a")]
    >>> with UniqueNames(getfixture("tmp_path") / "names", lambda: iter(rows)) as names:
    ...     for _, name in rows:
    ...         names.add(name)
    ...     names.check()
    Traceback (most recent call last):
    ...
    ValueError: line 3: the id 'a' is that of line 1 already; ids must be unique
    """

    def __init__(self, path: Path, again: Callable[[], Iterator[tuple[str, str]]]) -> None:
        self._path, self._again = path, again
        self._file = path.open("wb")

    def __enter__(self) -> UniqueNames:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()
        self._path.unlink(missing_ok=True)

    def add(self, name: str) -> None:
        """Take note of an id.

        Parameters
        ----------
        name : str
            The id.
        """
        self._file.write(
            hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
        )

    def check(self) -> None:
        """Raise a ValueError if two are the same; it says which and where."""
        self._file.flush()
        digests = np.fromfile(self._path, "<u8")
        order = np.argsort(digests, kind="stable")
        same = np.flatnonzero(digests[order][1:] == digests[order][:-1])
        for position in same:
            first, second = sorted(int(number) for number in order[position : position + 2])
            place, name = next(islice(self._again(), first, None))
            other, twin = next(islice(self._again(), second, None))
            if name == twin:  # not only their digests
                raise ValueError(
                    f"{other}: the id {name!r} is that of {place} already; ids must be unique"
                )
