"""Rows of a manifest in JSON lines: ours, and the cuts of Lhotse (LibriHeavy)."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = ["Segment", "parse_row", "write_row"]

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
    return json.dumps(row, ensure_ascii=False)


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
