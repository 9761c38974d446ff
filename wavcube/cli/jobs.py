"""Commands that read files and write files: their options, and how they go through their jobs."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from wavcube.cli.files import Job, plan_jobs
from wavcube.cli.model import add_model_options
from wavcube.cli.output import complain, say
from wavcube.utils.errors import USER_ERROR, one_line

T = TypeVar("T")


def add_file_command(
    commands: argparse._SubParsersAction,
    name: str,
    run: Callable[[argparse.Namespace], int],
    text: str,
    out_required: bool = False,
) -> argparse.ArgumentParser:
    """Add a command from files to files by a model.

    Parameters
    ----------
    commands : argparse action
        Of the main parser.
    name : str
        Of the command.
    run : Callable
        Runs it on the options, and gives the exit code.
    text : str
        For the help.
    out_required : bool
        Whether the output must be named.

    Returns
    -------
    argparse.ArgumentParser
        For further options.
    """
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="files, folders, globs")
    add_model_options(parser)
    parser.add_argument(
        "--out",
        required=out_required,
        help="output file, or folder when there are several inputs"
        + ("" if out_required else "; by default beside the inputs"),
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    parser.set_defaults(run=run)
    return parser


def plan(options: argparse.Namespace, read: Sequence[str], write: Sequence[str]) -> list[Job]:
    """Pair inputs with outputs; see :func:`~wavcube.cli.files.plan_jobs`."""
    return plan_jobs(options.inputs, options.out, read, write, options.overwrite)


def run_jobs(jobs: Sequence[Job], work: Callable[[Job], object]) -> int:
    """Do all jobs, and give the exit code; of several, say how many were done."""
    failures = run_all({job.source: job for job in jobs}, work)
    if len(jobs) > 1:
        say(f"{len(jobs) - failures} of {len(jobs)} files done")
    return USER_ERROR if failures else 0


def run_all(items: Mapping[Path, T], work: Callable[[T], object]) -> int:
    """Work on every item under a progress bar, name the bad ones at the end and count them."""
    from tqdm import tqdm
    from tqdm.contrib.logging import logging_redirect_tqdm

    failures, done = [], 0
    try:
        with logging_redirect_tqdm([logging.getLogger("wavcube")]):
            for path in tqdm(items, unit="file", disable=len(items) == 1, leave=False):
                try:
                    work(items[path])
                    done += 1
                except BrokenPipeError:  # nobody reads on: no file is to blame
                    raise
                except (ValueError, OSError) as error:
                    failures.append((path, error))
    except KeyboardInterrupt as stop:
        raise KeyboardInterrupt(f"{done} of {len(items)} files done") from stop
    finally:
        for path, reason in failures:
            # an error of the operating system names its file, which may be the output
            named = isinstance(reason, OSError) and reason.filename is not None
            complain(reason if named or str(path) in str(reason) else f"{path}: {one_line(reason)}")
    return len(failures)
