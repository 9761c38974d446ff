"""The command line of a recipe: SpeechBrain's, with help about the YAML's own keys."""

from __future__ import annotations

import argparse
import io
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import yaml
from hyperpyyaml import resolve_references
from speechbrain.utils.distributed import infer_device
from speechbrain.utils.run_opts import RunOptions

from wavcube.data.checks import device_name
from wavcube.training.checkpoints import checkpoints_in
from wavcube.training.distributed import print_main, rendezvous, same_as_main
from wavcube.utils.precision import AUTO, settle_precision

BASE, WITHOUT = "base", "without"


class _NamedText(io.StringIO):
    """A text with the name of a file: HyperPyYAML looks beside it for what it includes."""

    def __init__(self, text: str, name: Path) -> None:
        super().__init__(text)
        self.name = str(name)


def open_yaml(path: str | Path) -> io.StringIO:
    """Open a recipe's YAML with its base resolved, for HyperPyYAML.

    Parameters
    ----------
    path : str or Path
        The file.

    Raises
    ------
    FileNotFoundError
        If it, or its base, is missing.
    """
    return _NamedText(read_yaml(path), Path(path))


def read_yaml(path: str | Path) -> str:
    r"""Read a recipe's YAML; entries of its top level replace those of its base as a whole.

    Parameters
    ----------
    path : str or Path
        The file. The base that it names lies beside it, and may have a base too.

    Returns
    -------
    str
        The text of the base with the file's own entries in it, comments included.

    Raises
    ------
    FileNotFoundError
        If the file, or its base, is missing.

    Examples
    --------
    >>> folder = getfixture("tmp_path")
    >>> _ = (folder / "a.yaml").write_text("seed: 1 # of all\nmodel:\n    dim: 2\n")
    >>> _ = (folder / "b.yaml").write_text("# Small\nbase: a.yaml\nseed: 2\nlr: 0.1\n")
    >>> print(read_yaml(folder / "b.yaml"))
    # Small
    seed: 2
    model:
        dim: 2
    lr: 0.1
    <BLANKLINE>
    """
    path = Path(path)
    text = path.read_text(encoding="utf-8")
    lines, spans = text.splitlines(), _spans(text)
    if BASE not in spans:
        return text
    named = [yaml.safe_load(lines[spans.pop(k).start])[k] for k in (BASE, WITHOUT) if k in spans]
    base, left_out = path.parent / named[0], set(named[1]) if len(named) > 1 else set()
    if not base.is_file():
        raise FileNotFoundError(f"{path} names the base {base.name}, and there is no file {base}")
    below = read_yaml(base)
    if base.parent.resolve() != path.parent.resolve():  # what it includes lies beside it
        below = re.sub(r"!include:(?!/)", f"!include:{base.parent.resolve()}/", below)
    merged = below.splitlines()
    for name, span in sorted(_spans(below).items(), key=lambda item: -item[1].start):
        own = range(0) if name in left_out else spans.pop(name, None)
        if own is not None:
            merged[span.start : span.stop] = lines[own.start : own.stop]
    added = [line for own in spans.values() for line in lines[own.start : own.stop]]
    merged = [*_heading(lines), *merged[len(_heading(merged)) :], *added]
    return "\n".join(merged) + "\n"


def _spans(text: str) -> dict[str, range]:
    """Find the lines of every entry of the top level, without comments that follow it."""
    return {
        key.value: range(key.start_mark.line, max(key.start_mark.line, _last_line(value)) + 1)
        for key, value in _entries(text)
    }


def _entries(text: str) -> list[tuple[yaml.ScalarNode, yaml.Node]]:
    """List the keys and values of the top level, not constructed: tags stay as they are."""
    root = yaml.compose(text)
    return root.value if isinstance(root, yaml.MappingNode) else []


def _last_line(node: yaml.Node) -> int:
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _last_line(last[1] if isinstance(node, yaml.MappingNode) else last)
    return node.end_mark.line if node.end_mark.column else max(0, node.end_mark.line - 1)


def _heading(lines: list[str]) -> list[str]:
    """Give the comments that a text begins with."""
    count = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    return lines[:count]


#: keys of a YAML that say how much data there is, and what a dry run takes
AMOUNTS = {
    "batch_size": 1,
    "num_workers": 0,
    "crop_seconds": 1.0,
    "synthetic_minutes": 1,
    "valid_utterances": 1,
    "test_utterances": 1,
    "sample_clips": 1,
    "scoring_processes": 1,
}


def dry_overrides(path: str | Path, overrides: str) -> str:
    r"""Complete a command line's overrides for a dry run.

    Sizes of the model stay as they are, and the Brain itself makes few updates; here the data
    become few, and the results go to a folder of their own.

    Parameters
    ----------
    path : str or Path
        The recipe's YAML.
    overrides : str
        Of the command line, as YAML; what they say counts.

    Returns
    -------
    str
        Them and what is new, as YAML.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.yaml"
    >>> _ = path.write_text("stage2_batch_size: 8\ncrop_seconds: 10\noutput_folder: !ref <x>\n")
    >>> print(dry_overrides(path, "crop_seconds: 0.5"))
    crop_seconds: 0.5
    stage2_batch_size: 1
    output_folder: results/a/debug
    """
    keys = [key.value for key, _ in _entries(read_yaml(path))]
    ones = {key: 1 for key in keys if key.endswith("_batch_size")}
    amounts = {**AMOUNTS, **ones, "output_folder": f"results/{Path(path).stem}/debug"}
    given = [key.value for key, _ in _entries(overrides)]
    added = [f"{key}: {amounts[key]}" for key in amounts if key in keys and key not in given]
    return "\n".join(filter(None, [overrides, *added]))


# What is logged of every run and nobody needs: by logger, a part of the message.
NOISE = {
    "speechbrain.core": (
        "Run option ",
        "which is specified in hparams was overridden by command line",
        "Gradscaler enabled",
        "Using evaluation precision",
    ),
    "speechbrain.utils.checkpoints": ("Would load a checkpoint here",),
    "speechbrain.tokenizers.SentencePiece": (
        "==== Loading",
        "Tokenizer",
        "SentencePiece vocab size",
        "Train tokenizer",
    ),
    "speechbrain.utils.quirks": ("Excluded quirks",),
    "speechbrain.utils.train_logger": ("torchvision is not available",),
    "wavcube.data.audio": ("resampled from",),  # of every file, each time that it is read
}


# options that had other names: by the old one, the new
RENAMED = {
    "add_embedded": "add_synthetic",
    "embedded": "synthetic",
    "embedded_folder": "synthetic_folder",
    "embedded_minutes": "synthetic_minutes",
    "embedded_noise": "synthetic_noise",
    "held_back_roles": "held_out_roles",
    "held_back_speakers": "held_out_speakers",
    "lr_falls": "lr_schedule: constant",
    "lr_straight": "lr_schedule: linear",
    "recompute_activations": "activation_checkpointing",
}


class _Quiet(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        return not any(part in text for part in NOISE.get(record.name, ()))


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Leave out of the log what libraries say of a run that is not for its user."""
    quiet = _Quiet()
    for name in NOISE:
        logging.getLogger(name).addFilter(quiet)
    try:
        yield
    finally:
        for name in NOISE:
            logging.getLogger(name).removeFilter(quiet)


class _Options(RunOptions):
    """SpeechBrain's, among whose precisions there is `auto`."""

    @staticmethod
    def _create_parser() -> argparse.ArgumentParser:
        parser = RunOptions._create_parser()
        (option,) = [action for action in parser._actions if action.dest == "precision"]
        option.choices = [AUTO, *option.choices]
        return parser


def parse_arguments(arguments: Sequence[str], usage: str) -> tuple[str, RunOptions, str]:
    r"""Read a recipe's arguments, and find its other processes.

    `--help` ends the process; where a YAML is named it lists that file's keys. `--debug` asks for a
    dry run: a few updates on little data (:mod:`~wavcube.experiment.command_line`). The precision
    `auto` is settled here, for all processes, and noted down: a run that goes on keeps what it
    began with.

    Parameters
    ----------
    arguments : sequence of str
        Of the process.
    usage : str
        How the recipe is used: its docstring.

    Returns
    -------
    tuple
        The YAML's path, SpeechBrain's run options, and the overrides as YAML. Of an option that is
        given twice the last one counts.

    Raises
    ------
    ValueError
        If an option, or a key of the YAML, has a name of an earlier version; it tells the new one.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.yaml"
    >>> _ = path.write_text("seed: 0\nlr: 1.0")
    >>> parse_arguments([str(path), "--seed", "1", "--lr=0.1", "--seed=2"], "")[2]
    'seed: 2\nlr: 0.1'
    """
    if {"-h", "--help"} & set(arguments):
        files = [a for a in arguments if Path(a).suffix in (".yaml", ".yml") and Path(a).is_file()]
        print_main(help_text(usage, files[0] if files else None))
    path, run_opts, overrides = _Options.from_command_line_args(list(arguments))
    run_opts = rendezvous(run_opts)
    overrides = _last_of_each(overrides)
    for text in (overrides, read_yaml(path)):
        _refuse_old_names(text)
    if run_opts["debug"]:
        overrides = dry_overrides(path, overrides)
    return path, *_with_precision(path, run_opts, overrides)


def help_text(usage: str, path: str | Path | None = None) -> str:
    r"""Say how a recipe is used.

    Parameters
    ----------
    usage : str
        Its docstring.
    path : str or Path, optional
        A YAML whose plain keys to list, with their values and comments.

    Returns
    -------
    str
        All but SpeechBrain's own options.

    Examples
    --------
    >>> path = getfixture("tmp_path") / "a.yaml"
    >>> _ = path.write_text("# Data\nseed: 1 # of all\nmodel: !new:Model\n    dim: 2\n")
    >>> print(help_text("Train it.", path).partition("--batch_size=8")[2])  # doctest: +ELLIPSIS
    :
    <BLANKLINE>
    # Data
    seed: 1 # of all
    <BLANKLINE>
    Options of SpeechBrain:
    """
    told = "Every key of the YAML is an option of the same name, as --batch_size=8"
    if path is None:
        told += "; name a YAML before --help to list its keys."
    else:
        told += f":\n\n{_plain_keys(read_yaml(path))}"
    return f"{usage.strip()}\n\n{told}\n\nOptions of SpeechBrain:"


def _plain_keys(text: str) -> str:
    """Keep the lines of the top level that hold a whole entry, and its headings."""
    wanted = {
        key.start_mark.line
        for key, value in _entries(text)
        if not isinstance(value, yaml.MappingNode) and not key.value.startswith("_")
    }
    return "\n".join(
        line
        for number, line in enumerate(text.splitlines())
        if number in wanted or line.startswith("#")
    )


def _with_precision(path: str, run_opts: RunOptions, overrides: str) -> tuple[RunOptions, str]:
    """Settle the precision in the run options, and in what the run's folder keeps of the YAML."""
    keys = _plain_values(resolve_references(open_yaml(path), overrides).getvalue())
    is_given = "precision" in run_opts.overridden_args
    wanted = run_opts["precision"] if is_given else keys.get("precision", run_opts["precision"])
    folder, device = Path(keys.get("output_folder", "")), run_opts["device"] or infer_device()
    precision = same_as_main(lambda: _settle(wanted, device, folder))
    told = run_opts.overridden_args | {"precision"}
    run_opts = replace(run_opts, precision=precision, overridden_args=told)
    if keys.get("precision", precision) != precision:
        overrides = "\n".join(filter(None, [overrides, f"precision: {precision}"]))
    return run_opts, overrides


def _settle(wanted: str, device: str, folder: Path) -> str:
    if wanted == AUTO and checkpoints_in(folder):
        begun = {}
        with suppress(OSError, yaml.YAMLError):  # it may lack, or a kill have cut it short
            begun = _plain_values((folder / "hyperparams.yaml").read_text(encoding="utf-8"))
        if (wanted := begun.get("precision", AUTO)) != AUTO:
            print_main(f"precision {wanted}: the run in {folder} began with it")
    return settle_precision(wanted, device_name(device), print_main)


def _plain_values(text: str) -> dict[str, str]:
    entries = _entries(text)
    return {key.value: value.value for key, value in entries if isinstance(value, yaml.ScalarNode)}


def _refuse_old_names(text: str) -> None:
    """Name the new name of an option that has an old one, at any depth."""
    nodes = [yaml.compose(text)] if text else []
    while nodes:
        node = nodes.pop()
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if (new := RENAMED.get(key.value)) is not None:
                    raise ValueError(f"{key.value} was renamed: write {new}")
                nodes.append(value)


def _last_of_each(overrides: str) -> str:
    """Keep the last of several entries of one key, which YAML would refuse."""
    entries = {
        key.value: overrides[key.start_mark.index : value.end_mark.index].strip()
        for key, value in _entries(overrides)
    }
    return "\n".join(entries.values())
