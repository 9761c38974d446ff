"""The index of a folder of features: where each segment is, and the channels' statistics."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wavcube.features.layout import BAD, FORMAT, FORMAT_VERSION, INDEX
from wavcube.features.shards import Bad, Row, ShardRecord
from wavcube.features.statistics import merge
from wavcube.utils.atomic import write_atomically
from wavcube.utils.tensor_bytes import tensor_bytes

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
            raise KeyError(f"no features of {name!r}: it is no segment of theirs, or was left out")
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
                    raise ValueError(f"{path} is no index of features")
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
