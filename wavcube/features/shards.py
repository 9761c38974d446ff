"""One shard of features and its record: written complete, record last, and read again."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wavcube.features.layout import FORMAT, FORMAT_VERSION, Description, FileFormat, shard_path
from wavcube.features.statistics import ChannelStatistics, merge
from wavcube.utils.atomic import write_atomically
from wavcube.utils.tensor_bytes import tensor_bytes


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
        found = self.statistics
        content: dict[str, Any] = {
            "rows": self.rows,
            "bad": self.bad,
            "size": self.size,
            "sha256": self.sha256,
            "statistics": found
            and {
                "count": found.count,
                "mean": found.mean.tolist(),
                "squares": found.squares.tolist(),
            },
        }
        text = json.dumps(content, separators=(",", ":")) + "\n"
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
            raise ValueError(f"{path} is no record of a shard: {error}") from error
        size = shard.stat().st_size
        if size != record.size:
            raise ValueError(f"{shard} has {size} bytes, its record says {record.size}")
        return record


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
