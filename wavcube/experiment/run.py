"""A run of a recipe, whatever it trains: from the command line to what it leaves behind."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml, resolve_references
from torch.utils.data import Dataset

from wavcube.data.segments.bad import UnreadableError
from wavcube.experiment.command_line import parse_arguments
from wavcube.experiment.evaluation import check_counts
from wavcube.experiment.identity import RecipeHparams
from wavcube.experiment.recipe_yaml import open_yaml
from wavcube.experiment.usage import (
    cleanup_on_error,
    exit_on_user_error,
    handle_interrupt,
    lock_folder,
    print_main,
)
from wavcube.training.brain import GuardedBrain
from wavcube.training.distributed import join_group, main_process_first, run_on_main
from wavcube.training.schedules import ResumeError


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
