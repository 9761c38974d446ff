"""Decoding latents that come in pieces: the state is an object of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from wavcube.lobes.decoder.causal_state import CausalState, UpsamplerState
from wavcube.lobes.decoder.decoder import AcousticDecoder
from wavcube.lobes.decoder.sliding import SlidingWindow

# 60 s at 50 Hz: six times the crops that the paper trains on
HISTORY = 3000


class DecoderStream:
    """Decode one utterance, or a batch of them in step, while its latents come.

    A convolutional decoder gives exactly what it gives of the whole. The paper's transformer
    differs by two things: its GroupNorm knows only what came so far, and frames older than the
    history are forgotten.

    Parameters
    ----------
    decoder : AcousticDecoder
        In eval mode.
    step : int
        Latent frames that are decoded at once: fewer for less delay, more for less work.
    history : int
        Latent frames that a causal transformer remembers.

    Examples
    --------
    >>> from wavcube.testing import tiny_decoder
    >>> stream = DecoderStream(tiny_decoder(), step=5)
    >>> pieces = [stream.push(torch.randn(1, 10, 8)) for _ in range(3)]
    >>> sum(piece.shape[1] for piece in [*pieces, stream.flush()]) == 30 * 320
    True
    """

    def __init__(self, decoder: AcousticDecoder, step: int = 25, history: int = HISTORY) -> None:
        self.decoder, self.step, self.history = decoder, step, history
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next latents are the first of another utterance."""
        self._causal: CausalState | None = None
        if self.decoder.context is not None:
            self._window = SlidingWindow(
                self.decoder, self.decoder.context, self.decoder.hop, self.step
            )
            return
        self._causal = CausalState(self.decoder.backbone, self.history)
        self._upsampler = UpsamplerState(self.decoder.backbone.upsampler)
        self._window = vocoder_window(self.decoder, self.step)

    @property
    def delay(self) -> int:
        """Latent frames that must have come before the first audio does."""
        scale = self.decoder.hop // self._window.scale
        return -(-(self._window.step + self._window.after) // scale)

    @torch.no_grad()
    def push(self, latents: Tensor) -> Tensor:
        """Take the next latents.

        Parameters
        ----------
        latents : Tensor
            `[B, n, D]` of any n, also 0.

        Returns
        -------
        Tensor
            The samples that are complete, `[B, m]`; often none.
        """
        if not latents.shape[1]:
            return latents.new_zeros(len(latents), 0)
        if self._causal is None:
            return self._window.push(latents)
        made = []
        for piece in latents.split(self.step, dim=1):
            coarse = self._upsampler.push(self._causal.push(piece))
            made.append(self._window.push(self._upsampler.normalise(coarse)))
        return torch.cat(made, dim=1)

    @torch.no_grad()
    def flush(self) -> Tensor:
        """Give the samples `[B, m]` that were waiting for more latents, and begin anew."""
        rest = self._window.flush()
        self.reset()
        return rest


def vocoder_window(decoder: AcousticDecoder, step: int) -> SlidingWindow:
    """Slide the vocoder and the head of a decoder on the paper's backbone over coarse frames.

    Parameters
    ----------
    decoder : AcousticDecoder
        On a CausalTransformerBackbone.
    step : int
        Latent frames of a run.

    Returns
    -------
    SlidingWindow
        From coarse frames `[B, m, input_dim]` to samples.
    """
    vocoder, head = decoder.backbone.vocoder, decoder.head
    before, after = (side + head.context for side in vocoder.context)
    step = step * decoder.backbone.upsampling
    return SlidingWindow(lambda coarse: head(vocoder(coarse)), (before, after), head.hop, step)
