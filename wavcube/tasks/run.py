"""A run of a task: it trains the task's model, scores it before and after, and releases it."""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbrain.utils.seed import seed_everything

from wavcube.experiment.card import (
    PACKAGED,
    UNKNOWN,
    is_synthetic,
    public_paths,
    speech_sources,
    user_entries,
)
from wavcube.experiment.report import write_metrics
from wavcube.experiment.run import Run, Training, check_same_run
from wavcube.metrics import Summary, format_table
from wavcube.release.card import ModelCard, Source
from wavcube.release.folder import load_release, read_card, write_release
from wavcube.release.source import packaged_model
from wavcube.representations import (
    MelRepresentation,
    PackagedLatent,
    PackagedSSL,
    Representation,
    WaveformRepresentation,
)
from wavcube.tasks.brain import TaskBrain
from wavcube.tasks.model import TaskModel
from wavcube.tasks.registry import find_task
from wavcube.tasks.task import Splits, Task
from wavcube.training.brain import GuardedBrain
from wavcube.training.checkpoints import AtomicCheckpointer
from wavcube.training.distributed import (
    is_main,
    leave_group,
    main_process_first,
    print_main,
    run_on_main,
)
from wavcube.training.run_logger import RunLogger

FREE = "Apache-2.0"


def describe_task(
    model: TaskModel,
    hparams: Mapping[str, Any],
    table: Mapping[str, Mapping[str, Summary]],
    entries: Mapping[str, Any],
) -> ModelCard:
    """Say what the model is, what it was made of, and what follows for its use.

    Parameters
    ----------
    model : TaskModel
        The model.
    hparams : mapping
        Of the recipe. Its `card`, if any, has the last word.
    table : mapping
        Scores for the card, by row and column.
    entries : mapping
        What the task says: `title`, `summary`, and whatever else it knows better.

    Returns
    -------
    ModelCard
        For :func:`wavcube.release.folder.write_release`.
    """
    data = speech_sources(hparams)
    upstream, licence = front_end_sources(model.representation)
    if hparams["pretrained"] is not None:
        made = read_card(hparams["pretrained"])
        own = made.weights_license if made else UNKNOWN
        upstream.append(
            Source("the model it was tuned from", own, Path(hparams["pretrained"]).name)
        )
        licence = None
        if made:
            upstream, data = [*upstream, *made.upstream], [*data, *made.data]
    free = licence is not None and is_synthetic(data)
    results = {
        row: {column: cell.mean for column, cell in cells.items() if cell.mean is not None}
        for row, cells in table.items()
    }
    said = {
        "weights_license": licence if free else "as far as all that it was made of allows",
        "commercial_use": "yes" if free else "unclear",
        "upstream": list(dict.fromkeys(upstream)),
        "data": list(dict.fromkeys(data)),
        "command": shlex.join(["python", *map(public_paths, sys.argv)]),
        "results": results,
        **entries,
    }
    return ModelCard(**{**said, **user_entries(hparams)})


def front_end_sources(representation: Representation) -> tuple[list[Source], str | None]:
    """Name the models behind a representation, and their licence where it is known.

    Parameters
    ----------
    representation : Representation
        Of a task's model.

    Returns
    -------
    sources : list of Source
        None for log-mel energies and for the waveform itself.
    licence : str or None
        Of weights that are made of no more than this.

    Examples
    --------
    >>> front_end_sources(MelRepresentation())
    ([], 'Apache-2.0')
    >>> from wavcube.testing import tiny_ssl_encoder
    >>> from wavcube.representations import SSLRepresentation
    >>> front_end_sources(SSLRepresentation(tiny_ssl_encoder()))[1] is None
    True
    """
    if isinstance(representation, MelRepresentation | WaveformRepresentation):
        return [], FREE
    if isinstance(representation, PackagedSSL):
        return [PACKAGED], FREE
    if isinstance(representation, PackagedLatent):
        made = read_card(packaged_model())
        if made is None:
            raise RuntimeError("the packaged latent has lost its card: install the package again")
        own = Source(made.title, made.weights_license, "wavcube/pretrained/wavcube_tiny")
        return [own, *made.upstream], made.weights_license
    kind = type(representation.model).__name__
    return [Source(f"front end ({kind})", UNKNOWN, f"model {representation.model_hash[:12]}")], None


AT_THE_START, AS_RELEASED = "at the start", "as released"
_DRY_ROWS = 32  # of each role in a dry run
SYNTHETIC = "no --data_folder: training on speech that the package makes itself"


class TaskRun(Run):
    """A run of the task that the YAML names.

    It prepares the data, builds the model (or takes that of a release), scores it, trains, scores
    the best checkpoint on the same utterances, and writes table, samples and a release that loads.

    Parameters
    ----------
    script, usage : str
        See :class:`~wavcube.experiment.run.Run`.
    name : str, optional
        Of the recipe's task, which the YAML must have too; by default any.

    Attributes
    ----------
    task : Task
        Of the YAML's `task`: the name of a registered one, or an object of the user's own.
    rows : dict of str to list
        "train", "valid" and "test".
    model : TaskModel
        As it is now.
    """

    task: Task
    rows: Splits
    model: TaskModel
    brain: TaskBrain

    def __init__(self, script: str, usage: str, name: str | None = None) -> None:
        super().__init__(script, usage)
        self.name = name

    def prepare(self) -> None:
        """Find rows and model; a release's model where the run goes on from one."""
        named, source = self.hparams["task"], self.hparams["data_folder"]
        self.task = named if isinstance(named, Task) else find_task(named)()
        if self.name not in (None, self.task.name):
            raise ValueError(
                f"the YAML is of the task {self.task.name}, the recipe of {self.name}: take its own"
            )
        self.task.attach(self.hparams, self.folder, not self.run_opts["noprogressbar"])
        if source is None:
            print_main(SYNTHETIC)
        elif not Path(source).exists():
            raise FileNotFoundError(f"there is no folder or file {source}")
        self.rows = self.task.rows(None if source is None else Path(source))
        check_same_run(self.folder, self.hparams["settings"], self.rows)
        self.model = self._first_model()
        self.model.task = self.task.name
        self.task.check(self.model, self.rows)

    def join(self) -> None:
        """Build the Brain."""
        self.brain = TaskBrain(
            self.task,
            self.model,
            self.hparams["settings"],
            opt_class=self.hparams["optimizer"],
            hparams=self.hparams,
            run_opts=self.run_opts,
            checkpointer=AtomicCheckpointer(self.folder / "save"),
            journal=RunLogger(self.folder / "train_log.txt", self.folder / "tensorboard"),
        )

    def begin(self) -> None:
        """Score what needs no training; what a card would refuse, it refuses before that."""
        self.table: dict[str, dict[str, Summary]] = {}
        run_on_main(self._score_before)

    def _score_before(self) -> None:
        self.table.update(self.task.baselines(self.model, self.rows))
        first = AT_THE_START if self.hparams["pretrained"] is None else AS_RELEASED
        self.table[first] = self._evaluate(first)
        self._card()

    def plan(self, stage: str) -> Training:
        """Give the Brain its data."""
        del stage
        print_main(self.task.describe_rows(self.rows))
        rows = self.rows
        if self.run_opts["debug"]:  # what is cached is computed of all that are given
            rows = {role: some[:_DRY_ROWS] for role, some in rows.items()}
        with main_process_first():  # it fills the caches
            train, valid = (
                self.task.dataset(self.model, rows[role], role) for role in ("train", "valid")
            )
        seed_everything(self.hparams["seed"])
        loaders = self.task.loader_options(train, "train"), self.task.loader_options(valid, "valid")
        return Training(self.brain, train, valid, *loaders)

    def end_stage(self, stage: str, brain: GuardedBrain) -> None:
        """Release the model, and score it; it is there whatever becomes of the evaluation."""
        del stage
        leave_group()
        if not is_main():
            return
        self._release()
        self.table[brain.settings.name] = self._evaluate(brain.settings.name)
        facts = {
            "seed": self.hparams["seed"],
            "command": sys.argv,
            "seconds": round(time.monotonic() - self.started, 1),
            "training": brain.metadata(),
        }
        write_metrics(self.folder / "metrics.json", self.table, facts)
        self._release()
        samples = self.folder / "samples"
        samples.mkdir(exist_ok=True)
        self.task.samples(self.model, samples)
        places = {"release": self.folder / "release", "samples": samples}
        table = format_table(self.table)
        self.show_results(table, **places, scores=self.folder / "metrics.json")

    def _first_model(self) -> TaskModel:
        source = self.hparams["pretrained"]
        pretrained = None if source is None else Path(source)
        self.task.setup(self.rows, pretrained)
        seed_everything(self.hparams["seed"])
        model = self.task.build(self.hparams["representation"]["module"])
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
            print_main(f"of the release, and not of the configuration: its {type(own).__name__}")
        if wanted.unfreeze_at is not None and wanted.lr is not None:
            released.representation = released.representation.tuned(wanted.unfreeze_at, wanted.lr)
        return self.task.load_pretrained(released)

    def _evaluate(self, label: str) -> dict[str, Summary]:
        model = self.model.to(self.brain.device).eval()
        return self.task.evaluate(model, self.rows, label)

    def _card(self) -> ModelCard:
        return describe_task(self.model, self.hparams, self.table, self.task.card(self.model))

    def _release(self) -> None:
        extra, target = self.task.extra_files(), self.folder / "release"
        write_release(self.model, target, card=self._card(), overwrite=True, extra_files=extra)


def main(script: str, usage: str, name: str | None = None) -> None:
    """Run a recipe whose YAML names a task.

    Parameters
    ----------
    script : str
        The recipe's file.
    usage : str
        Its docstring.
    name : str, optional
        Of the task; by default that of the YAML, whichever it is.
    """
    TaskRun(script, usage, name).main(sys.argv[1:])


if __name__ == "__main__":
    main(__file__, "Run the task of a YAML.\n\n    python -m wavcube.tasks.run YAML [--key value]")
