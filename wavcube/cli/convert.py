"""`wavcube convert`: a recording in another voice."""

from __future__ import annotations

import argparse
from pathlib import Path

from wavcube.cli.files import check_output
from wavcube.cli.model import add_model_options, load_model
from wavcube.utils.suffixes import WRITTEN_SUFFIXES, check_suffix


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the main parser.

    Parameters
    ----------
    commands : argparse action
        Of the main parser.
    """
    text = "what a recording says, in the voice of another"
    parser = commands.add_parser("convert", help=text, description=text)
    parser.add_argument("input", metavar="SOURCE", help="audio file of what is to be said")
    parser.add_argument(
        "references",
        nargs="*",
        metavar="REFERENCE",
        help="audio files of the voice that is wanted; none for a converter to one voice",
    )
    add_model_options(parser)
    parser.add_argument("--out", required=True, help="output file, wav or flac")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
    parser.set_defaults(run=_convert)


def _convert(options: argparse.Namespace) -> int:
    out = Path(options.out)
    check_suffix(out, WRITTEN_SUFFIXES)
    check_output(out, options.overwrite)
    given = [Path(path).resolve() for path in (options.input, *options.references)]
    if out.resolve() in given:
        raise ValueError(f"{out} is an input: name another output")
    from wavcube.inference import WavCubeVoiceConverter

    model = load_model(options, WavCubeVoiceConverter)
    model.convert_file(options.input, options.references or None, out, overwrite=True)
    return 0
