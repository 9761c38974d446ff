"""A model's encoder and decoder as graphs of plain tensors, for :mod:`wavcube.onnx.export`.

They compute what the lobes compute of a batch without padding, with shapes that may all change:
attention over a window is a mask over everything here, and the log-mel front end a convolution with
the sines and cosines of its transform.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavcube.lobes.bottleneck import VariationalBottleneck
from wavcube.lobes.decoder.causal_transformer import CausalTransformerBackbone
from wavcube.lobes.decoder.decoder import MAX_MAGNITUDE
from wavcube.lobes.decoder.local_vocoder import LocalVocoder
from wavcube.lobes.decoder.rotary_transformer import rotary_table
from wavcube.lobes.layers.level import VARIANCE_FLOOR
from wavcube.lobes.ssl.encoder import SSLEncoder, run_layers
from wavcube.lobes.ssl.filterbank_wavlm import LogMelFrontEnd
from wavcube.lobes.ssl.transformer import RelativeTransformer
from wavcube.lobes.wavcube import WavCube


class LogMelGraph(nn.Module):
    """A :class:`~wavcube.lobes.ssl.filterbank_wavlm.LogMelFrontEnd` without complex numbers.

    Parameters
    ----------
    front : LogMelFrontEnd
        The original.

    Examples
    --------
    >>> front, wavs = LogMelFrontEnd(num_mel_bins=4), torch.randn(1, 640)
    >>> torch.allclose(LogMelGraph(front)(wavs), front(wavs), atol=1e-4)
    True
    """

    waves: Tensor

    def __init__(self, front: LogMelFrontEnd) -> None:
        super().__init__()
        self.front = front
        time = torch.arange(front.window_size, dtype=torch.float64)
        bins = torch.arange(front.n_fft // 2 + 1, dtype=torch.float64)
        angles = 2 * math.pi / front.n_fft * torch.outer(bins, time)
        waves = torch.cat([angles.cos(), angles.sin()]) * front.window.double()
        self.register_buffer("waves", waves.float()[:, None], persistent=False)

    def forward(self, wavs: Tensor) -> Tensor:
        """Map `[B, T]` to `[B, N, F]`."""
        front = self.front
        side = (front.window_size - front.hop) // 2
        spectrum = F.conv1d(wavs[:, None], self.waves, stride=front.hop, padding=side)
        real, imaginary = spectrum.transpose(1, 2).chunk(2, dim=-1)
        magnitude = (real.square() + imaginary.square()).sqrt()
        energies = torch.log((magnitude @ front.bank).clamp(min=front.FLOOR))
        normalised = (energies - front.CENTRE) / front.SPREAD
        width = front.stacked_frames * front.bank.shape[1]
        return normalised.reshape(normalised.shape[0], -1, width)


class ConvolutionsGraph(nn.Module):
    """The convolutional front end of a WavLM, HuBERT or wav2vec2.

    Parameters
    ----------
    extractor : nn.Module
        transformers' feature extractor.
    """

    layers: nn.ModuleList

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        self.add_module("layers", extractor.get_submodule("conv_layers"))

    def forward(self, wavs: Tensor) -> Tensor:
        """Map `[B, T]` to `[B, N, F]`."""
        x = wavs[:, None]
        for layer in self.layers:
            x = layer(x)
        return x.transpose(1, 2)


class RelativeAttentionGraph(nn.Module):
    """The attention that all layers of a :class:`RelativeTransformer` share, for any length.

    Parameters
    ----------
    stack : RelativeTransformer
        With at least one layer.
    """

    biases: Tensor

    def __init__(self, stack: RelativeTransformer) -> None:
        super().__init__()
        attention: Any = stack[0].attention
        # further away every distance has the bias of the furthest
        self.reach, self.window = attention.max_distance, stack.window
        biases = attention._biases(self.reach + 1).detach()
        self.register_buffer("biases", biases.clone(), persistent=False)

    def plan(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        """Give bias `[H, N, N]` and mask `[N, N]`, True where a key is seen, for `[B, N, C]`."""
        position = torch.arange(x.shape[1], device=x.device)
        distance = position[None, :] - position[:, None]
        bias = self.biases[:, distance.clamp(-self.reach, self.reach) + self.reach]
        return bias, None if self.window is None else distance.abs() <= self.window

    def attend(
        self,
        plan: tuple[Tensor, Tensor | None],
        query: Tensor,
        key: Tensor,
        value: Tensor,
        gate: Tensor,
    ) -> Tensor:
        """Attend; see :class:`~wavcube.lobes.ssl.transformer.GlobalAttention`."""
        bias, seen = gate * plan[0], plan[1]
        if seen is not None:
            bias = bias.masked_fill(~seen, float("-inf"))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)


class TransformerGraph(nn.Module):
    """A stack of an SSL encoder's layers, for any length.

    Parameters
    ----------
    layers : nn.ModuleList
        RelativeTransformer, or layers of transformers.
    """

    def __init__(self, layers: nn.ModuleList) -> None:
        super().__init__()
        self.layers = layers
        self.attention: RelativeAttentionGraph | None = None
        if isinstance(layers, RelativeTransformer) and len(layers):
            self.attention = RelativeAttentionGraph(layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Give the input and every layer's output, `[B, N, C]` each."""
        attention = self.attention
        if attention is None:
            return run_layers(self.layers, x, None)
        states, plan = [x], attention.plan(x)
        for layer in self.layers:
            states.append(layer(states[-1], lambda *heads: attention.attend(plan, *heads)))
        return states


class EncoderGraph(nn.Module):
    """Waveforms without padding to latents.

    Parameters
    ----------
    model : WavCube
        In eval mode.

    Examples
    --------
    >>> from wavcube.testing import tiny_wavcube
    >>> model, wavs = tiny_wavcube(), torch.randn(2, 1000)
    >>> with torch.no_grad():
    ...     torch.allclose(EncoderGraph(model)(wavs), model.encode(wavs)[0], atol=1e-5)
    True
    """

    def __init__(self, model: WavCube) -> None:
        super().__init__()
        self.model = model
        extractor = model.encoder.model.feature_extractor
        kind = LogMelGraph if isinstance(extractor, LogMelFrontEnd) else ConvolutionsGraph
        self.front = kind(extractor)
        self.ssl_layers = TransformerGraph(model.encoder.model.encoder.layers)
        self.layers = TransformerGraph(model.bottleneck.semantic_encoder.layers)

    def forward(self, wavs: Tensor) -> Tensor:
        """Map `[B, T]` to `[B, N, D]`."""
        model = self.model
        wavs, frames = self._prepare(model.encoder, wavs)
        front = self.front(wavs)[:, :frames]
        states = self._states(model.encoder, front)
        feature = states[-1] if model.layer_mix is None else model.layer_mix(states)
        side = model.bottleneck.semantic_encoder
        latents = side.projection(self.layers(feature)[-1])
        if isinstance(model.bottleneck, VariationalBottleneck):
            latents = model.bottleneck.mean(latents)
        if model.acoustic_skip is not None:
            latents = latents + model.acoustic_skip(front)
        return latents if model.latent_basis is None else model.latent_basis(latents)

    def _prepare(self, encoder: SSLEncoder, wavs: Tensor) -> tuple[Tensor, int]:
        """Normalise, and extend to the samples that the frames take; give those frames too."""
        samples, one, hop = wavs.shape[1], encoder.num_samples_for(1), encoder.hop
        if encoder.do_normalize:
            centred = wavs - wavs.mean(1, keepdim=True)
            variance = centred.square().mean(1, keepdim=True)
            wavs = centred / torch.sqrt(variance + VARIANCE_FLOOR)
        if self.model.official_framing:
            return wavs, (samples - one) // hop + 1
        frames = (samples + hop - 1) // hop
        # what a front end reads beyond its last frame's hop
        return F.pad(wavs, (0, frames * hop + one - hop - samples)), frames

    def _states(self, encoder: SSLEncoder, front: Tensor) -> list[Tensor]:
        """Run the SSL encoder behind its front end, as :meth:`SSLEncoder.forward` does."""
        projected = encoder.model.feature_projection(front)
        x = projected[0] if isinstance(projected, tuple) else projected
        body = encoder.model.encoder
        x = x + body.pos_conv_embed(x)
        pre_norm = getattr(encoder.model.config, "do_stable_layer_norm", False)
        states = self.ssl_layers(x if pre_norm else body.layer_norm(x))
        if encoder.post_norm is not None:
            return [*states[:-1], encoder.post_norm(states[-1])]
        return [*states[:-1], body.layer_norm(states[-1])] if pre_norm else states


class DecoderGraph(nn.Module):
    """Latents without padding to the magnitude and the phase of a short-time spectrum.

    Parameters
    ----------
    model : WavCube
        In eval mode.

    Examples
    --------
    >>> from wavcube.testing import tiny_wavcube
    >>> magnitude, phase = DecoderGraph(tiny_wavcube())(torch.randn(2, 5, 8))
    >>> magnitude.shape == phase.shape == (2, 10, 321)
    True
    """

    def __init__(self, model: WavCube) -> None:
        super().__init__()
        self.model = model

    def forward(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """Map `[B, N, D]` to two `[B, M, F]`."""
        backbone, head = self.model.decoder.backbone, self.model.decoder.head
        if self.model.latent_basis is not None:
            latents = self.model.latent_basis.invert(latents)
        if isinstance(backbone, CausalTransformerBackbone):
            coarse = backbone.upsampler(backbone.decode_causally(latents))
            hidden = self._local(backbone.vocoder, coarse)
        else:
            hidden, _ = backbone(latents)
        log_magnitude, phase = head.out(hidden).chunk(2, dim=-1)
        return log_magnitude.clamp(max=math.log(MAX_MAGNITUDE)).exp(), phase

    def _local(self, vocoder: LocalVocoder, coarse: Tensor) -> Tensor:
        position = torch.arange(coarse.shape[1], device=coarse.device)
        distance = position[None, :] - position[:, None]
        back, ahead = vocoder.window
        seen = (distance >= -back) & (distance <= ahead)

        def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return F.scaled_dot_product_attention(query, key, value, attn_mask=seen)

        table = rotary_table(coarse.shape[1], vocoder.dim // vocoder.num_heads, coarse.device)
        hidden = vocoder.embed(coarse)
        for layer in vocoder.layers:
            hidden = layer(hidden, table, attend)
        return vocoder.norm(hidden)
