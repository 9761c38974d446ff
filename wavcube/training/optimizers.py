"""Several optimizers that step together or not at all."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.utils import clip_grads_with_norm_, get_total_norm
from torch.optim import Optimizer

from wavcube.training.distributed import all_true
from wavcube.training.guard import SkipCounter
from wavcube.training.schedules import WarmupSchedule


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
