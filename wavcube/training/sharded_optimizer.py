"""An optimizer whose state is spread over the processes (ZeRO stage 1, arXiv 1910.02054).

The two moments of AdamW are twice the size of the weights: of what several processes hold in
common that is most. Sharding parameters and gradients too (FSDP) would save less again, and guard,
averages and checkpoints would have to deal with pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.optim import Optimizer


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
