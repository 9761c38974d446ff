"""Latents on disk: a safetensors file that says which model made it and how long the sound was."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from wavcube.utils.files import atomic_file, sync, write_atomically
from wavcube.utils.tensor_bytes import tensor_bytes

SUFFIX = ".safetensors"
FORMAT, FORMAT_VERSION = "wavcube-latents", 1
TENSOR = "latents"


@dataclass(frozen=True)
class Latents:
    """The latents of one recording.

    Attributes
    ----------
    latents : Tensor
        `[N, D]`, floating point, on the CPU.
    num_samples : int
        Samples of the recording at ``sample_rate``; decoding gives as many.
    sample_rate : int
        Of the model, in Hz.
    frame_rate : float
        Latent frames per second.
    latent_hash : str
        Of the model that made them; see :func:`wavcube.release.folder.latent_hash`.

    Raises
    ------
    ValueError
        If the latents are not `[N, D]`, empty, not floating point or not finite.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.safetensors"
    >>> Latents(torch.zeros(2, 4), 640, 16000, 50.0, "abc").save(path)
    >>> Latents.load(path).num_samples
    640
    """

    latents: Tensor
    num_samples: int
    sample_rate: int
    frame_rate: float
    latent_hash: str

    def __post_init__(self) -> None:
        shape = list(self.latents.shape)
        if len(shape) != 2 or not self.latents.numel():
            raise ValueError(f"latents of a recording must be [frames, width], got {shape}")
        if not self.latents.is_floating_point():
            raise ValueError(f"latents must be floating point, got {self.latents.dtype}")
        bad = ~torch.isfinite(self.latents).all(dim=1)
        if bool(bad.any()):
            frame = int(bad.nonzero()[0])
            raise ValueError(f"latents hold NaN or infinite values, first in frame {frame}")
        if self.num_samples < 1:
            raise ValueError(f"latents of {self.num_samples} samples: at least 1 is needed")

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the file, complete or not at all; the same latents give the same bytes.

        Parameters
        ----------
        path : str or Path
            The file; missing folders are made.
        overwrite : bool
            Replace an existing file.

        Raises
        ------
        FileExistsError
            If the file exists and may not be replaced.
        """
        tensors = {TENSOR: self.latents.detach().cpu().contiguous()}
        write_atomically(path, tensor_bytes(tensors, self.metadata()), overwrite=overwrite)

    def metadata(self) -> dict[str, str]:
        """Give what the file says of them."""
        return {
            "format": FORMAT,
            "format_version": str(FORMAT_VERSION),
            "frame_rate": repr(float(self.frame_rate)),
            "latent_hash": self.latent_hash,
            "num_samples": str(self.num_samples),
            "sample_rate": str(self.sample_rate),
        }

    @classmethod
    def load(cls, path: str | Path) -> Latents:
        """Read a file that :meth:`save` wrote.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        Latents
            Its content, checked.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is broken, holds something else, or its values are not finite.
        """
        header = LatentHeader.read(path)
        try:
            return cls(
                header.frames(0, header.num_frames),
                header.num_samples,
                header.sample_rate,
                header.frame_rate,
                header.latent_hash,
            )
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error


@dataclass(frozen=True)
class LatentHeader:
    """What a file of latents says of itself; its frames are read when they are asked for.

    Attributes
    ----------
    path : Path
        The file.
    num_frames, width : int
        Of the latents.
    num_samples, sample_rate, frame_rate, latent_hash
        See :class:`Latents`.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.safetensors"
    >>> Latents(torch.zeros(5, 4), 1600, 16000, 50.0, "abc").save(path)
    >>> LatentHeader.read(path).frames(1, 3).shape
    torch.Size([2, 4])
    """

    path: Path
    num_frames: int
    width: int
    num_samples: int
    sample_rate: int
    frame_rate: float
    latent_hash: str

    @classmethod
    def read(cls, path: str | Path) -> LatentHeader:
        """Read all but the latents.

        Parameters
        ----------
        path : str or Path
            The file.

        Returns
        -------
        LatentHeader
            Checked.

        Raises
        ------
        FileNotFoundError
            If there is no such file.
        ValueError
            If it is broken or holds something else.
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no latents at {path}")
        try:
            with _open(path) as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise ValueError(f"{path} holds no latents: wavcube encode writes such files")
                shape = file.get_slice(TENSOR).get_shape()
        except SafetensorError as error:
            raise ValueError(f"{path} is not a complete file of latents: {error}") from error
        if len(shape) != 2:
            raise ValueError(f"{path}: latents of a recording must be [frames, width], got {shape}")
        try:
            num_frames, width = shape
            return cls(path, num_frames, width, *_facts(metadata))
        except KeyError as error:
            raise ValueError(f"{path}: metadata lacks {error}") from error
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def chunks(self, size: int = 3000) -> Iterator[Tensor]:
        """Read all frames in order, `[n, D]` with at most `size` at once.

        Raises
        ------
        ValueError
            At a value that is not finite.
        """
        for start in range(0, self.num_frames, size):
            chunk = self.frames(start, min(start + size, self.num_frames))
            bad = ~torch.isfinite(chunk).all(dim=1)
            if bool(bad.any()):
                frame = start + int(bad.nonzero()[0])
                raise ValueError(
                    f"{self.path} holds NaN or infinite values, first in frame {frame}"
                )
            yield chunk

    def frames(self, start: int, stop: int) -> Tensor:
        """Read frames `[stop - start, D]`, as stored."""
        # opened anew: what a mapping has read stays in memory as long as it is open
        with _open(self.path) as file:
            return file.get_slice(TENSOR)[start:stop].clone()


@contextmanager
def _open(path: Path) -> Iterator[safe_open]:
    with ExitStack() as stack:
        name = str(path)
        try:
            name.encode()
        except UnicodeEncodeError:  # safetensors takes no name that is not text
            name = f"/dev/fd/{stack.enter_context(path.open('rb')).fileno()}"
        yield stack.enter_context(safe_open(name, framework="pt"))


def _facts(metadata: Mapping[str, str]) -> tuple[int, int, float, str]:
    if int(metadata["format_version"]) != FORMAT_VERSION:
        raise ValueError(
            f"format version {metadata['format_version']}, this wavcube reads {FORMAT_VERSION}"
        )
    return (
        int(metadata["num_samples"]),
        int(metadata["sample_rate"]),
        float(metadata["frame_rate"]),
        metadata["latent_hash"],
    )


def write_latents(
    path: str | Path, chunks: Iterable[Tensor], num_frames: int, like: Latents, overwrite: bool
) -> None:
    """Write the file of :meth:`~wavcube.inference.latent_files.Latents.save`, chunk by chunk.

    Parameters
    ----------
    path : str or Path
        The file; it appears complete or not at all.
    chunks : iterable of Tensor
        Latents `[n, D]`, in order.
    num_frames : int
        Of all chunks.
    like : Latents
        Facts of the recording; of its latents only the width counts.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    ValueError
        If the chunks have another number of frames, or values that are not finite.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.safetensors"
    >>> like = Latents(torch.zeros(1, 4), 960, 16000, 50.0, "abc")
    >>> write_latents(path, [torch.zeros(2, 4), torch.ones(1, 4)], 3, like, False)
    >>> Latents.load(path).latents.shape
    torch.Size([3, 4])
    """
    with atomic_file(path, overwrite=overwrite) as draft, draft.open("wb") as file:
        file.write(_header(num_frames, like))
        written = 0
        for chunk in chunks:
            whole = replace(like, latents=chunk.detach().cpu().to(torch.float32))
            file.write(whole.latents.contiguous().numpy().tobytes())
            written += len(chunk)
        if written != num_frames:
            raise ValueError(f"{path}: {written} frames came of {num_frames}")
        file.flush()
        sync(draft)


def _header(num_frames: int, like: Latents) -> bytes:
    shape = [num_frames, like.latents.shape[1]]
    tensor = {"data_offsets": [0, shape[0] * shape[1] * 4], "dtype": "F32", "shape": shape}
    content = {"__metadata__": like.metadata(), TENSOR: tensor}
    header = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header
