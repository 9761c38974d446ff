"""Build a lobe from plain data; only the classes named here can be built."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from torch import nn

from wavcube.release.arguments import check_arguments

ALLOWED_CLASSES = frozenset(
    {
        "wavcube.lobes.wavcube.WavCube",
        "wavcube.lobes.acoustic_codec.AcousticCodec",
        "wavcube.lobes.acoustic_encoder.AcousticEncoder",
        "wavcube.lobes.ssl_encoder.SSLEncoder",
        "wavcube.lobes.layer_mix.LayerMix",
        "wavcube.lobes.acoustic_skip.AcousticSkip",
        "wavcube.lobes.latent_basis.LatentBasis",
        "wavcube.lobes.bottleneck.SemanticBottleneck",
        "wavcube.lobes.bottleneck.VariationalBottleneck",
        "wavcube.lobes.decoder.AcousticDecoder",
        "wavcube.lobes.convnext.ConvNeXtBackbone",
        "wavcube.lobes.causal_transformer.CausalTransformerBackbone",
        "wavcube.lobes.local_vocoder.LocalVocoder",
        "wavcube.lobes.istft.ISTFTHead",
        "wavcube.representations.codec.CodecRepresentation",
        "wavcube.representations.latent.LatentRepresentation",
        "wavcube.representations.mel.MelRepresentation",
        "wavcube.representations.packaged.PackagedLatent",
        "wavcube.representations.packaged.PackagedSSL",
        "wavcube.representations.ssl.SSLRepresentation",
        "wavcube.representations.waveform.WaveformRepresentation",
        "wavcube.lobes.heads.recognizer.RecognitionModel",
        "wavcube.lobes.heads.asr.BLSTMHead",
        "wavcube.lobes.heads.asr.ConformerHead",
        "wavcube.lobes.heads.asr.LinearHead",
        "wavcube.lobes.heads.enhancer.MaskEnhancer",
        "wavcube.lobes.heads.enhancer.LatentEnhancer",
        "wavcube.lobes.heads.separator.MaskSeparator",
        "wavcube.lobes.heads.separator.LatentSeparator",
        "wavcube.lobes.heads.separator.WaveformSeparator",
        "wavcube.lobes.heads.mask.MaskHead",
        "wavcube.lobes.heads.latent_map.LatentHead",
        "wavcube.lobes.heads.conv_tasnet.ConvTasNetHead",
        "wavcube.lobes.heads.converter.VoiceConverter",
        "wavcube.lobes.heads.converter.StoredVoice",
        "wavcube.lobes.heads.conformer_conversion.ConformerConversion",
        "wavcube.lobes.heads.flow_conversion.FlowConversion",
        "wavcube.lobes.heads.autoregressive_conversion.AutoregressiveConversion",
        "wavcube.lobes.conformer.MaskedConformer",
    }
)


def allowed_class(name: object) -> type[nn.Module]:
    """Give a class of the list by its name.

    Parameters
    ----------
    name : object
        What a release says; a dotted name.

    Returns
    -------
    type
        The class.

    Raises
    ------
    ValueError
        If the name is not in ``ALLOWED_CLASSES``.
    """
    if not isinstance(name, str) or name not in ALLOWED_CLASSES:
        raise ValueError(f"class {name!r} is not one that a release may name")
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def build(config: Mapping[str, Any], where: str = "the configuration") -> nn.Module:
    """Build a lobe with random weights from plain data.

    Parameters
    ----------
    config : mapping
        What the lobe's ``config()`` gave: `class`, a dotted name, and the constructor's arguments,
        nested lobes in the same way.
    where : str
        Its origin, for the message.

    Returns
    -------
    nn.Module
        The lobe.

    Raises
    ------
    ValueError
        If a class is not in ``ALLOWED_CLASSES`` or does not take the arguments, naming them.

    Examples
    --------
    >>> build({"class": "wavcube.lobes.layer_mix.LayerMix", "num_states": 3})
    LayerMix()
    >>> build({"class": "os.system", "command": "ls"})
    Traceback (most recent call last):
    ...
    ValueError: the configuration: class 'os.system' is not one that a release may name
    """
    arguments = {
        key: build(value, where) if isinstance(value, Mapping) and "class" in value else value
        for key, value in config.items()
        if key != "class"
    }
    try:
        lobe = allowed_class(config.get("class"))
        check_arguments(lobe, (), arguments)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    try:
        return lobe(**arguments)
    except Exception as error:  # a constructor may fail on values of the right types in any way
        raise ValueError(f"{where}: {lobe.__name__} cannot be built: {error}") from error
