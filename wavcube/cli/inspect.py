"""`wavcube inspect`: one picture of what a model makes of a file, and the scores."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from wavcube.cli.files import check_output
from wavcube.cli.model import add_model_options, load_model
from wavcube.cli.output import say

if TYPE_CHECKING:
    from wavcube.inference import WavCube


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        The parser's list of commands.
    """
    text = "draw a file, its resynthesis and its latent, and print the scores"
    parser = commands.add_parser("inspect", help=text, description=text)
    parser.add_argument("file", type=Path, metavar="FILE", help="audio file")
    add_model_options(parser)
    parser.add_argument("--out", type=Path, metavar="PNG", help="by default beside the file")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing picture")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Inspect, write the picture, print the scores.

    Parameters
    ----------
    options : argparse.Namespace
        What :func:`add_command` asked for.

    Returns
    -------
    int
        Exit code 0.

    Raises
    ------
    ValueError, OSError
        After a user's mistake.
    """
    from wavcube.inference.inspection import inspect_file, require_matplotlib

    out = options.out or options.file.with_suffix(".png")
    if out.suffix.lower() != ".png":
        raise ValueError(f"{out} must end in .png")
    if not options.file.is_file():
        raise FileNotFoundError(f"there is no audio file {options.file}")
    check_output(out, options.overwrite)
    require_matplotlib()
    model: WavCube = load_model(options)
    inspection = inspect_file(model, options.file)
    inspection.write_png(out, overwrite=options.overwrite)
    say(f"{options.file} at {inspection.sample_rate} Hz\n{inspection.format()}\nwrote {out}")
    return 0
