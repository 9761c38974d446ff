"""An SSL encoder from a folder, from the hub if it is named, or with random weights."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from wavcube.lobes.ssl.encoder import SSLEncoder
from wavcube.release.weights import current_name, load_strictly, read_weights, write_weights
from wavcube.utils.files import read_json

CONFIGURATION = ("config.json", "preprocessor_config.json")
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
# heads and quantisers of pretraining, and layers above the chosen one: never part of an encoder
_PREFIXES = ("wavlm.", "hubert.", "wav2vec2.", "model.")
_FOREIGN = ("lm_head.", "quantizer.", "project_hid.", "project_q.", "adapter.")


def packaged_encoder() -> Path:
    """Folder of the small encoder that comes with the package."""
    return Path(__file__).parents[1] / "pretrained" / "encoder"


def open_encoder(
    source: str | Path | None,
    layer: int = -1,
    random: bool = False,
    config: Mapping[str, Any] | None = None,
) -> SSLEncoder:
    """Open the SSL encoder that was asked for; without a source nothing is downloaded.

    Parameters
    ----------
    source : str or Path, optional
        Folder, or hub id of the form owner/name, whose files are then fetched.
    layer : int
        See :class:`~wavcube.lobes.ssl.encoder.SSLEncoder`.
    random : bool
        Build one with random weights instead, of the sizes in `config`.
    config : Mapping, optional
        transformers' configuration as plain data, with its `model_type`.

    Returns
    -------
    SSLEncoder
        The encoder.

    Raises
    ------
    FileNotFoundError
        If the folder lacks a file, or the hub cannot be reached.
    ValueError
        If there is neither a source nor a wish for random weights, or there are both; or if the
        files are broken.

    Examples
    --------
    >>> from wavcube.testing import tiny_ssl_config
    >>> open_encoder(None, random=True, config=tiny_ssl_config()).dim
    16
    >>> open_encoder(None)
    Traceback (most recent call last):
    ...
    ValueError: no SSL encoder: give --ssl_source FOLDER, or --ssl_source OWNER/NAME such as \
microsoft/wavlm-large to download it from the Hugging Face hub; --random_ssl true builds it with \
random weights, for a dry run
    """
    if random and source is not None:
        raise ValueError(f"ssl_source={source} and random_ssl exclude each other: give one")
    if random:
        return SSLEncoder(config or {}, layer)
    if source is None:
        raise ValueError(
            "no SSL encoder: give --ssl_source FOLDER, or --ssl_source OWNER/NAME such as "
            "microsoft/wavlm-large to download it from the Hugging Face hub; --random_ssl true "
            "builds it with random weights, for a dry run"
        )
    return load_encoder(source, layer)


def load_encoder(source: str | Path, layer: int = -1) -> SSLEncoder:
    """Load an encoder's weights from a folder, or from the hub when ``source`` is not a folder.

    Parameters
    ----------
    source : str or Path
        Folder with config.json and model.safetensors, or a hub id.
    layer : int
        See :class:`~wavcube.lobes.ssl.encoder.SSLEncoder`.

    Raises
    ------
    FileNotFoundError
        If the folder lacks a file.
    ValueError
        If a weight is missing, unexpected or of another size.
    """
    config, weights, do_normalize = read_source(source)
    encoder = SSLEncoder(config, layer, do_normalize)
    fill_encoder(encoder.model, weights, str(source))
    return encoder


def read_source(source: str | Path) -> tuple[dict[str, Any], dict[str, Tensor], bool | None]:
    """Read an encoder from a folder, or fetch it from the hub when ``source`` is a hub id.

    Parameters
    ----------
    source : str or Path
        Folder or hub id.

    Returns
    -------
    config : dict
        transformers' configuration.
    weights : dict of Tensor
        Float32, under the base model's names.
    do_normalize : bool or None
        As its preprocessor_config.json says; None without one.

    Raises
    ------
    FileNotFoundError
        If the folder or a file of it is absent.
    ValueError
        If a file is broken, or a pickle that is more than tensors.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = fetch_encoder(str(source), (*CONFIGURATION, *WEIGHTS))
    config_file = folder / "config.json"
    if not config_file.is_file():
        raise FileNotFoundError(f"{folder} has no config.json: not a folder of an SSL encoder")
    config = read_json(config_file)
    preprocessor = folder / "preprocessor_config.json"
    said = read_json(preprocessor) if preprocessor.is_file() else {}
    return config, _read_weights(folder), said.get("do_normalize")


def write_encoder(encoder: SSLEncoder, folder: Path, dtype: torch.dtype = torch.float32) -> None:
    """Write an encoder as a folder that :func:`load_encoder` reads.

    Parameters
    ----------
    encoder : SSLEncoder
        With all of its layers.
    folder : Path
        Is made; files of the same names are replaced.
    dtype : torch.dtype
        Of the weights in the file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    settings = encoder.config()
    preprocessor = {"do_normalize": settings["do_normalize"]}
    for name, content in zip(CONFIGURATION, (settings["config"], preprocessor), strict=True):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    write_weights(folder / "model.safetensors", encoder.model.state_dict(), dtype)


def fill_encoder(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    """Load weights strictly into an encoder that may be cut to fewer layers than they have.

    Parameters
    ----------
    model : nn.Module
        transformers' model of an :class:`SSLEncoder`.
    weights : mapping of str to Tensor
        Under its names.
    where : str
        Their origin, for the message.

    Raises
    ------
    ValueError
        If a weight is missing, unexpected or of another size.
    """
    parts: Any = model
    kept, layers = len(parts.encoder.layers), "encoder.layers."

    def is_above(name: str) -> bool:
        return name.startswith(layers) and int(name.split(".")[2]) >= kept

    load_strictly(model, {k: v for k, v in weights.items() if not is_above(k)}, where)


def _read_weights(folder: Path) -> dict[str, Tensor]:
    if (folder / "model.safetensors").is_file():
        weights = read_weights(folder / "model.safetensors")
    elif (folder / "pytorch_model.bin").is_file():
        weights = _read_pickle(folder / "pytorch_model.bin")
    else:
        raise FileNotFoundError(f"{folder} has neither model.safetensors nor pytorch_model.bin")
    named = {_base_name(name): value.float() for name, value in weights.items()}
    return {name: value for name, value in named.items() if not name.startswith(_FOREIGN)}


def _read_pickle(path: Path) -> dict[str, Tensor]:
    """Read tensors and nothing else: what would run code is refused, not run."""
    try:
        return torch.load(path, weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(
            f"{path} is not a file of plain tensors (broken, or made to run code; nothing of it "
            f"was run): {error}"
        ) from error


def _base_name(name: str) -> str:
    """Spell a name as the base model of this torch does."""
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return current_name(name)


def fetch_encoder(hub_id: str, files: tuple[str, ...]) -> Path:
    """Download files of an encoder, or find them in the hub's cache.

    Parameters
    ----------
    hub_id : str
        Of the form owner/name.
    files : tuple of str
        Which of its files.

    Returns
    -------
    Path
        Their folder.

    Raises
    ------
    FileNotFoundError
        If there is no such repository, or no network.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=list(files)))
    except (HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise FileNotFoundError(
            f"{hub_id!r} is neither a folder nor a hub repository that can be reached: {error}"
        ) from error
