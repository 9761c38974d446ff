"""Describe a release, a file of latents or an audio file in a few lines."""

from __future__ import annotations

import json
from pathlib import Path

from wavcube.cli.files import find_files
from wavcube.release.config_file import CONFIG_FILE, WEIGHTS_FILE
from wavcube.utils.files import AUDIO_SUFFIXES, LATENT_SUFFIXES, recovery_hint

RELEASE = "a WavCube release"
EXPECTED = (
    f"info describes releases (folders with {CONFIG_FILE} and weights), files of latents "
    f"({', '.join(LATENT_SUFFIXES)}) and audio"
)


def find_described(text: str) -> list[Path]:
    """List what one argument of the command line names: a model's folder, or files.

    Parameters
    ----------
    text : str
        A file, a folder or a glob.

    Returns
    -------
    list of Path
        For :func:`describe`.

    Raises
    ------
    FileNotFoundError
        If there is none.
    """
    path = Path(text)
    if any((folder / CONFIG_FILE).is_file() for folder in (path, _release_of_run(path))):
        return [path]
    try:
        return [found for found, _ in find_files(text, (*AUDIO_SUFFIXES, *LATENT_SUFFIXES))]
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}: {EXPECTED}{recovery_hint(path)}") from error


def describe(path: Path) -> str:
    """Say what a path holds.

    Parameters
    ----------
    path : Path
        A release folder, a file of latents or an audio file.

    Returns
    -------
    str
        `name: value` lines under the path.

    Raises
    ------
    FileNotFoundError
        If there is nothing, or the release lacks its weights.
    ValueError
        If it is something else, as the folder of an SSL encoder, or broken.
    """
    if path.is_dir():
        _check_release(path)
        facts = _describe_release(path)
    elif path.name == CONFIG_FILE:
        raise ValueError(f"{path} is the configuration of {_configured(path)}: {EXPECTED}")
    elif path.suffix == ".safetensors":
        facts = _describe_latents(path)
    else:
        facts = _describe_audio(path)
    width = max(len(name) for name in facts)
    return "\n".join([str(path), *(f"  {name:<{width}}  {value}" for name, value in facts.items())])


def _release_of_run(folder: Path) -> Path:
    return folder / "release"


def _check_release(folder: Path) -> None:
    """Say what a folder is that is not a release."""
    if not (folder / CONFIG_FILE).is_file():
        raise ValueError(
            f"{folder} is the output of a recipe: its release is {_release_of_run(folder)}"
        )
    whose = _configured(folder / CONFIG_FILE)
    if whose != RELEASE:
        raise ValueError(f"{folder} is the folder of {whose}: {EXPECTED}")
    if not (folder / WEIGHTS_FILE).is_file():
        raise ValueError(f"{folder} is the folder of {whose}, without {WEIGHTS_FILE}: {EXPECTED}")


def _configured(config_file: Path) -> str:
    """Say whose configuration a config.json is."""
    try:
        content = json.loads(config_file.read_text(encoding="utf-8"))
    except ValueError:
        content = None
    if not isinstance(content, dict):
        return "nothing known"
    if "model_type" in content:
        return f"an SSL encoder ({content['model_type']})"
    return RELEASE if "model" in content else "another model"


def _describe_release(folder: Path) -> dict[str, object]:
    from wavcube.inference.latent import WavCube
    from wavcube.release.folder import TRAINING_FILE, load_release, read_config, release_hash

    if "representation" in read_config(folder):
        model = load_release(folder)
        return {
            "kind": f"release of a {type(model).__name__}, for wavcube.inference.{model.usage[0]}",
            "sample rate": f"{model.sample_rate} Hz",
            **model.metadata(),
            "parameters": f"{sum(p.numel() for p in model.parameters()):,}",
            "model hash": release_hash(model),
        }
    model = WavCube.from_hparams(folder, run_opts={"device": "cpu"})
    return {
        "kind": "WavCube release",
        "sample rate": f"{model.sample_rate} Hz",
        "frame rate": f"{model.frame_rate:g} Hz",
        "latent dimensions": model.latent_dim,
        "parameters": f"{sum(p.numel() for p in model.mods.parameters()):,}",
        "can be trained on": "yes" if (folder / TRAINING_FILE).is_file() else "no",
        "model hash": model.model_hash,
        "latent hash": model.latent_hash,
    }


def _describe_latents(path: Path) -> dict[str, object]:
    from wavcube.inference.latent_files import Latents

    content = Latents.load(path)
    frames, width = content.latents.shape
    return {
        "kind": "latents",
        "frames": frames,
        "latent dimensions": width,
        "frame rate": f"{content.frame_rate:g} Hz",
        "duration": f"{content.num_samples / content.sample_rate:.3f} s",
        "samples": f"{content.num_samples} at {content.sample_rate} Hz",
        "latent hash": content.latent_hash,
    }


def _describe_audio(path: Path) -> dict[str, object]:
    from wavcube.data.audio import inspect_audio

    info = inspect_audio(path)
    return {
        "kind": f"audio ({info.format}, {info.subtype})",
        "sample rate": f"{info.sample_rate} Hz",
        "channels": info.channels,
        "duration": f"{info.duration:.3f} s",
    }
