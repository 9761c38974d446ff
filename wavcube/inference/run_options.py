"""Run options for speed: checked before anything is built, and applied to the lobes."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from speechbrain.utils.distributed import infer_device
from torch import nn

from wavcube.data.checks import device_name
from wavcube.lobes.decoder.convnext import ConvNeXtBlock
from wavcube.lobes.decoder.rotary_transformer import RotaryTransformerLayer
from wavcube.lobes.ssl.transformer import RelativeTransformerLayer
from wavcube.utils.precision import AUTO, settle_precision

# SpeechBrain's names of half precision
HALF = ("fp16", "bf16")
PRECISIONS = ("fp32", *HALF, AUTO)
QUANTIZED = ("int8",)
# what a model is made of many times over: compiled once each, not the whole
REPEATED = (RelativeTransformerLayer, RotaryTransformerLayer, ConvNeXtBlock)


def check_options(run_opts: MutableMapping[str, Any]) -> str | None:
    """Check the options for speed and take out what SpeechBrain does not know.

    Parameters
    ----------
    run_opts : mapping
        Of the user; `quantize` is removed.

    Returns
    -------
    str or None
        How to quantise.

    Raises
    ------
    ValueError
        If a value is unknown, or two options do not go together.

    Examples
    --------
    >>> check_options({"precision": "bf16"})
    >>> check_options({"precision": "half"})
    Traceback (most recent call last):
    ...
    ValueError: precision 'half' is none of ('fp32', 'fp16', 'bf16', 'auto')
    """
    if run_opts.get("precision") is None:
        run_opts.pop("precision", None)
    precision, quantize = run_opts.get("precision", "fp32"), run_opts.pop("quantize", None)
    if precision in QUANTIZED:
        raise ValueError(f"{precision} is no precision: give quantize={precision!r}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision {precision!r} is none of {PRECISIONS}")
    if quantize is None:
        return None
    if quantize not in QUANTIZED:
        raise ValueError(f"quantize {quantize!r} is none of {QUANTIZED}")
    if precision != "fp32" or run_opts.get("compile"):
        raise ValueError("quantize goes with precision 'fp32' and without compile")
    return quantize


def settle(run_opts: MutableMapping[str, Any]) -> None:
    """Put the precision that a name stands for on the device in its place.

    Parameters
    ----------
    run_opts : mapping
        Of the user.

    Examples
    --------
    >>> options = {"precision": "auto", "device": "cpu"}
    >>> settle(options)
    >>> options["precision"] in ("fp32", "bf16")
    True
    """
    if "precision" in run_opts:
        device = run_opts.get("device")
        device = infer_device() if device is None else device_name(device)
        run_opts["precision"] = settle_precision(run_opts["precision"], device)


def compile_layers(module: nn.Module, **options: Any) -> None:  # noqa: ANN401 - torch.compile's
    """Compile every repeated layer in place.

    Parameters
    ----------
    module : nn.Module
        Whose layers to compile; names of weights stay as they are.
    **options
        For torch.compile.
    """
    for part in module.modules():
        if isinstance(part, REPEATED):
            part.compile(**options)
