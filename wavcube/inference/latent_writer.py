"""Latents of a recording of any length, written while they are made."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from wavcube.inference.latent_files import TENSOR, Latents
from wavcube.utils.atomic import atomic_file, sync


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
