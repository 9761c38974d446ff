"""A run of a recipe, whatever it trains: from the command line to what it leaves behind."""

from __future__ import annotations

import hashlib
import logging
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import speechbrain as sb
import yaml
from hyperpyyaml import load_hyperpyyaml, resolve_references
from ruamel.yaml import YAMLError
from torch.utils.data import Dataset

from wavcube.data.prepare import check_same_data
from wavcube.data.segments.audio import UnreadableError
from wavcube.experiment.command_line import open_yaml, parse_arguments, quiet_libraries
from wavcube.experiment.report import check_counts
from wavcube.training.brain import GuardedBrain
from wavcube.training.checkpoints import checkpoints_in
from wavcube.training.distributed import (
    is_main,
    join_group,
    main_process_first,
    may_speak,
    print_main,
    run_on_main,
)
from wavcube.training.optimizers import ResumeError
from wavcube.training.settings import TrainingSettings
from wavcube.utils.errors import INTERRUPTED, USER_ERROR, one_line
from wavcube.utils.files import LOCK, locked_folder

logger = logging.getLogger(__name__)

# ImportError is of an extra that is not installed
MISTAKES = (ValueError, KeyError, OSError, ImportError, YAMLError, yaml.YAMLError)


@contextmanager
def exit_on_user_error(
    program: str, kinds: tuple[type[Exception], ...] = MISTAKES
) -> Iterator[None]:
    """End the process with one line and exit code 2 when what stands inside refuses its input.

    Wrap what reads arguments, YAML and data with it; not the training, whose errors are ours.

    Parameters
    ----------
    program : str
        Name to begin the line with.
    kinds : tuple of type
        The exceptions that mean a mistake.

    Raises
    ------
    SystemExit
        In their place.

    Examples
    --------
    >>> with exit_on_user_error("train.py"):
    ...     raise ValueError("no such stage")
    Traceback (most recent call last):
    ...
    SystemExit: 2
    """
    try:
        yield
    except kinds as error:
        logger.debug("refused", exc_info=error)  # the traceback is for the log file
        if may_speak():
            sys.stderr.write(f"{program}: error: {one_line(error)}\n")
        raise SystemExit(USER_ERROR) from error


@contextmanager
def handle_interrupt(program: str, folder: str | Path | None = None) -> Iterator[None]:
    """End the process with one line and exit code 130 when Ctrl-C stops what stands inside.

    Parameters
    ----------
    program : str
        Name to begin the line with.
    folder : str or Path, optional
        Of the run, whose checkpoints are in `save`, or in that of a stage's folder.

    Raises
    ------
    SystemExit
        In place of KeyboardInterrupt.

    Examples
    --------
    >>> with handle_interrupt("train.py"):
    ...     raise KeyboardInterrupt
    Traceback (most recent call last):
    ...
    SystemExit: 130
    """
    try:
        yield
    except KeyboardInterrupt as stop:
        if may_speak():
            sys.stderr.write(f"{program}: interrupted: the same command {_what_is_next(folder)}\n")
        raise SystemExit(INTERRUPTED) from stop


def _what_is_next(folder: str | Path | None) -> str:
    saved = [] if folder is None else checkpoints_in(folder)
    if not saved or folder is None:
        return "starts from the beginning"
    newest = max(saved, key=lambda path: path.stat().st_mtime_ns)
    update = yaml.safe_load(newest.read_text(encoding="utf-8"))["optimizer_step"]
    of_stage = "" if newest.parents[2] == Path(folder) else f" of {newest.parents[2].name}"
    return f"goes on from the last checkpoint (update {update}{of_stage})"


@contextmanager
def lock_folder(program: str, folder: str | Path) -> Iterator[None]:
    """Let no other run write to a folder meanwhile; of several processes the main one sees to it.

    Parameters
    ----------
    program : str
        See :func:`exit_on_user_error`.
    folder : str or Path
        Of the run. One that is made for it, and in which nothing is left, goes again.

    Raises
    ------
    SystemExit
        If another run writes to it, or it cannot be made.

    Examples
    --------
    >>> folder = getfixture("tmp_path") / "run"
    >>> with lock_folder("train.py", folder), lock_folder("train.py", folder):
    ...     pass
    Traceback (most recent call last):
    ...
    SystemExit: 2
    >>> folder.exists()
    False
    """
    if not is_main():
        yield
        return
    was_there = Path(folder).exists()
    with ExitStack() as stack:
        with exit_on_user_error(program):
            stack.enter_context(locked_folder(folder))
        try:
            yield
        finally:
            if not was_there and _is_empty(folder):
                # while it is still claimed; Windows does not remove what is open
                with suppress(OSError):
                    Path(folder, LOCK).unlink(missing_ok=True)
                    Path(folder).rmdir()


def _is_empty(folder: str | Path) -> bool:
    """Tell whether there is nothing in a folder, or no folder."""
    path = Path(folder)
    return not path.exists() or (path.is_dir() and {p.name for p in path.iterdir()} <= {LOCK})


@contextmanager
def cleanup_on_error(folder: str | Path) -> Iterator[None]:
    """Remove what stands inside has put into an empty or new folder, should it fail.

    Parameters
    ----------
    folder : str or Path
        Nothing is removed from it if it held anything before.

    Examples
    --------
    >>> folder = getfixture("tmp_path") / "new"
    >>> try:
    ...     with cleanup_on_error(folder):
    ...         folder.mkdir()
    ...         raise ValueError
    ... except ValueError:
    ...     folder.exists()
    False
    """
    folder = Path(folder)
    was_there, was_empty = folder.exists(), _is_empty(folder)
    try:
        yield
    except BaseException:
        if was_empty and is_main() and folder.is_dir():
            for path in folder.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != LOCK:  # which is the folder's owner's
                    path.unlink()
            if not was_there:
                with suppress(OSError):
                    folder.rmdir()
        raise


# what a run goes on with unchanged; how often it logs and the like may change
RUN_KEYS = ("updates", "warmup", "lr", "weights")


class RecipeHparams(dict):
    """What a YAML holds; of what it lacks it says that the YAML may be another recipe's.

    Examples
    --------
    >>> RecipeHparams(seed=1)["noise_folder"]
    Traceback (most recent call last):
    ...
    KeyError: "the YAML has no key 'noise_folder': is it of this recipe?"
    """

    def __missing__(self, key: str) -> Any:  # noqa: ANN401 - as a dict's
        """Refuse."""
        raise KeyError(f"the YAML has no key {key!r}: is it of this recipe?")


def check_same_run(
    folder: Path, settings: TrainingSettings, rows: Mapping[str, Sequence[Any]]
) -> None:
    """Note down a run's settings and utterances, and refuse to go on with others.

    An edited CSV would be split anew: what chose the checkpoint could come into the test.

    Parameters
    ----------
    folder : Path
        Of the run; the notes are in `manifests`.
    settings : TrainingSettings
        Of which ``RUN_KEYS`` count.
    rows : mapping of str to sequence
        By part; rows have an `ID`.

    Raises
    ------
    ValueError
        If the notes are there and tell otherwise.

    Examples
    --------
    >>> from wavcube.data.manifest import Utterance
    >>> rows = {"train": [Utterance("a", 1.0, "a.wav")]}
    >>> folder = getfixture("tmp_path")
    >>> check_same_run(folder, TrainingSettings(updates=9), rows)
    >>> check_same_run(folder, TrainingSettings(updates=8), rows)
    Traceback (most recent call last):
    ...
    ValueError: ... is of a run with other settings: {'updates': 9}; choose another output_folder
    """
    training = {key: getattr(settings, key) for key in RUN_KEYS if hasattr(settings, key)}
    check_same_data(folder / "manifests" / "training.json", training, "settings")
    found = {part: f"{len(own)}, {_digest([row.ID for row in own])}" for part, own in rows.items()}
    check_same_data(folder / "manifests" / "rows.json", found, "utterances")


def _digest(names: Sequence[str]) -> str:
    return hashlib.sha256("\n".join(names).encode()).hexdigest()[:8]


class Training(NamedTuple):
    """What one stage trains: a Brain, its data, and the options of their loaders."""

    brain: GuardedBrain
    train: Dataset
    valid: Dataset
    train_loader: dict[str, Any]
    valid_loader: dict[str, Any]


class Run:
    """A run: its stages train one after the other, each on what the one before has left.

    The same command again resumes a run that was interrupted, and evaluates one that was finished.
    A subclass gives the steps, which may raise ValueError and the like on a user's mistake: one
    line and exit code 2, with nothing left behind before training has begun.

    Parameters
    ----------
    script : str
        The recipe's file.
    usage : str
        Its docstring.

    Attributes
    ----------
    hparams : dict
        Of the YAML.
    run_opts : Mapping
        SpeechBrain's.
    folder : Path
        Of the run.
    """

    def __init__(self, script: str, usage: str) -> None:
        self.script, self.usage = Path(script), usage
        self.exit_on_user_error = partial(exit_on_user_error, self.script.name)
        self.hparams: dict[str, Any] = {}
        self.run_opts: Mapping[str, Any] = {}
        self.folder = Path()
        self.started = time.monotonic()

    def prepare(self) -> None:
        """Find the data and build what trains, before anything is written beside manifests."""
        raise NotImplementedError

    def join(self) -> None:
        """Build what needs all processes, which have met; by default nothing."""

    def begin(self) -> None:
        """Do what comes before the first stage, such as scores of what is there already."""

    def stages(self) -> Sequence[str]:
        """Give the names of the stages; by default there is one."""
        return ("training",)

    def plan(self, stage: str) -> Training:
        """Build what a stage trains.

        Parameters
        ----------
        stage : str
            Of :meth:`stages`.
        """
        raise NotImplementedError

    def end_stage(self, stage: str, brain: GuardedBrain) -> None:
        """Release and evaluate what a stage has made.

        Parameters
        ----------
        stage : str
            Of :meth:`stages`.
        brain : GuardedBrain
            Its Brain, with the best weights loaded.
        """
        raise NotImplementedError

    def finish(self) -> None:
        """Do what comes after the last stage; by default nothing."""

    def main(self, arguments: Sequence[str]) -> None:
        """Read the arguments and the YAML, and run.

        Parameters
        ----------
        arguments : sequence of str
            Of the process.
        """
        with quiet_libraries():
            self._main(arguments)

    def _main(self, arguments: Sequence[str]) -> None:
        program = self.script.name
        with handle_interrupt(program), self.exit_on_user_error():
            path, self.run_opts, overrides = parse_arguments(arguments, self.usage)
            self.hparams = RecipeHparams(load_hyperpyyaml(open_yaml(path), overrides))
            self.folder = Path(self.hparams["output_folder"])
        with handle_interrupt(program, self.folder), lock_folder(program, self.folder):
            self._run(path, overrides)

    def _run(self, path: str, overrides: str) -> None:
        with self.exit_on_user_error():
            check_counts(self.hparams)
            with cleanup_on_error(self.folder):
                with main_process_first():
                    self.prepare()
                join_group(self.run_opts)
                self.join()
            sb.create_experiment_directory(self.folder)
            run_on_main(lambda: self._keep_configuration(path, overrides))
            self.begin()
        for stage in self.stages():
            with self.exit_on_user_error():
                training = self.plan(stage)
            brain = training.brain
            with self.exit_on_user_error(kinds=(ResumeError, UnreadableError)):
                brain.fit(brain.epochs, training.train, training.valid, None, *training[3:])
            with self.exit_on_user_error():
                brain.load_best()
                self.end_stage(stage, brain)
        with self.exit_on_user_error():
            self.finish()

    def _keep_configuration(self, path: str, overrides: str) -> None:
        """Keep the YAML as it was resolved, and the recipe."""
        resolved = resolve_references(open_yaml(path), overrides).getvalue()
        (self.folder / "hyperparams.yaml").write_text(resolved, encoding="utf-8")
        shutil.copy(self.script, self.folder)

    def show_results(self, table: str, **places: Path) -> None:
        """Print the table, where things are, and how long it took.

        Parameters
        ----------
        table : str
            Of the scores.
        **places
            Files and folders by what they are.
        """
        print_main(table)
        for what, place in places.items():
            print_main(f"{what}: {place}")
        print_main(f"time: {timedelta(seconds=round(time.monotonic() - self.started))}")
