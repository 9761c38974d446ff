"""One update of stage 2 beside the naive schedule, made of the same modules."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor

from benchmarks.speed_models import Size
from benchmarks.speed_rows import Row
from benchmarks.timing import in_turns, median_ratio, medians
from wavcube.latent.brain import Discriminators, LatentBrain
from wavcube.latent.settings import LatentSettings
from wavcube.lobes.decoder.discriminators import (
    MultiPeriodDiscriminator,
    MultiResolutionDiscriminator,
)
from wavcube.losses import discriminator_hinge, feature_matching, generator_hinge, weighted_sum
from wavcube.release.folder import load_for_training
from wavcube.release.source import packaged_model
from wavcube.testing import tone

# the paper's stage 2, and the linear map that the packaged model has
WEIGHTS = {
    "mel": 4.5,
    "semantic": 1.0,
    "linear": 1.0,
    "anchoring": 1.0,
    "adversarial": 0.1,
    "feature_matching": 0.1,
}


def discriminators_of(size: Size) -> Discriminators:
    """Build the paper's discriminators, or small ones."""
    if size == "paper":
        return Discriminators(
            {"period": MultiPeriodDiscriminator(), "resolution": MultiResolutionDiscriminator()}
        )
    return Discriminators(
        {
            "period": MultiPeriodDiscriminator(channels=(4, 8)),
            "resolution": MultiResolutionDiscriminator(fft_sizes=(512,), channels=4),
        }
    )


def make_brain(size: Size) -> LatentBrain:
    """Build what trains the packaged model in stage 2."""
    settings = LatentSettings(
        updates=1000,
        weights=WEIGHTS,
        lr=1e-4,
        encoder_lr=1e-4,
        discriminator_lr=1e-4,
        train_encoder="all",
    )
    brain = LatentBrain(
        load_for_training(packaged_model())[0],
        settings,
        discriminators_of(size),
        opt_class=lambda groups: torch.optim.AdamW(groups, lr=1e-4, fused=True),
        run_opts={"device": "cpu", "noprogressbar": True},
    )
    brain.on_fit_start()
    brain.modules.train()
    return brain


def naive_update(brain: LatentBrain, batch: PaddedBatch) -> Callable[[], None]:
    """Make an update as the research code orders it.

    The generator runs once for the discriminators' step, without a graph, and again for its own;
    the discriminators see real speech in both. Their weights get gradients in their own step alone.
    """
    model, judges = brain.modules.wavcube, brain.modules.discriminators
    parameters = [p for p in model.parameters() if p.requires_grad]
    generator = torch.optim.AdamW(parameters, lr=1e-4, fused=True)
    discriminator = torch.optim.AdamW(judges.parameters(), lr=1e-4, fused=True)
    wavs, lens = batch.wav
    samples = torch.tensor([wavs.shape[1]] * len(wavs))

    def judge(real: Tensor, fake: Tensor) -> list[tuple]:
        return [(part(real), part(fake)) for part in judges.values()]

    def update() -> None:
        with torch.no_grad():
            fake = model(wavs, lens).audio
        hinge = sum(discriminator_hinge(r[0], f[0]) for r, f in judge(wavs, fake))
        discriminator.zero_grad()
        (0.1 * hinge).backward()
        discriminator.step()
        predictions = model(wavs, lens)
        target = brain.target(predictions, wavs, samples)
        terms = brain._terms(predictions, wavs, samples, target)
        judged = judge(wavs, predictions.audio)
        terms["adversarial"] = sum(generator_hinge(f[0]) for _, f in judged)
        terms["feature_matching"] = sum(feature_matching(r[1], f[1]) for r, f in judged)
        generator.zero_grad()
        weighted_sum(terms, WEIGHTS).backward(inputs=parameters)
        generator.step()

    return update


def update(size: Size, repeats: int) -> list[Row]:
    """Time an update of the small model against full discriminators, batch 2 x 3 s."""
    seconds = 3.0 if size == "paper" else 0.5
    batch = PaddedBatch([{"wav": tone(seconds, seed=seed)} for seed in (0, 1)])
    ours, naive = make_brain(size), make_brain(size)
    other = copy.deepcopy(batch)
    calls = {"ours": lambda: ours.fit_batch(batch), "naive schedule": naive_update(naive, other)}
    taken = in_turns(calls, repeats, [("ours", "naive schedule")])
    ratio = median_ratio(taken, "ours", "naive schedule")
    return [Row(f"one update of stage 2, batch 2 x {seconds:g} s", medians(taken), ratio, 0.8)]
