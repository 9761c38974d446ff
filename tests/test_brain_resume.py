"""A run that is killed at any moment ends as one that was not, bit for bit."""

import copy
import multiprocessing
import os
import signal

import pytest
from speechbrain import Stage
from toy_brains import Numbers, same, states, toy, train

FORK = multiprocessing.get_context("fork")
POISON = (2,)  # of an epoch's 8 batches one is bad, so that it has 7 updates


def run(folder, dies=None, seed=0, spoilt=(), **options):
    """Train, or die in the first forward pass for which ``dies(brain, stage)``; give the end."""
    brain = toy(folder, seed=seed, **options)
    brain.spoilt_epochs = spoilt
    forward = brain.compute_forward

    def dying(batch, stage):
        if dies is not None and dies(brain, stage):
            os.kill(os.getpid(), signal.SIGKILL)
        return forward(batch, stage)

    brain.compute_forward = dying
    train(brain, Numbers(poison=POISON), Numbers(4))
    # at once: the random generators are those of the process
    last = copy.deepcopy(states(brain))
    best = {**brain.load_best(), "unixtime": None}
    return {"last": last, "facts": brain.metadata(), "best": best, "state": states(brain)["parts"]}


def killed_run(folder, dies, **options):
    """Train in a process of its own, which is killed."""
    process = FORK.Process(target=run, args=(folder, dies), kwargs=options)
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("after", [6, 7, 10, 12, 18])
def test_a_run_killed_in_training_ends_as_one_that_was_not(tmp_path, after):
    def dies(brain, stage):
        return stage == Stage.TRAIN and brain.optimizer_step == after

    options = {"every": 5, "updates": 20}
    whole = run(tmp_path / "a", **options)
    killed_run(tmp_path / "b", dies, **options)
    assert same(run(tmp_path / "b", seed=1, **options), whole)


@pytest.mark.parametrize(
    ("every", "updates", "after"),
    [
        (5, 20, 7),
        (8, 20, 7),  # a checkpoint at the last batch of the first epoch
        (8, 20, 14),
        (7, 20, 20),  # a checkpoint at the last update of the run
        (7, 6, 6),  # the same where there is no other epoch
    ],
)
def test_a_run_killed_in_validation_ends_as_one_that_was_not(tmp_path, every, updates, after):
    def dies(brain, stage):
        return stage == Stage.VALID and brain.optimizer_step == after

    options = {"every": every, "updates": updates}
    whole = run(tmp_path / "a", **options)
    killed_run(tmp_path / "b", dies, **options)
    resumed = run(tmp_path / "b", seed=1, **options)
    assert resumed["facts"]["updates"] == updates
    assert same(resumed, whole)


@pytest.mark.parametrize("forwards", [14, 21, 25, 31, 38])
def test_a_run_killed_around_a_return_from_validation_ends_as_one_that_was_not(tmp_path, forwards):
    count = 0

    def dies(brain, stage):
        nonlocal count
        count += 1
        return count == forwards

    # 8 batches and 2 of validation an epoch: the return is after 20 forward passes
    options = {"every": 4, "updates": 20, "spoilt": (2,)}
    whole = run(tmp_path / "a", **options)
    assert whole["facts"]["rollbacks"] == 1
    killed_run(tmp_path / "b", dies, **options)
    assert same(run(tmp_path / "b", seed=1, **options), whole)
