"""Cutting a manifest's segments out into WebDataset shards: few large files, read in order or not.

A journal in the folder tells which shards are there: a job that was stopped writes the others. When
all is done it stays under another name.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import soundfile
from tqdm import tqdm

from wavcube.data.segments.audio import open_segment
from wavcube.data.segments.batches import map_ahead
from wavcube.data.segments.collection import Segments
from wavcube.data.segments.making import BadList
from wavcube.data.segments.tars import INDEX, JOURNAL, TarRows
from wavcube.utils.errors import one_line
from wavcube.utils.files import atomic_file, locked_folder, remove_drafts, sync, write_atomically

__all__ = ["Sharded", "write_shards"]

# the journal's name when all shards are there
DONE = "finished.jsonl"

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
    `bad.csv`. Each shard appears when it is complete. The same call again writes those that are
    missing, none if all is done.

    Parameters
    ----------
    segments : Segments
        The rows.
    out : str or Path
        A new folder, or that of an earlier call of the same.
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
    BlockingIOError
        If another process writes to it.
    ValueError
        If it was begun with other segments or holds tar files of others, or too many are bad.
    OSError
        If a file cannot be written, on a full disk for example.
    """
    if rows_per_shard < 1:
        raise ValueError(f"rows_per_shard must be 1 or more, not {rows_per_shard}")
    out, total = Path(out), len(segments)
    facts = {**segments.metadata(), "rows_per_shard": rows_per_shard}
    _check_free(out)
    with locked_folder(out):
        remove_drafts(out)  # of a killed job
        journal = _Journal(out, facts)
        _write_missing(segments, journal, rows_per_shard, max_bad_fraction, progress)
        with BadList(out / "bad.csv") as bad:
            for pair in journal.bad:
                bad.add(*pair)
        bad.judge(total, max_bad_fraction)
        rows = TarRows(out, progress, unfinished=True).index.rows  # makes the index
        if rows != total - bad.count:
            raise ValueError(
                f"the tar files of {out} hold {rows} segments, not the {total - bad.count} that "
                "were written: some are not of this job; choose another folder"
            )
        journal.finish()
    return Sharded(len(journal.shards), rows, bad.count)


def _check_free(folder: Path) -> None:
    content = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    content = [name for name in content if not name.startswith(".")]
    if folder.is_file() or (content and not {JOURNAL, DONE} & set(content)):
        raise FileExistsError(f"{folder} is not empty: choose another folder")


class _Journal:
    """What is done: a line for each complete shard, after one that tells of what."""

    def __init__(self, folder: Path, facts: dict[str, Any]) -> None:
        self.folder, self.path = folder, folder / JOURNAL
        self.shards: dict[int, list[list[str]]] = {}
        if (folder / DONE).is_file():
            self.path = folder / DONE
        if not self.path.is_file():
            write_atomically(self.path, f"{json.dumps(facts)}\n".encode())
            return
        # a line that a full disk or a kill has cut short tells of nothing
        whole = self.path.read_bytes().rpartition(b"\n")[0]
        noted, *lines = (json.loads(line) for line in whole.splitlines())
        if noted != json.loads(json.dumps(facts)):
            raise ValueError(
                f"{folder} was begun with other segments ({noted}, now {facts}): choose another "
                "folder, or remove it"
            )
        self.shards = {
            line["shard"]: line["bad"] for line in lines if self.shard(line["shard"]).is_file()
        }
        write_atomically(self.path, whole + b"\n", overwrite=True)

    def shard(self, number: int) -> Path:
        """Name a shard."""
        return self.folder / f"shard-{number:06d}.tar"

    @property
    def bad(self) -> list[list[str]]:
        """Id and reason of each that was left out so far."""
        return [pair for _, shard in sorted(self.shards.items()) for pair in shard]

    def check_bad(self, total: int, max_fraction: float) -> None:
        """Stop as soon as it is clear that there are too many."""
        bad = self.bad
        if len(bad) > max_fraction * total:
            raise ValueError(
                f"{len(bad)} of the {total} segments cannot be read, and at most "
                f"{max_fraction:.2%} may fail (max_bad_fraction); {self.path} lists them: repair "
                f"or remove them; the last: {bad[-1][1]}"
            )

    def reopen(self) -> None:
        """Say that shards are missing; the index goes, for it would tell of them."""
        self._rename(JOURNAL)
        shutil.rmtree(self.folder / INDEX, ignore_errors=True)

    def add(self, number: int, bad: list[_Bad]) -> None:
        """Note a shard down."""
        with self.path.open("ab") as file:
            file.write(f"{json.dumps({'shard': number, 'bad': bad})}\n".encode())
            file.flush()
            os.fsync(file.fileno())
        self.shards[number] = [list(pair) for pair in bad]

    def finish(self) -> None:
        """Say that all is done."""
        self._rename(DONE)

    def _rename(self, name: str) -> None:
        self.path = self.path.rename(self.folder / name)
        sync(self.folder)


def _write_missing(
    segments: Segments,
    journal: _Journal,
    rows_per_shard: int,
    max_bad_fraction: float,
    progress: bool,
) -> None:
    """Write the shards that are not there."""
    total = len(segments)
    spans = [
        range(first, min(total, first + rows_per_shard))
        for first in range(0, total, rows_per_shard)
    ]
    missing = [number for number in range(len(spans)) if number not in journal.shards]
    if missing:
        journal.reopen()
    there = total - sum(len(spans[number]) for number in missing)
    with tqdm(
        desc="writing shards", total=total, initial=there, unit=" rows", disable=not progress
    ) as bar:
        for number in missing:
            bad = _write_shard(segments, spans[number], journal.shard(number), bar)
            journal.add(number, bad)
            journal.check_bad(total, max_bad_fraction)


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
    sync(path.parent)
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
