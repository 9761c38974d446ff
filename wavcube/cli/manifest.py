"""`wavcube manifest`: one large manifest of folders of audio and other manifests."""

from __future__ import annotations

import argparse
from pathlib import Path

from wavcube.cli.files import check_output
from wavcube.cli.output import say


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        The parser's list of commands.
    """
    text = "write a manifest of any size in JSON lines, and check every row"
    parser = commands.add_parser("manifest", help=text, description=text)
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="FOLDER",
        help="folders of audio, CSVs, JSON lines (.jsonl, .jsonl.gz) of ours or of Lhotse's cuts",
    )
    parser.add_argument("out", metavar="OUT", help="ends in .jsonl or .jsonl.gz")
    parser.add_argument("--data-root", metavar="FOLDER", help="of relative paths in manifests")
    parser.add_argument(
        "--speaker-level",
        type=int,
        metavar="N",
        help="in folders of audio, those of this level are the speakers, 1 the first below "
        "FOLDER; by default names like LibriSpeech's and VCTK's tell, otherwise it is level 1",
    )
    parser.add_argument(
        "--max-bad", type=float, default=0.01, metavar="FRACTION", help="(default: 0.01)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier manifest")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the manifest, and say what is in it.

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
    from tqdm.contrib.logging import logging_redirect_tqdm

    from wavcube.data.segments.making import make_manifest

    check_output(Path(options.out), options.overwrite)
    with logging_redirect_tqdm():
        made = make_manifest(
            options.sources,
            options.out,
            root=options.data_root,
            speaker_level=options.speaker_level,
            max_bad_fraction=options.max_bad,
            overwrite=options.overwrite,
            progress=True,
        )
    bad = f", {made.bad} left out ({options.out}.bad.csv)" if made.bad else ""
    who = f" by {made.speakers} speakers" if made.speakers else ""
    say(f"wrote {options.out}: {made.rows} segments{who}, {made.seconds / 3600:.2f} hours{bad}")
    return 0
