"""Two processes train as one does; what happens to one of them happens to both."""

import os
import random
import signal

import pytest
import torch
from latent_brains import build, stage, started
from several_processes import in_processes
from speechbrain import Stage
from torch.nn.parallel import DistributedDataParallel
from toy_brains import Numbers, same, toy, train, weights

from wavcube.data.audio import write_audio
from wavcube.data.crops import CropDataset, utterance_dataset
from wavcube.data.manifest import Utterance
from wavcube.testing import tone
from wavcube.training.distributed import all_gather, same_everywhere

pytestmark = pytest.mark.slow


@pytest.fixture
def corpus(tmp_path):
    """Clips of which one is shorter than a crop, so that parts of a batch differ in frames."""
    rows = []
    for index, seconds in enumerate((0.8, 0.1, 0.5)):
        path = tmp_path / f"clip{index}.wav"
        write_audio(path, tone(seconds, index), 16000)
        rows.append(Utterance(f"clip{index}", seconds, str(path)))
    return rows


def fit_latent(rows, name, batch_size, shard):
    """20 updates of a stage; its weights, averages and scores."""
    rates = {"lr": 2e-4, "discriminator_lr": 2e-4, "encoder_lr": 1e-4}
    brain = build(stage(name, shard_optimizer=shard, **rates))
    # where a gradient is zero but for rounding, Adam with its usual eps takes a whole step
    brain.opt_class = lambda groups: torch.optim.AdamW(groups, betas=(0.8, 0.95), eps=1e-4)
    crops = CropDataset(
        [row.as_dict() for row in rows],
        crop_seconds=0.2,
        crops_per_epoch=40,
        sample_rate=16000,
        seed=1,
    )
    valid = utterance_dataset(rows, 16000)
    loader = {"batch_size": batch_size, "collate_fn": crops.collate}
    brain.fit(brain.epochs, crops, valid, None, loader, {"batch_size": batch_size})
    assert brain.optimizer_step == 20
    return {"weights": weights(brain), "average": brain.ema.shadow, "scores": brain.stage_scores}


@pytest.mark.parametrize(("name", "shard"), [("stage 1", False), ("stage 2", True)])
def test_two_processes_end_as_one_with_the_same_global_batch(tmp_path, corpus, name, shard):
    alone = fit_latent(corpus, name, 4, False)
    ended = in_processes(tmp_path / "two", fit_latent, corpus, name, 2, shard)
    assert ended.codes == [0, 0]
    first, second = ended.results
    assert same(first, second)
    for part in ("weights", "average"):
        torch.testing.assert_close(first[part], alone[part], rtol=0, atol=1e-5)
    assert first["scores"].keys() == alone["scores"].keys()
    assert first["scores"] == pytest.approx(alone["scores"], rel=1e-6, abs=1e-6)


def wrapped():
    """Whether what trains and the teacher are wrapped, and unused parameters sought."""
    brain = started(stage("stage 2"))
    modules = [*brain.modules.values()]
    return {
        "modules": [isinstance(part, DistributedDataParallel) for part in modules],
        "seeking": [part.find_unused_parameters for part in modules],
        "teacher": [isinstance(part, DistributedDataParallel) for part in brain.teacher.modules()],
    }


def test_what_trains_is_wrapped_and_the_teacher_is_not(tmp_path):
    first, second = in_processes(tmp_path, wrapped).results
    assert first == second
    assert first["modules"] == [True, True]
    assert first["seeking"] == [False, False]
    assert not any(first["teacher"])


def run_toy(folder, dies=None, seed=0, shard=False, poison=()):
    """Train, or have the second process die in a given update; give how it ends."""
    brain = toy(folder, seed=seed, every=5, shard_optimizer=shard)
    forward = brain.compute_forward

    def dying(batch, stage):
        is_last = os.environ.get("RANK") == "1" and brain.optimizer_step == dies
        if stage == Stage.TRAIN and is_last:
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(batch, stage)

    brain.compute_forward = dying
    train(brain, Numbers(poison=poison), Numbers(5))
    facts = {"facts": brain.metadata(), "scores": brain.stage_scores}
    numbers = [torch.get_rng_state(), torch.tensor(random.random()), torch.rand(1)]
    return {"weights": weights(brain), "average": brain.ema.shadow, "numbers": numbers, **facts}


@pytest.mark.parametrize("shard", [False, True])
def test_a_run_of_two_that_dies_ends_as_one_that_did_not(tmp_path, shard):
    whole = in_processes(tmp_path / "a", run_toy, tmp_path / "whole", None, 0, shard)
    assert whole.codes == [0, 0]
    first, second = (result.pop("numbers") for result in whole.results)
    assert not any(torch.equal(*pair) for pair in zip(first, second, strict=True))
    killed = in_processes(tmp_path / "b", run_toy, tmp_path / "killed", 12, 0, shard)
    assert killed.codes[1] == -signal.SIGKILL
    assert killed.codes[0] != 0, "the other one ends too"
    resumed = in_processes(tmp_path / "c", run_toy, tmp_path / "killed", None, 7, shard)
    assert same([result.pop("numbers") for result in resumed.results], [first, second])
    assert same(resumed.results, whole.results)


@pytest.mark.parametrize("shard", [False, True])
def test_another_number_of_processes_goes_on(tmp_path, shard):
    in_processes(tmp_path / "a", run_toy, tmp_path / "run", 12, 0, shard)
    alone = run_toy(tmp_path / "run")
    assert alone["facts"]["updates"] == 20
    in_processes(tmp_path / "b", run_toy, tmp_path / "other", 12, 0, not shard)
    three = in_processes(tmp_path / "c", run_toy, tmp_path / "other", None, 0, shard, size=3)
    assert three.codes == [0, 0, 0]
    assert {result["facts"]["updates"] for result in three.results} == {20}


def test_a_bad_batch_of_one_process_is_skipped_by_both(tmp_path):
    # the second process has the items of odd numbers
    ended = in_processes(tmp_path, run_toy, None, None, 0, False, (7,))
    first, second = ended.results
    assert first["facts"] == second["facts"]
    assert first["facts"]["updates"] == 20
    assert first["facts"]["skipped"] == 7, "one of the 4 batches of each of 7 epochs"
    assert same(first["weights"], second["weights"])
    assert all(value.isfinite().all() for value in first["average"].values())


def share():
    """What each process makes of what is told, and of a module."""
    torch.manual_seed(int(os.environ["RANK"]))
    module = torch.nn.Linear(2, 1)
    same_everywhere(module)
    return {"parts": all_gather({"rank": os.environ["RANK"]}), "weight": module.weight.detach()}


def test_processes_tell_each_other(tmp_path):
    ended = in_processes(tmp_path, share)
    assert ended.results[0]["parts"] == [{"rank": "0"}, {"rank": "1"}]
    assert same(*ended.results)
