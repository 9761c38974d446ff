"""Whole runs of the latent's training: resumed, repeated, learning, and in two processes."""

import copy
import multiprocessing
import os
import signal

import pytest
import torch
from latent_brains import STAGES, batch, build, stage, tiny_discriminators
from speechbrain import Stage

from wavcube.data.audio import write_audio
from wavcube.data.crops import CropDataset, utterance_dataset
from wavcube.data.manifest import Utterance
from wavcube.latent.brain import LatentBrain
from wavcube.testing import tiny_wavcube, tone

FORK = multiprocessing.get_context("fork")


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


SIMPLE = {"mel": 1.0, "semantic": 1.0, "linear": 1.0}


def test_training_learns(corpus):
    brain = build(stage("stage 2", updates=40, lr=5e-3, weights=SIMPLE))
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
    options = {"with_layer_mix": True, "with_skip": True, "with_linear": True}
    model = tiny_wavcube(encoder="filterbank_wavlm", **options)
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
