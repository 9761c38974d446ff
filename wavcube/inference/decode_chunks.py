"""Decoding a recording of any length, chunk by chunk."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from wavcube.lobes.decoder.causal_state import CausalState, UpsamplerState
from wavcube.lobes.decoder.causal_transformer import CausalTransformerBackbone
from wavcube.lobes.decoder.decoder import AcousticDecoder
from wavcube.lobes.decoder.stream import HISTORY, DecoderStream, vocoder_window


@torch.no_grad()
def decode_chunks(
    decoder: AcousticDecoder, chunks: Iterable[Tensor], step: int, history: int = HISTORY
) -> Iterator[Tensor]:
    """Decode a recording of any length in bounded memory.

    Unlike :class:`DecoderStream` this knows the end: the GroupNorm of the paper's decoder gets the
    statistics of the whole, its input waiting in a file meanwhile (51 kB for a second).

    Parameters
    ----------
    decoder : AcousticDecoder
        In eval mode.
    chunks : iterable of Tensor
        Latents `[1, n, D]`, in order; some may be empty, but not all.
    step : int
        Latent frames that are decoded at once.
    history : int
        Latent frames that a causal transformer remembers.

    Yields
    ------
    Tensor
        Samples `[1, m]`.

    Examples
    --------
    >>> from wavcube.testing import tiny_decoder
    >>> latents = torch.randn(1, 60, 8)
    >>> made = decode_chunks(tiny_decoder(), latents.split(20, dim=1), step=20)
    >>> torch.cat(list(made), dim=1).shape
    torch.Size([1, 19200])
    """
    if decoder.context is None:
        yield from _decode_twice(decoder, chunks, step, history)
        return
    stream = DecoderStream(decoder, step, history)
    for chunk in chunks:
        yield stream.push(chunk)
    yield stream.flush()


def _decode_twice(
    decoder: AcousticDecoder, chunks: Iterable[Tensor], step: int, history: int
) -> Iterator[Tensor]:
    backbone: CausalTransformerBackbone = decoder.backbone
    causal, upsampler = CausalState(backbone, history), UpsamplerState(backbone.upsampler)
    window, width = vocoder_window(decoder, step), backbone.vocoder.input_dim
    with tempfile.TemporaryFile() as waiting:
        for chunk in chunks:
            for part in chunk.split(step, dim=1) if chunk.shape[1] else ():
                made = upsampler.push(causal.push(part))
                waiting.write(made.float().cpu().numpy().tobytes())
        del causal  # with its keys and values
        upsampler.finish()
        waiting.seek(0)
        size = step * backbone.upsampling * width * 4  # bytes of float32
        while block := waiting.read(size):
            coarse = torch.from_numpy(np.frombuffer(block, np.float32).copy()).view(1, -1, width)
            yield window.push(upsampler.normalise(coarse.to(made.device)))
    yield window.flush()


def fit_chunks(chunks: Iterable[Tensor], length: int) -> Iterator[Tensor]:
    """Cut or extend a waveform that comes in chunks `[1, m]` to a length, by silence.

    Examples
    --------
    >>> [chunk.tolist() for chunk in fit_chunks([torch.ones(1, 2), torch.ones(1, 2)], 3)]
    [[[1.0, 1.0]], [[1.0]]]
    """
    left, last = length, torch.zeros(1, 0)
    for chunk in chunks:
        last = chunk
        if chunk.shape[1] and left:
            yield chunk[:, :left]
            left -= min(left, chunk.shape[1])
    if left:
        yield last.new_zeros(1, left)  # where the others are
