"""UTMOS: the naturalness that a network hears in a generated clip, without its reference.

Saeki et al., "UTMOS: UTokyo-SaruLab system for VoiceMOS Challenge 2022" (Interspeech 2022,
https://arxiv.org/abs/2204.02152). The user gives the network as TorchScript. That of
https://huggingface.co/balacoon/utmos takes 16-bit samples at 16 kHz, ``[1, T]``.
"""

from __future__ import annotations

import io
import warnings
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from wavcube.metrics.base import (
    LoadedPair,
    Measurement,
    Metric,
    MetricError,
    MetricInfo,
    ModelFile,
    resample,
)
from wavcube.utils.errors import last_line

_RATE = 16000  # in Hz
INFO = MetricInfo(
    key="utmos",
    name="UTMOS",
    description=(
        "Predicted naturalness of the generated signal (Saeki et al. 2022): the network's score of "
        "the whole signal in 16-bit samples, or in floats where the network takes no others"
    ),
    unit="MOS",
    better="higher",
    package="torch",
    sample_rate=_RATE,
    aligned=False,
)
_FULL_SCALE = 32768


def utmos_metric(path: str | Path) -> Metric:
    """Make the metric of a network.

    Parameters
    ----------
    path : str or Path
        TorchScript file of a module from 16-bit samples at 16 kHz, ``[1, T]``, to one number; or
        from floats in -1..1, where the module refuses integers.

    Returns
    -------
    Metric
        UTMOS, for ``score_pair``, ``score_many`` and ``evaluate_folders``.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is not such a network.
    """
    model = ModelFile.identify(path)
    try:
        _load(model)
    except MetricError as error:
        raise ValueError(f"UTMOS by {path}: {error}") from error
    return Metric(model.sign(INFO), partial(_measure, model=model))


def utmos(samples: np.ndarray, sample_rate: int, model: ModelFile) -> float:
    """Rate a signal.

    Parameters
    ----------
    samples : ndarray
        Waveform, ``[T]``.
    sample_rate : int
        Its rate in Hz; the network works at 16 kHz.
    model : ModelFile
        The network.

    Returns
    -------
    float
        From about 1 to 5.

    Raises
    ------
    MetricError
        If the network cannot rate it: it is too short, as a rule.
    """
    module, dtype = _load(model)
    return _rate(module, resample(samples, sample_rate, _RATE), dtype)


def _measure(pair: LoadedPair, model: ModelFile) -> Measurement:
    return Measurement(utmos(pair.generated, pair.sample_rate, model))


@lru_cache(maxsize=1)
def _load(model: ModelFile) -> tuple[torch.jit.ScriptModule, torch.dtype]:
    """Load the network on the CPU, and find out whether it takes integers or floats."""
    content = io.BytesIO(model.read())
    try:
        with warnings.catch_warnings():
            # that TorchScript is to be replaced is not the user's business: the file is what it is
            warnings.simplefilter("ignore", category=DeprecationWarning)
            module = torch.jit.load(content, map_location="cpu").eval()
    except RuntimeError as error:
        raise MetricError(f"the file is not TorchScript: {last_line(error)}") from error
    _move_constants(module)
    second = 0.01 * np.random.default_rng(0).standard_normal(_RATE)
    reasons = {}
    for dtype in (torch.int16, torch.float32):
        try:
            _rate(module, second, dtype)
        except MetricError as error:
            reasons[dtype] = error
        else:
            return module, dtype
    raise MetricError("; ".join(f"{dtype}: {reason}" for dtype, reason in reasons.items()))


def _rate(module: torch.jit.ScriptModule, wav: np.ndarray, dtype: torch.dtype) -> float:
    if dtype == torch.int16:
        wav = np.rint(_FULL_SCALE * wav).clip(-_FULL_SCALE, _FULL_SCALE - 1)
    batch = torch.from_numpy(wav)[None].to(dtype)
    try:
        # optimised from the third call on, the module might answer otherwise than on the first
        with torch.inference_mode(), torch.jit.optimized_execution(False):
            score = module(batch)
    except Exception as error:  # code of others may raise anything
        raise MetricError(f"the UTMOS model cannot rate this: {last_line(error)}") from error
    if not isinstance(score, torch.Tensor) or score.numel() != 1:
        shape = tuple(score.shape) if isinstance(score, torch.Tensor) else type(score).__name__
        raise MetricError(f"the UTMOS model gave {shape} instead of one number")
    return float(score)


def _move_constants(module: torch.jit.ScriptModule) -> None:
    """Put on the CPU what the code itself puts on the GPU that it was traced on.

    ``map_location`` moves parameters only, and the network of balacoon/utmos was traced on a GPU.
    """
    part: Any
    for part in module.modules():
        for name in part._c._method_names():
            graph = part._c._get_method(name).graph
            for node in graph.findAllNodes("prim::Constant", recurse=True):
                if str(node.output().type()) == "Device":
                    node.s_("value", "cpu")
