"""One shard of features and its record: written complete, record last, and read again."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from functools import reduce
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wavcube.utils.files import read_json, write_atomically
from wavcube.utils.tensor_bytes import tensor_bytes

FORMAT, FORMAT_VERSION = "wavcube-features", 1
JOB, INDEX, BAD, SHARDS = "job.json", "index.safetensors", "bad.csv", "shards"

FileFormat = Literal["safetensors", "npy"]
Precision = Literal["float32", "float16"]
Computation = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Form:
    """How features are computed and stored.

    Attributes
    ----------
    shard_size : int
        Segments of a shard.
    batch_seconds : float
        Most that a batch holds, padding included; 0 computes each segment alone, so that its
        features are bit for bit those of the model for it by itself.
    precision : {"float32", "float16"}
        As which values are stored.
    file_format : {"safetensors", "npy"}
        Of the shards: a tensor for each segment, or one array of all frames.
    max_seconds : float, optional
        Longer segments are bad: each is computed whole, and memory may not suffice.
    computed_in : {"float32", "bfloat16"}
        In which matrices are multiplied.

    Raises
    ------
    ValueError
        If a size is out of range, or a choice is unknown.
    """

    shard_size: int = 256
    batch_seconds: float = 0.0
    precision: Precision = "float32"
    file_format: FileFormat = "safetensors"
    max_seconds: float | None = None
    computed_in: Computation = "float32"

    def __post_init__(self) -> None:
        if self.shard_size < 1:
            raise ValueError(f"a shard of {self.shard_size} segments: at least 1 is needed")
        if not 0 <= self.batch_seconds < float("inf"):
            raise ValueError(f"batches of {self.batch_seconds} s: give 0 or a number above it")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise ValueError(f"segments of at most {self.max_seconds} s: give a number above 0")
        choices = {"precision": Precision, "file_format": FileFormat, "computed_in": Computation}
        for name, known in choices.items():
            if getattr(self, name) not in get_args(known):
                raise ValueError(f"{name} {getattr(self, name)!r} is none of {get_args(known)}")


@dataclass(frozen=True)
class Description:
    """All that the bytes of a folder of features depend on, but for the audio itself.

    Attributes
    ----------
    model_hash : str
        Of the representation; of a latent the hash of what makes it.
    representation : str
        Its class.
    sample_rate : int
        Of the waveforms that it takes, in Hz.
    hop : int
        Samples per frame.
    shape : tuple of int
        Of one frame: `(C,)`, or `(S, C)` where there are several states.
    manifest_hash : str
        Of the segments: ids, recordings, places in them, durations and channels.
    num_segments : int
        Of the manifest.
    form : Form
        How they are computed and stored.
    """

    model_hash: str
    representation: str
    sample_rate: int
    hop: int
    shape: tuple[int, ...]
    manifest_hash: str
    num_segments: int
    form: Form

    @property
    def num_shards(self) -> int:
        """How many shards the segments fill."""
        return -(-self.num_segments // self.form.shard_size)

    def members(self, shard: int) -> range:
        """List the segments of a shard.

        Parameters
        ----------
        shard : int
            Its number.

        Returns
        -------
        range
            Their numbers in the manifest.
        """
        size = self.form.shard_size
        return range(shard * size, min((shard + 1) * size, self.num_segments))

    def save(self, folder: Path) -> None:
        """Write it to a folder of features.

        Parameters
        ----------
        folder : Path
            The folder; is made.
        """
        head = {"format": FORMAT, "format_version": FORMAT_VERSION}
        text = json.dumps({**head, **asdict(self)}, indent=1) + "\n"
        write_atomically(folder / JOB, text.encode())

    @classmethod
    def load(cls, folder: Path) -> Description:
        """Read that of a folder of features.

        Parameters
        ----------
        folder : Path
            The folder.

        Raises
        ------
        FileNotFoundError
            If it holds no features.
        ValueError
            If its description is of another version, or broken.
        """
        path = folder / JOB
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no features: `wavcube extract` writes them")
        found = read_json(path)
        _check_version(path, found)
        try:
            known = {field.name: found[field.name] for field in fields(cls)}
            form, shape = Form(**known["form"]), tuple(known["shape"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} does not describe features: {error}") from error
        return cls(**{**known, "form": form, "shape": shape})

    def differences(self, other: Description) -> list[str]:
        """List what differs from another, as text.

        Parameters
        ----------
        other : Description
            Of a folder that is there.

        Returns
        -------
        list of str
            Names, each with the other's value and this one's.
        """
        here = {**asdict(self), **asdict(self.form)}
        there = {**asdict(other), **asdict(other.form)}
        del here["form"]
        return [
            f"{name} is {there[name]} there, {value} here"
            for name, value in here.items()
            if there[name] != value
        ]


def _check_version(path: Path, found: object) -> None:
    if not isinstance(found, Mapping) or found.get("format") != FORMAT:
        raise ValueError(f"{path} does not describe features")
    version = found.get("format_version")
    if version != FORMAT_VERSION:
        raise ValueError(f"{path}: format version {version}, this wavcube reads {FORMAT_VERSION}")


def shard_path(folder: Path, number: int, file_format: FileFormat) -> Path:
    """Name a shard.

    Parameters
    ----------
    folder : Path
        Of the features.
    number : int
        From 0.
    file_format : {"safetensors", "npy"}
        Of the shards.

    Examples
    --------
    >>> shard_path(Path("out"), 7, "npy").as_posix()
    'out/shards/000007.npy'
    """
    return folder / SHARDS / f"{number:06d}.{file_format}"


@dataclass(frozen=True)
class ChannelStatistics:
    """What is known of some frames, in double precision.

    Attributes
    ----------
    count : int
        How many frames.
    mean : np.ndarray
        Of every channel, `[C]` or `[S, C]`.
    squares : np.ndarray
        Sums of squared deviations from the mean, of the same shape.

    Examples
    --------
    >>> parts = [np.array([[1.0], [2.0]]), np.array([[6.0]])]
    >>> whole = merge(ChannelStatistics.of(part) for part in parts)
    >>> whole.count, whole.mean, whole.std.round(4)
    (3, array([3.]), array([2.1602]))
    """

    count: int
    mean: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(cls, frames: np.ndarray) -> ChannelStatistics:
        """Measure frames.

        Parameters
        ----------
        frames : np.ndarray
            `[N, C]` or `[N, S, C]`, at least one.
        """
        exact = frames.astype(np.float64)
        mean = exact.mean(axis=0)
        return cls(len(frames), mean, np.square(exact - mean).sum(axis=0))

    @property
    def std(self) -> np.ndarray:
        """Standard deviation of every channel, over all frames (divided by their number)."""
        return np.sqrt(self.squares / self.count)


def merge(parts: Iterable[ChannelStatistics]) -> ChannelStatistics | None:
    """Put statistics of parts together, in the order given, which alone the last bits depend on.

    Parameters
    ----------
    parts : iterable of ChannelStatistics
        Of frames of one shape.

    Returns
    -------
    ChannelStatistics or None
        None of no parts.
    """
    known = list(parts)
    return reduce(_merge_two, known) if known else None


def _merge_two(first: ChannelStatistics, second: ChannelStatistics) -> ChannelStatistics:
    count = first.count + second.count
    step = second.mean - first.mean
    mean = first.mean + step * (second.count / count)
    between = np.square(step) * (first.count * second.count / count)
    return ChannelStatistics(count, mean, first.squares + second.squares + between)


class Row(NamedTuple):
    """One segment of a shard.

    Attributes
    ----------
    id : str
        Its name.
    start : int
        Its first frame among the shard's.
    frames : int
        How many it has.
    samples : int
        Of its waveform, at the model's rate.
    """

    id: str
    start: int
    frames: int
    samples: int


class Bad(NamedTuple):
    """A segment that was left out, and why."""

    id: str
    reason: str


class Computed(NamedTuple):
    """The features of one segment, `[N, C]` or `[N, S, C]`, and the samples of its waveform."""

    id: str
    features: Tensor
    samples: int


@dataclass(frozen=True)
class ShardRecord:
    """What a shard holds.

    Attributes
    ----------
    rows : tuple of Row
        Its segments, in the manifest's order.
    bad : tuple of Bad
        Those that it lacks.
    size : int
        Of its file, in bytes.
    sha256 : str
        Of its file.
    statistics : ChannelStatistics or None
        Of all its frames; None if there are none.
    """

    rows: tuple[Row, ...]
    bad: tuple[Bad, ...]
    size: int
    sha256: str
    statistics: ChannelStatistics | None

    def save(self, shard: Path) -> None:
        """Write it beside its shard.

        Parameters
        ----------
        shard : Path
            The shard's file.
        """
        text = json.dumps(vars(self), separators=(",", ":"), default=_as_plain_data) + "\n"
        write_atomically(shard.with_suffix(".json"), text.encode(), overwrite=True)

    @classmethod
    def load(cls, shard: Path) -> ShardRecord:
        """Read that of a shard.

        Parameters
        ----------
        shard : Path
            The shard's file.

        Raises
        ------
        FileNotFoundError
            If the shard, or its record, is not there.
        ValueError
            If the record is broken, or the shard has another size.
        """
        path = shard.with_suffix(".json")
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            statistics = found["statistics"]
            record = cls(
                tuple(Row(*row) for row in found["rows"]),
                tuple(Bad(*row) for row in found["bad"]),
                found["size"],
                found["sha256"],
                statistics and _parse_statistics(statistics),
            )
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a record of a shard: {error}") from error
        size = shard.stat().st_size
        if size != record.size:
            raise ValueError(f"{shard} has {size} bytes, its record says {record.size}")
        return record


def _as_plain_data(part: ChannelStatistics | np.ndarray) -> object:
    return part.tolist() if isinstance(part, np.ndarray) else vars(part)


def _parse_statistics(found: Mapping[str, Any]) -> ChannelStatistics:
    return ChannelStatistics(found["count"], np.array(found["mean"]), np.array(found["squares"]))


def write_shard(
    folder: Path,
    number: int,
    description: Description,
    computed: Sequence[Computed],
    bad: Sequence[Bad],
) -> None:
    """Write a shard and then its record, each complete or not at all.

    Parameters
    ----------
    folder : Path
        Of the features.
    number : int
        The shard's.
    description : Description
        Of the folder.
    computed : sequence of Computed
        Its segments in the manifest's order, as they are stored.
    bad : sequence of Bad
        Segments that are left out.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    rows: list[Row] = []
    start = 0
    for item in computed:
        rows.append(Row(item.id, start, len(item.features), item.samples))
        start += len(item.features)
    data = _shard_bytes(description, number, computed)
    path = shard_path(folder, number, description.form.file_format)
    write_atomically(path, data, overwrite=True)
    statistics = merge(ChannelStatistics.of(item.features.numpy()) for item in computed)
    digest = hashlib.sha256(data).hexdigest()
    ShardRecord(tuple(rows), tuple(bad), len(data), digest, statistics).save(path)


def _shard_bytes(description: Description, number: int, computed: Sequence[Computed]) -> bytes:
    if description.form.file_format == "safetensors":
        metadata = {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "model_hash": description.model_hash,
            "shard": str(number),
        }
        return tensor_bytes({item.id: item.features for item in computed}, metadata)
    dtype = getattr(torch, description.form.precision)
    nothing = torch.empty(0, *description.shape, dtype=dtype)
    file = io.BytesIO()
    np.save(file, torch.cat([nothing, *(item.features for item in computed)]).numpy())
    return file.getvalue()


def read_features(shard: Path, file_format: FileFormat, row: Row) -> Tensor:
    """Read one segment of a shard, and no more of the file than it needs.

    Parameters
    ----------
    shard : Path
        The shard's file.
    file_format : {"safetensors", "npy"}
        Of it.
    row : Row
        Which segment.

    Returns
    -------
    Tensor
        `[N, C]` or `[N, S, C]`.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is broken, or does not hold the segment.
    """
    if not shard.is_file():
        raise FileNotFoundError(f"there is no shard {shard}: `wavcube extract` makes it again")
    try:
        features = _read(shard, file_format, row)
    except (SafetensorError, ValueError, EOFError) as error:
        raise ValueError(f"{shard} is broken, or not of this index: {error}") from error
    if len(features) != row.frames:
        raise ValueError(
            f"{shard} does not match its index: {row.id!r} has {len(features)} frames there, "
            f"{row.frames} by the index"
        )
    return features


def _read(shard: Path, file_format: FileFormat, row: Row) -> Tensor:
    if file_format == "safetensors":
        with safe_open(shard, framework="pt") as file:
            return file.get_tensor(row.id)
    frames = np.load(shard, mmap_mode="r", allow_pickle=False)
    return torch.from_numpy(np.array(frames[row.start : row.start + row.frames]))


_COLUMNS = ("keys", "shards", "starts", "frames", "samples")


@dataclass(frozen=True)
class Index:
    """Where segments are, in 40 bytes for each.

    Attributes
    ----------
    columns : dict of str to np.ndarray
        Of all segments, sorted by "keys", digests of their ids; "shards", "starts", "frames" and
        "samples" are those of :class:`~wavcube.features.shards.Row`. int64.
    mean, std : Tensor
        Of every channel, double precision.
    """

    columns: dict[str, np.ndarray]
    mean: Tensor
    std: Tensor

    def find(self, name: str) -> tuple[int, Row]:
        """Look a segment up.

        Parameters
        ----------
        name : str
            Its id.

        Returns
        -------
        shard : int
            Number of its shard.
        row : Row
            Where it is in there.

        Raises
        ------
        KeyError
            If there is none.
        """
        keys, wanted = self.columns["keys"], _key(name)
        place = int(np.searchsorted(keys, wanted))
        if place == len(keys) or keys[place] != wanted:
            raise KeyError(f"no features of {name!r}: there never were any, or it was left out")
        shard, start, frames, samples = (int(self.columns[c][place]) for c in _COLUMNS[1:])
        return shard, Row(name, start, frames, samples)

    @classmethod
    def load(cls, folder: Path) -> Index:
        """Read that of a folder of features.

        Parameters
        ----------
        folder : Path
            The folder.

        Raises
        ------
        FileNotFoundError
            If there is none: the extraction is not complete.
        ValueError
            If it is broken.
        """
        path = folder / INDEX
        if not path.is_file():
            raise FileNotFoundError(
                f"{folder} is not complete: run `wavcube extract` with the same arguments again, "
                "it goes on where it stopped"
            )
        try:
            with safe_open(path, framework="pt") as file:
                if (file.metadata() or {}).get("format") != FORMAT:
                    raise ValueError(f"{path} is not an index of features")
                columns = {name: file.get_tensor(name).numpy() for name in _COLUMNS}
                return cls(columns, file.get_tensor("mean"), file.get_tensor("std"))
        except SafetensorError as error:
            raise ValueError(f"{path} is broken: {error}; `wavcube extract` makes it anew") from (
                error
            )


def write_index(folder: Path, records: Iterable[ShardRecord]) -> None:
    """Write what makes a folder of features complete: the list of bad segments, and the index.

    Parameters
    ----------
    folder : Path
        Of the features.
    records : iterable of ShardRecord
        Of all shards, in their order, on which the last bits of the statistics depend.

    Raises
    ------
    ValueError
        If two segments have one id, or there is none.
    OSError
        If it cannot be written.
    """
    parts: list[np.ndarray] = []
    statistics, bad = [], list[Bad]()
    for number, record in enumerate(records):
        rows = [(_key(row.id), number, row.start, row.frames, row.samples) for row in record.rows]
        parts.append(np.array(rows, np.int64).reshape(len(rows), len(_COLUMNS)))
        bad += record.bad
        if record.statistics is not None:
            statistics.append(record.statistics)
    whole = merge(statistics)
    if whole is None:
        raise ValueError(f"{folder} holds no features: every segment of the manifest is bad")
    table = np.concatenate(parts)
    table = table[np.argsort(table[:, 0], kind="stable")]
    if len(same := np.flatnonzero(table[1:, 0] == table[:-1, 0])):
        shards = table[same[0] : same[0] + 2, 1].tolist()
        raise ValueError(
            f"two segments, of shards {shards[0]} and {shards[1]}, have one id: ids must be unique"
        )
    _write_bad(folder / BAD, bad)
    tensors = {
        name: torch.from_numpy(np.ascontiguousarray(table[:, column]))
        for column, name in enumerate(_COLUMNS)
    }
    tensors |= {"mean": torch.from_numpy(whole.mean), "std": torch.from_numpy(whole.std)}
    metadata = {"format": FORMAT, "format_version": str(FORMAT_VERSION)}
    write_atomically(folder / INDEX, tensor_bytes(tensors, metadata), overwrite=True)


def _key(name: str) -> int:
    digest = hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)


def _write_bad(path: Path, bad: Iterable[Bad]) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("ID", "reason"))
    writer.writerows(bad)
    write_atomically(path, text.getvalue().encode(errors="surrogateescape"), overwrite=True)
