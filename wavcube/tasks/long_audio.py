"""Recordings of any length through a model of waveforms: windows, joined where they overlap."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from wavcube.data.audio import LongAudio, windows_of
from wavcube.inference.long_form import CHUNK, CONTEXT, plan_windows

__all__ = ["predict_long"]

# seconds in which one window fades into the next
_FADE = 1.0


@torch.no_grad()
def predict_long(
    predict: Callable[[Tensor], Tensor],
    audio: LongAudio,
    chunk_seconds: float = CHUNK,
    context_seconds: float = CONTEXT,
) -> Iterator[Tensor]:
    """Run a model window by window, in memory that does not grow with the recording.

    Each window is heard with what stands around it, and fades into the next one in the middle of
    what both have heard. Sources keep their order: those of a window are assigned to those of the
    one before by their correlation in what both have heard.

    Parameters
    ----------
    predict : Callable
        From a waveform `[T]` to the sources `[T, S]`.
    audio : LongAudio
        The recording.
    chunk_seconds, context_seconds : float
        What is kept of a window, and what is heard around it; at least a fade of 1 s.

    Yields
    ------
    Tensor
        `[n, S]`, in order, on the CPU.

    Examples
    --------
    >>> from wavcube.data.audio import WaveformInMemory
    >>> audio = WaveformInMemory(torch.randn(20 * 100))
    >>> audio.sample_rate = 100
    >>> made = predict_long(lambda wav: torch.stack([wav, -wav], 1), audio, 4.0, 1.0)
    >>> torch.allclose(torch.cat(list(made))[:, 0], audio.wav, atol=1e-6)
    True
    """
    rate, total = audio.sample_rate, audio.num_samples
    chunk, context, half = (round(s * rate) for s in (chunk_seconds, context_seconds, _FADE / 2))
    chunk = math.ceil(total / max(1, round(total / chunk)))
    windows = plan_windows(total, chunk, context)
    waveforms = windows_of(audio.blocks(), [(window.start, window.stop) for window in windows])
    fade = torch.linspace(0.0, 1.0, 2 * half)[:, None]
    before, start = torch.zeros(0), 0  # what the last window made, and where it begins
    for window, wav in zip(windows, waveforms, strict=True):
        made = predict(wav).cpu()
        begin = window.first
        if window.first:
            shared = before[window.start - start :]
            made = made[:, _same_order(shared, made[: len(shared)])]
            begin = window.first + half
            own = made[window.first - half - window.start : begin - window.start]
            last = before[window.first - half - start : begin - start]
            yield last + fade * (own - last)
        end = window.last - half if window.last < total else total
        yield made[begin - window.start : end - window.start]
        before, start = made, window.start


def _same_order(before: Tensor, after: Tensor) -> Tensor:
    """Assign the sources of a window to those of the one before, by what both have heard."""
    _, order = linear_sum_assignment((before.T @ after).numpy(), maximize=True)
    return torch.from_numpy(order)
