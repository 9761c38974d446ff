"""Safetensors files written and read one tensor at a time, so that no model is in memory twice.

The format (github.com/huggingface/safetensors): eight bytes with the header's length, the header as
JSON, the tensors' bytes one after another.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable, Iterator, Mapping
from io import BufferedReader
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {name: dtype for dtype, name in _TYPES.items()}
_ALIGNMENT = 8
_LENGTH = struct.Struct("<Q")


class StoredWeights(Mapping[str, Tensor]):
    """Tensors of a complete safetensors file, each read when it is asked for.

    They are read and not mapped: of a mapping, all that was ever looked at stays in memory.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    FileNotFoundError
        When a tensor is asked for after the file was removed.
    ValueError
        When it was replaced.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "model.safetensors"
    >>> write_weights(path, {"a": torch.ones(2)}, torch.float16)["a"]
    tensor([1., 1.], dtype=torch.float16)
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        # checks that the file is complete
        with safe_open(path, framework="pt"):
            self._file = _identity(self.path)
        with path.open("rb") as file:
            (length,) = _LENGTH.unpack(file.read(_LENGTH.size))
            self._entries = json.loads(file.read(length))
        self._entries.pop("__metadata__", None)
        self._begin = _LENGTH.size + length

    def __getitem__(self, name: str) -> Tensor:
        entry = self._entries[name]
        tensor = torch.empty(entry["shape"], dtype=_DTYPES[entry["dtype"]])
        with self._open() as file:
            file.seek(self._begin + entry["data_offsets"][0])
            file.readinto(_as_bytes(tensor))
        return tensor

    def _open(self) -> BufferedReader:
        if not self.path.exists():
            raise FileNotFoundError(f"{self.path} is gone, and weights of it are still needed")
        if _identity(self.path) != self._file:
            raise ValueError(f"{self.path} was replaced after it was opened: load the model again")
        return self.path.open("rb")

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def _as_bytes(tensor: Tensor) -> memoryview:
    """See the memory of a tensor that is in one piece; numpy has not all of torch's types."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _identity(path: Path) -> tuple[int, int]:
    """Tell a file from one that took its place."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns


def write_weights(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    dtype: torch.dtype,
    done_with: Callable[[Tensor], None] | None = None,
) -> StoredWeights:
    """Write finite tensors as safetensors, converting one at a time.

    Parameters
    ----------
    path : str or Path
        The file.
    tensors : mapping of str to Tensor
        The weights. Integer tensors keep their type.
    dtype : torch.dtype
        Type of the floating point ones.
    done_with : callable, optional
        Called with each tensor of `tensors` once it is written, to let go of its memory.

    Returns
    -------
    StoredWeights
        What was stored.

    Raises
    ------
    ValueError
        If a value is not finite, or leaves the range of ``dtype``.
    OSError
        If the file cannot be written.
    """
    path = Path(path)
    types = {k: dtype if v.is_floating_point() else v.dtype for k, v in tensors.items()}
    # the widest first: every tensor then begins at a multiple of its type's size
    names = sorted(tensors, key=lambda name: (-types[name].itemsize, name))
    try:
        with path.open("wb") as file:
            file.write(_header(names, types, tensors))
            for name in names:
                tensor = tensors[name]
                stored = _converted(name, tensor.detach(), types[name])
                file.write(_as_bytes(stored))
                if done_with is not None:
                    done_with(tensor)
    except OSError as error:
        raise OSError(error.errno, f"cannot write: {error.strerror}", str(path)) from error
    return StoredWeights(path)


def _header(
    names: list[str], types: Mapping[str, torch.dtype], tensors: Mapping[str, Tensor]
) -> bytes:
    content: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name in names:
        begin, shape = end, list(tensors[name].shape)
        end = begin + math.prod(shape) * types[name].itemsize
        content[name] = {"dtype": _TYPES[types[name]], "shape": shape, "data_offsets": [begin, end]}
    text = json.dumps(content, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return _LENGTH.pack(len(text)) + text


def _converted(name: str, tensor: Tensor, dtype: torch.dtype) -> Tensor:
    """Bring a tensor to the CPU and its type, in one piece; what is not finite is refused."""
    tensor = tensor.to("cpu")
    if tensor.is_floating_point():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"weight {name} holds NaN or infinite values: nothing is written")
        tensor = tensor.to(dtype)
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"weight {name} leaves the range of {dtype}: write float32")
    return tensor.contiguous()
