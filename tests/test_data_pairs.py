"""Pairs of noisy and clean recordings: the same piece of both, and mistakes with their place."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import soundfile
import torch

from wavcube.data.manifest import Utterance
from wavcube.data.mixing.pairs import PairCrops, PairDataset, pair_up, prepare_own_pairs, read_pairs

RATE = 8000
SPEAKERS = ("ann", "bob", "cleo", "dan")


def write(path, samples, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, subtype="FLOAT")
    return path


def make_pair(folder, name, size=1600):
    """A ramp, so that a sample tells its position, and its noisy copy: twice as loud, plus 0.1."""
    ramp = np.linspace(0, 0.4, size)
    write(folder / "clean" / f"{name}.wav", ramp)
    write(folder / "noisy" / f"{name}.wav", 2 * ramp + 0.1)


def write_csv(folder, rows, columns=("ID", "noisy", "clean", "spk_id")):
    path = folder / "pairs.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(rows)
    return path


@pytest.fixture
def listed(tmp_path):
    rows = []
    for speaker in SPEAKERS:
        for index in range(3):
            name = f"{speaker}{index}"
            make_pair(tmp_path, name, 1600 + 160 * index)
            rows.append([name, f"noisy/{name}.wav", f"clean/{name}.wav", speaker])
    return write_csv(tmp_path, rows)


def test_a_crop_is_the_same_piece_of_both_at_one_gain(listed):
    pairs = [p.__class__(**{**p.as_dict(), "duration": 0.2}) for p in read_pairs(listed)]
    crops = PairCrops(pairs, crop_seconds=0.05, crops_per_epoch=20, sample_rate=RATE, seed=3)
    crops.set_epoch(2)
    for item in (crops[index] for index in range(20)):
        noisy, clean = item["wav"], item["clean"]
        assert noisy.shape == clean.shape == (400,)
        # noisy = gain * (2 ramp + 0.1), clean = gain * ramp
        gain = (noisy[0] - 2 * clean[0]) / 0.1
        torch.testing.assert_close(noisy, 2 * clean + 0.1 * gain)
        assert 10 ** (-6.0 / 20) - 1e-6 <= float(noisy.abs().max()) <= 10 ** (-1.0 / 20) + 1e-6
    again = PairCrops(pairs, crop_seconds=0.05, crops_per_epoch=20, sample_rate=RATE, seed=3)
    first = again[7]["wav"]
    again.set_epoch(2)
    torch.testing.assert_close(again[7]["wav"], crops[7]["wav"])
    assert not torch.equal(first, crops[7]["wav"])


def test_preparation_holds_back_whole_speakers(listed, tmp_path):
    out = tmp_path / "out"
    manifests = prepare_own_pairs(listed, out, progress=False)
    rows = {role: read_pairs(path, tmp_path) for role, path in manifests.items()}
    assert {role: len(found) for role, found in rows.items()} == {"train": 6, "valid": 3, "test": 3}
    speakers = [{row.spk_id for row in found} for found in rows.values()]
    assert len(set.union(*speakers)) == sum(map(len, speakers)) == 4
    assert rows["train"][0].duration == pytest.approx(0.2)
    assert "$data_root/noisy/" in manifests["train"].read_text()
    item = PairDataset(rows["test"], RATE)[0]
    torch.testing.assert_close(item["wav"], 2 * item["clean"] + 0.1)
    # a second call makes nothing anew
    before = manifests["train"].stat().st_mtime_ns
    prepare_own_pairs(listed, out, progress=False)
    assert manifests["train"].stat().st_mtime_ns == before


def test_without_speakers_utterances_are_held_back(tmp_path):
    for name in "abcd":
        make_pair(tmp_path, name)
    rows = [[f"noisy/{name}.wav", f"clean/{name}.wav"] for name in "abcd"]
    source = write_csv(tmp_path, rows, ("noisy", "clean"))
    manifests = prepare_own_pairs(source, tmp_path / "out", progress=False)
    sizes = {role: len(read_pairs(path, tmp_path)) for role, path in manifests.items()}
    assert sizes == {"train": 2, "valid": 1, "test": 1}


@pytest.mark.parametrize(
    ("columns", "row", "error", "message"),
    [
        (("noisy",), ["noisy/a.wav"], ValueError, "no column 'clean'"),
        (("wav", "clean"), ["noisy/a.wav", "clean/a.wav"], ValueError, "no column 'noisy'"),
        (
            ("noisy", "clean"),
            ["noisy/a.wav", "clean/none.wav"],
            FileNotFoundError,
            r"row 2, column 'clean': there is no file .*none\.wav",
        ),
        (("noisy", "clean"), ["", "clean/a.wav"], ValueError, "row 2, column 'noisy': it is empty"),
        (("noisy", "clean"), ["noisy/a.wav"], ValueError, "row 2: it has more or fewer fields"),
        (
            ("noisy", "clean", "duration"),
            ["noisy/b.wav", "clean/b.wav", "long"],
            ValueError,
            "row 2, column 'duration': 'long'",
        ),
        (("noisy", "clean"), ["noisy/a.wav", "clean/a.wav"], ValueError, "row 2, column 'ID': 'a'"),
    ],
)
def test_mistakes_in_a_csv_are_told_with_their_place(tmp_path, columns, row, error, message):
    for name in "ab":
        make_pair(tmp_path, name)
    good = {"noisy": "noisy/a.wav", "clean": "clean/a.wav", "wav": "noisy/a.wav", "duration": "1.0"}
    source = write_csv(tmp_path, [[good[column] for column in columns], row], columns)
    with pytest.raises(error, match=message):
        read_pairs(source)


def test_partners_of_two_lengths_and_too_few_pairs_are_refused(tmp_path):
    for name in "abc":
        make_pair(tmp_path, name)
    rows = [[f"noisy/{name}.wav", f"clean/{name}.wav"] for name in "abc"]
    source = write_csv(tmp_path, rows[:2], ("noisy", "clean"))
    with pytest.raises(ValueError, match="has 2 pairs"):
        prepare_own_pairs(source, tmp_path / "out", progress=False)
    write(tmp_path / "clean" / "c.wav", np.zeros(1599))
    source = write_csv(tmp_path, rows, ("noisy", "clean"))
    with pytest.raises(
        ValueError, match=r"1600 samples at 8000 Hz, its partner .* 1599 at 8000 Hz"
    ):
        prepare_own_pairs(source, tmp_path / "out", progress=False)
    (pair,) = [pair for pair in read_pairs(source) if pair.ID == "c"]
    with pytest.raises(ValueError, match="partners must be equally long"):
        PairDataset([pair], RATE)[0]
    (tmp_path / "clean" / "c.wav").write_bytes(b"")
    with pytest.raises(ValueError, match="1 of 6 audio files are bad"):
        prepare_own_pairs(source, tmp_path / "out", progress=False)
    with pytest.raises(ValueError, match="there is no pair"):
        PairDataset([], RATE)


def test_manifests_of_partners_make_pairs():
    noisy, clean = ([Utterance(name, 1.0, f"{kind}/{name}") for name in "ab"] for kind in "nc")
    assert [(pair.wav, pair.clean) for pair in pair_up(noisy, clean)] == [
        ("n/a", "c/a"),
        ("n/b", "c/b"),
    ]
    with pytest.raises(ValueError, match="different utterances"):
        pair_up(noisy, clean[::-1])
