"""Batches of like length, crops and loaders of segments: exact, disjoint, resumable."""

import json
import logging
import os
import signal
from functools import partial

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.utils.checkpoints import Checkpointer

from wavcube.data.segments import open_segments
from wavcube.data.segments.audio import UnreadableError
from wavcube.data.segments.batches import DurationBatches, SegmentDataset, SegmentLoader, shuffled
from wavcube.data.segments.crops import SegmentCrops
from wavcube.training.brain import GuardedBrain
from wavcube.training.checkpoints import AtomicCheckpointer
from wavcube.training.settings import TrainingSettings

RATE = 8000
DURATIONS = np.random.default_rng(0).uniform(1, 20, 3000).astype(np.float32)


def batches_of(**changes):
    settings = {"max_seconds": 60, "max_rows": 12, "seed": 3, "window": 500}
    return DurationBatches(DURATIONS, **{**settings, **changes})


@pytest.fixture
def segments(tmp_path):
    """Twenty segments of a recording whose samples tell their place."""
    samples = (np.arange(20 * RATE) % 30000 - 15000) / 32768
    soundfile.write(tmp_path / "long.flac", samples, RATE)
    rows = [
        {"id": f"s{i}", "path": "long.flac", "start": i, "duration": 0.1 + 0.04 * i}
        for i in range(20)
    ]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return open_segments(tmp_path / "a.jsonl")


@pytest.mark.parametrize("size", [1, 2, 3, 5, 16, 17, 1000, 4097])
def test_a_shuffle_has_everything_once(size):
    order = shuffled(np.arange(size), size, (1, 2))
    assert sorted(order) == list(range(size))
    assert (shuffled(np.arange(size // 2), size, (1, 2)) == order[: size // 2]).all()
    if size > 10:
        other = shuffled(np.arange(size), size, (1, 3))
        assert (order == other).mean() < 0.4
        assert abs(np.corrcoef(order, np.arange(size))[0, 1]) < 0.5


def test_batches_are_bounded_and_of_like_length():
    batches = list(batches_of())
    assert sorted(row for batch in batches for row in batch) == list(range(3000))
    padded = [len(batch) * DURATIONS[batch].max() for batch in batches]
    assert max(padded) <= 60
    assert max(map(len, batches)) == 12
    assert DURATIONS.sum() / sum(padded) > 0.95  # of what is computed is speech
    assert len(batches) == len(batches_of())


def test_epochs_differ_and_come_again():
    batches = batches_of()
    first = list(batches)
    assert list(batches) == first
    batches.set_epoch(1)
    assert list(batches) != first
    batches.set_epoch(0)
    assert list(batches) == first
    assert list(batches_of(seed=4)) != first
    # the order of a window is not that of the lengths
    longest = [DURATIONS[batch].max() for batch in first[:40]]
    assert abs(np.corrcoef(longest, np.arange(40))[0, 1]) < 0.5


@pytest.mark.parametrize("world_size", [2, 3, 7])
def test_ranks_share_out_what_one_process_has(world_size):
    alone = list(batches_of())
    parts = [list(batches_of(rank=r, world_size=world_size)) for r in range(world_size)]
    assert len({len(part) for part in parts}) == 1
    assert len(parts[0]) == len(batches_of(rank=1, world_size=world_size))
    together = [batch for step in zip(*parts, strict=True) for batch in step]
    assert together == alone[: len(together)]
    assert len(alone) - len(together) < world_size


def test_long_rows_are_left_out_and_told(caplog):
    with caplog.at_level(logging.WARNING):
        batches = batches_of(max_seconds=15)
    long = int((DURATIONS > 15).sum())
    assert f"{long} of 3000 segments left out: longer than 15 s" in caplog.text
    assert sum(map(len, batches)) == 3000 - long
    with pytest.raises(ValueError, match="every one of the 3000 segments is longer than"):
        batches_of(max_seconds=0.5)
    with pytest.raises(ValueError, match="rank 2 is not one of 2"):
        batches_of(rank=2, world_size=2)
    with pytest.raises(ValueError, match="must be above 0"):
        batches_of(max_rows=0)


def loader_of(segments, workers=0, **changes):
    settings = {"max_seconds": 1.5, "max_rows": 3, "seed": 1, **changes}
    dataset = SegmentDataset(segments, RATE, DurationBatches(segments.durations, **settings))
    return SegmentLoader(dataset, workers)


def test_a_batch_holds_its_segments(segments):
    loader = loader_of(segments)
    for batch, rows in zip(loader, loader.dataset.batches, strict=True):
        assert batch.id == [f"s{row}" for row in rows]
        data, lengths = batch.wav
        for wav, length, row in zip(data, lengths, rows, strict=True):
            size = round(float(length) * data.shape[1])
            torch.testing.assert_close(wav[:size], segments.read(row, RATE))
            assert not wav[size:].any()


@pytest.mark.parametrize("workers", [0, 2])
def test_goes_on_at_the_batch_where_it_was(segments, workers):
    loader = loader_of(segments)
    loader.dataset.set_epoch(4)
    whole = [batch.id for batch in loader]
    interrupted = loader_of(segments, workers)
    interrupted.dataset.set_epoch(4)
    begun = iter(interrupted)
    assert [next(begun).id for _ in range(3)] == whole[:3]
    state = json.loads(json.dumps(interrupted.state_dict()))
    resumed = loader_of(segments, workers)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state
    assert [batch.id for batch in resumed] == whole[3:]
    assert len([batch.id for batch in resumed]) == len(whole)  # the next epoch is whole
    with pytest.raises(ValueError, match=r"not those that the run began with.*'max_rows': 3"):
        loader_of(segments, max_rows=2).load_state_dict(state)


@pytest.mark.parametrize("place", ["12", "None"])
def test_a_place_that_an_earlier_version_saved_is_refused(segments, tmp_path, place):
    (tmp_path / "loader").write_text(place)
    with pytest.raises(ValueError, match=f"place '{place}' in a loader of an earlier version"):
        loader_of(segments)._speechbrain_load(tmp_path / "loader", end_of_epoch=False)


def test_is_a_recoverable_of_speechbrain(segments, tmp_path):
    loader = loader_of(segments)
    whole = [batch.id for batch in loader]
    begun = iter(loader)
    next(begun), next(begun)
    Checkpointer(tmp_path / "save", {"loader": loader}).save_checkpoint(end_of_epoch=False)
    resumed = loader_of(segments)
    Checkpointer(tmp_path / "save", {"loader": resumed}).recover_if_possible()
    assert [batch.id for batch in resumed] == whole[2:]


def spoil(segments, tmp_path, count, first=0):
    """Let some of the rows name a recording that is gone."""
    lines, which = (tmp_path / "a.jsonl").read_text().splitlines(), slice(first, first + count)
    lines[which] = [line.replace("long.flac", "gone.flac") for line in lines[which]]
    (tmp_path / f"b{count}.jsonl").write_text("\n".join(lines))
    return open_segments(tmp_path / f"b{count}.jsonl")


def test_unreadable_segments_are_logged_and_left_out_of_their_batch(segments, tmp_path, caplog):
    spoilt = spoil(segments, tmp_path, 2)
    loader = loader_of(spoilt, max_seconds=20, max_rows=20)
    with caplog.at_level(logging.WARNING):
        (batch,) = loader
    assert len(batch.id) == 18
    assert caplog.text.count("left out: there is no recording") == 2
    loader.dataset.reads.max_fraction = 0.001
    with pytest.raises(ValueError, match=r"of \d+ segments could not be read.*wavcube manifest"):
        list(loader)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_of_nothing_readable_has_the_next_segment(workers, segments, tmp_path):
    settings = {"max_seconds": 0.51, "max_rows": 1}  # the rows after the tenth are too long
    whole = [batch.id for batch in loader_of(segments, **settings)]
    spoilt = loader_of(spoil(segments, tmp_path, 2, first=9), workers, **settings)
    wanted = [["s0"] if names in (["s9"], ["s10"]) else names for names in whole]
    assert [batch.id for batch in spoilt] == wanted
    assert wanted.count(["s0"]) == 3
    spoilt.dataset.reads.max_fraction = 0.0005
    with pytest.raises(ValueError, match=r"\d of \d+ segments could not be read"):
        list(spoilt)
    silent = loader_of(spoil(segments, tmp_path, 20), workers, **settings)
    silent.dataset.reads.max_fraction = 1
    with pytest.raises(ValueError, match=r"no segment could be read, .*`wavcube manifest`"):
        list(silent)


def crops_of(segments, **changes):
    settings = {"crop_seconds": 0.25, "crops_per_epoch": 60, "sample_rate": RATE, "seed": 5}
    return SegmentCrops(segments, **{**settings, **changes})


def test_crops_depend_on_seed_epoch_and_index_alone(segments):
    crops = crops_of(segments)
    crops.set_epoch(2)
    wanted = [crops[i] for i in range(60)]
    loader = torch.utils.data.DataLoader(
        crops, batch_size=7, num_workers=2, collate_fn=crops.collate
    )
    found = [name for batch in loader for name in batch.id]
    assert found == [crop["id"] for crop in wanted]
    other = crops_of(segments)
    other.set_epoch(2)
    torch.testing.assert_close(other[59]["wav"], wanted[59]["wav"], rtol=0, atol=0)
    other.set_epoch(3)
    assert [other[i]["id"] for i in range(60)] != found


def test_crops_stay_within_their_segments(segments):
    crops = crops_of(segments, crops_per_epoch=120)
    offsets = set()
    for i in range(120):
        crop = crops[i]
        segment = segments[int(crop["id"][1:])]
        frames = round(segment.duration * RATE)
        assert len(crop["wav"]) == min(2000, frames)
        # the recording is a ramp: a crop's slope tells its gain, its first sample its place
        steps = crop["wav"].double().diff()
        gain = float(steps[steps > 0].mean()) * 32768
        place = round(float(crop["wav"][0]) / gain * 32768) + 15000
        offset = (place - round(segment.start * RATE)) % 30000
        assert 0 <= offset <= frames - len(crop["wav"])
        offsets.add(offset / max(1, frames - len(crop["wav"])))
    assert min(offsets) < 0.1
    assert max(offsets) > 0.9


def test_crops_pass_over_what_cannot_be_read(segments, tmp_path, caplog):
    crops = crops_of(spoil(segments, tmp_path, 5))
    with caplog.at_level(logging.WARNING):
        names = [crops[i]["id"] for i in range(60)]
    assert not {"s0", "s1", "s2", "s3", "s4"} & set(names)
    assert 0 < caplog.text.count("left out: there is no recording") == crops.reads.bad
    whole = [crops_of(segments)[i]["id"] for i in range(60)]
    changed = [one for one, two in zip(whole, names, strict=True) if one != two]
    assert set(changed) <= {"s0", "s1", "s2", "s3", "s4"}  # no other crop has changed
    strict = crops_of(spoil(segments, tmp_path, 20), max_bad_fraction=0.003)
    with pytest.raises(ValueError, match="4 of 4 segments could not be read"):
        strict[0]


def test_workers_count_together_and_their_error_is_one_line(segments, tmp_path):
    crops = crops_of(spoil(segments, tmp_path, 5), crops_per_epoch=40, max_bad_fraction=0.005)
    loader = torch.utils.data.DataLoader(
        crops, batch_size=1, num_workers=2, collate_fn=crops.collate
    )

    def read_epochs():
        for epoch in range(20):
            crops.set_epoch(epoch)
            list(loader)

    with pytest.raises(UnreadableError, match=r"^\d+ of \d+ segments could not be read") as stop:
        read_epochs()
    assert "\n" not in str(stop.value)
    assert crops.reads.bad >= 6


def test_a_row_that_is_damaged_is_passed_over(segments, monkeypatch):
    read, damaged = type(segments).__getitem__, []

    def row(self, number):
        if number == 3:
            damaged.append(number)
            raise ValueError("its row is damaged")
        return read(self, number)

    monkeypatch.setattr(type(segments), "__getitem__", row)
    crops = crops_of(segments)
    assert "s3" not in {crops[i]["id"] for i in range(60)}
    assert crops.reads.bad == len(damaged) > 0
    (batch,) = loader_of(segments, max_seconds=20, max_rows=20)
    assert len(batch.id) == 19


class Dying(SegmentDataset):
    """Its worker is killed, as by the system when memory is short, by the first batch with s7."""

    marker = None

    def __getitem__(self, number):
        if number == 7 and self.marker is not None and self.marker.exists():
            self.marker.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__getitem__(number)


@pytest.mark.slow
def test_a_dead_worker_ends_the_run_which_then_goes_on(segments, tmp_path):
    whole = listen(segments, tmp_path / "whole")
    marker = tmp_path / "marker"
    marker.touch()
    batches = loader_of(segments).dataset.batches

    def loader():
        dataset = Dying(segments, RATE, batches)
        dataset.marker = marker
        return SegmentLoader(dataset, num_workers=1)

    heard = []
    with pytest.raises(RuntimeError, match=r"DataLoader worker"):
        listen(segments, tmp_path / "killed", loader=loader(), heard=heard)
    assert not marker.exists()
    assert heard == whole[: len(heard)]
    rest = listen(segments, tmp_path / "killed", loader=loader())
    assert rest == whole[len(whole) - len(rest) :]
    # the system's signal may come in the middle of an update, which is then made again
    assert len(heard) + len(rest) - len(whole) in (0, 1)


class Listener(GuardedBrain):
    """Notes down what it is given, and can be stopped."""

    stop_at = None

    def compute_forward(self, batch, stage):
        del stage
        self.heard.append(batch.id)
        if len(self.heard) == self.stop_at:
            raise KeyboardInterrupt
        return self.modules.generator(batch.wav.data.mean(1, keepdim=True))

    def compute_objectives(self, predictions, batch, stage):
        del batch, stage
        return predictions.square().mean()


def listen(segments, folder, stop_at=None, loader=None, heard=None):
    torch.manual_seed(0)
    loader = loader or loader_of(segments)
    brain = Listener(
        {"generator": torch.nn.Linear(1, 1)},
        partial(torch.optim.SGD, lr=0.01),
        run_opts={"device": "cpu", "noprogressbar": True, "ckpt_interval_steps": 1},
        checkpointer=AtomicCheckpointer(folder, {"loader": loader}),
        settings=TrainingSettings(updates=25, warmup=1),
    )
    brain.heard, brain.stop_at = [] if heard is None else heard, stop_at
    try:
        brain.fit(brain.epochs, loader)
    except KeyboardInterrupt:
        brain.heard.pop()  # no update was made of it
    return brain.heard


def test_a_brain_goes_on_with_the_batch_that_would_have_come(segments, tmp_path):
    whole = listen(segments, tmp_path / "whole")
    assert len(whole) == 25
    epoch = len(loader_of(segments).dataset.batches)
    assert whole[:epoch] != whole[epoch : 2 * epoch]
    stop_at = epoch + 4  # in the second epoch
    assert stop_at < 25
    begun = listen(segments, tmp_path / "stopped", stop_at)
    assert begun + listen(segments, tmp_path / "stopped") == whole
