"""Two processes that train on whole segments: as one on what both take, with no batch to spare."""

import json
import os
import signal
from functools import partial

import pytest
import soundfile
import torch
from several_processes import in_processes
from toy_brains import same, weights

from wavcube.data.segments import open_segments
from wavcube.data.segments.batches import DurationBatches, SegmentDataset, SegmentLoader
from wavcube.losses.combine import masked_mean
from wavcube.testing import tone
from wavcube.training.brain import GuardedBrain
from wavcube.training.checkpoints import AtomicCheckpointer
from wavcube.training.distributed import rank, world_size
from wavcube.training.settings import TrainingSettings

RATE, UPDATES, BATCHES = 8000, 9, 9  # of an epoch: two processes leave one out


@pytest.fixture
def manifest(tmp_path):
    """Nineteen segments of a recording, of very different lengths."""
    soundfile.write(tmp_path / "long.flac", tone(4.0, 0, RATE).numpy(), RATE)
    rows = [
        {"id": f"s{i}", "path": "long.flac", "start": i / 10, "duration": 0.1 + 0.04 * i}
        for i in range(19)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "a.jsonl"


def batches_of(segments, rank, world_size):
    return DurationBatches(
        segments.durations, max_seconds=1.5, max_rows=3, seed=1, rank=rank, world_size=world_size
    )


class OfBoth:
    """The batches of two processes, one beside the other, for a single process."""

    def __init__(self, segments):
        self.parts = [batches_of(segments, rank, 2) for rank in range(2)]
        self.durations = segments.durations

    def set_epoch(self, epoch):
        for part in self.parts:
            part.set_epoch(epoch)

    def __iter__(self):
        return (first + second for first, second in zip(*self.parts, strict=True))

    def __len__(self):
        return len(self.parts[0])


class Listener(GuardedBrain):
    """Notes down what it is given; its loss is a mean over all samples of all processes."""

    dies = None

    def compute_forward(self, batch, stage):
        del stage
        if self.optimizer_step == self.dies and rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        self.heard.append(list(batch.id))
        return self.modules.generator(batch.wav.data[..., None])

    def compute_objectives(self, predictions, batch, stage):
        del stage
        data, lens = batch.wav
        ends = (lens * data.shape[1]).round()[:, None]
        return masked_mean((predictions[..., 0] - 0.5).square(), torch.arange(data.shape[1]) < ends)


def listen(manifest, folder, both=False, dies=None):
    torch.manual_seed(0)
    segments = open_segments(manifest)
    batches = OfBoth(segments) if both else batches_of(segments, rank(), world_size())
    loader = SegmentLoader(SegmentDataset(segments, RATE, batches))
    brain = Listener(
        {"generator": torch.nn.Linear(1, 1)},
        partial(torch.optim.SGD, lr=0.1),
        run_opts={"device": "cpu", "noprogressbar": True, "ckpt_interval_steps": 1},
        checkpointer=None if both else AtomicCheckpointer(folder, {"loader": loader}),
        settings=TrainingSettings(updates=UPDATES, warmup=1),
    )
    brain.heard, brain.dies = [], dies
    brain.fit(brain.epochs, loader)
    return {"heard": brain.heard, "weights": weights(brain)}


def test_two_processes_train_as_one_on_the_batches_of_both(manifest, tmp_path):
    segments = open_segments(manifest)
    assert len(batches_of(segments, 0, 1)) == BATCHES
    ended = in_processes(tmp_path / "two", listen, manifest, tmp_path / "run")
    assert ended.codes == [0, 0]
    first, second = ended.results
    assert len(first["heard"]) == len(second["heard"]) == UPDATES  # in three epochs of four
    assert same(first["weights"], second["weights"])
    alone = listen(manifest, None, both=True)
    pairs = list(zip(first["heard"], second["heard"], strict=True))
    assert [one + two for one, two in pairs] == alone["heard"]
    assert any(len(one) != len(two) for one, two in pairs)
    torch.testing.assert_close(first["weights"], alone["weights"], rtol=0, atol=1e-6)


def test_each_process_goes_on_with_the_batch_that_would_have_come(manifest, tmp_path):
    whole = in_processes(tmp_path / "a", listen, manifest, tmp_path / "whole")
    killed = in_processes(tmp_path / "b", listen, manifest, tmp_path / "killed", False, 6)
    assert killed.codes[1] == -signal.SIGKILL  # in the second epoch
    resumed = in_processes(tmp_path / "c", listen, manifest, tmp_path / "killed")
    assert resumed.codes == [0, 0]
    for one, other in zip(resumed.results, whole.results, strict=True):
        assert one["heard"] == other["heard"][6:]
        assert same(one["weights"], other["weights"])


def test_another_number_of_processes_is_refused_in_the_middle_of_an_epoch(manifest, tmp_path):
    in_processes(tmp_path / "b", listen, manifest, tmp_path / "killed", False, 6)
    with pytest.raises(ValueError, match=r"not those that the run began with.*'world_size': 2"):
        listen(manifest, tmp_path / "killed")
