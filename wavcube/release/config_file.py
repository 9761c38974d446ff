"""A release's config.json: the model as plain data, and what it was made of."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from wavcube.release.card import ModelCard, Source, library_versions
from wavcube.release.registry import SHORT_NAMES, rename_classes
from wavcube.utils.atomic import recovery_hint

CONFIG_FILE = "config.json"
FORMAT, FORMAT_VERSION = "wavcube-release", 2
READABLE_VERSIONS = (1, 2)  # the first named classes by their modules


def write_config(
    folder: Path,
    model: Mapping[str, Any],
    card: ModelCard,
    files: Sequence[str] = (),
    task: str = "",
) -> None:
    """Write a release's config.json.

    Parameters
    ----------
    folder : Path
        The release.
    model : mapping
        The lobe's configuration.
    card : ModelCard
        Of the release; a model that is tuned from it names the same sources.
    files : sequence of str
        Names of what else it needs.
    task : str
        Name of the model's task, if it is of one.
    """
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "model": model,
        "versions": library_versions(),
        "card": asdict(card),
    }
    if files:
        content["files"] = list(files)
    if task:
        content["task"] = task
    (folder / CONFIG_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def read_config(folder: str | Path) -> dict[str, Any]:
    """Read a release's config.json.

    Parameters
    ----------
    folder : str or Path
        The release.

    Returns
    -------
    dict
        The model's configuration, for :func:`~wavcube.release.build.build`.

    Raises
    ------
    FileNotFoundError
        If the folder is missing or no release.
    ValueError
        If the file is broken or of another format.
    """
    return rename_classes(_read(folder)["model"], SHORT_NAMES)


def read_card(folder: str | Path) -> ModelCard | None:
    """Read what a release's makers said of it.

    Parameters
    ----------
    folder : str or Path
        The release.

    Returns
    -------
    ModelCard or None
        None if the release is older than this part of its config.json.

    Raises
    ------
    FileNotFoundError, ValueError
        See :func:`read_config`.
    """
    said = _read(folder).get("card")
    if said is None:
        return None
    try:
        sources = {key: [Source(**item) for item in said[key]] for key in ("upstream", "data")}
        return ModelCard(**{**said, **sources})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{Path(folder) / CONFIG_FILE} holds a broken card: {error}") from error


def extra_file_names(folder: str | Path) -> list[str]:
    """List what a release needs beside its configuration and its weights.

    Parameters
    ----------
    folder : str or Path
        The release.

    Returns
    -------
    list of str
        Names of files in it.

    Raises
    ------
    FileNotFoundError, ValueError
        See :func:`read_config`.
    """
    names = _read(folder).get("files", [])
    if not isinstance(names, list) or any(Path(str(name)).name != name for name in names):
        raise ValueError(f"{Path(folder) / CONFIG_FILE} names files that are not its own: {names}")
    return names


def read_task(folder: str | Path) -> str:
    """Read which task a release's model is of.

    Parameters
    ----------
    folder : str or Path
        The release.

    Returns
    -------
    str
        Its name; "" for a latent, and where an earlier version did not tell.

    Raises
    ------
    FileNotFoundError, ValueError
        See :func:`read_config`.
    """
    return str(_read(folder).get("task", ""))


def check_is_release(folder: Path) -> None:
    """Refuse to replace a folder that no release was written to, of whatever version.

    Parameters
    ----------
    folder : Path
        The folder.

    Raises
    ------
    FileExistsError
        If its config.json is missing or another program's; many have a file of that name.
    """
    try:
        content = json.loads((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        content = None
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise FileExistsError(
            f"{folder} is not replaced: it is no WavCube release, having no {CONFIG_FILE} of the "
            f"format {FORMAT}"
        )


def _read(folder: str | Path) -> dict[str, Any]:
    path = Path(folder) / CONFIG_FILE
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} is no WavCube release: it has no {CONFIG_FILE}{recovery_hint(folder)}"
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is no JSON: {error}") from error
    content = content if isinstance(content, dict) else {}
    found = content.get("format"), content.get("format_version")
    known = found[0] == FORMAT and found[1] in READABLE_VERSIONS
    if not known or not isinstance(content.get("model"), dict):
        raise ValueError(f"{path} is not of the format {FORMAT} {FORMAT_VERSION}: {list(found)}")
    return content
