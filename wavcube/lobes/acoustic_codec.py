"""A codec with WavCube's latent and decoder and no semantic part: what WavCube is compared with."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.decoder.convnext import ConvNeXtBackbone
from wavcube.lobes.decoder.decoder import AcousticDecoder
from wavcube.lobes.latent_codec import LatentCodec
from wavcube.lobes.layers.level import Level
from wavcube.lobes.lengths import ceil_division, length_mask
from wavcube.lobes.ssl.filterbank_wavlm import LogMelFrontEnd


class AcousticEncoder(Configurable):
    """Log-mel energies, ConvNeXt blocks and a Linear to the latent.

    Parameters
    ----------
    backbone : ConvNeXtBackbone
        Refines the stacked energies `[B, N, num_mel_bins * stacked_frames]` at their own rate.
    latent_dim : int
        Width D of the latent.
    num_mel_bins, stacked_frames : int
        See :class:`~wavcube.lobes.ssl.filterbank_wavlm.LogMelFrontEnd`.
    sample_rate : int
        Of the waveform, in Hz.

    Raises
    ------
    ValueError
        If the backbone takes another width or changes the frame rate.

    Examples
    --------
    >>> backbone = ConvNeXtBackbone(latent_dim=16, dim=8, intermediate_dim=16, num_layers=1,
    ...     upsampling=1)
    >>> encoder = AcousticEncoder(backbone, latent_dim=4, num_mel_bins=8)
    >>> encoder(torch.randn(2, 1600)).shape
    torch.Size([2, 5, 4])
    """

    def __init__(
        self,
        backbone: ConvNeXtBackbone,
        latent_dim: int = 128,
        num_mel_bins: int = 100,
        stacked_frames: int = 2,
        sample_rate: int = 16000,
    ) -> None:
        super().__init__()
        width = num_mel_bins * stacked_frames
        if (backbone.latent_dim, backbone.upsampling) != (width, 1):
            raise ValueError(
                f"the backbone takes {backbone.latent_dim} channels and makes "
                f"{backbone.upsampling} frames of each; {num_mel_bins} bands in {stacked_frames} "
                f"frames need latent_dim {width} and upsampling 1"
            )
        self.latent_dim, self.sample_rate = latent_dim, sample_rate
        self.num_mel_bins, self.stacked_frames = num_mel_bins, stacked_frames
        self.front_end = LogMelFrontEnd(num_mel_bins, stacked_frames, sample_rate)
        self.backbone = backbone
        self.projection = nn.Linear(backbone.dim, latent_dim)

    @property
    def hop(self) -> int:
        """Samples between two frames."""
        return self.front_end.hop * self.stacked_frames

    def set_trainable(self, what: Literal["none", "all"]) -> None:
        """Choose which parameters get gradients: none or all."""
        if what not in ("none", "all"):
            raise ValueError(f"trainable {what!r} is not one of 'none', 'all'")
        self.requires_grad_(what == "all")

    def forward(
        self, wavs: Tensor, num_samples: Tensor | None = None, num_frames: Tensor | None = None
    ) -> Tensor:
        """Encode.

        Parameters
        ----------
        wavs : Tensor
            `[B, T]`. What lies beyond an item's length is ignored.
        num_samples : Tensor, optional
            True lengths `[B]`; by default T.
        num_frames : Tensor, optional
            Frames of each item `[B]`; by default ceil(samples / hop).

        Returns
        -------
        Tensor
            `[B, N, D]`, zero in the padding.
        """
        if num_samples is None:
            num_samples = torch.full((len(wavs),), wavs.shape[1], device=wavs.device)
        if num_frames is None:
            num_frames = ceil_division(num_samples, self.hop)
        size = int(num_frames.max())
        wavs = wavs.masked_fill(~length_mask(num_samples, wavs.shape[1]), 0.0)
        # a negative pad cuts, where no item fills the batch
        energies = self.front_end(F.pad(wavs, (0, size * self.hop - wavs.shape[1])))
        hidden, _ = self.backbone(energies, num_frames)
        return self.projection(hidden).masked_fill(~length_mask(num_frames, size)[..., None], 0.0)


class AcousticCodec(LatentCodec):
    """A latent of speech that is made for reconstruction alone.

    Parameters
    ----------
    encoder : AcousticEncoder
        Waveform to latent.
    decoder : AcousticDecoder
        Latent to waveform.

    Raises
    ------
    ValueError
        If the parts' hops or latents differ.

    Examples
    --------
    >>> import torch
    >>> from wavcube.testing import tiny_acoustic_codec
    >>> model = tiny_acoustic_codec()
    >>> latents, lens = model.encode(torch.randn(2, 16000), torch.ones(2))
    >>> latents.shape
    torch.Size([2, 50, 8])
    >>> model.decode(latents, lens, length=16000).shape
    torch.Size([2, 16000])
    """

    def __init__(self, encoder: AcousticEncoder, decoder: AcousticDecoder) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.check_hops()
        if encoder.latent_dim != decoder.latent_dim:
            raise ValueError(
                f"the encoder's latent has {encoder.latent_dim} dimensions, the decoder's "
                f"{decoder.latent_dim}"
            )

    def latents_of(
        self, wavs: Tensor, samples: Tensor, frames: Tensor, level: Level | None = None
    ) -> Tensor:
        """Encode a batch whose lengths are counted; the level is not normalised here."""
        del level
        return self.encoder(wavs, samples, frames)
