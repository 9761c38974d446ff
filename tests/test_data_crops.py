"""Crops: pure in (seed, epoch, index), whatever the workers or interruptions."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.utils.checkpoints import Checkpointer

from wavcube.data.crops import CropDataset

RATE = 16000


@pytest.fixture
def rows(tmp_path):
    rng = np.random.default_rng(0)
    rows = []
    for name, seconds in [("long", 3.0), ("middle", 1.0), ("short", 0.2)]:
        path = tmp_path / f"{name}.flac"
        soundfile.write(path, 0.1 * rng.standard_normal(round(seconds * RATE)), RATE)
        rows.append({"ID": name, "wav": str(path), "duration": seconds})
    return rows


def crops(rows, **changes):
    settings = {"crop_seconds": 0.5, "crops_per_epoch": 24, "sample_rate": RATE, "seed": 7}
    return CropDataset(rows, **{**settings, **changes})


def loader(dataset, workers=0, batch_size=4):
    return SaveableDataLoader(
        dataset, batch_size=batch_size, num_workers=workers, collate_fn=dataset.collate
    )


def test_a_crop_depends_on_seed_epoch_and_index_alone(rows):
    one, two = crops(rows), crops(rows)
    _ = [one[i] for i in range(5)]
    for dataset in (one, two):
        dataset.set_epoch(3)
    assert torch.equal(one[11]["wav"], two[11]["wav"])
    two.set_epoch(4)
    assert not torch.equal(one[11]["wav"][:1000], two[11]["wav"][:1000])
    other_seed = crops(rows, seed=8)
    other_seed.set_epoch(3)
    assert not torch.equal(one[11]["wav"][:1000], other_seed[11]["wav"][:1000])
    assert not torch.equal(one[10]["wav"][:1000], one[11]["wav"][:1000])


def test_a_crop_is_a_scaled_piece_of_its_file(rows):
    dataset = crops(rows)
    for index in range(12):
        crop = dataset[index]
        source, _ = soundfile.read(rows[0]["wav"].replace("long", crop["id"]))
        wav = crop["wav"].double().numpy()
        starts = range(len(source) - len(wav) + 1)
        spots = [s for s in starts if abs(source[s] * wav[1] - source[s + 1] * wav[0]) < 1e-6]
        gains = [wav @ source[s : s + len(wav)] for s in spots]
        best = source[spots[int(np.argmax(gains))] :][: len(wav)]
        cosine = wav @ best / np.linalg.norm(wav) / np.linalg.norm(best)
        assert cosine > 0.999999


def test_offsets_are_uniform_and_reach_both_ends(tmp_path):
    path = tmp_path / "ramp.wav"
    seconds = 1.0
    # the value tells the place; the peak of a rising ramp is its last sample
    soundfile.write(path, np.arange(1, RATE + 1) / (RATE + 1), RATE, subtype="FLOAT")
    dataset = crops([{"wav": path, "duration": seconds}], crop_seconds=0.9999, crops_per_epoch=400)
    ratios = np.array(
        [float(crop["wav"][0] / crop["wav"][-1]) for crop in map(dataset.__getitem__, range(400))]
    )
    size = dataset.crop_samples
    # first / last = (offset + 1) / (offset + size)
    offsets = np.round((ratios * size - 1) / (1 - ratios)).astype(int)
    assert sorted(set(offsets)) == list(range(RATE - size + 1))
    assert np.bincount(offsets).min() > 100


def test_peaks_lie_in_the_range(rows):
    peaks = [
        20 * torch.log10(crop["wav"].abs().max()) for crop in list(crops(rows, peak_db=(-6, -1)))
    ]
    assert len(peaks) == 24
    assert -6.001 <= min(peaks) < -4.5
    assert -2.5 < max(peaks) <= -0.999


def test_utterances_are_drawn_by_duration(rows):
    drawn = [
        crops(rows, crops_per_epoch=2000, crop_seconds=0.01)[i]["id"] for i in range(0, 2000, 4)
    ]
    assert abs(drawn.count("long") / len(drawn) - 3.0 / 4.2) < 0.07
    assert 0 < drawn.count("short") / len(drawn) < 0.12


def test_short_utterances_are_padded_and_their_length_returned(rows):
    dataset = crops(rows[2:])
    batch = dataset.collate([dataset[0], dataset[1]])
    assert batch.wav.data.shape == (2, RATE // 2)
    torch.testing.assert_close(batch.wav.lengths, torch.tensor([0.4, 0.4]))
    assert batch.wav.data[:, 3200:].abs().max() == 0
    assert batch.wav.data[:, 3199].abs().min() > 0
    assert batch.id == ["short", "short"]


def test_silence_stays_silent(tmp_path):
    path = tmp_path / "silent.wav"
    soundfile.write(path, np.zeros(RATE), RATE)
    crop = crops([{"wav": path, "duration": 1.0}])[0]
    assert crop["wav"].abs().max() == 0


@pytest.mark.parametrize("rate", [8000, 22050, 44100])
def test_other_rates_are_resampled(tmp_path, rate):
    path = tmp_path / "a.wav"
    tone = np.sin(2 * np.pi * 1000 * np.arange(2 * rate) / rate)
    soundfile.write(path, np.stack([tone, tone], 1), rate)
    crop = crops([{"wav": path, "duration": 2.0}])[0]["wav"]
    assert crop.shape == (RATE // 2,)
    spectrum = torch.fft.rfft(crop * torch.hann_window(len(crop))).abs()
    assert spectrum.argmax() == 500


@pytest.mark.parametrize("workers", [0, 2])
def test_workers_change_nothing(rows, workers):
    dataset = crops(rows)
    dataset.set_epoch(2)
    alone = [dataset[i]["wav"] for i in range(24)]
    batches = list(loader(dataset, workers))
    assert len(batches) == 6
    for index, wav in enumerate(alone):
        row = batches[index // 4].wav.data[index % 4]
        assert torch.equal(row[: len(wav)], wav)


def test_workers_that_outlive_an_epoch_see_the_next(rows):
    dataset = crops(rows, crops_per_epoch=8)
    kept = SaveableDataLoader(
        dataset, batch_size=4, num_workers=1, persistent_workers=True, collate_fn=dataset.collate
    )
    for epoch in (1, 2):
        dataset.set_epoch(epoch)
        first = next(iter(kept)).wav.data[0]
        expected = dataset[0]["wav"]
        assert torch.equal(first[: len(expected)], expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_resume_in_the_middle_of_an_epoch(rows, tmp_path, workers):
    dataset = crops(rows)
    dataset.set_epoch(5)
    whole = [batch.wav.data for batch in loader(dataset, workers)]

    interrupted = loader(dataset, workers)
    checkpointer = Checkpointer(tmp_path / "save", {"loader": interrupted})
    for index, _ in enumerate(interrupted):
        if index == 1:
            checkpointer.save_checkpoint(end_of_epoch=False)
            break

    fresh = crops(rows)
    fresh.set_epoch(5)
    resumed = loader(fresh, workers)
    Checkpointer(tmp_path / "save", {"loader": resumed}).recover_if_possible()
    rest = [batch.wav.data for batch in resumed]
    assert len(rest) == 4
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[2:], strict=True))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_seconds": 0}, "crop_seconds"),
        ({"crops_per_epoch": 0}, "crops_per_epoch"),
        ({"peak_db": (-1, -6)}, "peak_db"),
        ({"peak_db": (-1, 2)}, "peak_db"),
    ],
)
def test_bad_numbers_are_refused(rows, changes, message):
    with pytest.raises(ValueError, match=message):
        crops(rows, **changes)


def test_no_utterance_or_no_duration_is_refused(rows):
    with pytest.raises(ValueError, match="no utterance"):
        crops([])
    with pytest.raises(ValueError, match="'middle' has no duration"):
        crops([rows[0], {**rows[1], "duration": 0}])


def test_not_a_number_is_refused(tmp_path):
    path = tmp_path / "nan.wav"
    samples = np.zeros(RATE, dtype=np.float32)
    samples[:] = np.nan
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match=r"nan\.wav.*NaN"):
        crops([{"wav": path, "duration": 1.0}])[0]
