"""Tensors as the bytes of a safetensors file: the same tensors always give the same bytes."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from typing import Any, BinaryIO

import safetensors.torch
from torch import Tensor


def tensor_bytes(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> bytes:
    """Serialise tensors.

    Parameters
    ----------
    tensors : Mapping
        By name; on the CPU, contiguous.
    metadata : Mapping, optional
        What the file says of itself.

    Returns
    -------
    bytes
        A whole file.

    Examples
    --------
    >>> import torch
    >>> data = tensor_bytes({"a": torch.zeros(2)}, {"x": "1", "y": "2"})
    >>> data == tensor_bytes({"a": torch.zeros(2)}, {"y": "2", "x": "1"})
    True
    """
    data = safetensors.torch.save(dict(tensors), dict(metadata) if metadata else None)
    # safetensors writes the header's metadata in another order each time
    header, end = read_header(io.BytesIO(data))
    return header_bytes(header, sort_keys=True) + data[end:]


def read_header(file: BinaryIO) -> tuple[dict[str, Any], int]:
    """Read what stands before the tensors in a safetensors file.

    Parameters
    ----------
    file : BinaryIO
        At its beginning.

    Returns
    -------
    dict
        Type, shape and place of every tensor by name, and what the file says of itself.
    int
        Where the tensors begin, from which their places count.

    Examples
    --------
    >>> read_header(io.BytesIO(header_bytes({"a": {}})))
    ({'a': {}}, 16)
    """
    length = int.from_bytes(file.read(8), "little")
    return json.loads(file.read(length)), 8 + length


def header_bytes(content: Mapping[str, object], sort_keys: bool = False) -> bytes:
    """Serialise what stands before the tensors in a safetensors file.

    Parameters
    ----------
    content : Mapping
        Type, shape and place of every tensor by name, and what the file says of itself.
    sort_keys : bool
        Write names in alphabetical order, and not in that of the mapping.

    Returns
    -------
    bytes
        The header's length and the header, filled up to a multiple of 8 bytes.

    Examples
    --------
    >>> header_bytes({"a": {}})[8:]
    b'{"a":{}}'
    """
    header = json.dumps(content, sort_keys=sort_keys, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header
