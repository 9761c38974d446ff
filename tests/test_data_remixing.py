"""New mixtures in every epoch, and mixtures of the user's own."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from wavcube.data.corpora import libri2mix
from wavcube.data.mixing.mixtures import MixtureDataset, MixtureRow, RemixedDataset, read_mixtures

RATE = 8000


def write(path, wav, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.asarray(wav, np.float32), rate, subtype="FLOAT")
    return str(path)


@pytest.fixture
def rows(tmp_path):
    """Three mixtures of four speakers, each a constant that tells who it is: 1, 2, 4 and 8."""
    files = {
        name: write(tmp_path / f"{name}.wav", np.full(4000, 0.01 * 2**place))
        for place, name in enumerate("abcd")
    }
    pairs = ["ab", "cd", "ac"]
    return [
        MixtureRow(p, (files[p[0]], files[p[1]]), (1.0, 1.0), spk_id="_".join(p)) for p in pairs
    ]


def remixed(rows, **changes):
    settings = {"crop_seconds": 0.1, "crops_per_epoch": 40, "seed": 3, **changes}
    return RemixedDataset(rows, RATE, **settings)


def test_items_depend_on_seed_epoch_and_index_alone(rows):
    one, two = remixed(rows), remixed(rows)
    for dataset in (one, two):
        dataset.set_epoch(2)
    _ = one[0]
    assert all(torch.equal(one[7][key], two[7][key]) for key in ("wav", "sources"))
    two.set_epoch(3)
    assert any(not torch.equal(one[i]["wav"], two[i]["wav"]) for i in range(5))
    with pytest.raises(IndexError, match="crop 40"):
        one[40]


def test_all_pairs_of_different_speakers_are_mixed(rows):
    sums = {
        round(float(item["wav"][0]) * 100) for item in map(remixed(rows).__getitem__, range(40))
    }
    # of the six sums of two of 1, 2, 4, 8 the list has three
    assert sums == {3, 5, 6, 9, 10, 12}


def test_gains_are_those_of_the_list_within_the_range(rows):
    loud = [MixtureRow(r.ID, r.sources, (10.0, 10.0), spk_id=r.spk_id) for r in rows]
    item = remixed(loud, gain_db=2.0)[0]
    plain = remixed(rows)[0]
    assert item["sources"].shape == plain["sources"].shape == (800, 2)
    torch.testing.assert_close(item["wav"], item["sources"].sum(1))
    ratios = 20 * torch.log10(item["sources"][0] / 0.1)
    steps = torch.tensor([0.0, 6.0206, 12.0412, 18.0618])
    assert ((ratios[:, None] - steps).abs().min(dim=1).values <= 2.0).all()


def test_speed_changes_the_pitch_and_not_the_length(tmp_path):
    time = np.arange(16000) / RATE
    files = [write(tmp_path / f"{n}.wav", np.sin(2 * np.pi * 500 * time)) for n in "ab"]
    rows = [MixtureRow("x", tuple(files), (1.0, 1.0), spk_id="a_b")]
    data = remixed(rows, crop_seconds=0.8, speed=0.1)
    peaks = set()
    for index in range(12):
        sources = data[index]["sources"]
        assert sources.shape == (6400, 2)
        peaks |= set((torch.fft.rfft(sources, dim=0).abs().argmax(dim=0) / 0.8).tolist())
    assert min(peaks) >= 449
    assert max(peaks) <= 551
    assert len(peaks) > 4


def test_noise_of_any_mixture_is_added(rows, tmp_path):
    noise = write(tmp_path / "noise.wav", np.tile([0.5, -0.5], (300, 1)))
    noisy = [MixtureRow(r.ID, r.sources, r.gains, noise, 0.1, spk_id=r.spk_id) for r in rows]
    item = remixed(noisy, noisy=True)[0]
    torch.testing.assert_close(item["wav"], item["sources"].sum(1) + 0.05)
    with pytest.raises(ValueError, match="need the noise of every mixture"):
        remixed([*noisy, rows[0]], noisy=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"crop_seconds": 0}, "crop_seconds and crops_per_epoch must be positive"),
        ({"speed": 1.0}, r"speed 1.0 in \[0, 1\)"),
        ({"gain_db": -1}, "gain_db -1 must be at least 0"),
    ],
)
def test_wrong_settings_are_refused(rows, changes, message):
    with pytest.raises(ValueError, match=message):
        remixed(rows, **changes)


def test_unknown_or_too_few_speakers_are_refused(rows):
    with pytest.raises(ValueError, match=r"'ab' does not name the speakers of its 2 sources"):
        remixed([MixtureRow("ab", rows[0].sources, (1.0, 1.0))])
    with pytest.raises(ValueError, match="need as many, there are 1"):
        remixed([MixtureRow("aa", rows[0].sources, (1.0, 1.0), spk_id="a_a")])


def own_table(folder, **changes):
    """Write a mixture of each split; `changes` are of the second row."""
    table = []
    for place, split in enumerate(("train", "valid", "test")):
        speakers = f"s{2 * place}_s{2 * place + 1}"
        for name in speakers.split("_"):
            write(folder / "wavs" / f"{name}.wav", np.full(1000, 0.1))
        fields = {"mixture_ID": f"m{place}", "split": split, "spk_id": speakers}
        for number, name in enumerate(speakers.split("_"), start=1):
            fields[f"source_{number}_path"] = f"wavs/{name}.wav"
        table.append({**fields, "source_1_gain": "0.5", "noise_path": ""})
    table[1].update(changes)
    with (folder / "own.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return folder / "own.csv"


def test_own_mixtures_are_read_from_one_table(tmp_path):
    table = own_table(tmp_path)
    manifests = libri2mix.prepare_own_mixtures(table, tmp_path / "out", progress=False)
    (row,) = read_mixtures(manifests["valid"], tmp_path)
    assert (row.ID, row.gains, row.spk_id, row.noise) == ("m1", (0.5, 1.0), "s2_s3", "")
    assert row.duration == pytest.approx(1000 / RATE)
    item = MixtureDataset([row], RATE, "min")[0]
    assert float(item["wav"][0]) == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"split": "dev"}, ValueError, r"row 2, column 'split': 'dev' is not one of train"),
        ({"split": "train"}, ValueError, "no mixture whose split is valid"),
        ({"mixture_ID": " "}, ValueError, "row 2, column 'mixture_ID': it is empty"),
        ({"mixture_ID": "m0"}, ValueError, "'m0' stands there twice"),
        ({"source_1_gain": "0"}, ValueError, "row 2, column 'source_1_gain': '0' is not a gain"),
        ({"source_2_path": ""}, ValueError, "row 2, column 'source_2_path': it is empty"),
        ({"source_2_path": "no.wav"}, FileNotFoundError, "row 2, column 'source_2_path'.*no.wav"),
        ({"noise_path": "no.wav"}, FileNotFoundError, "row 2, column 'noise_path'.*no.wav"),
        ({"spk_id": "s2_s2"}, ValueError, "row 2, column 'spk_id': 's2_s2' is not two different"),
        ({"spk_id": "s0_s3"}, ValueError, "1 speakers are in both train and valid"),
    ],
)
def test_what_is_wrong_in_a_table_is_named_by_place(tmp_path, changes, error, message):
    table = own_table(tmp_path, **changes)
    with pytest.raises(error, match=message):
        libri2mix.prepare_own_mixtures(table, tmp_path / "out", progress=False)


def test_a_table_without_a_column_is_refused(tmp_path):
    table = own_table(tmp_path)
    table.write_text(table.read_text().replace("source_2_path", "other"))
    with pytest.raises(ValueError, match="no column 'source_2_path'"):
        libri2mix.prepare_own_mixtures(table, tmp_path / "out", progress=False)


def test_speakers_are_held_back_where_there_is_no_split(tmp_path):
    """Each speaker has one utterance, as in the excerpt of LibriSpeech that tests use."""
    rng = np.random.default_rng(0)
    for speaker in range(8):
        path = tmp_path / "train-clean-100" / str(speaker) / "1" / f"{speaker}-1-0000.wav"
        write(path, 0.1 * rng.standard_normal(8000))
    other = tmp_path / "test-other" / "99" / "1" / "99-1-0000.wav"
    write(other, 0.1 * rng.standard_normal(8000))
    settings = {"sample_rate": RATE, "counts": dict.fromkeys(("train", "valid", "test"))}

    def prepare(out, **changes):
        more = {"held_out_speakers": 2, "progress": False, **changes}
        manifests = libri2mix.prepare_drawn(tmp_path, tmp_path / out, **settings, **more)
        return {role: read_mixtures(path, tmp_path) for role, path in manifests.items()}

    with pytest.raises(ValueError, match=r"of test there are: \['99'\]"):
        prepare("a")
    rows = prepare("b", held_out_roles=["valid", "test"])
    assert {role: len(found) for role, found in rows.items()} == {"train": 2, "valid": 1, "test": 1}
    speakers = [{s for row in found for s in row.spk_id.split("_")} for found in rows.values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 8
    with pytest.raises(ValueError, match="from 1 to 7 of the 8 speakers can be held out, not 9"):
        prepare("c", held_out_roles=["test"], held_out_speakers=9)
    with pytest.raises(ValueError, match=r"held_out_roles .* not \['dev'\]"):
        prepare("d", held_out_roles=["dev", "test"])


def test_mixtures_of_real_speech_are_of_speakers_held_out(shared, tmp_path):
    counts = {"train": 4, "valid": 2, "test": 3}
    manifests = libri2mix.prepare_drawn(
        shared / "data" / "LibriSpeech", tmp_path, sample_rate=16000, counts=counts,
        held_out_roles=["valid", "test"], held_out_speakers=12, progress=False,
    )  # fmt: skip
    rows = {role: read_mixtures(path, "/speech") for role, path in manifests.items()}
    assert {role: len(found) for role, found in rows.items()} == counts
    paths = [path for found in rows.values() for row in found for path in row.sources]
    assert all("train-clean-100" in path for path in paths), "nothing of test-other"
    assert min(row.duration for found in rows.values() for row in found) > 1.0


def test_each_kind_of_data_is_recognised(tmp_path, monkeypatch):
    hparams = {
        "data_folder": "given", "mode": "min", "max_bad_fraction": 0.01, "noisy": False,
        "noise_folder": "noises", "metadata_folder": None, "train_splits": ["train-clean-100"],
        "mixtures": {"train": 3}, "min_seconds": 1.0, "held_out_roles": [],
        "held_out_speakers": 2, "data_seed": 5,
    }  # fmt: skip
    called = []
    for name in ("published", "drawn", "generated", "own_mixtures"):
        monkeypatch.setattr(
            libri2mix, f"prepare_{name}", lambda *a, n=name, **k: called.append((n, k))
        )
    (tmp_path / "Libri2Mix" / "wav8k").mkdir(parents=True)
    (tmp_path / "own.csv").touch()
    for source, changes in [
        ("own.csv", {}),
        ("Libri2Mix", {}),
        (".", {}),
        (".", {"metadata_folder": "metadata", "noisy": True}),
    ]:
        libri2mix.prepare_mixtures(
            tmp_path / source, tmp_path / "out", {**hparams, **changes}, RATE
        )
    assert [name for name, _ in called] == ["own_mixtures", "generated", "drawn", "published"]
    assert called[1][1]["train_splits"] == ["train-100"]
    assert called[2][1]["noise_folder"] is None
    assert called[3][1]["noise_folder"] == "noises"
    silent = {**hparams, "noisy": True, "noise_folder": None}
    made = {"train": SimpleNamespace(noises="made")}
    monkeypatch.setattr(libri2mix, "make_synthetic_noises", lambda folder: made)
    own = {**silent, "data_folder": None, "synthetic_folder": "cache"}
    libri2mix.prepare_mixtures(tmp_path, tmp_path / "out", own, RATE)
    assert called[4] == ("drawn", {**called[4][1], "noise_folder": {"train": "made"}})
    with pytest.raises(ValueError, match="noisy mixtures need noise"):
        libri2mix.prepare_mixtures(tmp_path, tmp_path / "out", silent, RATE)
