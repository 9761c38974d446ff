"""The family of tasks that give a label for each utterance."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor
from torch.nn import functional as F

from wavcube.data.manifest import Utterance
from wavcube.metrics import Summary
from wavcube.representations import Representation
from wavcube.tasks.model import ClassificationModel
from wavcube.tasks.task import ItemScores, Splits, Task
from wavcube.tasks.utterances import LabelledDataset, reader


class ClassificationTask(Task[ClassificationModel]):
    """A task whose results are labels: those that training has are all that there are.

    A subclass gives :meth:`~wavcube.tasks.task.Task.rows`, and :meth:`label` where it is not the
    words of a row.
    """

    metrics: ClassVar[Mapping[str, Literal["max", "min"]]] = {"accuracy": "max"}
    columns: ClassVar[Mapping[str, str]] = {"accuracy": "Accuracy [%] ↑"}

    labels: list[str]

    def label(self, row: Utterance) -> str:
        """Return the label of a row: by default its words.

        Parameters
        ----------
        row : Utterance
            Of any role.
        """
        return row.wrd

    def setup(self, rows: Splits, pretrained: Path | None) -> None:
        """List the labels.

        Parameters
        ----------
        rows : dict of str to list
            Of utterances.
        pretrained : Path, optional
            The release that the run goes on from.

        Raises
        ------
        ValueError
            If there are fewer than two, or validation or test have one that training lacks.
        """
        del pretrained
        self.labels = sorted({self.label(row) for row in rows["train"]})
        if len(self.labels) < 2:
            raise ValueError(f"training has the labels {self.labels}: two are needed at the least")
        for role in ("valid", "test"):
            for row in rows[role]:
                if self.label(row) not in self.labels:
                    raise ValueError(
                        f"{row.wav} of {role} is {self.label(row)!r}, which training lacks: it has "
                        f"{', '.join(self.labels)}"
                    )

    def build(self, representation: Representation) -> ClassificationModel:
        """Build the YAML's head for the labels."""
        head = self.hparams["head"](num_labels=len(self.labels))
        return ClassificationModel(representation, head, self.labels)

    def load_pretrained(self, released: ClassificationModel) -> ClassificationModel:
        """Give a release of other labels a fresh head.

        Parameters
        ----------
        released : ClassificationModel
            With its weights.
        """
        same = released.labels == self.labels
        return released if same else self.build(released.representation)

    def dataset(
        self, model: ClassificationModel, rows: Sequence[Utterance], role: str
    ) -> LabelledDataset:
        """Give whole utterances, of which the cache keeps the states of a frozen representation."""
        rows = list(rows) if role == "train" else self.choose(rows, role)
        cache = None if role == "test" else self.hparams["cache_folder"]
        read = reader(model.representation, cache, rows, self.progress)
        places = {row.ID: [self.labels.index(self.label(row))] for row in rows}
        if role != "train":
            return LabelledDataset(rows, places, read)
        # batches of like length would tell much of the label
        return LabelledDataset(rows, places, read, self.items_per_epoch, seed=self.hparams["seed"])

    def loss(self, model: ClassificationModel, batch: PaddedBatch) -> dict[str, Tensor]:
        """Compute the cross entropy."""
        labels = batch.labels.data[:, 0].long()
        return {"cross_entropy": F.cross_entropy(self.predict(model, batch).float(), labels)}

    def scores(self, model: ClassificationModel, batch: PaddedBatch) -> Iterator[ItemScores]:
        """Compare the likeliest label with the true one."""
        found = self.predict(model, batch).argmax(-1).tolist()
        for name, place, true in zip(
            batch.id, found, batch.labels.data[:, 0].tolist(), strict=True
        ):
            self.heard[str(name)] = self.labels[int(true)], self.labels[place]
            yield {"accuracy": 100.0 * (place == int(true))}

    def prepare_training(self, model: ClassificationModel, settings: object) -> None:
        """Begin to note what is heard."""
        del model, settings
        self.heard: dict[str, tuple[str, str]] = {}

    def evaluate(self, model: ClassificationModel, rows: Splits, label: str) -> dict[str, Summary]:
        """Classify the test utterances; see the base class."""
        self.heard.clear()
        return super().evaluate(model, rows, label)

    def samples(self, model: ClassificationModel, folder: Path) -> None:
        """Write the true and the found label of every test utterance, as a table."""
        del model
        with (folder / "labels.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["ID", "label", "found"])
            writer.writerows([name, *pair] for name, pair in sorted(self.heard.items()))

    def card(self, model: ClassificationModel) -> dict[str, Any]:
        """Give the title and the summary of the release's card."""
        said = super().card(model)
        known = ", ".join(self.labels[:12]) + (", ..." if len(self.labels) > 12 else "")
        return {
            **said,
            "summary": f"{said['summary']} It knows {len(self.labels)} labels: {known}.",
        }
