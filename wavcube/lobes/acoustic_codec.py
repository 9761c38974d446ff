"""A codec with WavCube's latent and decoder and no semantic part: what WavCube is compared with."""

from __future__ import annotations

from torch import Tensor

from wavcube.lobes.acoustic_encoder import AcousticEncoder
from wavcube.lobes.decoder.decoder import AcousticDecoder
from wavcube.lobes.latent_codec import LatentCodec
from wavcube.lobes.layers.level import Level


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
