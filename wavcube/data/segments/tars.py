"""WebDataset shards: tar files in which `key.flac` and `key.json` are one segment.

Every shard is gone through once; the index in the folder `<shards>/segments.index` then finds any
sample, which is read without what comes before it.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import soundfile
from tqdm import tqdm

from wavcube.data.segments.lines import (
    HASH,
    Index,
    group_of,
    one_at_a_time,
    open_index,
    write_index,
)
from wavcube.data.segments.row import RowsHash, Segment, UniqueNames, parse_row
from wavcube.data.sound_file import SoundFile
from wavcube.utils.files import AUDIO_SUFFIXES

__all__ = ["TarRows", "find_shards"]

INDEX = "segments.index"
# of a folder that `wavcube shard` has not finished
JOURNAL = "unfinished.jsonl"
# of a tar file: two empty blocks, filled up to a whole record
_LONGEST_END = 2 * tarfile.BLOCKSIZE + tarfile.RECORDSIZE
_COLUMNS = {
    "shards": "I",
    "headers": "Q",
    "offsets": "Q",
    "sizes": "Q",
    "texts": "Q",
    "text_sizes": "I",
    "durations": "f",
    "ends": "d",
    "groups": "I",
}


class TarRows:
    """The samples of a folder of shards.

    Parameters
    ----------
    folder : Path
        Of tar files.
    progress : bool
        Show a bar while the index is made, which happens once.
    unfinished : bool
        Do not ask whether all shards are there.

    Raises
    ------
    FileNotFoundError, ValueError, OSError
        See :func:`~wavcube.data.segments.open_segments`.
    """

    def __init__(self, folder: Path, progress: bool = False, unfinished: bool = False) -> None:
        if not unfinished and (folder / JOURNAL).exists():
            raise ValueError(
                f"{folder} is not finished ({JOURNAL}): give the `wavcube shard` command again"
            )
        self.folder, self.shards = folder, find_shards(folder)
        found = folder / INDEX
        index = open_index(found)
        if index is None:
            with one_at_a_time(found):
                index = open_index(found)  # another process may have made it meanwhile
                if index is None:
                    _build(self.shards, found, progress)
                    index = open_index(found)
        assert index is not None
        _check_source(self.shards, index)
        self.index = index

    @property
    def content_hash(self) -> str:
        """Hash of all rows."""
        return self.index.content_hash

    def row(self, number: int) -> Segment:
        """Read a row.

        Parameters
        ----------
        number : int
            From 0.

        Raises
        ------
        ValueError
            If no sample is where the index says.
        """
        at = {name: column[number].item() for name, column in self.index.columns.items()}
        path = self.shards[at["shards"]]
        with path.open("rb") as file:
            file.seek(at["headers"])
            try:
                with tarfile.open(fileobj=file, mode="r:") as archive:
                    member = archive.next()
            except tarfile.TarError:
                member = None
            span = at["offsets"], at["sizes"]
            if member is None or (member.offset_data, member.size) != span:
                raise ValueError(
                    f"the index {self.index.folder} does not match {path}: remove the index, and "
                    "it is made anew"
                )
            file.seek(at["texts"])
            told = file.read(at["text_sizes"])
        place = f"{path}, byte {at['texts']}"
        return _segment(_key(member.name), path, told, at["durations"], span, place)


class _Sample(NamedTuple):
    """The members of one key."""

    key: str
    audio: tarfile.TarInfo
    text: tarfile.TarInfo | None


def find_shards(folder: Path) -> list[Path]:
    """List a folder's tar files, sorted by name.

    Parameters
    ----------
    folder : Path
        To look into, not below it.

    Examples
    --------
    >>> find_shards(getfixture("tmp_path"))
    []
    """
    return sorted(path for path in folder.glob("*.tar") if not path.name.startswith("."))


def _build(shards: list[Path], folder: Path, progress: bool) -> None:
    source = {"shards": [[path.name, path.stat().st_size] for path in shards]}
    with (
        tqdm(desc="making the index", unit=" samples", disable=not progress) as bar,
        write_index(folder, source, _COLUMNS) as (table, draft, more),
        UniqueNames(draft / "names.bin", lambda: _ids(shards)) as names,
    ):
        end, rows = 0.0, RowsHash()
        for number, path in enumerate(shards):
            for segment, sample in _read_samples(path):
                end += segment.duration
                text = sample.text
                names.add(segment.id)
                rows.add(segment, path.name)
                table.append(
                    shards=number,
                    headers=sample.audio.offset,
                    offsets=sample.audio.offset_data,
                    sizes=sample.audio.size,
                    texts=0 if text is None else text.offset_data,
                    text_sizes=0 if text is None else text.size,
                    durations=segment.duration,
                    ends=end,
                    groups=group_of(segment),
                )
                bar.update()
        names.check()
        more |= {"form": "shards", "seconds": end, HASH: rows.hexdigest()}


def _ids(shards: list[Path]) -> Iterator[tuple[str, str]]:
    for path in shards:
        for segment, _ in _read_samples(path):
            yield str(path), segment.id


def _read_samples(path: Path) -> Iterator[tuple[Segment, _Sample]]:
    with path.open("rb") as file:
        for sample in _group(path):
            told = b""
            if sample.text is not None:
                file.seek(sample.text.offset_data)
                told = file.read(sample.text.size)
            span = (sample.audio.offset_data, sample.audio.size)
            place = f"{path}, sample {sample.key!r}"
            segment = _segment(sample.key, path, told, 0.0, span, place)
            if not segment.duration:
                file.seek(span[0])
                segment = _measured(segment, file.read(span[1]), place)
            yield segment, sample


def _group(path: Path) -> Iterator[_Sample]:
    """Put together what follows each other under one key."""
    key, audio, text = "", None, None
    for member in _members(path):
        if _key(member.name) != key:
            if audio is not None:
                yield _Sample(key, audio, text)
            key, audio, text = _key(member.name), None, None
        ending = f".{member.name[len(key) :].lstrip('.').lower()}"
        if ending == ".json":
            text = member
        elif ending in AUDIO_SUFFIXES:
            audio = member
    if audio is not None:
        yield _Sample(key, audio, text)


def _members(path: Path) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(path, "r:") as file:
            last = 0
            for member in file:
                last = member.offset_data + -(-member.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
                if member.isfile():
                    yield member
        with path.open("rb") as file:
            file.seek(last)
            rest = file.read(_LONGEST_END + 1)
        if rest[: 2 * tarfile.BLOCKSIZE] != bytes(2 * tarfile.BLOCKSIZE):
            raise tarfile.ReadError("the mark of its end is missing")
        if len(rest) > _LONGEST_END:
            raise tarfile.ReadError(
                f"from byte {last} on it is empty; if it was packed in larger records than tar's "
                f"{tarfile.RECORDSIZE} bytes, pack it anew"
            )
    except tarfile.TarError as error:
        raise ValueError(
            f"{path} is truncated or no tar file ({error}): copy it again, or move it away"
        ) from error


def _key(name: str) -> str:
    """Give WebDataset's key: the name up to the first dot of its last part."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def _segment(
    key: str, path: Path, told: bytes, duration: float, span: tuple[int, int], place: str
) -> Segment:
    row: dict[str, Any] = {}
    if told:
        try:
            row = json.loads(told)
        except ValueError as error:
            raise ValueError(f"{place}: its json is damaged ({error})") from error
        if not isinstance(row, dict):
            raise ValueError(f"{place}: its json is not an object in braces")
    known = {name: row[name] for name in ("id", "duration", "speaker", "text") if name in row}
    read = parse_row(json.dumps({"id": key, **known, "path": path.name}), place, path.parent)
    return Segment(
        read.id, read.duration or duration, read.path, 0.0, read.speaker, read.text, None, span
    )


def _measured(segment: Segment, data: bytes, place: str) -> Segment:
    try:
        with SoundFile(io.BytesIO(data)) as file:
            duration = file.frames / file.samplerate
    except soundfile.LibsndfileError as error:
        raise ValueError(f"{place}: its audio is damaged ({error.error_string})") from error
    return replace(segment, duration=duration)


def _check_source(shards: list[Path], index: Index) -> None:
    noted = dict(index.note["source"]["shards"])
    found = {path.name: path.stat().st_size for path in shards}
    if noted == found:
        return
    for name, size in found.items():
        if size < noted.get(name, 0):
            raise ValueError(
                f"{shards[0].parent / name} has {size} bytes, and had {noted[name]} when "
                f"{index.folder} was made: it is cut short, copy it again; of shards that `wavcube "
                "shard` wrote, remove it and the index and give that command again"
            )
    changed = [name for name in sorted(noted | found) if noted.get(name) != found.get(name)]
    raise ValueError(
        f"the index {index.folder} does not match its shards ({len(noted)} then, {len(found)} "
        f"now; {changed[0]} is new, gone or another): remove the index, and it is made anew"
    )
