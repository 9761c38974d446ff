"""The contract of a task: what it says of itself, for the toolkit to train, score and serve it.

A subclass in ``wavcube/tasks/<name>/task.py``, or in a module of the user's own, is all that a new
task needs beside its model: optimizer, guard, exact resume, averages, several processes, the cache
of frozen states, table, samples, card, release, ``from_hparams``, the verb of the command line and
the packaged default follow from it. docs/tasks.md builds one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, TypeVar

import numpy as np
import torch
from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from wavcube.data.crops import CropDataset, utterance_dataset
from wavcube.data.manifest import describe_split, evenly_spaced
from wavcube.metrics import Summary
from wavcube.metrics.report import bootstrap
from wavcube.representations import Representation
from wavcube.tasks.model import TaskModel
from wavcube.tasks.verbs import Verb
from wavcube.training.distributed import global_batch_size
from wavcube.training.settings import TrainingSettings


@dataclass(frozen=True, kw_only=True)
class TaskSettings(TrainingSettings):
    """How a task's model trains. Whether more of the best metric is better is the task's to say.

    Parameters
    ----------
    updates, name, warmup, lr_schedule, ema_decay, best_metric, best_is_highest, max_rollbacks, \
    log_every, shard_optimizer
        As :class:`~wavcube.training.settings.TrainingSettings` has them.
    lr : float
        Of the head; a representation that is fine-tuned has its own.
    weights : Mapping of str to float, optional
        Weight of each loss term that is on; by default the terms of the task are added.

    Examples
    --------
    >>> TaskSettings(updates=1000, lr=1e-3, best_metric="wer").lr
    0.001
    """

    lr: float
    weights: Mapping[str, float] | None = None


# what is measured of an item by name, or the reason why it could not be
ItemScores = Mapping[str, float | str]
# of the task's own kind
Model = TypeVar("Model", bound=TaskModel)
# what a batch carries of its own forward pass
KEPT = "_kept"
# rows of "train", "valid" and "test"
Splits = dict[str, list[Any]]


class Task(Generic[Model]):
    """What one does with speech: the data, the model, the loss and the scores.

    :meth:`rows`, :meth:`loss` and :meth:`scores` are a task's own; the other methods have defaults.
    They may raise ValueError and the like on a user's mistake: one line and exit code 2.

    Attributes
    ----------
    hparams : dict
        Of the recipe's YAML, which :meth:`attach` brings.
    folder : Path
        Of the run.
    device : str
        Where the model is, once there is a Brain.
    progress : bool
        Whether to show bars.
    """

    # by which it is registered
    name: ClassVar[str]
    # what it takes and gives, and how it is asked for
    verb: ClassVar[Verb]
    # what validation measures beside the loss; `best_metric` chooses the best checkpoint by one
    metrics: ClassVar[Mapping[str, Literal["max", "min"]]] = {}
    # of the table: the title of a metric that is not among ``wavcube.metrics.METRICS``
    columns: ClassVar[Mapping[str, str]] = {}
    # what is scored, for messages
    items: ClassVar[str] = "utterances"

    hparams: dict[str, Any]
    folder: Path
    device: str = "cpu"
    progress: bool = True

    def attach(self, hparams: dict[str, Any], folder: Path, progress: bool) -> None:
        """Bring what a run is configured by; the first call of all.

        Parameters
        ----------
        hparams : dict
            Of the YAML.
        folder : Path
            Of the run.
        progress : bool
            Show bars.
        """
        self.hparams, self.folder, self.progress = hparams, folder, progress

    def rows(self, source: Path | None) -> Splits:
        """Give the rows of "train", "valid" and "test".

        Parameters
        ----------
        source : Path, optional
            The user's `data_folder`: a folder or a CSV file. None for the synthetic corpus.
        """
        raise NotImplementedError

    def setup(self, rows: Splits, pretrained: Path | None) -> None:
        """Make what the model depends on beside the YAML, once there are rows; by default nothing.

        Parameters
        ----------
        rows : dict of str to list
            Of :meth:`rows`; what the task leaves out is taken out here.
        pretrained : Path, optional
            The release that the run goes on from.
        """

    def build(self, representation: Representation) -> Model:
        """Build the model with a fresh head.

        Parameters
        ----------
        representation : Representation
            The YAML's.
        """
        raise NotImplementedError

    def load_pretrained(self, released: Model) -> Model:
        """Check a release's model, or change it, before it is trained on; by default taken as is.

        Parameters
        ----------
        released : TaskModel
            With its weights.
        """
        return released

    def check(self, model: Model, rows: Splits) -> None:
        """Refuse what would end the run later, before anything is written; by default nothing.

        Parameters
        ----------
        model : TaskModel
            To be trained.
        rows : dict of str to list
            Of :meth:`rows`.
        """

    def prepare_training(self, model: Model, settings: TaskSettings) -> None:
        """Keep what the loss needs of the model as it is before it trains; by default nothing.

        Parameters
        ----------
        model : TaskModel
            On its device.
        settings : TaskSettings
            How it trains. Weights of loss terms that the task does not have are to be refused.
        """

    def listen(self, title: str, wav: Tensor, sample_rate: int) -> None:
        """Put a clip of a validation into the run's log; a Brain replaces this by its own.

        Parameters
        ----------
        title : str
            Of the clip.
        wav : Tensor
            `[T]`.
        sample_rate : int
            In Hz.
        """

    def dataset(self, model: Model, rows: Sequence[Any], role: str) -> Dataset:
        """Give the items of a role: by default crops to train on, otherwise whole utterances.

        Parameters
        ----------
        model : TaskModel
            Which says the sample rate.
        rows : sequence
            Of this role.
        role : str
            "train", an epoch as long as `validate_every` asks for, "valid" or "test".
        """
        if role != "train":
            return utterance_dataset(self.choose(rows, role), model.sample_rate)
        return CropDataset(
            [row.as_dict() for row in rows],
            crop_seconds=self.hparams["crop_seconds"],
            crops_per_epoch=self.items_per_epoch,
            sample_rate=model.sample_rate,
            seed=self.hparams["seed"],
        )

    def choose(self, rows: Sequence[Any], role: str) -> list[Any]:
        """Choose what of "valid" or "test" is taken: as many as the YAML asks for, spread."""
        return evenly_spaced(rows, self.hparams[f"{role}_utterances"])

    @property
    def items_per_epoch(self) -> int:
        """Items between two validations."""
        return self.hparams["validate_every"] * global_batch_size(self.hparams["batch_size"])

    def describe_rows(self, rows: Splits) -> str:
        """Say how much there is of each role, before training.

        Parameters
        ----------
        rows : dict of str to list
            Of :meth:`rows`.
        """
        chosen = {role: self.choose(rows[role], role) for role in ("valid", "test")}
        return describe_split({"train": rows["train"], **chosen})

    def loader_options(self, dataset: Dataset, role: str) -> dict[str, Any]:
        """Give the options of a dataset's loader.

        Parameters
        ----------
        dataset : Dataset
            Of :meth:`dataset`; its ``collate``, if it has one, makes the batches.
        role : str
            Of the dataset.
        """
        del role
        options = {key: self.hparams[key] for key in ("batch_size", "num_workers")}
        return {**options, "collate_fn": getattr(dataset, "collate", PaddedBatch)}

    def loss(self, model: Model, batch: PaddedBatch) -> dict[str, Tensor]:
        """Compute the named loss terms of a batch, each a mean over its items.

        Parameters
        ----------
        model : TaskModel
            Call it once for a batch: see :meth:`predict`.
        batch : PaddedBatch
            On the model's device.
        """
        raise NotImplementedError

    def scores(self, model: Model, batch: PaddedBatch) -> Iterable[ItemScores]:
        """Measure each item of a batch by itself, for validation and for the table.

        Parameters
        ----------
        model, batch
            See :meth:`loss`.

        Yields
        ------
        dict
            A value by name; where there is none, the reason why.
        """
        raise NotImplementedError

    def summarize(self, scores: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Make the metrics out of all that :meth:`scores` gave: by default the means.

        Parameters
        ----------
        scores : mapping of str to ndarray
            By name, of the items that have a value; a name that no item has is left out.
        """
        return {name: float(values.mean()) for name, values in scores.items()}

    def predict(self, model: Model, batch: PaddedBatch) -> Any:  # noqa: ANN401 - the model's own
        """Run the model on a batch, once for loss and scores together.

        Parameters
        ----------
        model, batch
            See :meth:`loss`.
        """
        return self.once(batch, "predicted", lambda: self.forward(model, batch))

    def once(self, batch: PaddedBatch, name: str, compute: Callable[[], Any]) -> Any:  # noqa: ANN401
        """Keep what is computed of a batch with the batch, for loss and scores together.

        Parameters
        ----------
        batch : PaddedBatch
            Which a Brain makes forget it all before the next forward pass.
        name : str
            Of what is computed.
        compute : Callable
            Computes it.
        """
        kept = vars(batch).setdefault(KEPT, {})
        if name not in kept:
            kept[name] = compute()
        return kept[name]

    def forward(self, model: Model, batch: PaddedBatch) -> Any:  # noqa: ANN401 - see above
        """Run the model on a batch: its waveforms, or what a cache keeps of them.

        Parameters
        ----------
        model : TaskModel
            Of the task.
        batch : PaddedBatch
            With `wav`, or `states` of frames first, `[B, N, S, C]`.
        """
        if hasattr(batch, "states"):
            return model(None, batch.states.lengths, batch.states.data.transpose(1, 2))
        return model(*batch.wav)

    def baselines(self, model: Model, rows: Splits) -> dict[str, dict[str, Summary]]:
        """Give the rows of the table that need no training; by default none.

        Parameters
        ----------
        model : TaskModel
            Which says the sample rate.
        rows : dict of str to list
            Of :meth:`rows`.
        """
        del model, rows
        return {}

    @torch.no_grad()
    def evaluate(self, model: Model, rows: Splits, label: str) -> dict[str, Summary]:
        """Score a model on the test rows: by default every item by :meth:`scores`.

        Parameters
        ----------
        model : TaskModel
            In eval mode, on its device.
        rows : dict of str to list
            Of :meth:`rows`.
        label : str
            Of the table's row.

        Returns
        -------
        dict of str to Summary
            By column: a key of ``wavcube.metrics.METRICS``, or any title.
        """
        del label
        dataset = self.dataset(model, rows["test"], "test")
        loader = DataLoader(dataset, **self.loader_options(dataset, "test"))
        items: list[tuple[str, ItemScores]] = []
        for batch in tqdm(loader, desc=self.name, disable=not self.progress):
            items += zip(map(str, batch.id), self.scores(model, batch.to(self.device)), strict=True)
        items.sort(key=lambda item: item[0])  # their order must not change the intervals
        found = bootstrap([scores for _, scores in items], self.summarize)
        return {self.columns.get(name, name): value for name, value in found.items()}

    def samples(self, model: Model, folder: Path) -> None:
        """Write what one can listen to or read of the last evaluation; by default nothing.

        Parameters
        ----------
        model : TaskModel
            As evaluated.
        folder : Path
            Of the samples; is there.
        """

    def extra_files(self) -> dict[str, bytes]:
        """Give what a release needs beside the model, by file name; by default nothing."""
        return {}

    def card(self, model: Model) -> dict[str, Any]:
        """Give what the release's card says: at least `title` and `summary`.

        Parameters
        ----------
        model : TaskModel
            To be released.
        """
        front_end, head = type(model.representation).__name__, type(model.head).__name__
        return {
            "title": f"WavCube {self.name}",
            "summary": f"{head} on {front_end}, made by a WavCube recipe.",
        }
