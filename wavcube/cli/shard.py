"""`wavcube shard`: the segments of a manifest, cut out into tar files."""

from __future__ import annotations

import argparse
from pathlib import Path

from wavcube.cli.files import check_writable
from wavcube.cli.output import say


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        The parser's list of commands.
    """
    text = "cut a manifest's segments out into WebDataset shards; goes on where it stopped"
    parser = commands.add_parser("shard", help=text, description=text)
    parser.add_argument("manifest", metavar="MANIFEST", help="JSON lines, CSV or folder of shards")
    parser.add_argument("out", metavar="OUT", help="new folder, or that of the same job")
    parser.add_argument("--data-root", metavar="FOLDER", help="of relative paths in the manifest")
    parser.add_argument(
        "--shard-size", type=int, default=1000, metavar="N", help="segments (default: 1000)"
    )
    parser.add_argument(
        "--max-bad", type=float, default=0.01, metavar="FRACTION", help="(default: 0.01)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Write the shards, and say how many.

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

    from wavcube.data.segments import open_segments
    from wavcube.data.segments.sharding import write_shards

    check_writable(Path(options.out))
    with logging_redirect_tqdm():
        segments = open_segments(options.manifest, root=options.data_root, progress=True)
        done = write_shards(
            segments,
            options.out,
            rows_per_shard=options.shard_size,
            max_bad_fraction=options.max_bad,
            progress=True,
        )
    bad = f", {done.bad} left out ({Path(options.out) / 'bad.csv'})" if done.bad else ""
    say(f"wrote {options.out}: {done.rows} segments in {done.shards} shards{bad}")
    return 0
