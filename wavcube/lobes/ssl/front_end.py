"""The convolutional front end of transformers' encoders, in pieces where no gradient is wanted."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from wavcube.lobes.layers.modes import is_plain_inference

# 2 s at 50 Hz: the first convolution's output then stays in the cache
FRAMES_AT_ONCE = 100


def run_front_end(extractor: nn.Module, wavs: Tensor, hop: int, field: int) -> Tensor:
    """Turn waveforms into frames.

    A frame sees nothing but its own samples, so that pieces give the same as the whole, in a
    fraction of its memory. A GroupNorm over time is the exception: its input is never cut.

    Parameters
    ----------
    extractor : nn.Module
        transformers' `feature_extractor`.
    wavs : Tensor
        `[B, T]`.
    hop, field : int
        Samples between two frames, and those that a frame sees.

    Returns
    -------
    Tensor
        `[B, N, F]`, N = floor((T - field) / hop) + 1.
    """
    frames = (wavs.shape[1] - field) // hop + 1
    whole = frames <= FRAMES_AT_ONCE or _sees_everything(extractor) or not is_plain_inference()
    if whole:
        return _convolve(extractor, wavs)
    made: list[Tensor] = []  # one tensor, once its width is known
    for first in range(0, frames, FRAMES_AT_ONCE):
        last = min(first + FRAMES_AT_ONCE, frames)
        piece = _convolve(extractor, wavs[:, first * hop : (last - 1) * hop + field])
        if not made:
            made.append(piece.new_empty(len(wavs), frames, piece.shape[2]))
        made[0][:, first:last] = piece
    return made[0]


def _sees_everything(extractor: nn.Module) -> bool:
    return any(isinstance(module, nn.GroupNorm) for module in extractor.modules())


def _convolve(extractor: nn.Module, wavs: Tensor) -> Tensor:
    x = wavs[:, None]
    layers: Any = extractor.conv_layers
    # not extractor(wavs): in train mode that makes the waveform require gradients
    for layer in layers:
        x = layer(x)
    return x.transpose(1, 2)
