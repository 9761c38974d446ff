"""Both stages of the latent's training on a model of a few thousand parameters."""

import copy
import multiprocessing
import os
import signal

import pytest
import torch
from speechbrain import Stage
from speechbrain.dataio.batch import PaddedBatch

from wavcube.brains.adversarial import Discriminators
from wavcube.brains.checkpoints import AtomicCheckpointer
from wavcube.brains.latent import LatentBrain
from wavcube.brains.latent_settings import LatentSettings
from wavcube.data.audio import write_audio
from wavcube.data.crops import CropDataset
from wavcube.data.manifest import Utterance
from wavcube.data.utterances import utterance_dataset
from wavcube.lobes.discriminators import MultiPeriodDiscriminator, MultiResolutionDiscriminator
from wavcube.losses import discriminator_hinge, feature_matching, generator_hinge
from wavcube.testing import tiny_wavcube, tone

FORK = multiprocessing.get_context("fork")
GAN = {"adversarial": 0.1, "feature_matching": 0.1}
STAGES = {
    "stage 1": {
        "weights": {"mel": 45.0, "semantic": 1.0, **GAN},
        "detach_latent": True,
        "adversarial_start": 4,
    },
    "stage 2": {
        "weights": {"mel": 4.5, "semantic": 1.0, "anchoring": 1.0, **GAN},
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


def build(settings, folder=None, variational=False, seed=0, **options):
    torch.manual_seed(seed)
    model = tiny_wavcube(
        encoder="filterbank_wavlm", variational=variational, with_layer_mix=True, with_skip=True
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


def copies(module):
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before, module):
    return {name for name, value in module.state_dict().items() if not value.equal(before[name])}


def test_stage_1_trains_all_but_the_encoder():
    brain = started(stage("stage 1"))
    before = copies(brain.model)
    for _ in range(2):
        brain.fit_batch(batch(3200, 4800))
    parts = {name.split(".")[0] for name in changed(before, brain.model)}
    assert parts == {"bottleneck", "decoder", "layer_mix"}
    assert brain.teacher is None


def test_stage_2_trains_everything_but_the_teacher():
    brain = started(stage("stage 2"))
    before, teacher = copies(brain.model), copies(brain.teacher)
    for _ in range(2):
        brain.fit_batch(batch(3200, 4800))
    parts = {name.split(".")[0] for name in changed(before, brain.model)}
    assert parts == {"encoder", "bottleneck", "decoder", "layer_mix"}
    assert changed(teacher, brain.teacher) == set()


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
    brain, calls = started(stage("stage 2")), []
    for name, module in brain.modules.items():
        module.register_forward_hook(lambda *_, name=name: calls.append(name))
    for discriminator in brain.modules.discriminators.values():
        discriminator.register_forward_hook(lambda _, inputs, __: calls.append(len(inputs[0])))
    brain.fit_batch(batch(3200, 3200))
    # each family of discriminators hears the two real and the two generated clips in one pass
    assert calls == ["wavcube", 4, 4, "discriminators"]


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
    brain = started(stage("stage 2", weights={"mel": 0.0, "semantic": 0.0, **GAN}))
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
    model.bottleneck.semantic_decoder = None
    with pytest.raises(ValueError, match="semantic decoder"):
        LatentBrain(model, stage("stage 2"), tiny_discriminators())


@pytest.fixture
def corpus(tmp_path):
    rows = []
    for index, seconds in enumerate((0.8, 0.1, 0.5)):
        path = tmp_path / f"clip{index}.wav"
        write_audio(path, tone(seconds, index), 16000)
        rows.append(Utterance(f"clip{index}", seconds, str(path)))
    return rows


def fit(brain, rows):
    crops = CropDataset(
        [row.as_dict() for row in rows],
        crop_seconds=0.3,
        crops_per_epoch=32,
        sample_rate=brain.model.sample_rate,
        seed=1,
    )
    valid = utterance_dataset(rows, brain.model.sample_rate)
    loader = {"batch_size": 2, "collate_fn": crops.collate}
    brain.fit(brain.epochs, crops, valid, None, loader, {"batch_size": 2})
    return brain


def states(brain):
    parts = {k: v.state_dict() for k, v in brain.stateful().items() if hasattr(v, "state_dict")}
    rest = [brain.ema.shadow, brain.optimizer_step, brain.guard.state(), torch.get_rng_state()]
    return [parts, rest, brain.stage_scores]


def flat(state):
    if isinstance(state, dict):
        return [item for key in state for item in (key, *flat(state[key]))]
    if isinstance(state, (list, tuple)):
        return [item for part in state for item in flat(part)]
    return [state.numpy().tobytes() if isinstance(state, torch.Tensor) else state]


@pytest.mark.parametrize("name", STAGES)
def test_20_updates_are_10_and_a_kill_and_10(tmp_path, corpus, name):
    whole = fit(build(stage(name), tmp_path / "whole", ckpt_interval_steps=10), corpus)

    def killed():
        brain = build(stage(name), tmp_path / "killed", ckpt_interval_steps=10)
        forward = brain.compute_forward

        def dying(data, stage):
            if brain.optimizer_step == 11 and stage == Stage.TRAIN:
                os.kill(os.getpid(), signal.SIGKILL)
            return forward(data, stage)

        brain.compute_forward = dying
        fit(brain, corpus)

    process = FORK.Process(target=killed)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    resumed = build(stage(name), tmp_path / "killed", seed=7, ckpt_interval_steps=10)
    if resumed.teacher is not None:  # it is the source's encoder, whatever the seed of the rest
        resumed.teacher.load_state_dict(whole.teacher.state_dict())
    fit(resumed, corpus)
    assert resumed.optimizer_step == 20
    assert flat(states(resumed)) == flat(states(whole))


def test_the_same_seed_gives_the_same_run_and_another_another(tmp_path, corpus):
    runs = [fit(build(stage("stage 2", updates=3), seed=seed), corpus) for seed in (0, 0, 1)]
    first, second, other = (flat(states(run)) for run in runs)
    assert first == second
    assert first != other


def test_training_learns(corpus):
    brain = build(stage("stage 2", updates=40, lr=5e-3, weights={"mel": 1.0, "semantic": 1.0}))
    start = copy.deepcopy(brain.model)
    fit(brain, corpus)
    brain.ema.copy_to(brain.model)
    after = brain.stage_scores["mel"]
    brain.model.load_state_dict(start.state_dict())
    brain.modules.eval()
    brain.ema = None
    brain._validate(brain.make_dataloader(utterance_dataset(corpus, 16000), Stage.VALID, None), 1)
    assert after < 0.8 * brain.stage_scores["mel"]


def one_of_two(rank, folder, discriminators, results):
    """Five good updates and one with a NaN in the second process only."""
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    model = tiny_wavcube(encoder="filterbank_wavlm", with_layer_mix=True, with_skip=True)
    for name in STAGES:
        brain = LatentBrain(
            model,
            stage(name, adversarial_start=1),
            discriminators,
            opt_class=torch.optim.AdamW,
            run_opts={"device": "cpu", "distributed_backend": "gloo", "noprogressbar": True},
        )
        brain.on_fit_start()
        for step in range(6):
            data = batch(3200 + 320 * rank, 3200)
            if (step, rank) == (2, 1):
                data.wav.data[0, 5] = float("nan")
            brain.fit_batch(data)
        counts = brain.optimizer_step, brain.guard.skipped
        results.put(
            (name, rank, counts, torch.cat([p.flatten() for p in model.parameters()]).sum().item())
        )
    torch.distributed.destroy_process_group()


def test_two_processes_skip_together_and_stay_equal(tmp_path):
    results = FORK.Queue()
    discriminators = tiny_discriminators()
    workers = [
        FORK.Process(target=one_of_two, args=(rank, tmp_path, discriminators, results))
        for rank in (0, 1)
    ]
    for worker in workers:
        worker.start()
    found = sorted(results.get(timeout=60) for _ in range(4))
    for worker in workers:
        worker.join(30)
    for first, second in (found[:2], found[2:]):
        assert (first[0], first[1], second[1]) == (second[0], 0, 1)
        assert first[2] == second[2] == (5, 1)
        assert first[3] == second[3]
