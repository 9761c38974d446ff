"""What the inference class does with recordings of any length."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
import torch
from torch import Tensor

from wavcube.data.audio import LongAudio, WaveformInMemory, windows_of
from wavcube.data.checks import check_latents
from wavcube.inference.base import ReleasedModel, check_computed
from wavcube.lobes.decoder.causal_transformer import CausalTransformerBackbone
from wavcube.lobes.decoder.decoder import AcousticDecoder
from wavcube.lobes.decoder.stream import (
    HISTORY,
    CausalState,
    DecoderStream,
    UpsamplerState,
    vocoder_window,
)
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


def sample_bounds(hop: int, windows: Sequence[Window], num_samples: int) -> list[tuple[int, int]]:
    """Tell which samples the windows of a recording take.

    Parameters
    ----------
    hop : int
        Samples between two frames.
    windows : sequence of Window
        Of :func:`plan_windows`.
    num_samples : int
        Of the recording.

    Returns
    -------
    list of tuple of int
        First sample and last, exclusive.
    """
    last = windows[-1].stop
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


# seconds of a window that are kept, and those around them that the encoder hears too
CHUNK, CONTEXT = 40.0, 10.0
# seconds that are decoded at once
DECODED = 10.0


class LongForm(ReleasedModel):
    """Methods for long recordings, mixed into the inference class.

    Memory does not grow with the recording, beyond what is given and taken.
    """

    def encode_long(
        self,
        wav: Tensor,
        sample_rate: int | None = None,
        *,
        chunk_seconds: float = CHUNK,
        context_seconds: float = CONTEXT,
    ) -> Tensor:
        """Encode one recording window by window.

        The encoder attends over the whole recording, so that the latents differ from those of
        :meth:`encode_batch`; README.md says by how much. The level is that of the whole recording.

        Parameters
        ----------
        wav : Tensor
            `[T]` or `[1, T]`, floating point in about -1 to 1.
        sample_rate : int, optional
            Of ``wav``, in Hz; another rate than the model's is resampled.
        chunk_seconds, context_seconds : float
            What is kept of a window, and what is heard around it. A recording of no more than a
            window is encoded whole.

        Returns
        -------
        Tensor
            `[1, N, D]` with N = ceil(T / hop), on the model's device.

        Raises
        ------
        ValueError
            If it is not a recording, or a sample is not finite; if the chunk is shorter than a
            frame or the context negative.
        """
        wavs, _ = self.checked(wav, None, sample_rate)
        if len(wavs) != 1:
            raise ValueError(f"encode_long takes one recording, not {len(wavs)}")
        audio = WaveformInMemory(wavs[0])
        chunks = self._encoded(audio, chunk_seconds, context_seconds)
        return self._joined(chunks, self._lobe.num_frames(audio.num_samples))

    def decode_long(
        self, latents: Tensor, length: int | None = None, *, chunk_seconds: float = DECODED
    ) -> Tensor:
        """Decode the latents of one recording chunk by chunk, in bounded memory.

        Each chunk is decoded with the frames around it that its samples depend on: the result is
        that of :meth:`decode_batch`, to 1e-5. The paper's causal transformer depends on all that
        came before, of which it remembers 60 s here: what comes later differs from the whole.

        Parameters
        ----------
        latents : Tensor
            `[N, D]` or `[1, N, D]`.
        length : int, optional
            Samples wanted; by default frames times hop.
        chunk_seconds : float
            What is decoded at once; at least a frame.

        Returns
        -------
        Tensor
            `[1, length]`, on the model's device.

        Raises
        ------
        ValueError
            If they are not latents of this model, or cannot give so many samples; or if the chunk
            is shorter than a frame.
        """
        latents = torch.as_tensor(latents)
        latents = latents[None] if latents.dim() == 2 else latents
        check_latents(latents, self._lobe.latent_dim)
        if len(latents) != 1:
            raise ValueError(f"decode_long takes latents of one recording, not of {len(latents)}")
        frames = latents.shape[1]
        length = frames * self._lobe.hop if length is None else length
        step = self._frames_in(chunk_seconds)
        if step < 1:
            raise ValueError(
                f"chunk_seconds {chunk_seconds:g} is {step} frames: give at least "
                f"{1 / self._lobe.frame_rate:g} s"
            )
        made = self._decoded(latents.split(step, dim=1), frames, length, chunk_seconds)
        return self._joined(made, length)

    def decoder_stream(self, step_seconds: float = 0.5) -> LatentStream:
        """Decode latents while they come.

        Parameters
        ----------
        step_seconds : float
            What is decoded at once.

        Returns
        -------
        LatentStream
            With a state of its own; a model may have several.
        """
        return LatentStream(self, self._frames_in(step_seconds))

    @property
    def _lobe(self) -> LatentCodec:
        return self.mods.wavcube

    def _frames_in(self, seconds: float) -> int:
        return round(seconds * self._lobe.frame_rate)

    def _encoded(
        self,
        audio: LongAudio | WaveformInMemory,
        chunk_seconds: float = CHUNK,
        context_seconds: float = CONTEXT,
    ) -> Iterator[Tensor]:
        """Encode a recording to chunks `[1, n, D]`."""
        lobe, device = self._lobe, self._where
        kept, context = self._frames_in(chunk_seconds), self._frames_in(context_seconds)
        windows = plan_windows(lobe.num_frames(audio.num_samples), kept, context)
        bounds = sample_bounds(lobe.hop, windows, audio.num_samples)
        level = audio.level() if lobe.normalises else None
        waveforms = (wav.to(device) for wav in windows_of(audio.blocks(), bounds))
        for chunk in self._inferring(encode_chunks(lobe, waveforms, windows, level)):
            check_computed(chunk, "encoding this recording", chunk)
            yield chunk.float()

    def _decoded(
        self,
        chunks: Iterable[Tensor],
        frames: int,
        length: int,
        chunk_seconds: float = DECODED,
    ) -> Iterator[Tensor]:
        """Decode chunks `[1, n, D]` to samples `[1, m]`, `length` of them in all."""
        lobe, device = self._lobe, self._where
        if lobe.num_frames(length) != frames:
            raise ValueError(
                f"{length} samples make {lobe.num_frames(length)} frames, not {frames}"
            )
        given = (lobe.decoder_input(chunk.to(device).float()) for chunk in chunks)
        made = decode_chunks(lobe.decoder, given, self._frames_in(chunk_seconds))
        for chunk in fit_chunks(self._inferring(made), length):
            check_computed(chunk, "decoding these latents", chunk)
            yield chunk

    def _inferring(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Compute each chunk as a batch is computed; nothing of that lasts between them."""
        chunks = iter(chunks)
        while True:
            with torch.no_grad(), self.inference_ctx:
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield chunk

    def _joined(self, chunks: Iterable[Tensor], size: int) -> Tensor:
        """Put chunks along time in one tensor, without holding them twice."""
        rest = iter(chunks)
        first = next(rest)
        whole, done = first.new_empty(1, size, *first.shape[2:]), 0
        for chunk in chain([first], rest):
            whole[:, done : done + chunk.shape[1]] = chunk
            done += chunk.shape[1]
        return whole


class LatentStream:
    """Latents in, samples out; see :class:`~wavcube.lobes.decoder.stream.DecoderStream`.

    Parameters
    ----------
    model : LongForm
        Whose decoder is used.
    step : int
        Latent frames that are decoded at once.

    Examples
    --------
    >>> from wavcube.inference import WavCube
    >>> from wavcube.testing import tiny_wavcube
    >>> model = WavCube({"wavcube": tiny_wavcube()}, run_opts={"device": "cpu"})
    >>> stream = model.decoder_stream()
    >>> first, rest = stream.push(torch.randn(1, 40, 8)), stream.flush()
    >>> stream.delay_seconds, first.shape[1] + rest.shape[1]
    (0.62, 12800)
    """

    def __init__(self, model: LongForm, step: int) -> None:
        self.model = model
        self.state = DecoderStream(model._lobe.decoder, step)

    @property
    def delay_seconds(self) -> float:
        """Seconds of latents that must have come before the first sample does."""
        return self.state.delay / self.model._lobe.frame_rate

    def push(self, latents: Tensor) -> Tensor:
        """Take the next latents and give the samples that are complete.

        Parameters
        ----------
        latents : Tensor
            `[B, n, D]` of any n, also 0.

        Returns
        -------
        Tensor
            `[B, m]` on the model's device; often none.

        Raises
        ------
        ValueError
            If they have another shape, or are not finite.
        """
        model, latents = self.model, torch.as_tensor(latents)
        check_latents(latents, model._lobe.latent_dim, empty=True)
        with torch.no_grad(), model.inference_ctx:
            given = model._lobe.decoder_input(latents.to(model._where).float())
            return self.state.push(given)

    def flush(self) -> Tensor:
        """End the utterance: give its last samples `[B, m]`, and forget it."""
        with torch.no_grad(), self.model.inference_ctx:
            return self.state.flush()
