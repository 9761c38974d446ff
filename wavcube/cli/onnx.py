"""`wavcube export-onnx`: a release as networks for onnxruntime."""

from __future__ import annotations

import argparse
from pathlib import Path

from wavcube.cli.files import check_writable
from wavcube.cli.output import say


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the main parser.

    Parameters
    ----------
    commands : argparse action
        Of the main parser.
    """
    text = "write a release as ONNX: encoder, decoder and a NumPy inverse transform"
    parser = commands.add_parser("export-onnx", help=text, description=text)
    parser.add_argument("release", metavar="RELEASE", help="folder of a WavCube")
    parser.add_argument("out", metavar="OUT", help="new folder")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier export")
    parser.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    check_writable(Path(options.out))
    from wavcube.onnx.export import export_onnx
    from wavcube.release.folder import load_release

    out = export_onnx(load_release(options.release), options.out, options.overwrite)
    say(f"wrote {out}")
    return 0
