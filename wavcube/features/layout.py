"""What is where in a folder of features, and what its bytes depend on.

``job.json`` is written first, then every shard with its record beside it (``shards/000000.json``
is there when ``shards/000000.safetensors`` is complete), then ``bad.csv`` and, last of all,
``index.safetensors``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Literal, get_args

from wavcube.utils.atomic import write_atomically

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
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path} is no JSON: {error}") from error
        _check_version(path, found)
        names = [f.name for f in fields(cls)]
        try:
            known = {name: found[name] for name in names}
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
