"""Checkpoints of the research code (arXiv 2605.06407) turned into release folders of ours.

The checkpoint is memory-mapped and the model is built without storage, so that a conversion holds
the weights that it writes once, not the gigabytes of discriminators, judges and optimizer states.
"""

from __future__ import annotations

import logging
import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wavcube.official.config import bottleneck_config, decoder_config, encoder_config, read_yaml
from wavcube.official.names import FEATURES, TRAINED_ENCODER, translate
from wavcube.release.card import ModelCard, Source
from wavcube.release.config_file import build
from wavcube.release.folder import write_release
from wavcube.release.ssl_folder import CONFIGURATION, fetch_encoder
from wavcube.release.weights import drop_pages, load_strictly

logger = logging.getLogger(__name__)

# what torch.load was seen to raise for cut and altered files
BROKEN_PICKLE = (
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
)


@dataclass(frozen=True)
class Conversion:
    """Result of a conversion.

    Attributes
    ----------
    folder : Path
        The release.
    taken : int
        Weights that went into it, those for training included.
    skipped : dict of str to int
        Families of the checkpoint that were left out, with their number of keys.
    """

    folder: Path
    taken: int
    skipped: dict[str, int]


def convert_official(
    checkpoint: str | Path,
    config: str | Path,
    out_folder: str | Path,
    encoder: str | Path | None = None,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> Conversion:
    """Turn a research checkpoint of either stage into a folder that ``WavCube`` loads.

    The folder's model frames as the original (floor((T - 400) / 320) + 1 frames) and is
    numerically that model. The side of the bottleneck that restores the SSL feature goes to
    training.safetensors, for fine-tuning.

    Parameters
    ----------
    checkpoint : str or Path
        Lightning's .ckpt file. It is never executed: only tensors and plain data are read.
    config : str or Path
        The YAML beside it.
    out_folder : str or Path
        A new or empty folder.
    encoder : str or Path, optional
        Folder whose config.json describes the WavLM, as given or beside the YAML, or a hub id
        `owner/name`, of which the two configuration files are fetched. By default the YAML's
        `model_id`, which must be a folder.
    dtype : torch.dtype
        float32 or float16, of the stored weights.
    overwrite : bool
        Replace an earlier release.

    Returns
    -------
    Conversion
        The folder, and what was taken and skipped.

    Raises
    ------
    FileNotFoundError
        If a file or the encoder's folder is missing.
    FileExistsError
        If the folder is not empty and may not be replaced.
    ValueError
        If the checkpoint is broken, runs code, holds an unknown key, or does not fit the YAML.
    """
    state = _read_state(Path(checkpoint))
    features, backbone = read_yaml(config)
    _check_stage(features["stage"], state)
    folder = _encoder_folder(encoder, features["model_id"], Path(config).parent)
    parts = {"encoder": encoder_config(folder, features["layer_idx"])}
    parts["bottleneck"] = bottleneck_config(features, parts["encoder"], state)
    parts["decoder"] = decoder_config(backbone, state)
    with torch.device("meta"):
        model: Any = build({"class": "WavCube", **parts, "official_framing": True})
    _check_rate(backbone, model.sample_rate)
    found = translate(state, features["stage"], model.encoder.layer, model.encoder.num_layers)
    load_strictly(model, found.weights, str(checkpoint), assign=True)
    for family, count in found.skipped.items():
        logger.info("left out %s (%d keys)", family, count)
    card = _card(Path(checkpoint), Path(config), features)
    training_state: dict[str, Tensor] | None = {} if parts["bottleneck"]["with_decoder"] else None
    written = write_release(
        model,
        out_folder,
        card=card,
        training_state=training_state,
        dtype=dtype,
        overwrite=overwrite,
        done_with=drop_pages,
    )
    return Conversion(written, len(found.weights), dict(found.skipped))


def _read_state(path: Path) -> dict[str, Tensor]:
    """Map a checkpoint into memory, refusing anything but tensors and plain data."""
    if not path.is_file():
        raise FileNotFoundError(
            f"no checkpoint at {path}: give the file; one of a hub is downloaded first "
            "(hf download OWNER/NAME --local-dir FOLDER)"
        )
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            raise ValueError(
                f"{path} is not a checkpoint of torch.save: cut short, or of another format"
            )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except BROKEN_PICKLE as error:
        # what torch says before and after it is how to run the code
        reason = str(error).rpartition("WeightsUnpickler error:")[2].strip().partition(" Please")[0]
        raise ValueError(
            f"{path} is not a checkpoint of plain tensors (broken, of another format, or made to "
            f"run code; nothing of it was run): {reason}"
        ) from error
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ValueError(f"{path} has no state_dict of tensors: not a Lightning checkpoint")
    if not any(name.startswith(FEATURES) for name in state):
        raise ValueError(f"{path} holds no WavCube: no weight's name begins with {FEATURES}")
    return state


def _check_stage(stage: int, state: Mapping[str, Tensor]) -> None:
    """Refuse the YAML of the other stage: its encoder would be the teacher, or missing."""
    found = 2 if any(name.startswith(TRAINED_ENCODER) for name in state) else 1
    if found != stage:
        raise ValueError(
            f"the configuration says stage {stage}, the checkpoint's weights are of stage {found}"
        )


def _check_rate(backbone: Mapping[str, Any], sample_rate: int) -> None:
    """Refuse another sample rate than the lobes'."""
    if backbone.get("sampling_rate", sample_rate) != sample_rate:
        raise ValueError(f"sampling_rate={backbone['sampling_rate']}, only {sample_rate} is known")


def _encoder_folder(encoder: str | Path | None, model_id: str, beside: Path) -> Path:
    """Find the folder that describes the WavLM; the hub is asked only if the caller named one."""
    name = str(model_id if encoder is None else encoder)
    candidates = [beside / name] if encoder is None else [Path(name), beside / name]
    for folder in candidates:
        if folder.is_dir():
            return folder
    if encoder is None or name.count("/") != 1 or name.startswith((".", "/")):
        raise FileNotFoundError(
            f"no folder {name} beside the configuration to describe the WavLM: give the folder "
            "that holds its config.json, or a hub id, as the encoder"
        )
    return fetch_encoder(name, CONFIGURATION)


def _card(checkpoint: Path, config: Path, features: Mapping[str, Any]) -> ModelCard:
    """Say what is known of a converted model, and that its licence is not."""
    unknown = "not stated in the checkpoint: ask its makers"
    return ModelCard(
        title=f"WavCube, converted from {checkpoint.name}",
        summary=(
            f"A stage-{features['stage']} model of the WavCube research code (arXiv 2605.06407), "
            "converted without change of its weights. Its framing is the original's: the last "
            "samples that fill no frame are silent."
        ),
        weights_license=unknown,
        commercial_use="unclear",
        upstream=[
            Source(Path(str(features["model_id"])).name, unknown, "the encoder it started from"),
            Source(checkpoint.name, unknown, "the research checkpoint"),
        ],
        data=[Source("the research checkpoint's training data", unknown, config.name)],
        command=f"wavcube convert-official {checkpoint.name} --config {config.name} OUT",
    )
