"""Describe a release, a file of latents or an audio file in a few lines."""

from __future__ import annotations

from pathlib import Path

CONFIG_FILE = "config.json"


def is_release(path: Path) -> bool:
    """Tell a release's folder from any other path."""
    return (path / CONFIG_FILE).is_file()


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
        If there is nothing, or the folder is no release.
    ValueError
        If the file is broken.
    """
    if path.is_dir():
        facts = _describe_release(path)
    elif path.suffix == ".safetensors":
        facts = _describe_latents(path)
    else:
        facts = _describe_audio(path)
    width = max(len(name) for name in facts)
    return "\n".join([str(path), *(f"  {name:<{width}}  {value}" for name, value in facts.items())])


def _describe_release(folder: Path) -> dict[str, object]:
    from wavcube.export import TRAINING_FILE
    from wavcube.inference import WavCube

    model = WavCube.from_hparams(folder, run_opts={"device": "cpu"})
    return {
        "kind": "WavCube release",
        "sample rate": f"{model.sample_rate} Hz",
        "frame rate": f"{model.frame_rate:g} Hz",
        "latent dimensions": model.latent_dim,
        "parameters": f"{sum(p.numel() for p in model.mods.parameters()):,}",
        "can be trained on": "yes" if (folder / TRAINING_FILE).is_file() else "no",
        "model hash": model.model_hash,
    }


def _describe_latents(path: Path) -> dict[str, object]:
    from wavcube.latent_files import Latents

    content = Latents.load(path)
    frames, width = content.latents.shape
    return {
        "kind": "latents",
        "frames": frames,
        "latent dimensions": width,
        "frame rate": f"{content.frame_rate:g} Hz",
        "duration": f"{content.num_samples / content.sample_rate:.3f} s",
        "samples": f"{content.num_samples} at {content.sample_rate} Hz",
        "model hash": content.model_hash,
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
