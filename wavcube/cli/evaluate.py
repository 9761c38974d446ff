"""`wavcube evaluate`: score a folder of generated files against a folder of references."""

from __future__ import annotations

import argparse
import logging
import math
from pathlib import Path
from typing import TYPE_CHECKING

from wavcube.cli.files import check_output
from wavcube.cli.output import complain, say
from wavcube.utils.errors import USER_ERROR

if TYPE_CHECKING:
    from wavcube.metrics import Evaluation, Metric

MEGABYTE = 1_000_000
EXIT_CODES = (
    "The exit code is 2 when a clip lacks a score because of a file or a tool (no partner, "
    "damaged, not installed); all results are written even so. A clip that has no score because of "
    "how it sounds (silent, too short, of another length) is listed and counted as failed, no more."
)


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the parser.

    Parameters
    ----------
    commands : argparse._SubParsersAction
        The parser's list of commands.
    """
    text = "score generated files against references of the same name"
    parser = commands.add_parser("evaluate", help=text, description=f"{text}. {EXIT_CODES}")
    parser.add_argument("reference_dir", metavar="REFERENCE_DIR", help="folder of originals")
    parser.add_argument("generated_dir", metavar="GENERATED_DIR", help="folder of what is scored")
    parser.add_argument("--json", type=Path, metavar="OUT", help="file of all scores")
    parser.add_argument("--html", type=Path, metavar="OUT", help="page with players, for a browser")
    parser.add_argument(
        "--audio-limit",
        type=float,
        metavar="MB",
        help="audio to embed in the page at most, in megabytes (default 50); clips beyond it are "
        "named there, and 0 gives a page without players",
    )
    parser.add_argument(
        "--metrics", metavar="A,B", help="by default all that apply; a wrong name lists them"
    )
    parser.add_argument(
        "--dnsmos",
        type=Path,
        metavar="FILE",
        help="sig_bak_ovr.onnx of Microsoft's DNS-Challenge: adds DNSMOS P.835 (needs onnxruntime, "
        "which the extra mos installs)",
    )
    parser.add_argument(
        "--utmos",
        type=Path,
        metavar="FILE",
        help="TorchScript of UTMOS at 16 kHz, such as utmos.jit of balacoon/utmos: adds UTMOS",
    )
    parser.add_argument("--processes", type=int, default=1, metavar="N", help="default 1")
    parser.add_argument(
        "--transcripts",
        type=Path,
        metavar="FILE",
        help="lines of a relative name without suffix, a tab or space, and what is said; by "
        "default *.trans.txt and NAME.txt beside the references",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace existing outputs")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Score, print the table, write the files.

    Parameters
    ----------
    options : argparse.Namespace
        What :func:`add_command` asked for.

    Returns
    -------
    int
        Exit code: 0 also when clips cannot be scored for how they sound (they are listed); 2 when
        a file or a tool was at fault, or no score could be taken.

    Raises
    ------
    ValueError, OSError
        After a user's mistake.
    """
    from tqdm.contrib.logging import logging_redirect_tqdm

    from wavcube.data.transcripts import read_transcripts
    from wavcube.metrics.folders import evaluate_folders

    _check(options)
    with logging_redirect_tqdm([logging.getLogger("wavcube")]):
        evaluation = evaluate_folders(
            options.reference_dir,
            options.generated_dir,
            options.metrics and [name.strip() for name in options.metrics.split(",")],
            options.transcripts and read_transcripts(options.transcripts),
            options.processes,
            models=_load_models(options),
        )
    say(evaluation.format())
    for line in list_failures(evaluation):
        say(line)
    if options.json:
        evaluation.write_json(options.json, overwrite=options.overwrite)
    if options.html:
        _write_page(options, evaluation)
    if not any(summary.count for summary in evaluation.summary.values()):
        complain("not a single score could be taken: the reasons are listed above")
        return USER_ERROR
    technical = [entry.name for entry in evaluation.scores if entry.technical]
    if technical:
        complain(
            f"clips without some score because of a file or a tool: {len(technical)} of "
            f"{len(evaluation.scores)}; the reasons are listed above"
        )
        return USER_ERROR
    return 0


def list_failures(evaluation: Evaluation) -> list[str]:
    """Say which clips lack a score, and why.

    Parameters
    ----------
    evaluation : Evaluation
        Of two folders.

    Returns
    -------
    list of str
        A line for each reason, with the metrics and the clips that it concerns; none if there is
        nothing to tell.
    """
    from wavcube.metrics.report import group_failures

    lines = []
    failures = {entry.name: entry.failures for entry in evaluation.scores if entry.failures}
    if failures:
        lines.append(f"clips without some score: {len(failures)} of {len(evaluation.scores)}")
    for (reason, keys), names in group_failures(failures).items():
        whole = len(keys) == len(evaluation.summary)
        metrics = "every metric" if whole else ", ".join(evaluation.infos[key].name for key in keys)
        lines.append(f"  {reason} [{metrics}]: {', '.join(names)}")
    if evaluation.without_reference:
        names = evaluation.without_reference
        lines.append(f"without a reference, not scored: {len(names)} ({', '.join(names)})")
    return lines


def _check(options: argparse.Namespace) -> None:
    """Find mistakes before the long work."""
    outputs = [path for path in (options.json, options.html) if path is not None]
    for path in outputs:
        check_output(path, options.overwrite)
    if len({path.resolve() for path in outputs}) < len(outputs):
        raise ValueError(f"--json and --html both name {options.json}")
    if options.audio_limit is not None and options.html is None:
        raise ValueError("--audio-limit is about the page: it needs --html")
    if options.audio_limit is not None and not 0 <= options.audio_limit < math.inf:
        raise ValueError(f"--audio-limit must be at least 0 MB, got {options.audio_limit:g}")


def _load_models(options: argparse.Namespace) -> list[Metric]:
    from wavcube.metrics import dnsmos_metrics, utmos_metric

    metrics = [] if options.dnsmos is None else [*dnsmos_metrics(options.dnsmos)]
    return metrics if options.utmos is None else [*metrics, utmos_metric(options.utmos)]


def _write_page(options: argparse.Namespace, evaluation: Evaluation) -> None:
    from wavcube.metrics.html_report import AUDIO_LIMIT, embed_players, write_html

    chosen = options.audio_limit
    players = embed_players(
        options.reference_dir,
        options.generated_dir,
        [scores.name for scores in evaluation.scores],
        AUDIO_LIMIT if chosen is None else round(chosen * MEGABYTE),
    )
    write_html(
        options.html,
        evaluation.as_dict(),
        players,
        title=f"{options.generated_dir} against {options.reference_dir}",
        overwrite=options.overwrite,
    )
