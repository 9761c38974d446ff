"""The loop over epochs of a guarded Brain: progress, validation, checkpoints, log lines."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from speechbrain import Stage
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG
from speechbrain.dataio.batch import BatchsizeGuesser
from speechbrain.utils.checkpoints import Checkpoint
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from wavcube.training.distributed import all_gather, all_true
from wavcube.training.distributed_brain import DistributedBrain
from wavcube.training.ema import ExponentialMovingAverage
from wavcube.training.optimizers import SkipCounter
from wavcube.training.run_logger import EpochMeans, RunLogger
from wavcube.training.settings import TrainingSettings

BAR = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class RunLoop(DistributedBrain):
    """The loops of a guarded Brain, in place of SpeechBrain's.

    One bar lasts for the whole run and shows the time left and every smoothed loss term; epochs end
    with validation, one line in the log and a checkpoint.
    """

    settings: TrainingSettings
    journal: RunLogger | None
    guard: SkipCounter
    means: EpochMeans
    ema: ExponentialMovingAverage | None
    step: int
    optimizer_step_limit: int
    avg_train_loss: float
    _bar: tqdm | None = None
    _scores: dict[str, list[float]]

    def fit(
        self,
        epoch_counter: Iterable[int],
        train_set: Dataset | DataLoader,
        valid_set: Dataset | DataLoader | None = None,
        progressbar: bool | None = None,
        train_loader_kwargs: dict[str, Any] | None = None,
        valid_loader_kwargs: dict[str, Any] | None = None,
    ) -> None:
        """Train until all updates are done; see SpeechBrain's Brain.

        Parameters
        ----------
        epoch_counter : iterable of int
            The Brain's own ``epochs``.
        train_set, valid_set : Dataset or DataLoader
            Crops to train on and, optionally, utterances to choose the best checkpoint by.
        progressbar : bool, optional
            Whether to show the bar; by default unless ``noprogressbar`` is set.
        train_loader_kwargs, valid_loader_kwargs : dict, optional
            For the data loaders.
        """
        self._train_data = getattr(train_set, "dataset", train_set)
        self._epoch_started = time.monotonic()
        self._bar = None
        try:
            super().fit(
                epoch_counter,
                train_set,
                valid_set,
                progressbar,
                dict(train_loader_kwargs or {}),
                dict(valid_loader_kwargs or {}),
            )
        finally:
            if self._bar is not None:
                self._bar.close()
            if self.journal is not None:
                self.journal.close()
            self._unwrap_all()

    def on_fit_start(self) -> None:
        """Build what trains, and go on from the newest checkpoint if there is one."""
        super().on_fit_start()
        if self.journal is not None:
            self.journal.open(self.optimizer_step)

    def on_stage_start(self, stage: Stage, epoch: int | None = None) -> None:
        """Begin an epoch's training or validation."""
        self._scores.clear()
        self._noted.clear()
        if stage == Stage.TRAIN:
            self._epoch_started = time.monotonic()
            if hasattr(self._train_data, "set_epoch"):
                self._train_data.set_epoch(epoch)

    def on_stage_end(self, stage: Stage, stage_loss: float, epoch: int | None = None) -> None:
        """Take the means over a validation."""
        if stage != Stage.TRAIN:
            scores = {name: mean(values) for name, values in self._scores.items()}
            self.stage_scores = {"loss": float(stage_loss), **scores}

    def _fit_train(self, train_set: Iterable[Any], epoch: int, enable: bool) -> None:
        self.on_stage_start(Stage.TRAIN, epoch)
        self.modules.train()
        self.steps.discard()
        if hasattr(self.train_sampler, "set_epoch"):
            self.train_sampler.set_epoch(epoch)
        if self._bar is None:
            self._bar = self._open_bar(enable)
        last_checkpoint, since = time.time(), 0
        for batch in train_set:
            if self._optimizer_step_limit_exceeded:
                break
            self.step, since = self.step + 1, since + 1
            loss = self.fit_batch(batch)
            self.avg_train_loss = self.update_average(loss, self.avg_train_loss)
            self._advance_bar()
            if self.debug and self.step == self.debug_batches:
                break
            # not between the batches of one update: their gradients are in no checkpoint; and not
            # while updates fail: it may be the weights that are beyond help
            complete = self.step % self.grad_accumulation_factor == 0
            good = complete and not self.guard.in_a_row
            if good and self._should_save_intra_epoch_ckpt(last_checkpoint, since):
                self._save_intra_epoch_ckpt()
                last_checkpoint, since = time.time(), 0
        self.steps.discard()
        self.on_stage_end(Stage.TRAIN, self.avg_train_loss, epoch)
        self.avg_train_loss, self.step = 0.0, 0

    def _fit_valid(self, valid_set: Iterable[Any] | None, epoch: int, enable: bool) -> None:
        self.stage_scores = {}
        if valid_set is not None:
            average = (
                nullcontext() if self.ema is None else self.ema.applied_to(self.averaged_module())
            )
            with average:
                self._validate(valid_set, epoch)
        self._finish_epoch(epoch)

    @torch.no_grad()
    def _validate(self, valid_set: Iterable[Any], epoch: int) -> None:
        self.on_stage_start(Stage.VALID, epoch)
        self.modules.eval()
        losses: list[float] = []  # of every item that of its batch
        count = BatchsizeGuesser()
        for self.step, batch in enumerate(valid_set, start=1):
            loss = float(self.evaluate_batch(batch, Stage.VALID))
            losses += [loss] * count(batch) if math.isfinite(loss) else []
            if self.debug and self.step == self.debug_batches:
                break
        self.step = 0
        losses = [loss for part in all_gather(losses) for loss in part]
        self.gather_scores()
        self.on_stage_end(Stage.VALID, mean(losses), epoch)

    def gather_scores(self) -> None:
        """Collect what the processes have measured in their parts of a validation."""
        parts = all_gather(self._scores)
        names = list(dict.fromkeys(name for part in parts for name in part))
        self._scores = {
            name: [value for part in parts for value in part.get(name, ())] for name in names
        }

    def _finish_epoch(self, epoch: int) -> None:
        """Save the epoch's end with its scores, and write it down; or return to an earlier one."""
        metric = self.settings.best_metric
        score = self.stage_scores.get(metric, 0.0)
        good = all_true(math.isfinite(score))
        # scores vouch for the weights also where the last updates failed
        if good and (self.stage_scores or not self.guard.in_a_row):
            self._save_epoch(epoch)
        self._log_epoch(epoch)
        if not good:
            self._roll_back(f"the validation score {metric!r} is {score}", validated=True)
            # they were saved on the way to this score
            self.checkpointer.delete_checkpoints(num_to_keep=0, ckpt_predicate=_is_intra_epoch)

    def _save_epoch(self, epoch: int) -> None:
        if self.checkpointer is None:
            return
        metric = [self.settings.best_metric] if self.stage_scores else []
        order = "max_keys" if self.settings.best_is_highest else "min_keys"
        meta = {"epoch": epoch, "update": self.optimizer_step, **self.stage_scores}
        self.checkpointer.save_and_keep_only(meta, verbosity=logging.DEBUG, **{order: metric})

    def _log_epoch(self, epoch: int) -> None:
        scores, trained = self.stage_scores, self.means.mean()
        self.means.reset()
        if self.journal is None:
            return
        seconds = round(time.monotonic() - self._epoch_started, 1)
        where = {"run": self.settings.name, "epoch": epoch, "update": self.optimizer_step}
        rates = {f"lr {name}": rate for name, rate in self.steps.rates().items()}
        norms = {f"gradient norm {name}": norm for name, norm in self.steps.norms.items()}
        counts = {"skipped": self.guard.skipped, "rollbacks": self.guard.rollbacks}
        self.journal.line(
            {**where, "seconds": seconds, **rates, **norms, **counts}, trained, scores
        )
        self.journal.scalars(scores, self.optimizer_step, "valid")

    def _open_bar(self, enable: bool) -> tqdm:
        return tqdm(
            total=self.optimizer_step_limit,
            initial=self.optimizer_step,
            desc=self.settings.name,
            disable=not enable,
            dynamic_ncols=True,
            bar_format=BAR,
            colour=self.tqdm_barcolor["train"] or None,
        )

    def _advance_bar(self) -> None:
        if self._bar is None:
            return
        # a return to a checkpoint moves it back
        self._bar.update(self.optimizer_step - self._bar.n)
        if not self._bar.disable and self.optimizer_step % 5 == 0:
            terms = {name: f"{value:.3g}" for name, value in self.means.smoothed().items()}
            if self.guard.skipped:
                terms["skipped"] = str(self.guard.skipped)
            self._bar.set_postfix(terms, refresh=False)


def mean(values: Sequence[float]) -> float:
    """Take a mean that does not depend on the order of the values; not a number of none.

    Examples
    --------
    >>> mean([0.1, 0.2, 0.3]) == mean([0.3, 0.2, 0.1])
    True
    """
    return math.fsum(values) / len(values) if values else math.nan


def _is_intra_epoch(checkpoint: Checkpoint) -> bool:
    return INTRA_EPOCH_CKPT_FLAG in checkpoint.meta
