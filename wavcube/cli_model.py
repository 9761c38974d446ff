"""Options of the commands that run a model, and the model they ask for."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wavcube.inference import WavCube


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Add `--source` and `--device`.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        Of a command.
    """
    parser.add_argument(
        "--source", help="release folder or hub id; by default the model of the package"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1; by default SpeechBrain's choice")


def load_model(options: argparse.Namespace) -> WavCube:
    """Load what :func:`add_model_options` asked for.

    Parameters
    ----------
    options : argparse.Namespace
        Of the command line.

    Returns
    -------
    WavCube
        The model.
    """
    from wavcube.inference import WavCube

    return WavCube.from_hparams(options.source, run_opts={"device": options.device})
