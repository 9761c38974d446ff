"""`wavcube transcribe`: audio files to text."""

from __future__ import annotations

import argparse

from wavcube.cli.files import find_files
from wavcube.cli.jobs import run_all
from wavcube.cli.model import add_model_options, load_model
from wavcube.cli.output import say
from wavcube.utils.errors import USER_ERROR
from wavcube.utils.suffixes import AUDIO_SUFFIXES


def add_command(commands: argparse._SubParsersAction) -> None:
    """Add the command to the main parser.

    Parameters
    ----------
    commands : argparse action
        Of the main parser.
    """
    text = "speech to text: one line for each file, its name before it where there are several"
    parser = commands.add_parser("transcribe", help=text, description=text)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="files, folders, globs")
    add_model_options(parser)
    parser.add_argument("--beam", type=int, default=1, help="hypotheses followed (default: 1)")
    parser.add_argument("--language-model", metavar="FILE", help="of words, by KenLM; with a beam")
    parser.add_argument("--lm-weight", type=float, default=2.0, help="of it (default: 2)")
    parser.add_argument("--word-score", type=float, default=-1.0, help="for each (default: -1)")
    parser.set_defaults(run=_transcribe)


def _transcribe(options: argparse.Namespace) -> int:
    found = [path for text in options.inputs for path, _ in find_files(text, AUDIO_SUFFIXES)]
    paths = list(dict.fromkeys(found))
    from wavcube.inference import WavCubeASR

    model = load_model(options, WavCubeASR)
    try:
        model.set_search(
            options.beam, options.language_model, options.lm_weight, options.word_score
        )
    except ImportError as error:
        raise ValueError(str(error)) from error
    name = "{}: " if len(paths) > 1 else ""
    jobs = {path: path for path in paths}
    failures = run_all(jobs, lambda path: say(name.format(path) + model.transcribe_file(path)))
    return USER_ERROR if failures else 0
