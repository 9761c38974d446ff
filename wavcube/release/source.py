"""Find a release's files: in a folder, with no network and no links, or on the Hugging Face hub."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

from speechbrain.utils.fetching import FetchConfig, LocalStrategy, fetch

from wavcube.release.config_file import CONFIG_FILE, WEIGHTS_FILE
from wavcube.utils.files import recovery_hint

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def packaged_model() -> Path:
    """Folder of the small model that comes with the package."""
    return packaged_release("wavcube_tiny")


def packaged_release(name: str) -> Path:
    """Folder of one of the models that come with the package.

    Parameters
    ----------
    name : str
        Of the folder.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    FileNotFoundError
        If this version of the package has no such model.
    """
    folder = Path(__file__).parents[1] / "pretrained" / name
    if not folder.is_dir():
        raise FileNotFoundError(
            f"the package comes without the model {name!r}: train one by its recipe, and name the "
            "release as source"
        )
    return folder


def resolve_source(source: str | Path | None) -> str:
    """Tell a folder from a hub id; a mistyped folder is not looked up on the network.

    Parameters
    ----------
    source : str, Path or None
        What the user gave; None is the model that comes with the package.

    Returns
    -------
    str
        An existing folder, or an id of the form owner/name.

    Raises
    ------
    FileNotFoundError
        If it is neither.

    Examples
    --------
    >>> resolve_source("results/missing/release")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    FileNotFoundError: no release at 'results/missing/release': there is no such folder...
    """
    name = str(packaged_model() if source is None else source)
    if Path(name).is_dir():
        release = Path(name, "release")
        if (release / CONFIG_FILE).is_file() and not Path(name, WEIGHTS_FILE).is_file():
            raise FileNotFoundError(f"{name} is the folder of a run: its release is {release}")
        return name
    # results/typo is a slip in a path of this machine, not somebody's repository
    parts = Path(name).parts
    local = name.startswith(".") or (parts and Path(parts[0]).is_dir())
    if isinstance(source, str) and _HUB_ID.fullmatch(name) and not local:
        return name
    raise FileNotFoundError(
        f"no release at {name!r}: there is no such folder, and a hub id reads owner/name"
        f"{recovery_hint(name)}"
    )


def fetch_file(name: str, source: str, savedir: str | Path | None, config: FetchConfig) -> Path:
    """Give a release's file: in place for a folder, from the cache for a hub id.

    Parameters
    ----------
    name : str
        File name.
    source : str
        What :func:`resolve_source` gave.
    savedir : str or Path, optional
        The cache of downloads, in place of Hugging Face's own. Unused for a folder.
    config : FetchConfig
        SpeechBrain's settings for downloads.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    FileNotFoundError
        If the folder lacks it, or it cannot be downloaded.
    """
    if Path(source).is_dir():
        path = Path(source) / name
        if not path.is_file():
            raise FileNotFoundError(f"{source} is not a WavCube release: it has no {name}")
        return path
    if savedir is not None:
        # each model has its own subfolder there, so that no file of another model is taken for it
        config = replace(config, huggingface_cache_dir=str(savedir))
    try:
        return Path(fetch(name, source, None, None, LocalStrategy.NO_LINK, config))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{source} is not a folder here, and {name} of it could not be had from the hub: "
            f"{error}"
        ) from error
