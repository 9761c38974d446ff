"""Encoding a recording of any length, window by window."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wavcube.lobes.latent_codec import LatentCodec
from wavcube.lobes.layers.level import Level


@dataclass(frozen=True)
class Window:
    """Frames that are encoded together, and those of them that are kept.

    Attributes
    ----------
    first, last : int
        Frames that are kept, last exclusive.
    start, stop : int
        Frames that are encoded.
    """

    first: int
    last: int
    start: int
    stop: int


def plan_windows(frames: int, chunk: int, context: int) -> list[Window]:
    """Cover a recording by windows of one length, or by one where it is no longer than that.

    Parameters
    ----------
    frames : int
        Of the recording.
    chunk : int
        Frames that are kept of a window.
    context : int
        Frames before and after them that are encoded too. At the recording's ends there are none;
        there the window takes more on its other side.

    Returns
    -------
    list of Window
        In order.

    Raises
    ------
    ValueError
        If a chunk has no frame, or the context is negative.

    Examples
    --------
    >>> [(w.first, w.last, w.start, w.stop) for w in plan_windows(10, 4, 1)]
    [(0, 4, 0, 6), (4, 8, 3, 9), (8, 10, 4, 10)]
    """
    if chunk < 1 or context < 0:
        raise ValueError(
            f"a chunk of {chunk} frames with {context} frames of context: at least 1 and 0 are "
            "needed"
        )
    size, windows = chunk + 2 * context, []
    if frames <= size:
        return [Window(0, frames, 0, frames)]
    for first in range(0, frames, chunk):
        start = min(max(0, first - context), frames - size)
        windows.append(Window(first, min(first + chunk, frames), start, start + size))
    return windows


def sample_bounds(
    model: LatentCodec, windows: Sequence[Window], num_samples: int
) -> list[tuple[int, int]]:
    """Tell which samples the windows of a recording take.

    Parameters
    ----------
    model : LatentCodec
        Whose frames they are.
    windows : sequence of Window
        Of :func:`plan_windows`.
    num_samples : int
        Of the recording.

    Returns
    -------
    list of tuple of int
        First sample and last, exclusive.
    """
    last, hop = windows[-1].stop, model.hop
    return [
        (w.start * hop, num_samples if w.stop == last else min(w.stop * hop, num_samples))
        for w in windows
    ]


@torch.no_grad()
def encode_chunks(
    model: LatentCodec,
    waveforms: Iterator[Tensor],
    windows: Sequence[Window],
    level: Level | None,
) -> Iterator[Tensor]:
    """Encode windows and keep of each what is its own.

    Parameters
    ----------
    model : LatentCodec
        In eval mode.
    waveforms : iterator of Tensor
        Samples `[T]` of each window, on the model's device; see :func:`sample_bounds`.
    windows : sequence of Window
        Of :func:`plan_windows`.
    level : Level, optional
        Of the whole recording, for a model that normalises.

    Yields
    ------
    Tensor
        Latents `[1, n, D]`.
    """
    for window, wav in zip(windows, waveforms, strict=True):
        samples = torch.tensor([len(wav)], device=wav.device)
        frames = torch.tensor([window.stop - window.start], device=wav.device)
        latents = model.latents_of(wav[None], samples, frames, level)
        yield latents[:, window.first - window.start : window.last - window.start]
