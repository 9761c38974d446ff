"""The state of every global random number generator, as one recoverable."""

from __future__ import annotations

import random

import numpy as np
import torch
from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks


@register_checkpoint_hooks
class RandomState:
    """Saves and restores the generators of torch (all devices), numpy and Python.

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

    @mark_as_saver
    def _save(self, path: str) -> None:
        name, keys, *rest = np.random.get_state()  # noqa: NPY002 (libraries draw from the global one)
        version, words, gauss = random.getstate()
        # tensors and plain values only, so that loading needs no pickled classes
        torch.save(
            {
                "torch": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
                "numpy": [name, torch.from_numpy(keys.astype(np.int64)), *rest],
                "python": [version, list(words), gauss],
            },
            path,
        )

    @mark_as_loader
    def _load(self, path: str, end_of_epoch: bool) -> None:
        del end_of_epoch
        saved = torch.load(path, map_location="cpu", weights_only=True)
        torch.set_rng_state(saved["torch"])
        if saved["cuda"] and len(saved["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(saved["cuda"])
        name, keys, *rest = saved["numpy"]
        np.random.set_state((name, keys.numpy().astype(np.uint32), *rest))  # noqa: NPY002
        version, words, gauss = saved["python"]
        random.setstate((version, tuple(words), gauss))
