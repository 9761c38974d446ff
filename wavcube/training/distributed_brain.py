"""What a Brain does otherwise where it is one of several: wrapping, data, losses, scores.

Every process takes its part of each global batch and of the validation. Gradients are means over
the processes and losses are means over items, of which each process has as many, so that N
processes with B items each end as one process with N * B does.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sized
from typing import Any, cast

import torch
from speechbrain import Brain
from speechbrain.dataio.sampler import ReproducibleRandomSampler
from speechbrain.utils.distributed import (
    is_distributed_initialized,
)
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import Optimizer
from torch.utils.data import Dataset, IterableDataset

from wavcube.training.checkpoints import draw_own_numbers
from wavcube.training.distributed import BatchShare, rank, unwrap, world_size
from wavcube.training.optimizers import ShardedOptimizer

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
