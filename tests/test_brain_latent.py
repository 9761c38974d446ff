"""Single updates of both stages: what they train, their terms, and what they refuse."""

import pytest
import torch
from latent_brains import GAN, STAGES, batch, build, stage, started, tiny_discriminators
from speechbrain import Stage

from wavcube.latent.brain import LatentBrain
from wavcube.latent.settings import DecoderSettings
from wavcube.losses import discriminator_hinge, feature_matching, generator_hinge
from wavcube.testing import tiny_acoustic_codec, tiny_wavcube


def copies(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before, module):
    return {name for name, value in module.state_dict().items() if not value.equal(before[name])}


def count_calls(module, kind):
    """Forward passes of each submodule of a class, by name, from now on."""
    calls = {}
    for name, part in module.named_modules():
        if type(part).__name__ == kind:
            calls[name] = 0
            part.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    return calls


def test_stage_1_trains_all_but_the_encoder():
    brain = started(stage("stage 1"))
    before = copies(brain.model)
    for _ in range(2):
        brain.fit_batch(batch(3200, 4800))
    parts = {name.split(".")[0] for name in changed(before, brain.model)}
    assert parts == {"bottleneck", "decoder", "layer_mix", "acoustic_skip"}
    assert brain.teacher is None


def test_stage_2_trains_everything_but_the_teacher():
    brain = started(stage("stage 2"))
    before, teacher = copies(brain.model), copies(brain.teacher)
    for _ in range(2):
        brain.fit_batch(batch(3200, 4800))
    parts = {name.split(".")[0] for name in changed(before, brain.model)}
    assert parts == {"encoder", "bottleneck", "decoder", "layer_mix", "acoustic_skip"}
    assert changed(teacher, brain.teacher) == set()


@pytest.mark.parametrize("model", [tiny_wavcube, tiny_acoustic_codec])
def test_a_stage_of_the_decoder_alone_keeps_the_latent_bit_for_bit(model):
    settings = DecoderSettings(
        updates=20, weights={"mel": 4.5, **GAN}, lr=1e-3, discriminator_lr=1e-3
    )
    brain = started(settings, model=model())
    wavs = batch(3200).wav.data
    before, latents = copies(brain.model), brain.model.encode(wavs)[0]
    for _ in range(2):
        brain.fit_batch(batch(3200, 4800))
    assert {name.split(".")[0] for name in changed(before, brain.model)} == {"decoder"}
    assert brain.model.encode(wavs)[0].equal(latents)


def test_a_stage_after_one_of_the_decoder_trains_the_latent_again():
    model = tiny_wavcube(with_linear=True)
    build(DecoderSettings(updates=1, weights={"mel": 4.5}, lr=1e-3), model=model)
    assert not model.bottleneck.semantic_encoder.projection[0].weight.requires_grad
    build(stage("stage 2"), model=model)
    assert model.bottleneck.semantic_encoder.projection[0].weight.requires_grad


def test_in_stage_1_reconstruction_does_not_reach_the_latent():
    for name, reaches in (("stage 1", False), ("stage 2", True)):
        brain = started(stage(name))
        outputs = brain.compute_forward(batch(3200), Stage.TRAIN)
        outputs.audio.square().mean().backward()
        latent = brain.model.bottleneck.semantic_encoder.projection[0].weight
        assert (latent.grad is not None) is reaches
        assert brain.model.decoder.head.out.weight.grad is not None


def test_the_teacher_is_in_no_checkpoint_and_no_optimizer(tmp_path):
    brain = started(stage("stage 2"), folder=tmp_path)
    teacher = {id(p) for p in brain.teacher.parameters()}
    assert not any(p.requires_grad for p in brain.teacher.parameters())
    groups = [g for o in brain.optimizers_dict.values() for g in o.param_groups]
    assert not teacher & {id(p) for group in groups for p in group["params"]}
    assert not any(part is brain.teacher for part in brain.stateful().values())
    assert not any(part is brain.teacher for part in brain.modules.modules())


def test_each_optimizer_has_its_own_parameters_once():
    brain = started(stage("stage 2"))
    ids = [
        id(p) for o in brain.optimizers_dict.values() for g in o.param_groups for p in g["params"]
    ]
    modules = brain.modules
    assert len(ids) == len(set(ids))
    assert set(ids) == {id(p) for p in modules.parameters() if p.requires_grad}
    assert set(brain.steps.rates()) == {"generator", "encoder", "discriminator"}


def test_one_forward_of_the_generator_and_of_the_discriminators_a_step():
    brain, calls, given = started(stage("stage 2")), [], batch(3200, 3200)

    def hear(_, inputs, __):
        calls.append("real" if inputs[0].equal(given.wav.data) else "generated")

    for name, module in brain.modules.items():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    for discriminator in brain.modules.discriminators.values():
        discriminator.register_forward_hook(hear)
    normed = count_calls(brain.modules.discriminators, "_WeightNorm")
    brain.fit_batch(given)
    # each of the two families hears the real and the generated clips once, with the same weights
    assert calls == ["wavcube", *["real", "generated"] * 2, "discriminators"]
    assert set(normed.values()) == {1}


def test_discriminators_cost_nothing_before_their_start():
    brain, calls = started(stage("stage 1")), []
    brain.modules.discriminators.register_forward_hook(lambda *_: calls.append(1))
    before = copies(brain.modules.discriminators)
    for _ in range(4):
        brain.fit_batch(batch(3200))
    assert calls == []
    assert changed(before, brain.modules.discriminators) == set()
    brain.fit_batch(batch(3200))
    assert calls == [1]
    assert changed(before, brain.modules.discriminators)
    assert brain.steps.schedules["discriminator"].updates == 16
    assert brain.steps.schedules["discriminator"].last_epoch == 1


def test_gradients_of_the_shared_pass_are_those_of_separate_passes():
    brain = started(stage("stage 2", weights={"mel": 0.0, "semantic": 0.0, "linear": 0.0, **GAN}))
    data = batch(3200, 3200)
    outputs = brain.compute_forward(data, Stage.TRAIN)
    brain.steps.backward(brain.compute_objectives(outputs, data, Stage.TRAIN))
    shared = {
        name: p.grad.clone() for name, p in brain.modules.named_parameters() if p.grad is not None
    }
    brain.steps.discard()

    outputs, real = brain.compute_forward(data, Stage.TRAIN), data.wav.data
    discriminators = list(brain.modules.discriminators.values())
    loss = 0.0
    for discriminator in discriminators:  # the discriminators' update, as it is usually written
        loss = loss + discriminator_hinge(
            discriminator(real)[0], discriminator(outputs.audio.detach())[0]
        )
    (0.1 * loss).backward()
    for discriminator in discriminators:
        discriminator.requires_grad_(False)
    loss = 0.0
    for discriminator in discriminators:  # the generator's
        scores, maps = discriminator(outputs.audio)
        loss = (
            loss
            + 0.1 * generator_hinge(scores)
            + 0.1 * feature_matching(discriminator(real)[1], maps)
        )
    loss.backward()
    compared = 0
    for name, parameter in brain.modules.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(shared[name], parameter.grad, rtol=1e-3, atol=1e-7)
            compared += int(parameter.grad.abs().max() > 0)
    assert compared > 40


def test_terms_are_those_of_the_weights_and_their_sum_is_the_loss():
    brain = started(stage("stage 2"))
    data = batch(3200, 3200)
    outputs = brain.compute_forward(data, Stage.TRAIN)
    losses = brain.compute_objectives(outputs, data, Stage.TRAIN)
    terms = {k: float(v) for k, v in brain._noted.items()}
    assert terms.keys() == {*STAGES["stage 2"]["weights"], "discriminator"}
    expected = sum(w * terms[name] for name, w in STAGES["stage 2"]["weights"].items())
    assert losses["generator"].item() == pytest.approx(expected, rel=1e-5)
    assert losses["discriminator"].item() == pytest.approx(0.1 * terms["discriminator"], rel=1e-5)
    assert terms["anchoring"] == pytest.approx(0.0, abs=1e-5), "the encoder still is its teacher"


@pytest.mark.parametrize("name", STAGES)
def test_padding_changes_no_term(name):
    brain = started(stage(name, adversarial_start=0))
    results = []
    for noise in (0.0, 1.0):
        data = batch(2000, 4800)
        data.wav.data[0, 2000:] = noise * torch.randn(2800)
        outputs = brain.compute_forward(data, Stage.TRAIN)
        losses = brain.compute_objectives(outputs, data, Stage.TRAIN)
        results.append({**brain._noted, **losses})
    for key, value in results[0].items():
        torch.testing.assert_close(results[1][key], value, rtol=1e-4, atol=1e-5, msg=key)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", STAGES)
def test_hostile_batches_leave_finite_parameters(name, precision):
    brain = started(stage(name, adversarial_start=0), precision=precision)
    nan = batch(3200, 3200)
    nan.wav.data[1, 100] = float("nan")
    silent, loud = batch(3200, 3200), batch(3200, 3200)
    silent.wav.data.zero_()
    loud.wav.data.mul_(1e4)
    before = copies(brain.modules)
    brain.fit_batch(nan)
    assert changed(before, brain.modules) == set()
    assert (brain.guard.skipped, brain.optimizer_step) == (1, 0)
    for data in (silent, loud, batch(3200, 3200)):
        brain.fit_batch(data)
    assert all(p.isfinite().all() for p in brain.modules.parameters())
    assert brain.guard.skipped + brain.optimizer_step == 4
    assert brain.optimizer_step >= 1


def test_a_variational_bottleneck_needs_its_term():
    weights = {**STAGES["stage 2"]["weights"], "kl": 1e-4}
    brain = started(stage("stage 2", weights=weights), variational=True)
    brain.fit_batch(batch(3200))
    assert "kl" in brain.means.mean()
    for wrong in ({"weights": weights}, {}):
        with pytest.raises(ValueError, match="kl"):
            build(stage("stage 2", **wrong), variational=not wrong)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": {"mel": 1, "semantic": 1, "stft": 1}}, "stft"),
        ({"weights": {"mel": 1}}, "semantic"),
        ({"weights": {"mel": 1, "semantic": 1, "adversarial": 1}}, "feature_matching"),
        ({"train_encoder": "none"}, "anchoring"),
        ({"adversarial_start": 20}, "adversarial_start"),
    ],
)
def test_settings_that_contradict_themselves_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        stage("stage 2", **changes)


def test_a_model_that_cannot_be_trained_is_refused():
    model = tiny_wavcube(encoder="filterbank_wavlm")
    with pytest.raises(ValueError, match="no discriminators"):
        LatentBrain(model, stage("stage 2"))
    with pytest.raises(ValueError, match="another object"):
        LatentBrain(model, stage("stage 2"), tiny_discriminators(), model.encoder)
    with pytest.raises(ValueError, match="with_linear need each other"):
        LatentBrain(model, stage("stage 2"), tiny_discriminators())
    model.bottleneck.semantic_decoder = None
    with pytest.raises(ValueError, match="semantic decoder"):
        LatentBrain(model, stage("stage 2"), tiny_discriminators())


def test_a_latent_becomes_linearly_readable_when_asked():
    read = {}
    for weight in (0.0, 10.0):
        weights = {"mel": 1.0, "semantic": 1.0, "linear": weight}
        brain = started(stage("stage 1", weights=weights, lr=5e-3, warmup=1))
        for _ in range(20):
            brain.fit_batch(batch(3200, 3200))
        read[weight] = brain.means.mean()["linear"]
        output = brain.model(batch(3200).wav.data)
        assert output.feature_linear.shape == output.feature.shape
    assert read[10.0] < 0.8 * read[0.0]
