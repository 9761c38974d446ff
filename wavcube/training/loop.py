"""The loop over epochs of a guarded Brain: progress, validation, checkpoints, log lines."""

from __future__ import annotations

import logging
import math
import os
import time
import warnings
from collections.abc import Iterable, Sequence, Sized
from contextlib import nullcontext
from typing import Any, cast

import torch
from speechbrain import Brain, Stage
from speechbrain.core import INTRA_EPOCH_CKPT_FLAG
from speechbrain.dataio.batch import BatchsizeGuesser
from speechbrain.dataio.sampler import ReproducibleRandomSampler
from speechbrain.utils.checkpoints import Checkpoint
from speechbrain.utils.distributed import (
    is_distributed_initialized,
)
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset, IterableDataset
from tqdm import tqdm

from wavcube.training.checkpoints import draw_own_numbers
from wavcube.training.distributed import BatchShare, all_gather, all_true, rank, unwrap, world_size
from wavcube.training.ema import ExponentialMovingAverage
from wavcube.training.optimizers import ShardedOptimizer, SkipCounter
from wavcube.training.run_logger import EpochMeans, RunLogger
from wavcube.training.settings import TrainingSettings

DEFAULT_SHUFFLE_SEED = 563375142  # SpeechBrain's


class DistributedBrain(Brain):
    """SpeechBrain's Brain where it is one of several processes.

    SpeechBrain's wrapper tells everybody the buffers in every forward pass, which would hang a
    validation of unequal shares; its samplers deal items out one by one, whatever batches they were
    meant for; and it scores the whole validation in each process.
    """

    def _wrap_distributed(self) -> None:
        """Wrap what trains; called once optimizers are to be built."""
        if is_distributed_initialized():
            draw_own_numbers()
            self._wrap()

    def _wrap(self) -> None:
        # of convolutions over one channel, whose gradients have two orders that are the same
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        self._wrapped_flags = self._training_flags()
        on_gpu = self.device_type == "cuda"
        for name, module in self.modules.items():
            own = unwrap(module)
            if any(parameter.requires_grad for parameter in own.parameters()):
                if on_gpu:  # there is none for CPUs: each process normalises its own items there
                    own = nn.SyncBatchNorm.convert_sync_batchnorm(own)
                own = DistributedDataParallel(
                    own,
                    device_ids=[torch.device(self.device)] if on_gpu else None,
                    broadcast_buffers=False,
                    find_unused_parameters=self.find_unused_parameters,
                )
            self.modules[name] = own

    def build_optimizer(self, groups: list[dict[str, Any]]) -> Optimizer:
        """Build an optimizer, sharded over the processes where the settings ask for it.

        Parameters
        ----------
        groups : list of dict
            Its parameters.
        """
        if self.settings.shard_optimizer and is_distributed_initialized():
            return ShardedOptimizer(groups, self.opt_class)
        return self.opt_class(groups)

    def _unwrap_all(self) -> None:
        for name, module in self.modules.items():
            self.modules[name] = unwrap(module)

    def wrap_what_trains(self) -> None:
        """Wrap anew if other parameters train than when it was done: each is expected to."""
        if is_distributed_initialized() and self._training_flags() != self._wrapped_flags:
            self._wrap()

    def _training_flags(self) -> list[bool]:
        return [parameter.requires_grad for parameter in self.modules.parameters()]

    def _train_loader_specifics(
        self, dataset: Dataset, loader_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Give this process its part of every global batch.

        Batch samplers and iterable datasets are left alone: they know their process themselves.
        """
        if loader_kwargs.get("batch_sampler") is not None:
            self.train_sampler = loader_kwargs["batch_sampler"]  # that it is told of epochs
            return loader_kwargs
        if not is_distributed_initialized():
            return super()._train_loader_specifics(dataset, loader_kwargs)
        if isinstance(dataset, IterableDataset):
            return loader_kwargs
        kwargs = dict(loader_kwargs)
        order = kwargs.pop("sampler", None)
        if kwargs.pop("shuffle", False):
            seed = int(os.environ.get("SB_GLOBAL_SEED", DEFAULT_SHUFFLE_SEED))
            order = self.train_sampler = ReproducibleRandomSampler(dataset, seed=seed)
        order = range(len(_sized(dataset))) if order is None else order
        size = kwargs.get("batch_size", 1)
        return {**kwargs, "sampler": BatchShare(order, size, rank(), world_size())}

    def _valid_loader_specifics(
        self, dataset: Dataset, loader_kwargs: dict[str, Any]
    ) -> dict[str, Any]:
        """Give this process its part of the validation; it may be empty."""
        chosen = {"sampler", "batch_sampler", "shuffle"} & loader_kwargs.keys()
        if not is_distributed_initialized() or chosen or isinstance(dataset, IterableDataset):
            return loader_kwargs
        share = range(rank(), len(_sized(dataset)), world_size())
        return {**loader_kwargs, "sampler": share}


def _sized(dataset: Dataset) -> Sized:
    """Take a dataset for one of known length, as those of single items are."""
    return cast(Sized, dataset)


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
