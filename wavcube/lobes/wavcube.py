"""The WavCube lobe: SSL encoder, bottleneck and decoder under one length contract.

T samples give exactly ceil(T / hop) frames, and decode back to exactly T samples; the result for an
item does not depend on its batch. Method: arXiv 2605.06407.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavcube.lobes.bottleneck import SemanticBottleneck, VariationalBottleneck
from wavcube.lobes.decoder import AcousticDecoder
from wavcube.lobes.layer_mix import LayerMix
from wavcube.lobes.lengths import length_mask, to_absolute
from wavcube.lobes.nested_config import nested_config
from wavcube.lobes.ssl_encoder import SSLEncoder, SSLFeatures


@dataclass
class WavCubeOutput:
    """Everything that training needs of one pass.

    Attributes
    ----------
    latents : Tensor
        `[B, N, D]`.
    feature : Tensor
        Of the SSL encoder, `[B, N, C]`.
    feature_hat : Tensor
        The same, restored from the latent, `[B, N, C]`.
    audio : Tensor
        Decoded waveforms `[B, T]`, zero in the padding.
    mask : Tensor
        Valid frames `[B, N]`.
    posterior : tuple of Tensor, optional
        Mean and log-variance `[B, N, D]` of a variational bottleneck.
    """

    latents: Tensor
    feature: Tensor
    feature_hat: Tensor
    audio: Tensor
    mask: Tensor
    posterior: tuple[Tensor, Tensor] | None


class WavCube(nn.Module):
    """One continuous latent of speech.

    Parameters
    ----------
    encoder : SSLEncoder
        Waveform to feature.
    bottleneck : SemanticBottleneck
        Feature to latent (and back).
    decoder : AcousticDecoder
        Latent to waveform.
    layer_mix : LayerMix, optional
        Feed the bottleneck a mix of the encoder's layers instead of the last one.
    official_framing : bool
        Frame as the research code does: no padding, hence floor((T - 400) / 320) + 1 frames, and
        silence in the tail that they do not reach. For models converted from its checkpoints.

    Raises
    ------
    ValueError
        If the parts' hops differ.

    Examples
    --------
    >>> from wavcube.testing import tiny_wavcube
    >>> model = tiny_wavcube()
    >>> latents, lens = model.encode(torch.randn(2, 16000), torch.ones(2))
    >>> latents.shape
    torch.Size([2, 50, 8])
    >>> model.decode(latents, lens, length=16000).shape
    torch.Size([2, 16000])
    """

    def __init__(
        self,
        encoder: SSLEncoder,
        bottleneck: SemanticBottleneck,
        decoder: AcousticDecoder,
        layer_mix: LayerMix | None = None,
        official_framing: bool = False,
    ) -> None:
        super().__init__()
        if encoder.hop != decoder.hop:
            raise ValueError(
                f"the encoder makes a frame of {encoder.hop} samples, the decoder of {decoder.hop}"
            )
        self.encoder = encoder
        self.bottleneck = bottleneck
        self.decoder = decoder
        self.layer_mix = layer_mix
        self.official_framing = official_framing

    def config(self) -> dict[str, Any]:
        """Return the constructor arguments as plain data, parts included."""
        names = ("encoder", "bottleneck", "decoder", "layer_mix")
        parts = {name: getattr(self, name) for name in names}
        described = {
            name: nested_config(part) if part is not None else None for name, part in parts.items()
        }
        return {**described, "official_framing": self.official_framing}

    @property
    def sample_rate(self) -> int:
        """Of the waveforms, in Hz."""
        return self.encoder.sample_rate

    @property
    def hop(self) -> int:
        """Samples per latent frame."""
        return self.encoder.hop

    @property
    def frame_rate(self) -> float:
        """Latent frames per second."""
        return self.sample_rate / self.hop

    @property
    def latent_dim(self) -> int:
        """Width D of the latent."""
        return self.bottleneck.latent_dim

    def num_frames(self, samples: int) -> int:
        """Latent frames of a waveform of so many samples: ceil(samples / hop)."""
        if samples < 1:
            raise ValueError(f"a waveform of {samples} samples has nothing to encode")
        if self.official_framing:
            return max(1, (samples - self.encoder.num_samples_for(1)) // self.hop + 1)
        return -(-samples // self.hop)

    def features(self, wavs: Tensor, wav_lens: Tensor | None = None) -> SSLFeatures:
        """Run the SSL encoder under the length contract.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`.
        wav_lens : Tensor, optional
            Relative lengths `[B]`.

        Returns
        -------
        SSLFeatures
            With `num_frames(T_i)` frames of each item.

        Raises
        ------
        ValueError
            If the batch is not `[B, T]` or empty, or a length leaves (0, 1].
        """
        if wavs.dim() != 2:
            raise ValueError(f"waveforms must be [batch, time], got {tuple(wavs.shape)}")
        if not wavs.numel():
            raise ValueError(f"nothing to encode in a batch of shape {tuple(wavs.shape)}")
        samples = to_absolute(wav_lens, wavs.shape[1], len(wavs), wavs.device)
        frames = torch.tensor([self.num_frames(n) for n in samples.tolist()], device=wavs.device)
        return self.encoder(wavs, samples, frames)

    def _bottleneck_input(self, features: SSLFeatures) -> Tensor:
        return features.feature if self.layer_mix is None else self.layer_mix(features.states)

    def encode(self, wavs: Tensor, wav_lens: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]` at `sample_rate`. What lies beyond an item's length is ignored.
        wav_lens : Tensor, optional
            Relative lengths `[B]` in (0, 1]; by default every item fills the batch.

        Returns
        -------
        latents : Tensor
            `[B, N, D]`, zero in the padding.
        lens : Tensor
            Relative lengths `[B]` of the latents.

        Raises
        ------
        ValueError
            See :meth:`features`.
        """
        features = self.features(wavs, wav_lens)
        latents, frames = self._compress(features), self.num_frames(wavs.shape[1])
        # the batch's own padding counts too, where no item fills it
        latents = F.pad(latents, (0, 0, 0, frames - latents.shape[1]))
        return latents, features.num_frames / frames

    def _compress(self, features: SSLFeatures) -> Tensor:
        mask = length_mask(features.num_frames, features.feature.shape[1])
        latents = self.bottleneck.encode(self._bottleneck_input(features), _unless_full(mask))
        return latents.masked_fill(~mask[..., None], 0.0)

    def decode(
        self,
        latents: Tensor,
        lens: Tensor | None = None,
        length: int | Sequence[int] | None = None,
    ) -> Tensor:
        """Decode a batch.

        Parameters
        ----------
        latents : Tensor
            `[B, N, D]`.
        lens : Tensor, optional
            Relative lengths `[B]` of the latents.
        length : int or sequence of int, optional
            Samples wanted, of the padded batch or of each item. Frames times hop by default.

        Returns
        -------
        Tensor
            `[B, length]`, zero beyond an item's own end.

        Raises
        ------
        ValueError
            If the latents have another width, or a length cannot belong to them.
        """
        if latents.dim() != 3 or latents.shape[2] != self.latent_dim:
            raise ValueError(
                f"latents must be [batch, frames, {self.latent_dim}], got {tuple(latents.shape)}"
            )
        frames = to_absolute(lens, latents.shape[1], len(latents), latents.device)
        wavs = self.decoder(latents, frames)
        if length is None:
            return wavs
        if isinstance(length, Integral):
            return self._fit(wavs, [latents.shape[1]] * len(latents), [length] * len(latents))
        return self._fit(wavs, frames.tolist(), list(length))

    def _fit(self, wavs: Tensor, frames: list[int], wanted: list[int]) -> Tensor:
        """Cut or extend decoded waveforms to the samples that were encoded in so many frames."""
        if len(wanted) != len(wavs):
            raise ValueError(f"{len(wanted)} lengths for a batch of {len(wavs)}")
        for expected, samples in zip(frames, wanted, strict=True):
            if self.num_frames(samples) != expected:
                raise ValueError(
                    f"{samples} samples make {self.num_frames(samples)} frames, not {expected}"
                )
        size = max(wanted)
        fitted = F.pad(wavs, (0, size - wavs.shape[1]))
        return fitted * length_mask(torch.tensor(wanted, device=wavs.device), size)

    def semantic(self, latents: Tensor, lens: Tensor | None = None) -> Tensor:
        """Restore the SSL feature `[B, N, C]` from latents `[B, N, D]`; training models only."""
        frames = to_absolute(lens, latents.shape[1], len(latents), latents.device)
        return self.bottleneck.decode(latents, _unless_full(length_mask(frames, latents.shape[1])))

    def forward(
        self, wavs: Tensor, wav_lens: Tensor | None = None, detach_latent: bool = False
    ) -> WavCubeOutput:
        """Encode, restore the feature, and decode: all that a training step needs.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`.
        wav_lens : Tensor, optional
            Relative lengths `[B]`.
        detach_latent : bool
            Keep the decoder's gradient from the latent (stage 1).

        Returns
        -------
        WavCubeOutput
            See there.
        """
        features = self.features(wavs, wav_lens)
        mask = length_mask(features.num_frames, features.feature.shape[1])
        keys = _unless_full(mask)
        posterior = None
        if isinstance(self.bottleneck, VariationalBottleneck):
            posterior = self.bottleneck.posterior(self._bottleneck_input(features), keys)
            latents = self.bottleneck.sample(*posterior).masked_fill(~mask[..., None], 0.0)
        else:
            latents = self._compress(features)
        feature_hat = self.bottleneck.decode(latents, keys)
        heard = latents.detach() if detach_latent else latents
        audio = self.decoder(heard, features.num_frames)
        size = wavs.shape[1]
        samples = to_absolute(wav_lens, size, len(wavs), wavs.device)
        audio = F.pad(audio, (0, size - audio.shape[1])) * length_mask(samples, size)
        return WavCubeOutput(latents, features.feature, feature_hat, audio, mask, posterior)


def _unless_full(mask: Tensor) -> Tensor | None:
    """Drop a mask that hides nothing: fused attention is faster without one."""
    return None if bool(mask.all()) else mask
