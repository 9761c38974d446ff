"""The verbs of tasks, such as `wavcube enhance`: made of what each task says of itself."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wavcube.cli.files import check_output, find_files
from wavcube.cli.jobs import add_file_command, plan, run_all, run_jobs
from wavcube.cli.model import add_model_options, load_model
from wavcube.cli.output import say
from wavcube.tasks import folder_verbs
from wavcube.tasks.verbs import Audio, Verb
from wavcube.utils.errors import USER_ERROR
from wavcube.utils.files import AUDIO_SUFFIXES, WRITTEN_SUFFIXES, check_suffix

if TYPE_CHECKING:
    from wavcube.tasks.inference import Released


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Add a command for every task: the package's own, and those of installed packages.

    Parameters
    ----------
    commands : argparse action
        Of the main parser.
    """
    found = list(folder_verbs().items())
    if entry_points(group="wavcube_tasks"):  # only then is it worth to wait for their code
        from wavcube.tasks.registry import all_tasks

        known = dict(found)
        found += [(name, task.verb) for name, task in all_tasks().items() if name not in known]
    for name, verb in found:
        _add_command(commands, name, verb)


def _add_command(commands: argparse._SubParsersAction, name: str, verb: Verb) -> None:
    if len(verb.inputs) > 1:
        parser = commands.add_parser(verb.name, help=verb.text, description=verb.text)
        for given in verb.inputs:
            options: dict[str, Any] = {"nargs": "*"} if given.several else {}
            title = given.name.upper()
            # `source` is the model's
            parser.add_argument(f"input_{given.name}", metavar=title, help=given.text, **options)
        add_model_options(parser)
        parser.add_argument("--out", required=True, help="output file, wav or flac")
        parser.add_argument("--overwrite", action="store_true", help="replace an existing output")
        run: Callable[[str, Verb, argparse.Namespace], int] = _run_one
    elif isinstance(verb.output, Audio):
        run = _write_all
        work = partial(run, name, verb)
        parser = add_file_command(commands, verb.name, work, verb.text, out_required=True)
    else:
        parser = commands.add_parser(verb.name, help=verb.text, description=verb.text)
        parser.add_argument("inputs", nargs="+", metavar="INPUT", help=verb.inputs[0].text)
        add_model_options(parser)
        run = _print_all
    for option in verb.options:
        settings: dict[str, Any] = {"type": option.kind, "default": option.default}
        title = option.flag.lstrip("-").replace("-", "_").upper()
        settings |= {"dest": option.name, "metavar": title, "help": option.text}
        parser.add_argument(option.flag, **settings)
    parser.set_defaults(run=partial(run, name, verb))


def _write_all(name: str, verb: Verb, options: argparse.Namespace) -> int:
    jobs = plan(options, AUDIO_SUFFIXES, WRITTEN_SUFFIXES)
    model = _load(name, verb, options)
    output, overwrite = model.output, options.overwrite
    several = isinstance(output, Audio) and output.sources > 1
    for job in jobs if several else ():  # what was planned is a name that several files share
        for path in output.files(job.target):
            check_output(path, overwrite)
    return run_jobs(
        jobs,
        lambda job: model.predict_file(
            job.source, job.target, overwrite=overwrite or not several, keep=False
        ),
    )


def _print_all(name: str, verb: Verb, options: argparse.Namespace) -> int:
    found = [path for text in options.inputs for path, _ in find_files(text, AUDIO_SUFFIXES)]
    jobs = {path: path for path in found}
    model = _load(name, verb, options)
    before = "{}: " if len(jobs) > 1 else ""

    def tell(path: Path) -> None:
        say(before.format(path) + model.output.show(model.predict_file(path)))

    return USER_ERROR if run_all(jobs, tell) else 0


def _run_one(name: str, verb: Verb, options: argparse.Namespace) -> int:
    out = Path(options.out)
    check_suffix(out, WRITTEN_SUFFIXES)
    check_output(out, options.overwrite)
    inputs: list[Any] = [getattr(options, f"input_{given.name}") for given in verb.inputs]
    files = [file for one in inputs for file in (one if isinstance(one, list) else [one])]
    if out.resolve() in [Path(file).resolve() for file in files]:
        raise ValueError(f"{out} is an input: name another output")
    model: Any = _load(name, verb, options)
    model.predict_file(*[one or None for one in inputs], out, overwrite=True, keep=False)
    return 0


def _load(name: str, verb: Verb, options: argparse.Namespace) -> Released:
    from wavcube.tasks.inference import released_class

    model = load_model(options, released_class(name))
    try:
        if verb.options:
            model.configure(**{one.name: getattr(options, one.name) for one in verb.options})
    except ImportError as error:
        raise ValueError(str(error)) from error
    return model
