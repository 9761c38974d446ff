"""The three ways to the manifests of Libri2Mix: published, drawn and generated."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from mixture_files import RATE, noise_of, write

from wavcube.data.corpora import libri2mix
from wavcube.data.corpora import libri2mix_drawn as drawn
from wavcube.data.mixing.mixtures import MixtureDataset, read_mixtures

SPLITS = {"train-clean-100": (1, 2, 3), "dev-clean": (11, 12), "test-clean": (21, 22)}


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "LibriSpeech"
    for split, speakers in SPLITS.items():
        for speaker in speakers:
            for index in range(2):
                name = f"{speaker}-7-{index:04d}"
                samples = noise_of(8000 + 100 * speaker, 10 * speaker + index)
                write(root / split / str(speaker) / "7" / f"{name}.flac", samples)
    return root


@pytest.fixture
def noises(tmp_path):
    for place, (role, size) in enumerate((("tr", 20000), ("cv", 9000), ("tt", 9000))):
        write(tmp_path / "wham" / role / f"n{place + 1}.wav", noise_of(size, 5 + place))
    return tmp_path / "wham"


def published(tmp_path, changes=lambda role, fields: fields):
    """Metadata of one mixture for each split, in LibriMix's columns."""
    folder = tmp_path / "metadata"
    folder.mkdir(exist_ok=True)
    for split, (one, two, *_) in SPLITS.items():
        fields = {
            "mixture_ID": f"{one}-7-0000_{two}-7-0001",
            "source_1_path": f"{split}/{one}/7/{one}-7-0000.flac",
            "source_1_gain": "0.5",
            "source_2_path": f"{split}/{two}/7/{two}-7-0001.flac",
            "source_2_gain": "1.5",
            "noise_path": "tr/n1.wav",
            "noise_gain": "0.25",
        }
        assert tuple(fields) == libri2mix.COLUMNS
        fields = changes(split, fields)
        with (folder / f"libri2mix_{split}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(fields))
            writer.writeheader()
            writer.writerow(fields)
    return folder


def test_published_metadata_become_manifests(corpus, noises, tmp_path):
    folder = published(tmp_path)
    settings = {"noise_folder": noises, "progress": False}
    manifests = libri2mix.prepare_published(corpus, folder, tmp_path / "out", **settings)
    (row,) = read_mixtures(manifests["train"], corpus)
    assert row.ID == "1-7-0000_2-7-0001"
    assert row.gains == (0.5, 1.5)
    assert row.noise_gain == 0.25
    assert row.spk_id == "1_2"
    assert row.duration == pytest.approx(8100 / RATE)
    assert "$data_root/train-clean-100/1/7" in manifests["train"].read_text()
    item = MixtureDataset([row], RATE, "min", noisy=True)[0]
    assert item["wav"].shape == (8100,)
    longest = libri2mix.prepare_published(
        corpus, folder, tmp_path / "max", mode="max", progress=False
    )
    (row,) = read_mixtures(longest["train"], corpus)
    assert row.duration == pytest.approx(8200 / RATE)
    assert row.noise == ""


def without(column):
    return lambda split, fields: {k: v for k, v in fields.items() if k != column}


def instead(**values):
    return lambda split, fields: {**fields, **values}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        (without("source_2_gain"), ValueError, "has no column 'source_2_gain'"),
        (without("noise_path"), ValueError, "has no column 'noise_path'"),
        (instead(source_1_gain="loud"), ValueError, r"row 1, column 'source_1_gain': 'loud'"),
        (instead(noise_gain="-1"), ValueError, r"row 1, column 'noise_gain': '-1'"),
        (instead(mixture_ID=" "), ValueError, r"row 1, column 'mixture_ID': it is empty"),
        (instead(noise_path="tr/no.wav"), FileNotFoundError, r"row 1, column 'noise_path'.*no.wav"),
        (instead(source_2_path="x.flac"), FileNotFoundError, r"row 1, column 'source_2_path'"),
        (
            instead(source_2_path="train-clean-100/1/7/1-7-0001.flac"),
            ValueError,
            "row 1: both sources are of speaker 1",
        ),
    ],
)
def test_wrong_metadata_are_named_by_place(corpus, noises, tmp_path, changes, error, message):
    folder = published(tmp_path, changes)
    with pytest.raises(error, match=message):
        libri2mix.prepare_published(
            corpus, folder, tmp_path / "out", noise_folder=noises, progress=False
        )


def test_clean_mixtures_need_no_noise_columns(corpus, tmp_path):
    folder = published(tmp_path, without("noise_path"))
    manifests = libri2mix.prepare_published(corpus, folder, tmp_path / "out", progress=False)
    assert sorted(manifests) == ["test", "train", "valid"]


def test_drawn_mixtures_are_seeded_and_of_two_speakers(corpus, noises, tmp_path):
    def prepare(out, **changes):
        settings = {
            "sample_rate": RATE,
            "counts": {"train": 5, "valid": 2, "test": 2},
            "noise_folder": noises,
            "min_seconds": 0.4,
            "progress": False,
            **changes,
        }
        manifests = libri2mix.prepare_drawn(corpus, tmp_path / out, **settings)
        return {role: read_mixtures(path, corpus) for role, path in manifests.items()}

    rows = prepare("a")
    assert rows == prepare("b")
    # a file of 0.1 s has no loudness, and is not drawn
    write(corpus / "dev-clean" / "11" / "7" / "11-7-0009.flac", noise_of(1600, 1))
    short = prepare("short", counts={"train": 5, "valid": 9, "test": None})
    assert len(short["valid"]) == 4
    assert len(short["test"]) == 2
    assert not any("0009" in row.ID for row in short["valid"])
    assert rows["train"] != prepare("c", seed=5)["train"]
    assert {role: len(found) for role, found in rows.items()} == {"train": 5, "valid": 2, "test": 2}
    assert len({frozenset(row.sources) for row in rows["train"]}) == 5
    kinds = {role: {row.noise.split("/")[-2] for row in found} for role, found in rows.items()}
    assert kinds == {"train": {"tr"}, "valid": {"cv"}, "test": {"tt"}}, "no noise serves two roles"
    for row in rows["train"]:
        speakers = {source.split("/")[-3] for source in row.sources}
        assert len(speakers) == 2
        assert speakers <= {"1", "2", "3"}
    first_pass = [source for row in rows["train"][:2] for source in row.sources]
    assert len(set(first_pass)) == 4


def test_drawn_levels_are_librimixs(corpus, noises, tmp_path):
    import torchaudio

    manifests = libri2mix.prepare_drawn(
        corpus, tmp_path / "out", sample_rate=RATE, counts={"train": 6, "valid": 1, "test": 1},
        noise_folder=noises, min_seconds=0.4, progress=False,
    )  # fmt: skip
    heard = []
    for row in read_mixtures(manifests["train"], corpus):
        sources = MixtureDataset([row], RATE, "max")[0]["sources"]
        for column in sources.T:
            heard.append(float(torchaudio.functional.loudness(column[None], RATE)))
    assert min(heard) > -33.5
    assert max(heard) < -24.5
    assert max(heard) - min(heard) > 2


def test_noise_is_measured_as_it_is_mixed_its_first_channel_alone(tmp_path):
    from wavcube.data.manifest import Utterance

    files = {
        "1-1-1": noise_of(16000, 1),
        "2-2-2": noise_of(16000, 2),
        "mono": noise_of(16000, 3),
        "stereo": np.stack([noise_of(16000, 3), noise_of(16000, 4)], axis=1),
    }
    rows = {
        name: Utterance(name, 1.0, write(tmp_path / f"{name}.wav", wav), name[0])
        for name, wav in files.items()
    }
    voices, drawn_gains = [rows["1-1-1"], rows["2-2-2"]], {}
    for name in ("mono", "stereo"):
        (row,) = drawn.draw_mixtures(voices, [rows[name]], 1, sample_rate=RATE, seed=1)
        drawn_gains[name] = row.noise_gain
    assert drawn_gains["stereo"] == pytest.approx(drawn_gains["mono"])


def test_a_speaker_is_a_folder_of_the_split(tmp_path):
    speakers = {"train-a": ("ann", "bob"), "dev-a": ("cy", "di"), "test-a": ("ed", "flo")}
    for split, names in speakers.items():
        for name in names:
            for index in range(2):
                write(tmp_path / "own" / split / name / f"{index}.wav", noise_of(16000, index))
    manifests = libri2mix.prepare_drawn(
        tmp_path / "own", tmp_path / "out", sample_rate=RATE, progress=False,
        counts={"train": 9, "valid": 1, "test": 1}, min_seconds=0.4,
    )  # fmt: skip
    train = read_mixtures(manifests["train"], tmp_path / "own")
    assert len(train) == 4  # every recording of the one with every one of the other
    assert {frozenset(row.spk_id.split("_")) for row in train} == {frozenset({"ann", "bob"})}
    assert len({row.ID for row in train}) == 4


def test_loud_mixture_is_turned_down_as_a_whole(tmp_path, monkeypatch):
    from wavcube.data.manifest import Utterance

    # a click makes the peak, not the loudness
    for name in ("1-1-1", "2-2-2"):
        wav = 0.01 * noise_of(16000, 3)
        wav[100] = 0.9
        write(tmp_path / f"{name}.wav", wav)
    rows = [Utterance(n, 1.0, str(tmp_path / f"{n}.wav"), n[0]) for n in ("1-1-1", "2-2-2")]
    monkeypatch.setattr(drawn, "SPEECH_LOUDNESS", (-20.0, -20.0))
    (row,) = drawn.draw_mixtures(rows, [], 3, sample_rate=RATE, seed=1)
    assert MixtureDataset([row], RATE, "max")[0]["wav"].abs().max() == pytest.approx(0.9, rel=1e-4)
    assert row.gains[0] == pytest.approx(row.gains[1])


def test_one_speaker_or_silence_is_refused(tmp_path):
    from wavcube.data.manifest import Utterance

    path = write(tmp_path / "1-1-1.wav", np.zeros(16000))
    rows = [Utterance(str(i), 1.0, path, str(speaker)) for i, speaker in enumerate((1, 1))]
    with pytest.raises(ValueError, match=r"two speakers at the least, of these there are: \['1'\]"):
        drawn.draw_mixtures(rows, [], 1, sample_rate=RATE, seed=0)
    rows[1] = Utterance("2", 1.0, path, "2")
    with pytest.raises(ValueError, match="silent or shorter"):
        drawn.draw_mixtures(rows, [], 1, sample_rate=RATE, seed=0)


def test_generated_folders_are_read(tmp_path):
    root = tmp_path / "Libri2Mix"
    for split, (one, two, *_) in SPLITS.items():
        name = f"{one}-7-0000_{two}-7-0001.wav"
        for place, kind in enumerate(("mix_clean", "mix_both", "s1", "s2", "noise")):
            folder = root / "wav8k" / "max" / split.replace("-clean", "")
            write(folder / kind / name, noise_of(4000, place), 8000)
    settings = {"sample_rate": 8000, "mode": "max", "progress": False}
    for noisy, seed in ((False, 0), (True, 1)):
        manifests = libri2mix.prepare_generated(
            root, tmp_path / str(noisy), noisy=noisy, **settings
        )
        (row,) = read_mixtures(manifests["test"], root)
        assert row.spk_id == "21_22"
        item = MixtureDataset([row], 8000, "max", noisy=noisy)[0]
        np.testing.assert_array_equal(item["wav"], noise_of(4000, seed))
        np.testing.assert_array_equal(item["sources"][:, 1], noise_of(4000, 3))
    (root / "wav8k/max/dev/s2/11-7-0000_12-7-0001.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"mix_clean/.*has no source .*s2"):
        libri2mix.prepare_generated(root, tmp_path / "again", **settings)


def write_generated(root, rate, speakers=(31, 33, 35, 37)):
    """A generated Libri2Mix: two mixtures of each pair of test speakers, one of the others."""
    names = {split: [f"{one}-7-0000_{two}-7-0001.wav"] for split, (one, two, *_) in SPLITS.items()}
    (test,) = [split for split in names if split.startswith("test")]
    names[test] = [f"{n}-7-000{i}_{n + 1}-7-000{i}.wav" for n in speakers for i in range(2)]
    for split, found in names.items():
        for name in found:
            for kind in ("mix_clean", "s1", "s2"):
                folder = root / f"wav{rate // 1000}k" / "min" / split.replace("-clean", "")
                write(folder / kind / name, noise_of(rate // 4, 1), rate)
    return root


def test_a_limit_spreads_over_the_speakers_of_a_generated_libri2mix(tmp_path):
    root = write_generated(tmp_path / "Libri2Mix", 16000)
    settings = {"limit": {"test": 4}, "progress": False}
    manifests = libri2mix.prepare_generated(root, tmp_path / "out", **settings)
    found = [row.spk_id for row in read_mixtures(manifests["test"], root)]
    assert found == ["31_32", "33_34", "35_36", "37_38"]


@pytest.mark.parametrize(("rate", "stored"), [(24000, 16000), (8000, 16000), (8000, 8000)])
def test_models_of_any_rate_read_a_generated_libri2mix(tmp_path, rate, stored):
    root = write_generated(tmp_path / "Libri2Mix", stored)
    settings = {"sample_rate": rate, "progress": False}
    manifests = libri2mix.prepare_generated(root, tmp_path / "out", **settings)
    row = read_mixtures(manifests["test"], root)[0]
    assert f"wav{stored // 1000}k" in row.mixture
    assert len(MixtureDataset([row], rate, "min")[0]["wav"]) == rate // 4


def test_roles_share_no_speaker_and_a_second_call_returns_at_once(corpus, tmp_path, monkeypatch):
    folder = published(tmp_path)
    first = libri2mix.prepare_published(corpus, folder, tmp_path / "out", progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(libri2mix, "check_files", None)
        again = libri2mix.prepare_published(corpus, folder, tmp_path / "out", progress=False)
    assert again == first
    (folder / "libri2mix_dev-clean.csv").write_text(
        (folder / "libri2mix_train-clean-100.csv").read_text()
    )
    with pytest.raises(ValueError, match="in both train and valid"):
        libri2mix.prepare_published(corpus, folder, tmp_path / "out", progress=False)
