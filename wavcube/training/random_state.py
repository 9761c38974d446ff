"""The state of every global random number generator, as one recoverable."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks
from speechbrain.utils.distributed import is_distributed_initialized

from wavcube.training.distributed import all_gather, rank

OTHERS = "others"


@register_checkpoint_hooks
class RandomState:
    """Saves and restores the generators of torch (all devices), numpy and Python.

    Of several processes each gets back its own; those that were not there when it was saved draw
    from the main one's state, each something else.

    Examples
    --------
    >>> import tempfile
    >>> from speechbrain.utils.checkpoints import Checkpointer
    >>> checkpointer = Checkpointer(tempfile.mkdtemp())
    >>> checkpointer.add_recoverable("random", RandomState())
    >>> _ = checkpointer.save_checkpoint()
    >>> first = torch.rand(3), random.random()
    >>> _ = checkpointer.recover_if_possible()
    >>> torch.equal(first[0], torch.rand(3)), first[1] == random.random()
    (True, True)
    """

    def __init__(self) -> None:
        self._others: list[dict[str, Any]] = []

    def gather_state(self) -> None:
        """Bring all states to the main process, which may then save them; all call this."""
        self._others = all_gather(_state())[1:]

    @mark_as_saver
    def _save(self, path: str) -> None:
        # tensors and plain values only, so that loading needs no pickled classes
        others = {OTHERS: self._others} if self._others else {}
        torch.save({**_state(), **others}, path)

    @mark_as_loader
    def _load(self, path: str, end_of_epoch: bool) -> None:
        del end_of_epoch
        saved = torch.load(path, map_location="cpu", weights_only=True)
        every = [saved, *saved.get(OTHERS, ())]
        number = rank()
        _restore(every[number] if number < len(every) else saved)
        if number >= len(every):
            draw_own_numbers()


def draw_own_numbers() -> None:
    """Let each process but the main one draw numbers of its own, which follow from its state."""
    if rank() == 0:
        return
    seed = int(torch.randint(2**31, ())) + rank()
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (libraries draw from the global one)
    random.seed(seed)


def _state() -> dict[str, Any]:
    # libraries draw from the global one
    name, keys, *rest = np.random.get_state(legacy=True)  # noqa: NPY002
    version, words, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": _cuda_states(),
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
        "python": [version, list(words), gauss],
    }


def _cuda_states() -> list[torch.Tensor]:
    """Give the states of the devices in use: of several processes each has one."""
    if not torch.cuda.is_available():
        return []
    if is_distributed_initialized():
        return [torch.cuda.get_rng_state()]
    return torch.cuda.get_rng_state_all()


def _restore(saved: dict[str, Any]) -> None:
    torch.set_rng_state(saved["torch"])
    if saved["cuda"] and len(saved["cuda"]) == len(_cuda_states()):
        if is_distributed_initialized():
            torch.cuda.set_rng_state(saved["cuda"][0])
        else:
            torch.cuda.set_rng_state_all(saved["cuda"])
    name, keys, *rest = saved["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
    version, words, gauss = saved["python"]
    random.setstate((version, tuple(words), gauss))
