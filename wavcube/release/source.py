"""Find a release's files: in a folder, with no network and no links, or on the Hugging Face hub."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from hyperpyyaml import load_hyperpyyaml, resolve_references
from speechbrain.utils.fetching import FetchConfig, LocalStrategy, fetch
from speechbrain.utils.parameter_transfer import Pretrainer
from torch import nn

from wavcube.leftovers import whereabouts
from wavcube.release.build import ALLOWED_CLASSES
from wavcube.release.hyperparams_check import UnsafeYAMLError, check_hyperparams
from wavcube.release.hyperparams_yaml import PRETRAINER, WEIGHTS_FILE, WEIGHTS_HOOK, YAML_FILE
from wavcube.release.weights import load_release_weights
from wavcube.release.yaml_arguments import check_yaml_arguments

ALLOWED_NAMES = ALLOWED_CLASSES | {PRETRAINER, WEIGHTS_HOOK}
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
        if (release / YAML_FILE).is_file() and not Path(name, WEIGHTS_FILE).is_file():
            raise FileNotFoundError(f"{name} is the folder of a run: its release is {release}")
        return name
    # results/typo is a slip in a path of this machine, not somebody's repository
    parts = Path(name).parts
    local = name.startswith(".") or (parts and Path(parts[0]).is_dir())
    if isinstance(source, str) and _HUB_ID.fullmatch(name) and not local:
        return name
    raise FileNotFoundError(
        f"no release at {name!r}: there is no such folder, and a hub id reads owner/name"
        f"{whereabouts(name)}"
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
            raise FileNotFoundError(f"{source} is no WavCube release: it has no {name}")
        return path
    if savedir is not None:
        # each model has its own subfolder there, so that no file of another model is taken for it
        config = replace(config, huggingface_cache_dir=str(savedir))
    try:
        return Path(fetch(name, source, None, None, LocalStrategy.NO_LINK, config))
    except (OSError, ValueError) as error:
        raise FileNotFoundError(
            f"{source} is no folder here, and {name} of it could not be had from the hub: {error}"
        ) from error


def load_hyperparams(
    path: Path, overrides: Mapping[str, Any] | str | None, trust_yaml: bool
) -> dict[str, Any]:
    """Load a hyperparams.yaml, after checking that it builds nothing but parts of a release.

    Parameters
    ----------
    path : Path
        The file.
    overrides : mapping or str, optional
        HyperPyYAML's overrides.
    trust_yaml : bool
        Skip the check: the YAML then runs whatever code it names.

    Returns
    -------
    dict
        The objects, `modules` and `pretrainer` among them.

    Raises
    ------
    UnsafeYAMLError
        If it names anything else.
    ValueError
        If it is no YAML, lacks `modules` or `pretrainer`, or gives a lobe an argument that it does
        not take, which is named.
    """
    overrides = overrides or {}
    if trust_yaml:
        with path.open(encoding="utf-8") as file:
            hparams = load_hyperpyyaml(file, overrides)
    else:
        text = path.read_text(encoding="utf-8")
        check_hyperparams(text, ALLOWED_NAMES, str(path))
        resolved = resolve_references(io.StringIO(text), overrides, True).getvalue()
        # again, since references were followed
        check_hyperparams(resolved, ALLOWED_NAMES, str(path))
        check_yaml_arguments(resolved, str(path))
        try:
            hparams = load_hyperpyyaml(io.StringIO(resolved))
        except Exception as error:  # constructors may fail on values of the right types in any way
            said = ": ".join(str(part) for part in error.args)
            raise ValueError(f"{path} cannot be built: {said}") from error
    modules, pretrainer = hparams.get("modules"), hparams.get("pretrainer")
    found = modules.values() if isinstance(modules, dict) else ()
    if not found or not all(isinstance(module, nn.Module) for module in found):
        raise ValueError(f"{path} has no modules with a wavcube or the model of a task")
    if not isinstance(pretrainer, Pretrainer):
        raise ValueError(f"{path} has no pretrainer")
    return hparams


def load_parameters(
    pretrainer: Pretrainer,
    source: str,
    savedir: str | Path | None,
    config: FetchConfig,
    trust_yaml: bool,
) -> None:
    """Fill what a pretrainer names from the release's own files, strictly.

    Parameters
    ----------
    pretrainer : Pretrainer
        Of the YAML.
    source : str
        What :func:`resolve_source` gave.
    savedir : str or Path, optional
        See :func:`fetch_file`.
    config : FetchConfig
        See :func:`fetch_file`.
    trust_yaml : bool
        Use the YAML's own hooks where it has some.

    Raises
    ------
    UnsafeYAMLError
        If a path leaves the release.
    ValueError
        If a file does not fit.
    """
    for name, target in pretrainer.loadables.items():
        filename = str(pretrainer.paths.get(name, f"{name}.safetensors"))
        if Path(filename).name != filename:
            raise UnsafeYAMLError(f"pretrainer: {filename!r} is not a file of {source}")
        path = fetch_file(filename, source, savedir, config)
        hook = pretrainer.custom_hooks.get(name) if trust_yaml else None
        (hook or load_release_weights)(target, path)
