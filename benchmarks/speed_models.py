"""The models that are timed: ours with random weights, and what a user would otherwise run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from wavcube.lobes.bottleneck import SemanticBottleneck
from wavcube.lobes.decoder.causal_transformer import CausalTransformerBackbone
from wavcube.lobes.decoder.decoder import AcousticDecoder, ISTFTHead
from wavcube.lobes.decoder.local_vocoder import LocalVocoder
from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.lobes.wavcube import WavCube

Size = Literal["paper", "tiny"]
SEED = 1234


def ssl_config(size: Size) -> dict[str, Any]:
    """Give transformers' configuration of WavLM-Large, or of the same in miniature."""
    tiny = size == "tiny"
    return {
        "hidden_size": 64 if tiny else 1024,
        "num_hidden_layers": 2 if tiny else 24,
        "num_attention_heads": 4 if tiny else 16,
        "intermediate_size": 128 if tiny else 4096,
        "conv_dim": [16 if tiny else 512] * 7,
        "num_conv_pos_embedding_groups": 4 if tiny else 16,
        "feat_extract_norm": "layer",
        "do_stable_layer_norm": True,
    }


def paper_wavcube(size: Size, with_decoder: bool = False) -> WavCube:
    """Build the paper's model with random weights (arXiv 2605.06407)."""
    torch.manual_seed(SEED)
    tiny = size == "tiny"
    encoder = SSLEncoder({"model_type": "wavlm", **ssl_config(size)})
    width, heads, ffn, layers = (64, 4, 128, 2) if tiny else (1024, 16, 4096, 24)
    sizes = {"num_heads": heads, "ffn_dim": ffn, "with_decoder": with_decoder}
    bottleneck = SemanticBottleneck(width, num_layers=1 if tiny else 3, **sizes)
    vocoder = LocalVocoder(num_layers=2) if tiny else LocalVocoder()
    backbone = CausalTransformerBackbone(128, vocoder, width, layers, heads, ffn)
    decoder = AcousticDecoder(backbone, ISTFTHead(vocoder.dim))
    return WavCube(encoder, bottleneck, decoder).eval()


def bare_wavlm(size: Size) -> nn.Module:
    """Build the bare WavLM-Large of transformers with random weights."""
    from transformers import WavLMConfig, WavLMModel

    torch.manual_seed(SEED)
    return WavLMModel(WavLMConfig(**ssl_config(size))).eval()


def neighbours() -> dict[str, tuple[int, Callable[[Tensor], object]]]:
    """Give the codecs of transformers, random weights at their published sizes.

    Returns
    -------
    dict
        Sample rate, and a call that encodes and decodes `[1, T]`.
    """
    from transformers import (
        DacConfig,
        DacModel,
        EncodecConfig,
        EncodecModel,
        MimiConfig,
        MimiModel,
    )

    torch.manual_seed(SEED)
    encodec, mimi = EncodecModel(EncodecConfig()).eval(), MimiModel(MimiConfig()).eval()
    # descript's 16 kHz model: strides 2 4 5 8, 12 codebooks
    dac = DacModel(
        DacConfig(downsampling_ratios=[2, 4, 5, 8], n_codebooks=12, sampling_rate=16000)
    ).eval()

    def run_encodec(wav: Tensor) -> object:
        made = encodec.encode(wav[None], bandwidth=6.0)
        return encodec.decode(made.audio_codes, made.audio_scales)

    def run_dac(wav: Tensor) -> object:
        return dac.decode(dac.encode(wav[None]).quantized_representation)

    return {
        "EnCodec-24k": (24000, run_encodec),
        "Mimi": (24000, lambda wav: mimi.decode(mimi.encode(wav[None]).audio_codes)),
        "DAC-16k": (16000, run_dac),
    }
