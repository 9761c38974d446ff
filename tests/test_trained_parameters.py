"""Every parameter that trains gets a gradient in every update: several processes wait for it."""

import dataclasses

import pytest
import torch
from converters import HEADS, random_converter
from enhancers import enhancers, mask_enhancer
from latent_brains import batch, build, stage
from separators import separators
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch

from wavcube.latent.settings import DecoderSettings
from wavcube.lobes.wavcube import WavCube
from wavcube.pretraining.brain import PretrainingBrain, PretrainingSettings
from wavcube.pretraining.cluster_targets import CepstralFeatures, ClusterTargets
from wavcube.representations import LatentRepresentation, SSLRepresentation
from wavcube.tasks.brain import TaskBrain
from wavcube.tasks.conversion.task import Conversion
from wavcube.tasks.enhancement.task import Enhancement
from wavcube.tasks.separation.task import Separation
from wavcube.tasks.task import TaskSettings
from wavcube.testing import tiny_acoustic_codec, tiny_ssl_encoder, tiny_wavcube, tone

ENCODERS = ("wavlm", "hubert", "wav2vec2", "filterbank_wavlm")
FULL = {"with_layer_mix": True, "with_skip": True, "with_basis": True, "with_linear": True}
OPTIONS = {"opt_class": torch.optim.AdamW, "run_opts": {"device": "cpu"}}
WAV = tone(0.4)
PAIR = [
    {"id": "a", "wav": WAV, "clean": 0.9 * WAV},
    {"id": "b", "wav": WAV[:4000], "clean": WAV[:4000]},
]
MIXTURE = [{"id": "a", "wav": WAV, "sources": torch.stack([0.4 * WAV, 0.6 * WAV], 1)}]


def without_gradient(brain, items):
    """The parameters that should have one after a backward pass."""
    brain.on_fit_start()
    brain.modules.train()
    data = items if isinstance(items, PaddedBatch) else PaddedBatch(items)
    brain.on_fit_batch_start(data, True)
    losses = brain.compute_objectives(brain.compute_forward(data, Stage.TRAIN), data, Stage.TRAIN)
    losses = losses if isinstance(losses, dict) else {"generator": losses}
    brain.steps.backward(losses)
    named = list(brain.modules.named_parameters())
    assert any(parameter.grad is not None for _, parameter in named)
    return [name for name, parameter in named if parameter.requires_grad and parameter.grad is None]


TUNED = {
    "latent": lambda: LatentRepresentation(tiny_wavcube(**FULL), 0, 1e-3),
    "variational": lambda: LatentRepresentation(tiny_wavcube(variational=True), 0, 1e-3),
    "codec": lambda: LatentRepresentation(tiny_acoustic_codec(), 0, 1e-3),
    "layer": lambda: SSLRepresentation(tiny_ssl_encoder(layer=1), unfreeze_at=0, lr=1e-3),
    **{
        kind: lambda kind=kind: SSLRepresentation(tiny_ssl_encoder(kind), unfreeze_at=0, lr=1e-3)
        for kind in ENCODERS
    },
}


@pytest.mark.parametrize("kind", TUNED)
def test_of_a_representation_that_is_fine_tuned(kind):
    settings = TaskSettings(updates=3, lr=1e-3, weights={"phase_sensitive": 1.0})
    model = mask_enhancer(TUNED[kind](), hop=None)
    assert without_gradient(TaskBrain(Enhancement(), model, settings, **OPTIONS), PAIR) == []


@pytest.mark.parametrize("kind", enhancers())
def test_of_an_enhancer(kind):
    weights = {"latent": 1.0} if kind == "latent" else {"phase_sensitive": 1.0, "mel": 1.0}
    settings = TaskSettings(updates=3, lr=1e-3, weights=weights)
    assert (
        without_gradient(TaskBrain(Enhancement(), enhancers()[kind], settings, **OPTIONS), PAIR)
        == []
    )


@pytest.mark.parametrize("kind", separators())
def test_of_a_separator(kind):
    weights = {"latent": {"latent": 1.0}, "waveform": {"si_sdr": 1.0}}
    weights = weights.get(kind, {"phase_sensitive": 1.0})
    settings = TaskSettings(updates=3, lr=1e-3, weights=weights)
    brain = TaskBrain(Separation(), separators()[kind], settings, **OPTIONS)
    assert without_gradient(brain, MIXTURE) == []


@pytest.mark.parametrize("kind", HEADS)
def test_of_a_converter(kind):
    item = {name: torch.randn(5, 8) for name in ("source", "target", "reference")}
    item |= {"f0": torch.ones(5, 2), "embedding": torch.randn(3)}
    brain = TaskBrain(
        Conversion(), random_converter(kind), TaskSettings(updates=3, lr=1e-3), **OPTIONS
    )
    assert without_gradient(brain, [item, item]) == []


@pytest.mark.parametrize("kind", ENCODERS)
def test_of_pretraining(kind):
    targets = ClusterTargets(CepstralFeatures(16000, 320), 4)
    targets.fit([(torch.randn(2, 6400), torch.tensor([6400, 6400]))])
    settings = PretrainingSettings(updates=1, clusters=4)
    brain = PretrainingBrain(tiny_ssl_encoder(kind), targets, settings, **OPTIONS)
    assert without_gradient(brain, [{"wav": WAV}, {"wav": WAV[:4000]}]) == []


@pytest.mark.parametrize("kind", ENCODERS)
@pytest.mark.parametrize("what", ["transformer", "all"])
def test_of_the_latent_and_its_discriminators(kind, what):
    model = tiny_wavcube(encoder=kind, backbone="transformer", **FULL)
    settings = dataclasses.replace(stage("stage 2"), train_encoder=what)
    assert without_gradient(build(settings, model=model), batch(6400, 4800)) == []


@pytest.mark.parametrize("layer", [0, 1])
def test_of_the_latent_of_an_earlier_layer(layer):
    parts = tiny_wavcube()
    model = WavCube(tiny_ssl_encoder(layer=layer), parts.bottleneck, parts.decoder)
    weights = {"mel": 1.0, "semantic": 1.0, "anchoring": 1.0}
    settings = dataclasses.replace(stage("stage 2"), weights=weights)
    assert without_gradient(build(settings, model=model), batch(6400, 4800)) == []


def test_of_the_decoder_alone():
    gan = {"mel": 1.0, "adversarial": 0.1, "feature_matching": 0.1}
    settings = DecoderSettings(updates=3, lr=1e-3, discriminator_lr=1e-3, weights=gan)
    brain = build(settings, model=tiny_wavcube(**FULL))
    assert without_gradient(brain, batch(6400, 4800)) == []
    assert not any(p.requires_grad for p in brain.model.encoder.parameters())
