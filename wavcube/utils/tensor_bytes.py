"""Tensors as the bytes of a safetensors file: the same tensors always give the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping

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
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.dumps(json.loads(data[8:end]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + data[end:]
