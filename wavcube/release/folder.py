"""From a trained model to one self-contained folder, and back, strictly."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from wavcube.lobes.configurable import Configurable
from wavcube.release.card import ModelCard, render_card
from wavcube.release.config_file import (
    CONFIG_FILE,
    SEMANTIC_DECODER,
    WEIGHTS_FILE,
    YAML_FILE,
    build,
    check_is_release,
    extra_file_names,
    hyperparams_yaml,
    inference_state,
    latent_hash,
    model_hash,
    read_card,
    read_config,
    release_config,
    release_hash,
    set_semantic_decoder,
    write_config,
)
from wavcube.release.weights import load_strictly, read_weights, write_weights
from wavcube.utils.files import atomic_folder, check_apart, recovery_hint

if TYPE_CHECKING:
    from wavcube.lobes.latent_codec import LatentCodec

CARD_FILE = "README.md"
TRAINING_FILE = "training.safetensors"

DISCRIMINATORS = "discriminators."

__all__ = [
    "build",
    "export_run",
    "latent_hash",
    "load_for_training",
    "load_release",
    "read_card",
    "read_config",
    "release_config",
    "release_hash",
    "write_release",
]


def write_release(
    model: Configurable,
    folder: str | Path,
    *,
    card: ModelCard,
    training_state: Mapping[str, Tensor] | None = None,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
    extra_files: Mapping[str, bytes] | None = None,
    done_with: Callable[[Tensor], None] | None = None,
) -> Path:
    """Write a model as a folder that loads anywhere, without network.

    The folder appears complete or not at all. The semantic decoder, which inference does not need,
    goes to training.safetensors, or nowhere.

    Parameters
    ----------
    model : Configurable
        A WavCube, an AcousticCodec, or the model of a task.
    folder : str or Path
        A new or empty folder.
    card : ModelCard
        Licences, data and results for its README.md.
    training_state : mapping of str to Tensor, optional
        `discriminators.*`, for fine-tuning. When given, even empty, training.safetensors holds it
        and the model's semantic decoder; for a model without one it may hold
        `bottleneck.semantic_decoder.*` too.
    dtype : torch.dtype
        float32, which loads bit for bit, or float16 for half the size.
    overwrite : bool
        Replace an earlier release.
    extra_files : mapping of str to bytes, optional
        What else is needed to use the model, by name: a tokenizer.
    done_with : callable, optional
        Called with each weight once it is written, to let go of its memory.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileExistsError
        If the folder is not empty and may not be replaced.
    ValueError
        If a weight is not finite or the training state holds other keys.
    OSError
        If it cannot be written, as on a full disk.
    """
    if dtype not in (torch.float32, torch.float16):
        raise ValueError(f"a release is stored as float32 or float16, not {dtype}")
    weights, extra = inference_state(model), dict(extra_files or {})
    config = release_config(model)
    with atomic_folder(folder, overwrite=overwrite, check_replaceable=check_is_release) as draft:
        stored = write_weights(draft / WEIGHTS_FILE, weights, dtype, done_with)
        if training_state is not None:
            decoder = {k: v for k, v in model.state_dict().items() if k not in weights}
            training = {**decoder, **training_state}
            _check_training_keys(training)
            write_weights(draft / TRAINING_FILE, training, dtype, done_with)
        write_config(draft, config, card, list(extra), getattr(model, "task", ""))
        for name, content in extra.items():
            (draft / name).write_bytes(content)
        module, loader, example, facts = _usage(model)
        text = hyperparams_yaml(config, module, loader, list(extra))
        (draft / YAML_FILE).write_text(text, encoding="utf-8")
        facts = {
            **facts,
            "parameters": f"{sum(v.numel() for v in weights.values()):,}",
            "stored as": str(dtype).removeprefix("torch."),
            "model hash": model_hash(config, stored),
        }
        text = render_card(card, facts, loader, example)
        (draft / CARD_FILE).write_text(text, encoding="utf-8")
    return Path(folder)


def _usage(model: Any) -> tuple[str, str, str, dict[str, Any]]:  # noqa: ANN401 - see load_release
    """Give the model's name among the modules, who loads it, an example, and its own facts."""
    facts = {"sample rate": f"{model.sample_rate} Hz"}
    if hasattr(model, "usage"):
        return "model", *model.usage, {**facts, **model.metadata()}
    facts |= {"frame rate": f"{model.frame_rate:g} Hz", "latent dimensions": model.latent_dim}
    return "wavcube", "WavCube", 'model.resynthesize_file("speech.wav", "copy.wav")', facts


def load_release(folder: str | Path) -> Any:  # noqa: ANN401 - a LatentCodec or a TaskModel
    """Load a release's model, in eval mode and float32.

    Parameters
    ----------
    folder : str or Path
        What :func:`write_release` wrote.

    Returns
    -------
    Configurable
        As it was written; a WavCube without its semantic decoder.

    Raises
    ------
    FileNotFoundError
        If the folder or a file of it is missing.
    ValueError
        If the configuration is of another kind, or a weight is missing, unexpected or of another
        size.
    """
    folder = Path(folder)
    model = build(read_config(folder), str(folder / CONFIG_FILE))
    load_strictly(model, read_weights(folder / WEIGHTS_FILE), str(folder / WEIGHTS_FILE))
    return model.eval()


def load_for_training(folder: str | Path) -> tuple[LatentCodec, dict[str, Tensor]]:
    """Load a release to train on from it.

    Parameters
    ----------
    folder : str or Path
        A release with training.safetensors.

    Returns
    -------
    LatentCodec
        The lobe; a WavCube with its semantic decoder.
    dict of str to Tensor
        `discriminators.*`; empty if the release has none.

    Raises
    ------
    FileNotFoundError
        If the folder, or its training.safetensors, is missing.
    ValueError
        If a weight is missing, unexpected or of another size.
    """
    folder = Path(folder)
    config = read_config(folder)
    path = folder / TRAINING_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} has no {TRAINING_FILE} with the semantic decoder, so it cannot be trained "
            "on: take a release that was written with its training state"
        )
    set_semantic_decoder(config, True)
    model: Any = build(config, str(folder / CONFIG_FILE))
    training = read_weights(path)
    _check_training_keys(training)
    decoder = {k: v for k, v in training.items() if k.startswith(SEMANTIC_DECODER)}
    load_strictly(model, {**read_weights(folder / WEIGHTS_FILE), **decoder}, str(folder))
    return model, {k: v for k, v in training.items() if k.startswith(DISCRIMINATORS)}


def export_run(
    run: str | Path,
    out: str | Path,
    *,
    dtype: torch.dtype = torch.float32,
    overwrite: bool = False,
) -> Path:
    """Copy a finished run's model to a folder of its own, checked by loading it.

    Parameters
    ----------
    run : str or Path
        A recipe's output folder, with its `release`.
    out : str or Path
        The new folder.
    dtype : torch.dtype
        float32 copies every bit. float16 halves the size and leaves the discriminators out: for
        sharing, and still to be fine-tuned.
    overwrite : bool
        Replace an earlier release.

    Returns
    -------
    Path
        ``out``.

    Raises
    ------
    FileNotFoundError
        If the run has no release.
    ValueError
        If ``out`` is that release, in it or around it; or it cannot be written anew as float16.
    """
    source = Path(run) / "release"
    if not source.is_dir():
        if (Path(run) / CONFIG_FILE).is_file():
            raise FileNotFoundError(
                f"{run} is a release already, and loads as it is: export takes a run's folder"
            )
        raise FileNotFoundError(
            f"{run} holds no finished run: it has no release folder. A run that was interrupted "
            f"goes on when its command is given again{recovery_hint(source)}"
        )
    check_apart(source, out)
    if dtype == torch.float16:
        if (source / TRAINING_FILE).is_file():
            model, training = load_for_training(source)[0], dict[str, Tensor]()
        else:
            model, training = load_release(source), None
        card = read_card(source)
        if card is None:
            raise ValueError(
                f"{source} keeps no model card: give the run's command again, which writes one"
            )
        return write_release(
            model,
            out,
            card=card,
            training_state=training,
            dtype=dtype,
            overwrite=overwrite,
            extra_files={name: (source / name).read_bytes() for name in extra_file_names(source)},
        )
    load_release(source)
    with atomic_folder(out, overwrite=overwrite, check_replaceable=check_is_release) as draft:
        shutil.copytree(source, draft, dirs_exist_ok=True)
    return Path(out)


def _check_training_keys(state: Mapping[str, Tensor]) -> None:
    families = (SEMANTIC_DECODER, DISCRIMINATORS)
    if strange := sorted(k for k in state if not k.startswith(families)):
        raise ValueError(f"training state holds {strange[:6]}; only {families} belong there")
