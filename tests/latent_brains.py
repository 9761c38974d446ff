"""Tiny settings, batches and Brains of both stages, for the tests of the latent's training."""

import torch
from speechbrain.dataio.batch import PaddedBatch

from wavcube.latent.brain import Discriminators, LatentBrain
from wavcube.latent.settings import LatentSettings
from wavcube.lobes.decoder.discriminators import (
    MultiPeriodDiscriminator,
    MultiResolutionDiscriminator,
)
from wavcube.testing import tiny_wavcube, tone
from wavcube.training.checkpoints import AtomicCheckpointer

GAN = {"adversarial": 0.1, "feature_matching": 0.1}
STAGES = {
    "stage 1": {
        "weights": {"mel": 45.0, "semantic": 1.0, "linear": 1.0, **GAN},
        "detach_latent": True,
        "adversarial_start": 4,
    },
    "stage 2": {
        "weights": {"mel": 4.5, "semantic": 1.0, "linear": 1.0, "anchoring": 1.0, **GAN},
        "train_encoder": "all",
        "encoder_lr": 5e-4,
        "discriminator_weight": 0.1,
    },
}


def stage(name, **changes):
    settings = {"name": name, "updates": 20, "warmup": 3, "lr": 1e-3, "discriminator_lr": 1e-3}
    settings |= {"ema_decay": 0.9, "best_metric": "mel"}
    return LatentSettings(**{**settings, **STAGES[name], **changes})


def tiny_discriminators():
    period = MultiPeriodDiscriminator((2, 3), (4, 4))
    return Discriminators({"period": period, "resolution": MultiResolutionDiscriminator((128,), 2)})


def build(settings, folder=None, variational=False, seed=0, model=None, **options):
    torch.manual_seed(seed)
    if model is None:
        model = tiny_wavcube(
            encoder="filterbank_wavlm",
            variational=variational,
            with_layer_mix=True,
            with_skip=True,
            with_linear=True,
        )
    return LatentBrain(
        model,
        settings,
        tiny_discriminators(),
        opt_class=lambda groups: torch.optim.AdamW(groups, betas=(0.8, 0.95)),
        run_opts={"device": "cpu", "noprogressbar": True, **options},
        checkpointer=None if folder is None else AtomicCheckpointer(folder),
    )


def batch(*lengths):
    return PaddedBatch([{"wav": tone(n / 16000, seed)} for seed, n in enumerate(lengths)])


def started(settings, **options):
    brain = build(settings, **options)
    brain.on_fit_start()
    brain.modules.train()
    return brain
