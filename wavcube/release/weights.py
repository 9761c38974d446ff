"""Strict reading of safetensors weights, and the hash that names a model."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from wavcube.release.init_empty import is_empty
from wavcube.release.old_names import OLD_NAMES
from wavcube.release.registry import rename_classes

# an error names so many keys of a kind, and counts the rest
NAMED_KEYS = 6
# weight normalisation's parts: the hook of older torch and its parametrisation
_WEIGHT_NORM = {
    "weight_g": "parametrizations.weight.original0",
    "weight_v": "parametrizations.weight.original1",
}


def current_name(name: str) -> str:
    """Spell a weight's name as this torch does.

    Parameters
    ----------
    name : str
        As some torch wrote it.

    Returns
    -------
    str
        The same but for weight normalisation, which older versions spelt otherwise.

    Examples
    --------
    >>> current_name("conv.weight_g")
    'conv.parametrizations.weight.original0'
    >>> current_name("conv.bias")
    'conv.bias'
    """
    module, dot, last = name.rpartition(".")
    return module + dot + _WEIGHT_NORM.get(last, last)


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a safetensors file; any other format, a pickle above all, is refused unread.

    Parameters
    ----------
    path : str or Path
        The file.

    Returns
    -------
    dict of str to Tensor
        Tensors on the CPU, as stored.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is no complete safetensors file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(
            f"{path} is no complete safetensors file ({error}); pickles are never read here"
        ) from error


def load_strictly(
    module: nn.Module, tensors: Mapping[str, Tensor], where: str, assign: bool = False
) -> None:
    """Fill a module, cast to its types; every key and size must agree.

    Parameters
    ----------
    module : nn.Module
        What to fill.
    tensors : mapping of str to Tensor
        The weights.
    where : str
        Their origin, for the message.
    assign : bool
        Take the tensors themselves, in their own types, instead of copying their values: for a
        module without storage.

    Raises
    ------
    ValueError
        Naming the missing and unexpected keys and both sizes of those that differ.

    Examples
    --------
    >>> import torch
    >>> load_strictly(nn.Linear(2, 1), {"weight": torch.zeros(1, 3)}, "my file")
    Traceback (most recent call last):
    ...
    ValueError: my file does not fit the model: missing bias; weight has size [1, 3], not [1, 2]
    """
    own = module.state_dict()
    problems = []
    if missing := sorted(own.keys() - tensors.keys()):
        problems.append(f"missing {_some(missing)}")
    if unexpected := sorted(tensors.keys() - own.keys()):
        problems.append(f"unexpected {_some(unexpected)}")
    common = sorted(own.keys() & tensors.keys())
    sizes = [
        f"{name} has size {list(tensors[name].shape)}, not {list(own[name].shape)}"
        for name in common
        if tensors[name].shape != own[name].shape
    ]
    if sizes:
        problems.append(_some(sizes))
    kinds = [
        f"{name} is {tensors[name].dtype}, not {own[name].dtype}"
        for name in common
        if tensors[name].is_floating_point() != own[name].is_floating_point()
    ]
    if kinds:
        problems.append(_some(kinds))
    if problems:
        raise ValueError(f"{where} does not fit the model: " + "; ".join(problems))
    module.load_state_dict(dict(tensors), strict=True, assign=assign)


def load_release_weights(module: nn.Module, path: str | Path) -> None:
    """Fill a module from a safetensors file; the hook that a release's hyperparams.yaml names.

    Parameters
    ----------
    module : nn.Module
        What to fill.
    path : str or Path
        model.safetensors.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it is no safetensors file, or a key or size differs.
    """
    tensors = read_weights(path)
    if not is_empty(module):
        load_strictly(module, tensors, str(path))
        return
    parameters = dict(module.named_parameters())
    types = {k: v.dtype for k, v in module.state_dict().items() if k not in parameters}
    tensors = {k: v.to(types.get(k, v.dtype)) for k, v in tensors.items()}
    load_strictly(module, tensors, str(path), assign=True)


def model_hash(config: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """Name a model by what it computes: its configuration and its weights.

    Parameters
    ----------
    config : mapping
        Of the model, as its release has it. What is None in it does not count, at any depth: it
        was not given, and a part that models may have one day does not rename those without it.
        Classes count by the names that they had in releases of format 1.
    tensors : mapping of str to Tensor
        Its weights, on any device; floating point ones count as float32, which a model runs in.

    Returns
    -------
    str
        SHA-256 in hexadecimal. A model rounded to float16 is another one: its latents differ.

    Examples
    --------
    >>> import torch
    >>> model_hash({}, {"a": torch.zeros(1)}) == model_hash({}, {"a": torch.zeros(1).half()})
    True
    >>> model_hash({}, {"a": torch.zeros(1)}) == model_hash({}, {"a": torch.ones(1)})
    False
    >>> model_hash({"part": None}, {}) == model_hash({}, {})
    True
    """
    given = _given(rename_classes(config, OLD_NAMES))
    digest = hashlib.sha256(json.dumps(given, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu()
        if tensor.is_floating_point():
            tensor = tensor.float()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)};".encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _given(config: object) -> object:
    """Leave out of plain data the entries that are None."""
    if isinstance(config, Mapping):
        return {key: _given(value) for key, value in config.items() if value is not None}
    return [_given(value) for value in config] if isinstance(config, list | tuple) else config


def _some(names: list[str]) -> str:
    """Join the first names; count the rest."""
    text = ", ".join(names[:NAMED_KEYS])
    return text if len(names) <= NAMED_KEYS else f"{text} and {len(names) - NAMED_KEYS} more"
