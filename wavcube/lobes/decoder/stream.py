"""Decoding latents that come in pieces: the state is an object of its own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from wavcube.lobes.decoder.causal_transformer import CausalTransformerBackbone, TransposedUpsampler
from wavcube.lobes.decoder.decoder import AcousticDecoder
from wavcube.lobes.decoder.rotary_transformer import rotary_table


class SlidingWindow:
    """Give piece by piece what a function gives of the whole.

    Each run covers `step` frames and, around them, the context that their results depend on; what
    the context itself gives is dropped. At the ends there is no context, as in the whole.

    Parameters
    ----------
    function : callable
        From frames `[B, n, C]` to `[B, n * scale]`.
    context : tuple of int
        Frames before and after a frame that its result depends on.
    scale : int
        Results per frame.
    step : int
        New frames of a run.

    Raises
    ------
    ValueError
        If the step is below 1.

    Examples
    --------
    >>> window = SlidingWindow(lambda x: x.sum(2), context=(1, 1), scale=1, step=2)
    >>> window.push(torch.ones(1, 4, 3)).shape, window.flush().shape
    (torch.Size([1, 2]), torch.Size([1, 2]))
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        context: tuple[int, int],
        scale: int,
        step: int,
    ) -> None:
        if step < 1:
            raise ValueError(f"a step of {step} frames: at least 1 is needed")
        self.function, self.scale, self.step = function, scale, step
        self.before, self.after = context
        self._frames: Tensor | None = None
        self._first = 0  # of the frames that are kept, counted from the beginning
        self._done = 0

    def push(self, frames: Tensor) -> Tensor:
        """Take frames `[B, n, C]` and give the results that are complete, `[B, m * scale]`."""
        kept = self._frames
        self._frames = frames if kept is None else torch.cat([kept, frames], dim=1)
        return self._run_until(self._end - self.after - self.step)

    def flush(self) -> Tensor:
        """Give the results that were waiting for more, `[B, m * scale]`."""
        return self._run_until(self._end - 1)

    @property
    def _end(self) -> int:
        return self._first + (0 if self._frames is None else self._frames.shape[1])

    def _run_until(self, last_start: int) -> Tensor:
        if self._frames is None:
            raise ValueError("nothing was pushed: there is nothing to flush")
        made: list[Tensor] = []
        while self._done <= last_start:
            made.append(self._run(self._frames, min(self._done + self.step, self._end)))
        if not made:
            return self._frames.new_zeros(len(self._frames), 0)
        return torch.cat(made, dim=1)

    def _run(self, frames: Tensor, stop: int) -> Tensor:
        """Give the results of the frames that are not done, before `stop`."""
        start = max(self._first, self._done - self.before)
        window = frames[:, start - self._first : stop + self.after - self._first]
        made = self.function(window)
        made = made[:, (self._done - start) * self.scale : (stop - start) * self.scale]
        self._done = stop
        first = max(self._first, self._done - self.before)
        # a copy: a view would keep all that was ever pushed
        self._frames, self._first = frames[:, first - self._first :].clone(), first
        return made


class CachedAttention:
    """Causal attention that remembers keys and values.

    Parameters
    ----------
    history : int
        Frames of the past that are kept.

    Examples
    --------
    >>> attend = CachedAttention(history=4)
    >>> q, k, v = torch.randn(3, 1, 2, 3, 4)
    >>> attend(q, k, v).shape, attend.past
    (torch.Size([1, 2, 3, 4]), 3)
    """

    def __init__(self, history: int) -> None:
        self.history = history
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    @property
    def past(self) -> int:
        """Frames that are remembered."""
        return 0 if self._keys is None else self._keys.shape[2]

    def __call__(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend from `[B, H, n, D]` to themselves and to what came before."""
        past, new = self.past, query.shape[2]
        if self._keys is not None and self._values is not None:
            key = torch.cat([self._keys, key], dim=2)
            value = torch.cat([self._values, value], dim=2)
        self._keys, self._values = (x[:, :, -self.history :] for x in (key, value))
        mask = torch.ones(new, past + new, dtype=torch.bool, device=query.device).tril(past)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=mask)


class CausalState:
    """The causal half of the backbone.

    What it gives equals :meth:`CausalTransformerBackbone.decode_causally` of everything as long as
    that is no longer than the history; beyond, a frame sees the last `history` ones.

    Parameters
    ----------
    backbone : CausalTransformerBackbone
        Whose layers are run.
    history : int
        Frames of the past that attention sees.

    Examples
    --------
    >>> from wavcube.testing import tiny_decoder
    >>> state = CausalState(tiny_decoder("transformer").backbone, history=100)
    >>> state.push(torch.randn(1, 3, 8)).shape
    torch.Size([1, 3, 16])
    """

    def __init__(self, backbone: CausalTransformerBackbone, history: int) -> None:
        if history < 1:
            raise ValueError(f"a history of {history} frames: at least 1 is needed")
        self.backbone = backbone
        self._position = 0
        self._attention = [CachedAttention(history) for _ in backbone.layers]

    def push(self, latents: Tensor) -> Tensor:
        """Map the next latents `[B, n, D]` to frames `[B, n, width]`."""
        backbone, count = self.backbone, latents.shape[1]
        head_dim = backbone.width // backbone.num_heads
        table = rotary_table(count, head_dim, latents.device, start=self._position)
        self._position += count
        hidden = backbone.embed(latents)
        for layer, attend in zip(backbone.layers, self._attention, strict=True):
            hidden = layer(hidden, table, attend)
        return backbone.norm(hidden)


class UpsamplerState:
    """The upsampler: its convolution exactly, its GroupNorm by the statistics of what came so far.

    Parameters
    ----------
    upsampler : TransposedUpsampler
        Whose weights are used.

    Examples
    --------
    >>> state = UpsamplerState(TransposedUpsampler(8, 4))
    >>> state.normalise(state.push(torch.randn(1, 3, 8))).shape
    torch.Size([1, 6, 4])
    """

    def __init__(self, upsampler: TransposedUpsampler) -> None:
        self.upsampler = upsampler
        self._last: Tensor | None = None
        self._count = 0
        self._sum = self._squares = torch.zeros((), dtype=torch.double)

    def push(self, x: Tensor) -> Tensor:
        """Map `[B, n, C]` to frames `[B, 2 n, output_dim]` before the norm, and count them."""
        made = self._convolve(x)[:, : x.shape[1] * self.upsampler.stride]
        self._last = x[:, -1:]
        self._add(made)
        return made

    def finish(self) -> None:
        """Count the one frame more that the convolution makes of the last input."""
        stride = self.upsampler.stride
        if self._last is None:
            raise ValueError("nothing was pushed: there is nothing to finish")
        self._add(self._convolve(self._last[:, :0])[:, : self.upsampler.kernel_size - stride])

    def normalise(self, made: Tensor) -> Tensor:
        """Apply the GroupNorm to frames `[B, m, output_dim]` by the statistics that are known."""
        norm = self.upsampler.norm
        mean = self._sum / self._count
        variance = (self._squares / self._count - mean.square()).clamp(min=0.0)
        scale = torch.rsqrt(variance + norm.eps)
        centred = (made.float() - mean.float()) * scale.float()
        return centred * norm.weight + norm.bias

    def _convolve(self, x: Tensor) -> Tensor:
        """Convolve new frames; those that the remembered one made alone are left out."""
        remembered = 0 if self._last is None else 1
        if self._last is not None:
            x = torch.cat([self._last, x], dim=1)
        made = self.upsampler.conv(x.transpose(1, 2)).transpose(1, 2)
        return made[:, remembered * self.upsampler.stride :]

    def _add(self, made: Tensor) -> None:
        self._count += made.shape[1] * made.shape[2]
        wide = made.double()
        self._sum = self._sum.to(wide.device) + wide.sum(dim=(1, 2), keepdim=True)
        self._squares = self._squares.to(wide.device) + wide.square().sum(dim=(1, 2), keepdim=True)


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
