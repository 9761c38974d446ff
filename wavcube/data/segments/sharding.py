"""Cutting a manifest's segments out into WebDataset shards: few large files, read in order or not.

A job that was stopped goes on with the shard that it was in; a journal in the folder tells how far
it came, and goes when all is done.
"""

from __future__ import annotations

import io
import json
import os
import tarfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import soundfile
from tqdm import tqdm

from wavcube.atomic import atomic_file, sync, write_atomically
from wavcube.data.segments.ahead import map_ahead
from wavcube.data.segments.audio import open_segment
from wavcube.data.segments.bad import BadList
from wavcube.data.segments.collection import Segments
from wavcube.data.segments.tars import JOURNAL, TarRows
from wavcube.messages import one_line

__all__ = ["Sharded", "write_shards"]

# what needs no more than 16 bits; lossy formats decode to noise below them
_SHALLOW = ("PCM_16", "PCM_S8", "PCM_U8", "ULAW", "ALAW", "VORBIS", "OPUS", "MPEG_LAYER_III")


class Sharded(NamedTuple):
    """What :func:`write_shards` has written.

    Attributes
    ----------
    shards, rows, bad : int
        How many; `bad` were left out.
    """

    shards: int
    rows: int
    bad: int


class _Sample(NamedTuple):
    """A segment as it goes into a shard."""

    number: int
    audio: bytes
    told: dict[str, Any]


class _Bad(NamedTuple):
    """A segment that does not."""

    name: str
    reason: str


def write_shards(
    segments: Segments,
    out: str | Path,
    *,
    rows_per_shard: int = 1000,
    max_bad_fraction: float = 0.01,
    progress: bool = False,
) -> Sharded:
    """Write each segment as `<row>.flac` and `<row>.json` into tar files, and their index.

    The audio keeps its rate, and 16 bits where the recording has no more (24 otherwise); several
    channels are averaged. A segment that cannot be read is left out, and listed with the reason in
    `bad.csv`. Each shard appears when it is complete. The same call again goes on.

    Parameters
    ----------
    segments : Segments
        The rows.
    out : str or Path
        A new folder, or one in which an earlier call was stopped.
    rows_per_shard : int
        Segments of a shard.
    max_bad_fraction : float
        How many may be unreadable.
    progress : bool
        Show a bar.

    Returns
    -------
    Sharded
        Counts.

    Raises
    ------
    FileExistsError
        If the folder holds something else.
    ValueError
        If it was begun with other segments, or too many are bad.
    OSError
        If a file cannot be written, on a full disk for example.
    """
    if rows_per_shard < 1:
        raise ValueError(f"rows_per_shard must be 1 or more, not {rows_per_shard}")
    out, total = Path(out), len(segments)
    journal = _Journal(out, {**segments.facts(), "rows_per_shard": rows_per_shard})
    bar = tqdm(total=total, desc="writing shards", unit=" rows", disable=not progress)
    with bar:
        bar.update(min(total, len(journal.shards) * rows_per_shard))
        for first in range(len(journal.shards) * rows_per_shard, total, rows_per_shard):
            numbers = range(first, min(total, first + rows_per_shard))
            path = out / f"shard-{first // rows_per_shard:06d}.tar"
            journal.add(_write_shard(segments, numbers, path, bar))
            journal.check_bad(total, max_bad_fraction)
    with BadList(out / "bad.csv") as bad:
        for pair in journal.bad:
            bad.add(*pair)
    bad.judge(total, max_bad_fraction)
    TarRows(out, progress, unfinished=True)  # makes the index
    journal.remove()
    return Sharded(len(journal.shards), total - bad.count, bad.count)


class _Journal:
    """What is done: a line for each complete shard, after one that tells of what."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.path = folder / JOURNAL
        self.shards: list[list[list[str]]] = []
        if not self.path.is_file():
            if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
                raise FileExistsError(f"{folder} is not empty: choose another folder")
            write_atomically(self.path, f"{json.dumps(facts)}\n".encode())
            return
        # a line that a full disk or a kill has cut short tells of nothing
        whole = self.path.read_bytes().rpartition(b"\n")[0]
        noted, *self.shards = (json.loads(line) for line in whole.splitlines())
        if noted != json.loads(json.dumps(facts)):
            raise ValueError(
                f"{folder} was begun with other segments ({noted}, now {facts}): choose another "
                "folder, or remove it"
            )
        write_atomically(self.path, whole + b"\n", overwrite=True)

    @property
    def bad(self) -> list[list[str]]:
        """Id and reason of each that was left out so far."""
        return [pair for shard in self.shards for pair in shard]

    def check_bad(self, total: int, max_fraction: float) -> None:
        """Stop as soon as it is clear that there are too many."""
        bad = self.bad
        if len(bad) > max_fraction * total:
            raise ValueError(
                f"{len(bad)} of the {total} segments cannot be read, and at most "
                f"{max_fraction:.2%} may fail (max_bad_fraction); {self.path} lists them: repair "
                f"or remove them; the last: {bad[-1][1]}"
            )

    def add(self, bad: list[_Bad]) -> None:
        """Note a shard down."""
        with self.path.open("ab") as file:
            file.write(f"{json.dumps(bad)}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        self.shards.append([list(pair) for pair in bad])

    def remove(self) -> None:
        """Say that all is done."""
        self.path.unlink()


def _write_shard(segments: Segments, numbers: range, path: Path, bar: tqdm) -> list[_Bad]:
    """Write a shard, and return what could not be."""
    bad: list[_Bad] = []
    with atomic_file(path, overwrite=True) as draft:
        with tarfile.open(draft, "w") as archive:
            for sample in map_ahead(partial(_cut_out, segments), numbers):
                bar.update()
                if isinstance(sample, _Bad):
                    bad.append(sample)
                    continue
                told = json.dumps(sample.told, ensure_ascii=False).encode()
                for ending, data in (("flac", sample.audio), ("json", told)):
                    member = tarfile.TarInfo(f"{sample.number:09d}.{ending}")
                    member.size = len(data)
                    archive.addfile(member, io.BytesIO(data))
        sync(draft)
    return bad


def _cut_out(segments: Segments, number: int) -> _Sample | _Bad:
    """Encode a segment."""
    segment = segments[number]
    try:
        with open_segment(segment) as opened:
            rate, subtype = opened.file.samplerate, opened.file.subtype
            wav = opened.read(0, opened.frames, rate)
    except (ValueError, OSError) as error:
        return _Bad(segment.id, one_line(error))
    audio = io.BytesIO()
    depth = "PCM_16" if subtype in _SHALLOW else "PCM_24"
    soundfile.write(audio, wav.numpy(), rate, format="FLAC", subtype=depth)
    told = {
        "id": segment.id,
        "duration": len(wav) / rate,
        "speaker": segment.speaker,
        "text": segment.text,
    }
    return _Sample(number, audio.getvalue(), told)
