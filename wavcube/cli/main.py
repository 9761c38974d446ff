"""The `wavcube` command: a thin layer over the package's functions.

A user's mistake is one line on stderr and exit code 2, with nothing written. When one of several
files is bad, it is named in such a line, the others are done, and the exit code is 2 all the same.
Ctrl-C is one line and exit code 130; what was done stays, nothing is half written. Anything
unexpected keeps its traceback.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from wavcube.cli import evaluate as cli_evaluate
from wavcube.cli import extract as cli_extract
from wavcube.cli import inspect as cli_inspect
from wavcube.cli import manifest as cli_manifest
from wavcube.cli import onnx as cli_onnx
from wavcube.cli import shard as cli_shard
from wavcube.cli import task as cli_task
from wavcube.cli.files import check_writable
from wavcube.cli.jobs import add_file_command, plan, run_all, run_jobs
from wavcube.cli.model import load_model
from wavcube.cli.output import complain, leave_streams, open_streams, say, say_interrupted
from wavcube.utils.errors import INTERRUPTED, USER_ERROR
from wavcube.version import __version__

if TYPE_CHECKING:
    from wavcube.inference import WavCube
from wavcube.utils.files import AUDIO_SUFFIXES, LATENT_SUFFIXES, WRITTEN_SUFFIXES


class _Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(USER_ERROR, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        Exit code: 0, 2 after a user's mistake, 130 after Ctrl-C, 141 where nobody reads the output
        any more.

    Examples
    --------
    >>> main(["info", "missing.wav"])
    2
    """
    open_streams()
    options = _build_parser().parse_args(arguments)
    with _log_to_stderr():
        try:
            return options.run(options)
        except BrokenPipeError:
            return leave_streams()
        except (ValueError, OSError, ImportError) as error:  # the last: of an extra that is missing
            complain(error)
            return USER_ERROR
        except KeyboardInterrupt as stop:
            say_interrupted(str(stop))
            return INTERRUPTED


def _build_parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="wavcube", description="Speech to compact latents, and back.")
    parser.add_argument("--version", action="version", version=f"wavcube {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, parser_class=_Parser)
    add_file_command(commands, "encode", _encode, "audio to safetensors files of latents")
    add_file_command(commands, "decode", _decode, "files of latents to wav files")
    text = "audio to latents and back, as wav files"
    add_file_command(commands, "resynth", _resynth, text, out_required=True)
    cli_task.add_commands(commands)

    text = "describe releases, files of latents and audio"
    info = commands.add_parser("info", help=text, description=text)
    info.add_argument("inputs", nargs="+", metavar="INPUT", help="releases, files, folders, globs")
    info.set_defaults(run=_info)

    cli_extract.add_command(commands)
    cli_manifest.add_command(commands)
    cli_shard.add_command(commands)
    cli_inspect.add_command(commands)
    cli_evaluate.add_command(commands)

    text = "make a loadable folder of a training run"
    export = commands.add_parser("export", help=text, description=text)
    export.add_argument("run_folder", metavar="RUN", help="output folder of a recipe")
    export.add_argument("out", metavar="OUT", help="new folder")
    export.add_argument("--half", action="store_true", help="store float16")
    export.add_argument("--overwrite", action="store_true", help="replace an earlier release")
    export.set_defaults(run=_export)
    cli_onnx.add_command(commands)

    text = "make a loadable folder of the authors' research checkpoint"
    convert = commands.add_parser("convert-official", help=text, description=text)
    convert.add_argument("checkpoint", metavar="CKPT", help="Lightning checkpoint")
    convert.add_argument("out", metavar="OUT", help="new folder")
    convert.add_argument("--config", required=True, metavar="YAML", help="the YAML beside it")
    convert.add_argument("--encoder", metavar="FOLDER_OR_ID", help="WavLM it is built on")
    convert.add_argument("--half", action="store_true", help="store float16")
    convert.add_argument("--overwrite", action="store_true", help="replace an earlier release")
    convert.set_defaults(run=_convert)
    return parser


def _encode(options: argparse.Namespace) -> int:
    jobs = plan(options, AUDIO_SUFFIXES, LATENT_SUFFIXES)
    model: WavCube = load_model(options)
    return run_jobs(
        jobs, lambda j: model.encode_file(j.source, j.target, overwrite=True, keep=False)
    )


def _decode(options: argparse.Namespace) -> int:
    for path in map(Path, options.inputs):
        if path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
            raise ValueError(f"{path} is audio: encode it first")
    jobs = plan(options, LATENT_SUFFIXES, WRITTEN_SUFFIXES)
    model: WavCube = load_model(options)
    return run_jobs(
        jobs, lambda j: model.decode_file(j.source, j.target, overwrite=True, keep=False)
    )


def _resynth(options: argparse.Namespace) -> int:
    jobs = plan(options, AUDIO_SUFFIXES, WRITTEN_SUFFIXES)
    model: WavCube = load_model(options)
    return run_jobs(
        jobs, lambda j: model.resynthesize_file(j.source, j.target, overwrite=True, keep=False)
    )


def _info(options: argparse.Namespace) -> int:
    from wavcube.cli.info import describe, find_described

    paths = [path for text in options.inputs for path in find_described(text)]
    descriptions: list[str] = []
    failures = run_all({path: path for path in paths}, lambda p: descriptions.append(describe(p)))
    if descriptions:
        say("\n".join(descriptions))
    return USER_ERROR if failures else 0


def _export(options: argparse.Namespace) -> int:
    import torch

    from wavcube.release.folder import export_run

    check_writable(Path(options.out))
    dtype = torch.float16 if options.half else torch.float32
    out = export_run(options.run_folder, options.out, dtype=dtype, overwrite=options.overwrite)
    say(f"wrote {out}")
    return 0


def _convert(options: argparse.Namespace) -> int:
    import torch

    from wavcube.official.convert import convert_official

    check_writable(Path(options.out))
    done = convert_official(
        options.checkpoint,
        options.config,
        options.out,
        encoder=options.encoder,
        dtype=torch.float16 if options.half else torch.float32,
        overwrite=options.overwrite,
    )
    say(f"wrote {done.folder}: {done.taken} weights")
    return 0


@contextmanager
def _log_to_stderr() -> Iterator[None]:
    """Show what the package has to say (a file was resampled), but no other library's chatter."""
    log = logging.getLogger("wavcube")
    handler, level = logging.StreamHandler(), log.level
    handler.setFormatter(logging.Formatter("wavcube: %(message)s"))
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    try:
        yield
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
