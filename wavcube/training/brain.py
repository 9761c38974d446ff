"""What every Brain of this package shares: the guard, exact resume, averages and logging."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Mapping
from typing import Any

import torch
from speechbrain import Stage
from speechbrain.utils.checkpoints import (
    Checkpointer,
)
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import DataLoader, Dataset

from wavcube.training.checkpoints import RandomState
from wavcube.training.distributed import all_means, same_everywhere, unwrap
from wavcube.training.ema import ExponentialMovingAverage
from wavcube.training.loop import RunLoop
from wavcube.training.optimizers import OptimizerSet, SkipCounter, UpdateEpochs, WarmupSchedule
from wavcube.training.run_logger import EpochMeans, RunLogger
from wavcube.training.settings import TrainingSettings

logger = logging.getLogger(__name__)


class GuardedBrain(RunLoop):
    """A Brain whose run neither a NaN nor a crash can spoil.

    - Several optimizers step together or not at all: when a loss or a gradient of any of them is
      not finite, all skip. Skips are counted; after ``nonfinite_patience`` in a row the run returns
      to its last checkpoint.
    - Learning rates follow updates (:class:`~wavcube.training.optimizers.WarmupSchedule`).
    - Everything with state is a recoverable, so that an interrupted run goes on bit for bit.
    - Several processes train as one does with all their batches together
      (:class:`~wavcube.training.loop.DistributedBrain`).

    A subclass gives ``compute_forward`` and ``compute_objectives``, and :meth:`trainable` where
    there is more than one optimizer. In training ``compute_objectives`` returns a loss, or a dict
    of one for each optimizer that is to step. Named values for the log go through :meth:`log`,
    validation scores through :meth:`score`.

    SpeechBrain's run options ``precision``, ``max_grad_norm``, ``nonfinite_patience``,
    ``grad_accumulation_factor``, ``ckpt_interval_steps``, ``ckpt_interval_minutes`` and
    ``noprogressbar`` are obeyed, whether they stand in ``hparams`` or in ``run_opts``. With
    ``debug`` in ``run_opts`` it is a dry run: ``debug_batches`` updates, and no checkpoints.

    Parameters
    ----------
    modules, opt_class, hparams, run_opts, checkpointer
        As in SpeechBrain's Brain; ``opt_class`` takes parameter groups.
    settings : TrainingSettings
        Length and schedule.
    journal : RunLogger, optional
        Where to write; nowhere by default.

    Examples
    --------
    >>> class Toy(GuardedBrain):
    ...     def compute_forward(self, batch, stage):
    ...         return self.modules.model(batch)
    ...     def compute_objectives(self, predictions, batch, stage):
    ...         return predictions.square().mean()
    >>> brain = Toy({"model": nn.Linear(3, 1)}, lambda groups: torch.optim.SGD(groups, lr=0.1),
    ...     run_opts={"device": "cpu", "noprogressbar": True}, settings=TrainingSettings(updates=5))
    >>> brain.fit(brain.epochs, torch.utils.data.DataLoader(torch.randn(8, 3), batch_size=4))
    >>> brain.optimizer_step
    5
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        opt_class: Callable[..., Optimizer] | None = None,
        hparams: Mapping[str, Any] | None = None,
        run_opts: Mapping[str, Any] | None = None,
        checkpointer: Checkpointer | None = None,
        *,
        settings: TrainingSettings,
        journal: RunLogger | None = None,
    ) -> None:
        options = run_opts or {}
        if options.get("debug", False) and not options.get("debug_persistently", False):
            checkpointer = None  # a dry run keeps nothing to go on from
        super().__init__(modules, opt_class, hparams, run_opts, checkpointer)
        if self.debug:
            settings = settings.shortened(self.debug_batches)
        self.settings, self.journal = settings, journal
        # SpeechBrain's run option, or None
        self.optimizer_step_limit = min(
            settings.updates, self.optimizer_step_limit or settings.updates
        )
        same_everywhere(*self.modules.values())
        self.guard = SkipCounter(self.nonfinite_patience, settings.max_rollbacks)
        self.epochs, self.means = UpdateEpochs(self), EpochMeans()
        self._steps: OptimizerSet | None = None
        self.ema = None
        self._run_facts: dict[str, int | str] | None = None
        self._scores = {}
        self._noted: dict[str, Tensor] = {}

    @property
    def steps(self) -> OptimizerSet:
        """The optimizers, which are there once training has begun."""
        if self._steps is None:
            raise RuntimeError("there is no optimizer yet: nothing has begun to train")
        return self._steps

    def trainable(self) -> dict[str, list[dict[str, Any]]]:
        """Give the parameter groups of each optimizer, by its name.

        The default is one optimizer, "generator", of all parameters that require gradients. A
        group's "name" is that of its learning rate in the log.
        """
        parameters = [p for p in self.modules.parameters() if p.requires_grad]
        return {"generator": [{"params": parameters}]}

    def updates_of(self, name: str) -> int:
        """Give the updates that an optimizer makes in the whole run; all by default."""
        del name
        return self.settings.updates

    def averaged_module(self) -> nn.Module:
        """Give the module to average when ``ema_decay`` is set; all modules by default."""
        return nn.ModuleDict({name: unwrap(part) for name, part in self.modules.items()})

    def log(self, values: Mapping[str, Tensor]) -> None:
        """Record named scalars of this step for the bar and the log."""
        self._noted.update({name: value.detach() for name, value in values.items()})

    def score(self, values: Mapping[str, float]) -> None:
        """Record validation scores of one utterance; each counts the same whatever the batch."""
        for name, value in values.items():
            self._scores.setdefault(name, []).append(float(value))

    def init_optimizers(self) -> None:
        """Build optimizers, schedules and the average, and register all that has state."""
        if self.opt_class is None:
            raise ValueError("training needs opt_class, for example torch.optim.AdamW")
        optimizers = {name: self.build_optimizer(own) for name, own in self.trainable().items()}
        schedules = {}
        for name, optimizer in optimizers.items():
            updates = self.updates_of(name)
            warmup = min(self.settings.warmup, updates)
            shape = self.settings.lr_schedule
            schedules[name] = WarmupSchedule(optimizer, warmup, updates, shape)
        self.optimizers_dict = optimizers
        self._steps = OptimizerSet(
            optimizers, schedules, self.guard, self.scaler, self.max_grad_norm
        )
        if self.settings.ema_decay is not None:
            self.ema = ExponentialMovingAverage(self.averaged_module(), self.settings.ema_decay)
        if self.checkpointer is not None:
            self.checkpointer.add_recoverables(self.stateful())

    def stateful(self) -> dict[str, Any]:
        """Everything that a checkpoint holds beside the Brain, its scaler and its data loader."""
        parts: dict[str, Any] = {name: unwrap(part) for name, part in self.modules.items()}
        parts |= {f"optimizer_{name}": part for name, part in self.steps.optimizers.items()}
        parts |= {f"schedule_{name}": part for name, part in self.steps.schedules.items()}
        parts |= {"guard": self.guard, "epochs": self.epochs, "means": self.means}
        if self.ema is not None:
            parts["ema"] = self.ema
        return {**parts, "random_state": RandomState()}

    def load_best(self) -> dict[str, Any]:
        """Load the best checkpoint, its averaged weights if there are any, for evaluation.

        A dry run has none, and goes on with the weights that it has.

        Returns
        -------
        dict
            The checkpoint's scores.

        Raises
        ------
        FileNotFoundError
            If there is no checkpoint with a score.
        """
        if self._steps is None:  # nothing was trained now: the newest knows what the run has done
            self.init_optimizers()
            if self.checkpointer is not None:
                self.checkpointer.recover_if_possible()
        self._run_facts = self.metadata()
        is_dry = self.debug and self.checkpointer is None
        meta = {} if is_dry else self._recover_best()
        if self.ema is not None:
            self.ema.copy_to(self.averaged_module())
        self.modules.eval()
        return meta

    def _recover_best(self) -> dict[str, Any]:
        metric = self.settings.best_metric
        key = "max_key" if self.settings.best_is_highest else "min_key"
        found = self.checkpointer and self.checkpointer.recover_if_possible(**{key: metric})
        if not found:
            folder = getattr(self.checkpointer, "checkpoints_dir", None)
            raise FileNotFoundError(
                f"no checkpoint with a {metric!r} score in {folder}: train first"
            )
        return dict(found.meta)

    def end_training(self) -> None:
        """Let go of optimizers, average and gradients: what comes next may need their memory."""
        self.modules.zero_grad(set_to_none=True)
        self._steps, self.ema, self.checkpointer = None, None, None
        self.optimizers_dict = {}
        gc.collect()  # an optimizer and its schedule hold each other

    def metadata(self) -> dict[str, int | str]:
        """Give what a report says of the whole run, also once an earlier checkpoint is loaded."""
        if self._run_facts is not None:
            return self._run_facts
        return {"name": self.settings.name, "updates": self.optimizer_step, **self.guard.state()}

    def on_evaluate_start(self, max_key: str | None = None, min_key: str | None = None) -> None:
        """Load the best checkpoint; SpeechBrain's arguments are not needed here."""
        del max_key, min_key
        self.load_best()

    def make_dataloader(
        self,
        dataset: Dataset,
        stage: Stage,
        ckpt_prefix: str | None = "dataloader-",
        **kwargs: object,
    ) -> DataLoader:
        """Build a loader that leaves the global random generators alone, as exact resume needs.

        Parameters
        ----------
        dataset : Dataset
            Its ``set_epoch``, if it has one, is called before every epoch.
        stage : Stage
            Of the experiment.
        ckpt_prefix : str, optional
            See SpeechBrain.
        **kwargs
            For the DataLoader.
        """
        kwargs.setdefault("generator", torch.Generator())
        if stage != Stage.TRAIN:
            kwargs = self._valid_loader_specifics(dataset, kwargs)
        return super().make_dataloader(dataset, stage, ckpt_prefix, **kwargs)

    def fit_batch(self, batch: object) -> Tensor:
        """Make one guarded update (or a part of one, when gradients are accumulated)."""
        should_step = self.step % self.grad_accumulation_factor == 0
        self.on_fit_batch_start(batch, should_step)
        with self.no_sync(not should_step):
            with self.training_ctx:
                outputs = self.compute_forward(batch, Stage.TRAIN)
                losses = self.compute_objectives(outputs, batch, Stage.TRAIN)
            if isinstance(losses, Tensor):
                (name,) = self.steps.optimizers
                losses = {name: losses}
            self.steps.backward(losses, 1.0 / self.grad_accumulation_factor)
        if should_step:
            self._guarded_step()
        loss = sum(losses.values()).detach()
        self._noted = all_means({"loss": loss, **self._noted})
        loss = self._noted["loss"]
        self.on_fit_batch_end(batch, outputs, loss, should_step)
        return loss.cpu()

    def _guarded_step(self) -> None:
        if self.steps.step():
            self.optimizer_step += 1
            if self.ema is not None:
                self.ema.update(self.averaged_module())
        elif self.steps.exhausted:
            self._roll_back(f"{self.guard.in_a_row} updates in a row were not finite")

    def _roll_back(self, reason: str, validated: bool = False) -> None:
        """Return to the last checkpoint, or validated one; data go on, so that others come next."""
        self.guard.check_rollback(reason)
        counts, epoch = self.guard.state(), self.epochs.current
        metric = self.settings.best_metric
        fits = (lambda saved: metric in saved.meta) if validated else None
        found = self.checkpointer and self.checkpointer.recover_if_possible(ckpt_predicate=fits)
        if not found:
            raise RuntimeError(
                f"{reason}, and there is no checkpoint to return to: check the data and the "
                "learning rates"
            )
        self.guard.restore(counts)
        self.epochs.stay_in(epoch)

    def on_fit_batch_end(
        self, batch: object, outputs: object, loss: Tensor, should_step: bool
    ) -> None:
        """Log the step."""
        del batch, outputs, loss
        finite = {name: value for name, value in self._noted.items() if torch.isfinite(value)}
        self._noted = {}
        self.means.add(finite)
        update = self.optimizer_step
        if self.journal is not None and should_step and update % self.settings.log_every == 0:
            values = {name: float(value) for name, value in finite.items()}
            self.journal.scalars(values, update, "train")
            self.journal.scalars(self.steps.rates(), update, "learning rate")
            self.journal.scalars(self.steps.norms, update, "gradient norm")
            self.journal.scalars(self.guard.state(), update, "guard")
