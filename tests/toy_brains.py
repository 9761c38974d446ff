"""A Brain of a few parameters that does all that a guarded Brain can, for its tests."""

import random

import numpy as np
import torch
from speechbrain import Stage
from torch.utils.data import Dataset

from wavcube.training.brain import GuardedBrain
from wavcube.training.checkpoints import AtomicCheckpointer
from wavcube.training.settings import TrainingSettings


class Numbers(Dataset):
    """Items that are a function of (epoch, index); some can be poisoned."""

    def __init__(self, size=16, poison=(), value=float("nan")):
        self.size, self.poison, self.value, self.epoch = size, set(poison), value, 0

    def set_epoch(self, epoch):
        self.epoch = epoch

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(1000 * self.epoch + index)
        item = torch.randn(4, generator=generator)
        return torch.full_like(item, self.value) if index in self.poison else item


class ToyGan(GuardedBrain):
    """A generator and a critic with a noisy forward pass; some epochs' scores can be spoilt."""

    spoilt_epochs, spoilt_score = (), float("nan")

    def trainable(self):
        return {
            name: [{"params": list(self.modules[name].parameters()), "name": name}]
            for name in ("critic", "generator")
        }

    def compute_forward(self, batch, stage):
        noise = torch.randn(1) + np.random.rand() + random.random()  # noqa: NPY002
        return self.modules.generator(batch) + (0.01 * noise if stage == Stage.TRAIN else 0.0)

    def compute_objectives(self, predictions, batch, stage):
        if stage != Stage.TRAIN:
            error = (predictions - batch).square().mean(-1)
            if self.epochs.current in self.spoilt_epochs:
                error = torch.full_like(error, self.spoilt_score)
            for value in error.tolist():
                self.score({"error": value})
            return error.mean()
        fake, real = self.modules.critic(torch.cat([predictions, batch])).chunk(2)
        self.log({"critic gap": (real - fake).mean()})
        return {
            "critic": (fake - real).mean() + fake.square().mean(),
            "generator": (predictions - batch).square().mean() - fake.mean(),
        }


def toy(folder=None, journal=None, seed=0, patience=3, every=0, precision="fp32", **settings):
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    random.seed(seed)
    modules = {"generator": torch.nn.Linear(4, 4), "critic": torch.nn.Linear(4, 1)}
    options = {"updates": 20, "warmup": 3, "ema_decay": 0.9, "best_metric": "error", **settings}
    return ToyGan(
        modules,
        lambda groups: torch.optim.AdamW(groups, lr=0.05),
        run_opts={
            "device": "cpu",
            "noprogressbar": True,
            "nonfinite_patience": patience,
            "ckpt_interval_steps": every,
            "precision": precision,
        },
        checkpointer=None if folder is None else AtomicCheckpointer(folder),
        settings=TrainingSettings(**options),
        journal=journal,
    )


def train(brain, data=None, valid=None):
    brain.fit(brain.epochs, data or Numbers(), valid, None, {"batch_size": 2}, {"batch_size": 2})
    return brain


def weights(brain):
    return {name: p.detach().clone() for name, p in brain.modules.named_parameters()}


def same(a, b):
    """Equality of nested states, bit for bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def states(brain):
    parts = {
        name: part.state_dict() for name, part in brain.stateful().items()
        if hasattr(part, "state_dict")
    }  # fmt: skip
    counters = [brain.optimizer_step, brain.guard.state(), brain.epochs.current, brain.ema.updates]
    numpy_state = np.random.get_state()[1].tolist()  # noqa: NPY002
    rng = [torch.get_rng_state(), numpy_state, random.getstate()[1]]
    return {"parts": parts, "ema": brain.ema.shadow, "counters": counters, "rng": rng}
