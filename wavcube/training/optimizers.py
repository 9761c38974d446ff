"""Several optimizers that step together or not at all."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, cast

import torch
import yaml
from speechbrain.utils.checkpoints import (
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from torch import Tensor
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from wavcube.training.distributed import all_true
from wavcube.training.settings import LearningRateShape

logger = logging.getLogger(__name__)


class ResumeError(ValueError):
    """A run cannot go on from its checkpoint with these settings."""


class WarmupSchedule(LambdaLR):
    """Linear warm-up, then half a cosine or a line down to zero, over one optimizer's updates.

    SpeechBrain's schedules either do not end at zero, restart, or scale every group to one rate.
    This one multiplies each group's own rate. Its state is recovered with a run.

    Parameters
    ----------
    optimizer : Optimizer
        Its groups' rates are the peak rates.
    warmup : int
        Updates until the peak, at most ``updates``; the first has ``1 / warmup`` of it.
    updates : int
        All updates, the warm-up included; from there on the rate is zero.
    shape : {"cosine", "linear", "constant"}
        How the rate falls after its peak; or that it stays there.

    Raises
    ------
    ValueError
        If the warm-up does not fit into the updates.

    Examples
    --------
    >>> import torch
    >>> optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=8.0)
    >>> schedule, rates = WarmupSchedule(optimizer, 2, 4), []
    >>> for _ in range(5):
    ...     rates.append(round(optimizer.param_groups[0]["lr"], 2))
    ...     optimizer.step()
    ...     schedule.step()
    >>> rates
    [4.0, 8.0, 8.0, 4.0, 0.0]
    """

    def __init__(
        self,
        optimizer: Optimizer,
        warmup: int,
        updates: int,
        shape: LearningRateShape = "cosine",
    ) -> None:
        if not 0 <= warmup <= updates or updates < 1:
            raise ValueError(f"a warm-up of {warmup} does not fit into {updates} updates")
        self.warmup, self.updates, self.shape = warmup, updates, shape
        super().__init__(optimizer, self._factor)

    def _factor(self, done: int) -> float:
        if done < self.warmup:
            return (done + 1) / self.warmup
        if self.shape == "constant":
            return 1.0
        left = self.updates - self.warmup
        progress = min((done - self.warmup) / left, 1.0) if left else 1.0
        if self.shape == "linear":
            return 1.0 - progress
        return 0.5 * (1.0 + math.cos(math.pi * progress))

    def state_dict(self) -> dict:
        """State without the function, which the constructor makes anew."""
        return {key: value for key, value in super().state_dict().items() if key != "lr_lambdas"}

    def load_state_dict(self, state_dict: dict) -> None:
        """Go on from a saved state.

        Parameters
        ----------
        state_dict : dict
            As returned by :meth:`state_dict`.

        Raises
        ------
        ValueError
            If the state belongs to a schedule of another length.
        """
        saved = state_dict["warmup"], state_dict["updates"]
        if saved != (self.warmup, self.updates):
            raise ResumeError(
                f"the checkpoint's schedule has (warm-up, updates) {saved}, this run's "
                f"{(self.warmup, self.updates)}: keep the settings, or start in another folder"
            )
        own = {"lr_lambdas": [None] * len(self.base_lrs), "shape": self.shape}
        super().load_state_dict({**state_dict, **own})


class Countable(Protocol):
    """What counts its updates, as a Brain does."""

    optimizer_step: int
    optimizer_step_limit: int


@register_checkpoint_hooks
class UpdateEpochs:
    """Count epochs until a Brain has done all its updates.

    Unlike a fixed number of epochs this makes up for updates that were skipped or taken back. An
    epoch that was interrupted is entered again, even with no update left to do in it: it still ends
    with validation.

    Parameters
    ----------
    brain : object
        Has ``optimizer_step`` and ``optimizer_step_limit``.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> brain = SimpleNamespace(optimizer_step=0, optimizer_step_limit=5)
    >>> for epoch in UpdateEpochs(brain):
    ...     brain.optimizer_step += 3
    >>> epoch
    2
    """

    def __init__(self, brain: Countable) -> None:
        self.brain, self.current = brain, 0
        self._interrupted = False

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        done = self.brain.optimizer_step >= self.brain.optimizer_step_limit
        if done and not self._interrupted:
            raise StopIteration
        self._interrupted = False
        self.current += 1
        return self.current

    def stay_in(self, epoch: int) -> None:
        """Go on in an epoch, though a checkpoint was loaded.

        Parameters
        ----------
        epoch : int
            The running one.
        """
        self.current, self._interrupted = epoch, False

    @mark_as_saver
    def _save(self, path: str) -> None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(str(self.current))

    @mark_as_loader
    def _load(self, path: str, end_of_epoch: bool) -> None:
        with open(path, encoding="utf-8") as file:
            # an unfinished epoch is entered again; the data loader skips what it had given
            self.current = int(file.read()) - (0 if end_of_epoch else 1)
        self._interrupted = not end_of_epoch


class OptimizerSet:
    """Backward passes and guarded steps of one or more optimizers.

    The gradient of a loss goes to the parameters of its own optimizer only, so that generator and
    discriminators can share one graph. Nothing steps when any loss or gradient is not finite.

    Parameters
    ----------
    optimizers : Mapping of str to Optimizer
        By name.
    schedules : Mapping of str to WarmupSchedule
        One for each optimizer; stepped with it.
    counter : SkipCounter
        Counts the skipped steps.
    scaler : torch.amp.GradScaler
        Of the mixed precision; a disabled one does nothing.
    max_grad_norm : float
        Each optimizer's gradient is clipped to this norm; negative for no clipping.

    Examples
    --------
    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> optimizers = {"generator": torch.optim.SGD([weight], lr=0.5)}
    >>> schedules = {"generator": WarmupSchedule(optimizers["generator"], 0, 10)}
    >>> scaler = torch.amp.GradScaler(enabled=False)
    >>> steps = OptimizerSet(optimizers, schedules, SkipCounter(3, 1), scaler, 5.0)
    >>> steps.backward({"generator": weight.sum() * float("nan")})
    >>> steps.step(), weight.item()
    (False, 1.0)
    >>> steps.backward({"generator": weight.sum()})
    >>> steps.step(), weight.item()
    (True, 0.5)
    """

    def __init__(
        self,
        optimizers: Mapping[str, Optimizer],
        schedules: Mapping[str, WarmupSchedule],
        counter: SkipCounter,
        scaler: torch.amp.GradScaler,
        max_grad_norm: float,
    ) -> None:
        self.optimizers, self.schedules = dict(optimizers), dict(schedules)
        self.counter, self.scaler, self.max_grad_norm = counter, scaler, max_grad_norm
        self.norms: dict[str, float] = {}
        self.exhausted = False
        self._losses_finite = True
        self._used: set[str] = set()

    def backward(self, losses: Mapping[str, Tensor], share: float = 1.0) -> None:
        """Add the gradients of one batch.

        Parameters
        ----------
        losses : Mapping of str to Tensor
            One scalar for each optimizer that is to step, by its name. They may share a graph.
        share : float
            Weight of this batch where several make up a step.

        Raises
        ------
        KeyError
            If a name is not that of an optimizer.
        """
        for index, (name, loss) in enumerate(losses.items()):
            if name not in self.optimizers:
                raise KeyError(f"loss {name!r} belongs to none of {sorted(self.optimizers)}")
            # A loss that is not finite goes through, too: a process that left out its backward
            # pass would leave the others waiting.
            self._losses_finite &= bool(torch.isfinite(loss))
            # what is fine-tuned later is in the optimizer already
            inputs = [parameter for parameter in self._parameters(name) if parameter.requires_grad]
            self.scaler.scale(loss * share).backward(
                inputs=inputs, retain_graph=index + 1 < len(losses)
            )
            self._used.add(name)

    def step(self) -> bool:
        """Step every optimizer that got a loss, with its schedule; or none of them.

        Returns
        -------
        bool
            Whether the parameters were updated. If not, ``exhausted`` says whether patience is.
        """
        gradients = {name: self._gradients(name) for name in sorted(self._used)}
        for name in gradients:
            self.scaler.unscale_(self.optimizers[name])
        totals = {name: get_total_norm(grads) for name, grads in gradients.items()}
        self.norms = {name: float(total) for name, total in totals.items()}
        infinite = [name for name, total in totals.items() if not torch.isfinite(total)]
        losses_finite = all_true(self._losses_finite)
        stepped = losses_finite and not infinite
        if stepped:
            for name in gradients:
                if 0 <= self.max_grad_norm < self.norms[name]:
                    parameters = self._parameters(name)
                    clip_grads_with_norm_(parameters, self.max_grad_norm, totals[name])
                self.optimizers[name].step()
                self.schedules[name].step()
            self.counter.succeed()
        else:
            # with a scaler, overflowing gradients of finite losses are how it finds its scale
            searching = losses_finite and self.scaler.is_enabled() and self.scaler.get_scale() > 1.0
            reason = f"gradient of {infinite}" if losses_finite else "loss"
            self.exhausted = self.counter.skip(reason, in_a_row=not searching)
        if self.scaler.is_enabled() and gradients:
            self.scaler.update()
        self.discard()
        return stepped

    def discard(self) -> None:
        """Drop all gradients."""
        for optimizer in self.optimizers.values():
            optimizer.zero_grad(set_to_none=True)
        self._used.clear()
        self._losses_finite = True

    def rates(self) -> dict[str, float]:
        """Give the learning rate of each parameter group, by its "name" where it has one."""
        return {
            group.get("name", name): float(group["lr"])
            for name, optimizer in self.optimizers.items()
            for group in optimizer.param_groups
        }

    def _parameters(self, name: str) -> list[Tensor]:
        groups = self.optimizers[name].param_groups
        return [parameter for group in groups for parameter in group["params"]]

    def _gradients(self, name: str) -> list[Tensor]:
        return [p.grad for p in self._parameters(name) if p.grad is not None]


class ShardedOptimizer(ZeroRedundancyOptimizer):
    """Each process keeps the state of some parameters, steps those, and tells the others.

    Parameters are the same, to the last bit, as without sharding. A checkpoint holds the state of
    all in the form of the optimizer itself, so that a run may go on with another number of
    processes, or without sharding.

    Parameters
    ----------
    groups : list of dict
        Parameter groups, the same in each process of the group that has been formed.
    opt_class : Callable
        Builds an optimizer from parameter groups.
    """

    def __init__(self, groups: list[dict[str, Any]], opt_class: Callable[..., Optimizer]) -> None:
        # it calls it, and never asks for a class
        super().__init__(groups, optimizer_class=cast(type[Optimizer], opt_class))

    def gather_state(self) -> None:
        """Bring the whole state to the main process, which may then save it; all call this."""
        self.consolidate_state_dict(to=0)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take this process's part of a whole state.

        torch's own keeps a second copy of it, and the counters of fused optimizers on the CPU.

        Parameters
        ----------
        state_dict : dict
            Of this optimizer or of the same one unsharded.
        """
        state: dict[int, Any] = {}
        groups: list[dict[str, Any]] = []
        torch_own: Any = self  # what follows is in none of torch's stubs
        own_groups = torch_own._partition_parameters()[self.rank]
        for saved, own in zip(state_dict["param_groups"], own_groups, strict=True):
            first = sum(len(group["params"]) for group in groups)
            places = list(range(first, first + len(own["params"])))
            groups.append({**saved, "params": places})
            for place, parameter in zip(places, own["params"], strict=True):
                index = torch_own._param_to_index[parameter]
                if index in state_dict["state"]:
                    state[place] = state_dict["state"][index]
        self.optim.load_state_dict({"state": state, "param_groups": groups})
        torch_own._sync_param_groups(self.optim.param_groups, self.param_groups)


@register_checkpoint_hooks
class SkipCounter:
    """How many updates were skipped, in all and in a row, and how often the run was taken back.

    Parameters
    ----------
    patience : int
        Skips in a row after which the run returns to its last checkpoint.
    max_rollbacks : int
        Returns after which the run is given up.

    Attributes
    ----------
    skipped, in_a_row, rollbacks : int
        The counts; saved with a checkpoint.

    Examples
    --------
    >>> counter = SkipCounter(patience=2, max_rollbacks=1)
    >>> counter.skip("loss"), counter.skip("loss")
    (False, True)
    >>> counter.skipped
    2
    """

    def __init__(self, patience: int, max_rollbacks: int) -> None:
        if patience < 1:
            raise ValueError(f"patience must be at least 1 skipped update, got {patience}")
        self.patience, self.max_rollbacks = patience, max_rollbacks
        self.skipped = self.in_a_row = self.rollbacks = 0

    def succeed(self) -> None:
        """Note an update that was made."""
        self.in_a_row = 0

    def skip(self, reason: str, in_a_row: bool = True) -> bool:
        """Note an update that was not made.

        Parameters
        ----------
        reason : str
            What was not finite, for the log.
        in_a_row : bool
            Whether it counts as one more in a row. The search of a gradient scaler for its scale
            does not.

        Returns
        -------
        bool
            Whether patience has run out.
        """
        self.skipped += 1
        self.in_a_row += int(in_a_row)
        logger.warning("skipped an update, not finite: %s (%d so far)", reason, self.skipped)
        return self.in_a_row >= self.patience

    def check_rollback(self, reason: str) -> None:
        """Note a return to an earlier checkpoint; the next skip is the first in a row again.

        Parameters
        ----------
        reason : str
            What was not finite, for the message.

        Raises
        ------
        RuntimeError
            If there were too many returns.
        """
        if self.rollbacks >= self.max_rollbacks:
            raise RuntimeError(
                f"{reason}, after {self.rollbacks} returns to an earlier checkpoint: training "
                "diverges. Lower the learning rates, check the data, or use float32"
            )
        self.rollbacks += 1
        self.in_a_row = 0
        logger.warning("return to an earlier checkpoint: %s", reason)

    def state(self) -> dict[str, int]:
        """Give the counts by name."""
        return {
            "skipped": self.skipped,
            "in_a_row": self.in_a_row,
            "rollbacks": self.rollbacks,
        }

    def restore(self, state: dict[str, int]) -> None:
        """Set the counts.

        Parameters
        ----------
        state : dict of str to int
            As :meth:`state` gives it.
        """
        self.skipped = state["skipped"]
        self.in_a_row = state["in_a_row"]
        self.rollbacks = state["rollbacks"]

    @mark_as_saver
    def _save(self, path: str) -> None:
        with open(path, "w", encoding="utf-8") as file:
            yaml.safe_dump(self.state(), file)

    @mark_as_loader
    def _load(self, path: str, end_of_epoch: bool) -> None:
        del end_of_epoch
        with open(path, encoding="utf-8") as file:
            self.restore(yaml.safe_load(file))
