"""Tiny models and signals that tests, doctests and users share. Nothing is read or downloaded."""

from __future__ import annotations

import math
from typing import Any, Literal

import torch
from torch import Tensor

from wavcube.lobes.acoustic_codec import AcousticCodec, AcousticEncoder
from wavcube.lobes.bottleneck import LatentBasis, SemanticBottleneck, VariationalBottleneck
from wavcube.lobes.decoder.causal_transformer import CausalTransformerBackbone
from wavcube.lobes.decoder.convnext import ConvNeXtBackbone
from wavcube.lobes.decoder.decoder import AcousticDecoder, ISTFTHead
from wavcube.lobes.decoder.local_vocoder import LocalVocoder
from wavcube.lobes.layers.conformer import MaskedConformer
from wavcube.lobes.ssl.encoder import LayerMix, SSLEncoder
from wavcube.lobes.wavcube import AcousticSkip, WavCube
from wavcube.representations.latent import LatentRepresentation
from wavcube.tasks.conversion.conformer import ConformerConversion
from wavcube.tasks.conversion.model import StoredVoice, VoiceConverter

EncoderType = Literal["wavlm", "filterbank_wavlm", "hubert", "wav2vec2"]


def tiny_ssl_config(
    model_type: EncoderType = "wavlm", norm: Literal["layer", "group"] = "layer"
) -> dict[str, Any]:
    """Return the configuration of an encoder of some ten thousand parameters: width 16, 2 layers.

    Parameters
    ----------
    model_type : str
        Of transformers, or "filterbank_wavlm".
    norm : {"layer", "group"}
        Of the convolutional front end; "layer" comes with pre-norm transformer layers.

    Examples
    --------
    >>> tiny_ssl_config()["hidden_size"]
    16
    """
    config: dict[str, Any] = {
        "model_type": model_type,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
        "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 2,
    }
    if model_type == "filterbank_wavlm":
        return {**config, "num_mel_bins": 8}
    return {
        **config,
        "conv_dim": [8] * 7,
        "feat_extract_norm": norm,
        "do_stable_layer_norm": norm == "layer",
    }


def tiny_ssl_encoder(model_type: EncoderType = "wavlm", layer: int = -1) -> SSLEncoder:
    """Random :class:`~wavcube.lobes.ssl.encoder.SSLEncoder` of :func:`tiny_ssl_config`.

    Examples
    --------
    >>> tiny_ssl_encoder().dim
    16
    """
    return SSLEncoder(tiny_ssl_config(model_type), layer)


def tiny_wavcube(
    backbone: Literal["convnext", "transformer"] = "convnext",
    encoder: EncoderType = "wavlm",
    variational: bool = False,
    with_layer_mix: bool = False,
    with_skip: bool = False,
    with_basis: bool = False,
    with_linear: bool = False,
) -> WavCube:
    """Random model of a few ten thousand parameters with every part of the real one.

    Parameters
    ----------
    backbone : {"convnext", "transformer"}
        Of the decoder.
    encoder : str
        Type of the SSL encoder.
    variational : bool
        Take the variational bottleneck.
    with_layer_mix : bool
        Feed the bottleneck a mix of all layers.
    with_skip : bool
        Add an acoustic skip, of random weights.
    with_basis : bool
        Add a latent basis, not fitted.
    with_linear : bool
        Let the bottleneck restore the feature by a linear map too.

    Examples
    --------
    >>> model = tiny_wavcube()
    >>> latents, lens = model.encode(torch.randn(2, 1600))
    >>> latents.shape
    torch.Size([2, 5, 8])
    """
    ssl = tiny_ssl_encoder(encoder)
    bottleneck_class = VariationalBottleneck if variational else SemanticBottleneck
    bottleneck = bottleneck_class(
        ssl.dim, latent_dim=8, num_layers=1, num_heads=2, ffn_dim=32, with_linear=with_linear
    )
    mix = LayerMix(ssl.num_layers + 1) if with_layer_mix else None
    skip = AcousticSkip(ssl.front_dim, 8) if with_skip else None
    if skip is not None:
        skip.linear.reset_parameters()  # not zero, that tests may see it
    basis = LatentBasis(8) if with_basis else None
    return WavCube(ssl, bottleneck, tiny_decoder(backbone), mix, skip, basis).eval()


def tiny_acoustic_codec() -> AcousticCodec:
    """Random :class:`~wavcube.lobes.acoustic_codec.AcousticCodec` of a few thousand parameters.

    Examples
    --------
    >>> tiny_acoustic_codec().encode(torch.randn(2, 1600))[0].shape
    torch.Size([2, 5, 8])
    """
    body = ConvNeXtBackbone(16, dim=16, intermediate_dim=32, num_layers=2, upsampling=1)
    return AcousticCodec(AcousticEncoder(body, latent_dim=8, num_mel_bins=8), tiny_decoder()).eval()


def tiny_decoder(backbone: Literal["convnext", "transformer"] = "convnext") -> AcousticDecoder:
    """Random :class:`~wavcube.lobes.decoder.decoder.AcousticDecoder` for latents of 8 dimensions.

    Examples
    --------
    >>> tiny_decoder()(torch.randn(2, 5, 8)).shape
    torch.Size([2, 1600])
    """
    if backbone == "transformer":
        vocoder = LocalVocoder(8, dim=16, num_layers=2, num_heads=2, ffn_dim=32)
        large = CausalTransformerBackbone(8, vocoder, 16, num_layers=2, num_heads=2, ffn_dim=32)
        return AcousticDecoder(large, ISTFTHead(16))
    body = ConvNeXtBackbone(8, dim=16, intermediate_dim=32, num_layers=2)
    return AcousticDecoder(body, ISTFTHead(16))


def tiny_converter(stored: bool = False) -> VoiceConverter:
    """Build a voice converter on a tiny WavCube.

    Parameters
    ----------
    stored : bool
        Whether it is any-to-one, with a voice of silence.

    Examples
    --------
    >>> tiny_converter().head.latent_dim
    8
    """
    body = MaskedConformer(8, num_layers=1, num_heads=2, ffn_dim=16, kernel_size=3)
    head = ConformerConversion(body, latent_dim=8, content_dim=4, embedding_dim=0)
    voice = StoredVoice(latent_dim=8, num_frames=50) if stored else None
    return VoiceConverter(LatentRepresentation(tiny_wavcube()), head, voice)


def tone(seconds: float, seed: int = 0, sample_rate: int = 16000) -> Tensor:
    """Make a voice-like signal: a gliding harmonic tone under a syllable-like envelope, plus noise.

    Parameters
    ----------
    seconds : float
        Duration.
    seed : int
        Draws pitch, glide and noise.
    sample_rate : int
        In Hz.

    Returns
    -------
    Tensor
        `[T]`, peak 0.5.

    Examples
    --------
    >>> tone(0.1).shape
    torch.Size([1600])
    """
    generator = torch.Generator().manual_seed(seed)
    time = torch.arange(round(seconds * sample_rate)) / sample_rate
    pitch = 90 + 120 * float(torch.rand((), generator=generator))
    phase = 2 * math.pi * pitch * (time + 0.02 * torch.sin(2 * math.pi * 1.5 * time))
    voice = sum(torch.sin(k * phase) / k for k in range(1, 20))
    envelope = 0.55 + 0.45 * torch.sin(2 * math.pi * 4 * time)
    signal = voice * envelope + 0.05 * torch.randn(len(time), generator=generator)
    return 0.5 * signal / signal.abs().max()
