"""The WavCube lobe: SSL encoder, bottleneck and decoder under one length contract.

T samples give exactly ceil(T / hop) frames, and decode back to exactly T samples; the result for an
item does not depend on its batch. Method: arXiv 2605.06407.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wavcube.lobes.bottleneck import LatentBasis, SemanticBottleneck, VariationalBottleneck
from wavcube.lobes.configurable import Configurable
from wavcube.lobes.decoder.decoder import AcousticDecoder
from wavcube.lobes.latent_codec import CodecOutput, LatentCodec, fit_samples
from wavcube.lobes.layers.level import Level
from wavcube.lobes.lengths import length_mask, to_absolute
from wavcube.lobes.ssl.encoder import LayerMix, SSLEncoder, SSLFeatures


class AcousticSkip(Configurable):
    """Linear map of the encoder's front end that is added to the latent.

    An SSL encoder's layers keep what is said; level, pitch and voice must be carved out of them
    again. The front end still has all of it, and a linear map is learned fast: at a small size
    this is what reconstruction is short of. It starts at zero: the latent is the bottleneck's alone
    until training says otherwise.

    Parameters
    ----------
    front_dim : int
        Width F of the front end.
    latent_dim : int
        Width D of the latent.

    Examples
    --------
    >>> AcousticSkip(8, 4)(torch.randn(2, 5, 8)).abs().max().item()
    0.0
    """

    def __init__(self, front_dim: int, latent_dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(front_dim, latent_dim)
        nn.init.zeros_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)

    def forward(self, front: Tensor) -> Tensor:
        """Map `[B, N, F]` to `[B, N, D]`, in float32 also under autocast."""
        with torch.autocast(front.device.type, enabled=False):
            return self.linear(front.float())


@dataclass
class WavCubeOutput(CodecOutput):
    """Everything that training needs of one pass.

    Attributes
    ----------
    latents, audio, mask : Tensor
        See :class:`~wavcube.lobes.latent_codec.CodecOutput`.
    feature : Tensor
        Of the SSL encoder, `[B, N, C]`.
    feature_hat : Tensor
        The same, restored from the latent, `[B, N, C]`.
    feature_linear : Tensor, optional
        The same, restored by a linear map `[B, N, C]`, of a bottleneck that has one.
    posterior : tuple of Tensor, optional
        Mean and log-variance `[B, N, D]` of a variational bottleneck.
    """

    feature: Tensor
    feature_hat: Tensor
    feature_linear: Tensor | None
    posterior: tuple[Tensor, Tensor] | None


class WavCube(LatentCodec):
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
    acoustic_skip : AcousticSkip, optional
        Add a linear map of the encoder's front end to the latent.
    latent_basis : LatentBasis, optional
        Coordinates in which latents are given and taken; those of the bottleneck by default.
    official_framing : bool
        Frame as the research code does: no padding, hence floor((T - 400) / 320) + 1 frames, and
        silence in the tail that they do not reach. For models converted from its checkpoints.

    Raises
    ------
    ValueError
        If the parts' hops differ.

    Examples
    --------
    >>> import torch
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
        acoustic_skip: AcousticSkip | None = None,
        latent_basis: LatentBasis | None = None,
        official_framing: bool = False,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.bottleneck = bottleneck
        self.decoder = decoder
        self.layer_mix = layer_mix
        self.acoustic_skip = acoustic_skip
        self.latent_basis = latent_basis
        self.official_framing = official_framing
        self.check_hops()

    def num_frames(self, samples: int) -> int:
        """Latent frames of a waveform of so many samples: ceil(samples / hop)."""
        if self.official_framing and samples >= 1:
            return max(1, (samples - self.encoder.num_samples_for(1)) // self.hop + 1)
        return super().num_frames(samples)

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
            See :meth:`lengths_of`.
        """
        return self.encoder(wavs, *self.lengths_of(wavs, wav_lens))

    def _bottleneck_input(self, features: SSLFeatures) -> Tensor:
        return features.feature if self.layer_mix is None else self.layer_mix(features.states)

    def latents_of(
        self, wavs: Tensor, samples: Tensor, frames: Tensor, level: Level | None = None
    ) -> Tensor:
        """Encode a batch whose lengths are counted; see the base class."""
        keep = self.layer_mix is not None
        features = self.encoder(wavs, samples, frames, level=level, keep_states=keep)
        return self._to_basis(self.latents_before_basis(features), features.num_frames)

    def latents_before_basis(self, features: SSLFeatures) -> Tensor:
        """Compress features to latents `[B, N, D]` in the bottleneck's own coordinates."""
        mask = length_mask(features.num_frames, features.feature.shape[1])
        latents = self.bottleneck.encode(self._bottleneck_input(features), _unless_full(mask))
        return self._complete(latents, features, mask)

    def _complete(self, latents: Tensor, features: SSLFeatures, mask: Tensor) -> Tensor:
        """Add what goes around the bottleneck, and silence the padding."""
        if self.acoustic_skip is not None:
            latents = latents + self.acoustic_skip(features.front)
        return latents.masked_fill(~mask[..., None], 0.0)

    def _to_basis(self, latents: Tensor, frames: Tensor) -> Tensor:
        if self.latent_basis is None:
            return latents
        valid = length_mask(frames, latents.shape[1])
        return self.latent_basis(latents).masked_fill(~valid[..., None], 0.0)

    def decoder_input(self, latents: Tensor) -> Tensor:
        """Map latents to the bottleneck's own coordinates; see the base class."""
        return latents if self.latent_basis is None else self.latent_basis.invert(latents)

    def semantic(self, latents: Tensor, lens: Tensor | None = None) -> Tensor:
        """Restore the SSL feature `[B, N, C]` from latents `[B, N, D]`; training models only."""
        frames = to_absolute(lens, latents.shape[1], len(latents), latents.device)
        mask = _unless_full(length_mask(frames, latents.shape[1]))
        return self.bottleneck.decode(self.decoder_input(latents), mask)

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
            Latents, waveforms, mask and features.
        """
        samples, frames = self.lengths_of(wavs, wav_lens)
        features = self.encoder(wavs, samples, frames)
        mask = length_mask(frames, features.feature.shape[1])
        keys = _unless_full(mask)
        posterior = None
        if isinstance(self.bottleneck, VariationalBottleneck):
            posterior = self.bottleneck.posterior(self._bottleneck_input(features), keys)
            latents = self._complete(self.bottleneck.sample(*posterior), features, mask)
        else:
            latents = self.latents_before_basis(features)
        feature_hat = self.bottleneck.decode(latents, keys)
        audio = self.decoder(latents.detach() if detach_latent else latents, frames)
        audio = fit_samples(audio, samples, wavs.shape[1])
        linear = self.bottleneck.decode_linearly(latents)
        latents = self._to_basis(latents, frames)
        return WavCubeOutput(latents, audio, mask, features.feature, feature_hat, linear, posterior)


def _unless_full(mask: Tensor) -> Tensor | None:
    """Drop a mask that hides nothing: fused attention is faster without one."""
    return None if bool(mask.all()) else mask
