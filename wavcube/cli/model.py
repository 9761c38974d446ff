"""Options of the commands that run a model, and the model they ask for."""

from __future__ import annotations

import argparse
import logging
import socket
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

# spelt here again: a command that needs no model is not to wait for torch
PRECISIONS, QUANTIZED = ("fp32", "bf16", "fp16", "auto"), ("int8",)

if TYPE_CHECKING:
    from wavcube.inference.base import ReleasedModel

    Loaded = TypeVar("Loaded", bound=ReleasedModel)


def add_model_options(parser: argparse.ArgumentParser, precision: bool = True) -> None:
    """Add `--source`, `--device` and `--precision`.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of a command.
    precision : bool
        Whether the command has `--precision`.
    """
    parser.add_argument(
        "--source", help="release folder or hub id; by default the model of the package"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1; by default SpeechBrain's choice")
    parser.set_defaults(precision="fp32")
    if precision:
        parser.add_argument(
            "--precision",
            choices=(*PRECISIONS, *QUANTIZED),
            help="what matrices are multiplied in (fp32); auto: bf16 where the device multiplies "
            "it itself, otherwise fp32; int8 on a CPU only",
        )


def load_model(options: argparse.Namespace, kind: type[Loaded] | None = None) -> Loaded:
    """Load what :func:`add_model_options` asked for.

    Parameters
    ----------
    options : argparse.Namespace
        Of the command line.
    kind : type, optional
        Class of a task; by default WavCube.

    Returns
    -------
    ReleasedModel
        An object of that class.

    Raises
    ------
    FileNotFoundError
        If there is no such release; without a network at once.
    """
    from huggingface_hub import constants
    from speechbrain.utils.fetching import FetchConfig

    from wavcube.inference import WavCube
    from wavcube.release.source import packaged_release, resolve_source

    kind = WavCube if kind is None else kind
    # it warns of every attempt to reach the hub; the last one's error is told as ours
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    source = options.source
    source = resolve_source(packaged_release(kind.PACKAGED) if source is None else source)
    offline = not Path(source).is_dir() and not _can_reach(constants.ENDPOINT)
    try:
        return kind.from_hparams(
            options.source,
            run_opts={"device": options.device, **_precision_options(options.precision)},
            fetch_config=FetchConfig(allow_network=not offline),
        )
    except FileNotFoundError as error:
        if not offline:
            raise
        raise FileNotFoundError(
            f"{source} is not a folder here and not in the cache, and there is no network to reach "
            f"{constants.ENDPOINT}"
        ) from error


def _precision_options(precision: str) -> dict[str, str]:
    key = "quantize" if precision in QUANTIZED else "precision"
    return {key: precision}


def _can_reach(address: str) -> bool:
    """Look a server's name up: it fails at once where asking the server takes half a minute."""
    if urllib.request.getproxies():  # which knows the name in our place
        return True
    try:
        socket.getaddrinfo(urlsplit(address).hostname, None)
    except OSError:
        return False
    return True
