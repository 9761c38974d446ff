"""Mixtures of two speakers as they are read: gains, modes, rates and crops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mixture_files import RATE, noise_of, write
from speechbrain.dataio.batch import PaddedBatch

from wavcube.data.mixing.mixtures import MixtureDataset, MixtureRow, read_mixtures, write_mixtures


@pytest.fixture
def signals(tmp_path):
    """Two speakers of 0.2 and 0.15 s and noise of 0.08 s, in two channels."""
    found = {"a": noise_of(3200, 1), "b": noise_of(2400, 2)}
    stereo = np.stack([noise_of(1280, 3), noise_of(1280, 4)], axis=1)
    files = {name: write(tmp_path / f"{name}.wav", wav) for name, wav in found.items()}
    files["noise"] = write(tmp_path / "noise.wav", stereo)
    row = MixtureRow("a_b", (files["a"], files["b"]), (0.5, 2.0), files["noise"], 3.0)
    return found, stereo[:, 0], row


@pytest.mark.parametrize(("mode", "size"), [("min", 2400), ("max", 3200)])
def test_mixture_is_the_sum_of_its_scaled_sources(signals, mode, size):
    found, first_channel, row = signals
    clean = MixtureDataset([row], RATE, mode)[0]
    expected = np.zeros((3200, 2), np.float32)
    expected[:, 0], expected[:2400, 1] = 0.5 * found["a"], 2.0 * found["b"]
    np.testing.assert_allclose(clean["sources"], expected[:size], atol=1e-7)
    np.testing.assert_allclose(clean["wav"], expected[:size].sum(axis=1), atol=1e-7)
    noisy = MixtureDataset([row], RATE, mode, noisy=True)[0]
    assert torch.equal(noisy["sources"], clean["sources"])
    added = (noisy["wav"] - clean["wav"]).numpy()
    # the first half is not yet crossfaded with the noise's second turn
    np.testing.assert_allclose(added[:640], 3.0 * first_channel[:640], atol=1e-6)
    assert np.abs(added[1280:]).max() > 0.1


def test_other_rates_keep_durations_and_gains(signals):
    found, _, row = signals
    item = MixtureDataset([row], RATE // 2, "min", noisy=True)[0]
    assert item["sources"].shape == (1200, 2)
    assert item["wav"].shape == (1200,)
    # half the band of white noise holds half its power
    power = float(item["sources"][:, 1].square().mean())
    assert power == pytest.approx(4 * np.square(found["b"]).mean() / 2, rel=0.15)


def test_ready_mixture_is_read_as_it_is(signals, tmp_path):
    *_, row = signals
    ready = write(tmp_path / "ready.wav", noise_of(2400, 8))
    item = MixtureDataset([MixtureRow("r", row.sources, (1.0, 1.0), mixture=ready)], RATE, "min")[0]
    np.testing.assert_array_equal(item["wav"], noise_of(2400, 8))
    short = write(tmp_path / "short.wav", noise_of(2399, 8))
    dataset = MixtureDataset([MixtureRow("r", row.sources, (1.0, 1.0), mixture=short)], RATE, "min")
    with pytest.raises(ValueError, match=r"short.wav has 2399 samples .* sources 2400"):
        dataset[0]


def test_crop_depends_on_seed_epoch_and_index_alone(signals):
    *_, row = signals
    rows = [MixtureRow(str(i), row.sources, row.gains) for i in range(3)]
    whole = MixtureDataset(rows, RATE, "min")[0]
    one, two = (MixtureDataset(rows, RATE, "min", crop_seconds=0.05, seed=3) for _ in range(2))
    for dataset in (one, two):
        dataset.set_epoch(4)
    _ = one[0]
    assert torch.equal(one[2]["wav"], two[2]["wav"])
    assert one[2]["wav"].shape == (800,)
    assert not torch.equal(one[2]["wav"], one[1]["wav"])
    places = (whole["wav"].unfold(0, 800, 1) == one[2]["wav"]).all(1).nonzero()
    start = int(places[0])
    assert torch.equal(one[2]["sources"], whole["sources"][start : start + 800])
    two.set_epoch(5)
    assert not torch.equal(one[2]["wav"], two[2]["wav"])


def test_items_make_a_speechbrain_batch(signals):
    *_, row = signals
    swapped = MixtureRow("s", (row.sources[1], row.sources[1]), (1.0, 1.0))
    batch = PaddedBatch([MixtureDataset([r], RATE, "max")[0] for r in (row, swapped)])
    assert batch.wav.data.shape == (2, 3200)
    assert batch.sources.data.shape == (2, 3200, 2)
    assert batch.sources.lengths.tolist() == batch.wav.lengths.tolist() == [1.0, 0.75]


@pytest.mark.parametrize(
    ("rows", "settings", "message"),
    [
        ([], {}, "no mixture"),
        ([MixtureRow("x", ("a", "b"), (1.0,))], {}, "'x' has 2 sources and 1 gains"),
        ([MixtureRow("x", ("a", "b"), (1.0, 1.0))], {"noisy": True}, "names no noise"),
        ([MixtureRow("x", ("a",), (1.0,))], {"crop_seconds": 0}, "must be positive"),
    ],
)
def test_wrong_settings_are_refused(rows, settings, message):
    with pytest.raises(ValueError, match=message):
        MixtureDataset(rows, RATE, "min", **settings)


def test_manifest_moves_with_its_corpus(tmp_path):
    rows = [
        MixtureRow("a_b", ("/old/a.wav", "/old/b.wav"), (0.123456789012345, 2.0), "/n.wav", 1.5)
    ]
    write_mixtures(tmp_path / "m.csv", rows, "/old")
    moved = read_mixtures(tmp_path / "m.csv", "/new")[0]
    assert moved.sources == ("/new/a.wav", "/new/b.wav")
    assert moved.noise == "/n.wav"
    assert moved.gains == rows[0].gains
    with pytest.raises(ValueError, match="was not given"):
        read_mixtures(tmp_path / "m.csv")
    with pytest.raises(ValueError, match="different IDs, not \\['a_b'\\]"):
        write_mixtures(tmp_path / "m.csv", rows * 2)
