"""Build a lobe from plain data; only the classes named here can be built."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

ALLOWED_CLASSES = frozenset(
    {
        "wavcube.lobes.wavcube.WavCube",
        "wavcube.lobes.acoustic_codec.AcousticCodec",
        "wavcube.lobes.acoustic_encoder.AcousticEncoder",
        "wavcube.lobes.ssl_encoder.SSLEncoder",
        "wavcube.lobes.layer_mix.LayerMix",
        "wavcube.lobes.acoustic_skip.AcousticSkip",
        "wavcube.lobes.bottleneck.SemanticBottleneck",
        "wavcube.lobes.bottleneck.VariationalBottleneck",
        "wavcube.lobes.decoder.AcousticDecoder",
        "wavcube.lobes.convnext.ConvNeXtBackbone",
        "wavcube.lobes.causal_transformer.CausalTransformerBackbone",
        "wavcube.lobes.local_vocoder.LocalVocoder",
        "wavcube.lobes.istft.ISTFTHead",
    }
)


def build(config: Mapping[str, Any]) -> nn.Module:
    """Build a lobe with random weights from plain data.

    Parameters
    ----------
    config : mapping
        What the lobe's ``config()`` gave: `class`, a dotted name, and the constructor's arguments,
        nested lobes in the same way.

    Returns
    -------
    nn.Module
        The lobe.

    Raises
    ------
    ValueError
        If a class is not in ``ALLOWED_CLASSES`` or does not take the arguments.

    Examples
    --------
    >>> build({"class": "wavcube.lobes.layer_mix.LayerMix", "num_states": 3})
    LayerMix()
    >>> build({"class": "os.system", "command": "ls"})
    Traceback (most recent call last):
    ...
    ValueError: class 'os.system' is not one that a release may name
    """
    name = config.get("class")
    if name not in ALLOWED_CLASSES:
        raise ValueError(f"class {name!r} is not one that a release may name")
    module, _, attribute = name.rpartition(".")
    lobe = getattr(importlib.import_module(module), attribute)
    arguments = {
        key: build(value) if isinstance(value, Mapping) and "class" in value else value
        for key, value in config.items()
        if key != "class"
    }
    try:
        inspect.signature(lobe).bind(**arguments)
    except TypeError as error:
        raise ValueError(
            f"{name} does not take its arguments in the configuration: {error}"
        ) from error
    return lobe(**arguments)
