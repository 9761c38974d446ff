"""What the recipes of all tasks share: from the command line to scores, samples and a release."""

from __future__ import annotations

import inspect
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import speechbrain as sb
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.seed import seed_everything
from torch.utils.data import Dataset

from wavcube.experiment.command_line import parse_arguments
from wavcube.experiment.evaluation import check_counts
from wavcube.experiment.identity import RecipeHparams, check_same_run
from wavcube.experiment.report import write_metrics
from wavcube.experiment.usage import (
    interruptible,
    nothing_left_of,
    own_folder,
    show,
    usage_errors,
)
from wavcube.metrics import Summary, format_table
from wavcube.release.card import ModelCard
from wavcube.release.folder import load_release, write_release
from wavcube.tasks.brain import TaskBrain
from wavcube.tasks.card import describe_task
from wavcube.tasks.model import TaskModel
from wavcube.training.checkpoints import AtomicCheckpointer
from wavcube.training.ranks import is_main, join_group, leave_group, main_first, on_main
from wavcube.training.run_logger import Journal
from wavcube.training.schedules import ResumeError

AT_THE_START, AS_RELEASED = "at the start", "as released"


class TaskRecipe:
    """A run of one task.

    It prepares the data, builds the model (or takes that of a release), scores it, trains, scores
    the best checkpoint on the same utterances, and writes table, samples and a release that loads.
    The same command again resumes a run that was interrupted, and evaluates one that was finished.

    A subclass gives the steps that are the task's own; those of a corpus are in the recipe, which
    names the Brain too. Steps may raise ValueError and the like on a user's mistake: one line and
    exit code 2.

    Parameters
    ----------
    program : str
        Name of the recipe's file, for messages.
    usage : str
        The recipe's docstring.

    Attributes
    ----------
    hparams : dict
        Of the YAML; what every task's YAML has is in hparams/asr.yaml.
    run_opts : Mapping
        SpeechBrain's.
    folder : Path
        Of the run.
    rows : dict of str to list
        "train", "valid" and "test", as :meth:`prepare` gave them.
    model : TaskModel
        As it is now.
    device : str
        Where it is.
    """

    brain_class: ClassVar[type[TaskBrain]]
    # a loss that is a mean over frames would depend on what is validated together
    validates_alone: ClassVar[bool] = False

    def __init__(self, program: str, usage: str) -> None:
        self.program, self.usage = program, usage
        self.refuse = partial(usage_errors, program)
        self.hparams: dict[str, Any] = {}
        self.run_opts: Mapping[str, Any] = {}
        self.rows: dict[str, list[Any]] = {}
        self.folder, self.device = Path(), "cpu"
        self.model: TaskModel | None = None

    def prepare(self) -> dict[str, list[Any]]:
        """Give the rows of "train", "valid" and "test"; of the corpus."""
        raise NotImplementedError

    def begin(self, pretrained: Path | None) -> None:
        """Make what the model depends on beside the YAML, once there are rows.

        Parameters
        ----------
        pretrained : Path, optional
            The release that the run goes on from.
        """

    def make_model(self) -> TaskModel:
        """Build the YAML's model, with a fresh head."""
        raise NotImplementedError

    def adopt(self, released: TaskModel) -> TaskModel:
        """Check a release's model, or change it, before it is trained on; by default taken as is.

        Parameters
        ----------
        released : TaskModel
            With its weights.
        """
        return released

    def check(self) -> None:
        """Refuse what would end the run later, before anything is written; by default nothing.

        Raises
        ------
        ValueError
            If there is something.
        """

    def datasets(self) -> tuple[Dataset, Dataset]:
        """Give what is trained on, an epoch as long as it is, and what chooses the best."""
        raise NotImplementedError

    def loader_options(self, dataset: Dataset) -> dict[str, Any]:
        """Give the options of the loader of a dataset.

        Parameters
        ----------
        dataset : Dataset
            Of :meth:`datasets`; its ``collate``, if it has one, makes the batches.
        """
        options = {key: self.hparams[key] for key in ("batch_size", "num_workers")}
        if hasattr(dataset, "collate"):
            options["collate_fn"] = dataset.collate
        return options

    def brain_options(self) -> dict[str, Any]:
        """Give further arguments of the task's Brain; by default none."""
        return {}

    def references(self) -> dict[str, dict[str, Summary]]:
        """Give the rows of the table that need no model; by default none."""
        return {}

    def evaluate(self, label: str) -> dict[str, Summary]:
        """Score the model on the test rows.

        Parameters
        ----------
        label : str
            Of the row.

        Returns
        -------
        dict of str to Summary
            By column: a key of ``wavcube.metrics.METRICS``, or any title.
        """
        raise NotImplementedError

    def write_samples(self, folder: Path) -> None:
        """Write what one can listen to or read of the last evaluation; by default nothing.

        Parameters
        ----------
        folder : Path
            Of the samples; is there.
        """

    def extra_files(self) -> dict[str, bytes]:
        """Give what a release needs beside the model, by file name; by default nothing."""
        return {}

    def card_entries(self) -> dict[str, Any]:
        """Give the title and the summary of the release's card."""
        raise NotImplementedError

    def main(self, arguments: Sequence[str]) -> None:
        """Read the arguments and the YAML, and run.

        Parameters
        ----------
        arguments : sequence of str
            Of the process.
        """
        with interruptible(self.program), self.refuse():
            hparams_file, self.run_opts, overrides = parse_arguments(arguments, self.usage)
            with open(hparams_file, encoding="utf-8") as file:
                self.hparams = RecipeHparams(load_hyperpyyaml(file, overrides))
            self.folder = Path(self.hparams["output_folder"])
        with interruptible(self.program, self.folder), own_folder(self.program, self.folder):
            self._run(hparams_file, overrides)

    def _run(self, hparams_file: str, overrides: str) -> None:
        started = time.monotonic()
        with self.refuse():
            check_counts(self.hparams)
            with nothing_left_of(self.folder):
                with main_first():
                    self.rows = self.prepare()
                    check_same_run(self.folder, self.hparams["settings"], self.rows)
                    self.model = self._first_model()
                    self.check()
                join_group(self.run_opts)
                brain = self._brain()
            sb.create_experiment_directory(self.folder, hparams_file, overrides)
            self.device, table = brain.device, {}
            on_main(lambda: self._begin(table))
            with main_first():  # it fills the caches
                train, valid = self.datasets()
        seed_everything(self.hparams["seed"])
        with self.refuse(kinds=(ResumeError,)):
            loaders = self.loader_options(train), self.loader_options(valid)
            if self.validates_alone:
                loaders[1]["batch_size"] = 1
            brain.fit(brain.epochs, train, valid, None, *loaders)
        with self.refuse():
            brain.load_best()
            leave_group()
            if is_main():
                self._release(table)  # it is there whatever becomes of the evaluation
                table[brain.settings.name] = self.evaluate(brain.settings.name)
                self._finish(table, brain, time.monotonic() - started)

    def _begin(self, table: dict[str, dict[str, Summary]]) -> None:
        """Score what needs no training; what a card would refuse, it refuses before that."""
        shutil.copy(inspect.getfile(type(self)), self.folder)  # SpeechBrain copies who calls it
        table.update(self.references())
        first = AT_THE_START if self.hparams["pretrained"] is None else AS_RELEASED
        table[first] = self.evaluate(first)
        self._card(table)

    def _first_model(self) -> TaskModel:
        source = self.hparams["pretrained"]
        pretrained = None if source is None else Path(source)
        self.begin(pretrained)
        seed_everything(self.hparams["seed"])
        model = self.make_model()
        if pretrained is None:
            return model
        released = load_release(pretrained)
        if type(released) is not type(model):
            raise ValueError(
                f"{pretrained} holds a {type(released).__name__}, the configuration trains a "
                f"{type(model).__name__}: take the recipe that it was made with"
            )
        wanted, own = model.representation, released.representation
        if own.sample_rate != wanted.sample_rate:
            raise ValueError(
                f"{pretrained} works at {own.sample_rate} Hz, the configuration at "
                f"{wanted.sample_rate} Hz: choose the representation that it was made with"
            )
        if not isinstance(own, type(wanted)) and not isinstance(wanted, type(own)):
            show(f"of the release, and not of the configuration: its {type(own).__name__}")
        if not wanted.is_frozen:
            released.representation = released.representation.tuned(wanted.unfreeze_at, wanted.lr)
        return self.adopt(released)

    def _brain(self) -> TaskBrain:
        return self.brain_class(
            self.model,
            self.hparams["settings"],
            **self.brain_options(),
            opt_class=self.hparams["optimizer"],
            hparams=self.hparams,
            run_opts=self.run_opts,
            checkpointer=AtomicCheckpointer(self.folder / "save"),
            journal=Journal(self.folder / "train_log.txt", self.folder / "tensorboard"),
        )

    def _finish(
        self, table: Mapping[str, Mapping[str, Summary]], brain: TaskBrain, seconds: float
    ) -> None:
        """Write scores and samples, put the scores on the release's card, and show them."""
        facts = {"seed": self.hparams["seed"], "command": sys.argv, "seconds": round(seconds, 1)}
        write_metrics(self.folder / "metrics.json", table, {**facts, "training": brain.facts()})
        self._release(table)
        (self.folder / "samples").mkdir(exist_ok=True)
        self.write_samples(self.folder / "samples")
        show(format_table(table))
        for what, name in (
            ("release", "release"),
            ("samples", "samples"),
            ("scores", "metrics.json"),
        ):
            show(f"{what}: {self.folder / name}")
        show(f"time: {timedelta(seconds=round(seconds))}")

    def _card(self, table: Mapping[str, Mapping[str, Summary]]) -> ModelCard:
        return describe_task(self.model, self.hparams, table, self.card_entries())

    def _release(self, table: Mapping[str, Mapping[str, Summary]]) -> None:
        card, extra, target = self._card(table), self.extra_files(), self.folder / "release"
        write_release(self.model, target, card=card, overwrite=True, extra_files=extra)
