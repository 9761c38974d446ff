"""LibriSpeech's folders to manifests."""

from __future__ import annotations

import numpy as np
import pytest
import soundfile

from wavcube.data import prepare
from wavcube.data.corpora import librispeech
from wavcube.data.manifest import read_manifest, write_manifest

RATE = 16000


def add_split(root, split, speakers, utterances=3, words="HELLO THERE"):
    for speaker in speakers:
        folder = root / split / str(speaker) / "77"
        folder.mkdir(parents=True)
        lines = []
        for index in range(utterances):
            name = f"{speaker}-77-{index:04d}"
            samples = 0.1 * np.random.default_rng(index).standard_normal(1600)
            soundfile.write(folder / f"{name}.flac", samples, RATE)
            lines.append(f"{name} {words}\n")
        if words:
            (folder / f"{speaker}-77.trans.txt").write_text("".join(lines))


@pytest.fixture
def corpus(tmp_path):
    root = tmp_path / "LibriSpeech"
    add_split(root, "train-clean-100", range(1, 7), words="")
    add_split(root, "test-other", [21, 22])
    return root


def read(manifests, root):
    return {name: read_manifest(path, root) for name, path in manifests.items()}


def test_speakers_are_held_back_when_there_is_no_dev_split(corpus, tmp_path):
    def prepare(out, **settings):
        manifests = librispeech.prepare_librispeech(
            corpus, tmp_path / out, held_out_speakers=2, progress=False, **settings
        )
        return read(manifests, corpus)

    rows = prepare("a")
    assert {name: len(found) for name, found in rows.items()} == {
        "train": 12,
        "valid": 6,
        "test": 6,
    }
    speakers = {name: {row.spk_id for row in found} for name, found in rows.items()}
    assert len(speakers["valid"]) == 2
    assert not speakers["train"] & speakers["valid"]
    assert speakers["train"] | speakers["valid"] == {"1", "2", "3", "4", "5", "6"}
    assert speakers["test"] == {"21", "22"}
    assert prepare("b") == rows
    others = [prepare(f"seed{seed}", seed=seed)["valid"] for seed in range(4)]
    assert any(other != rows["valid"] for other in others)


def test_transcripts_are_read_where_there_are_any(corpus, tmp_path):
    manifests = librispeech.prepare_librispeech(
        corpus, tmp_path / "out", held_out_speakers=1, progress=False
    )
    rows = read(manifests, corpus)
    assert {row.wrd for row in rows["train"]} == {""}
    assert {row.wrd for row in rows["test"]} == {"HELLO THERE"}
    assert rows["test"][0].ID == "21-77-0000"
    assert rows["test"][0].duration == 0.1
    assert "$data_root/test-other/21/77/21-77-0000.flac" in manifests["test"].read_text()


def test_a_dev_split_is_used(corpus, tmp_path):
    add_split(corpus, "dev-clean", [11])
    rows = read(librispeech.prepare_librispeech(corpus, tmp_path / "out", progress=False), corpus)
    assert len(rows["train"]) == 18
    assert {row.spk_id for row in rows["valid"]} == {"11"}


def test_named_splits_alone_are_used(corpus, tmp_path):
    add_split(corpus, "dev-clean", [11])
    add_split(corpus, "test-clean", [31])
    rows = read(
        librispeech.prepare_librispeech(
            corpus,
            tmp_path / "out",
            valid_splits=[],
            test_splits=["test-clean"],
            held_out_speakers=1,
            progress=False,
        ),
        corpus,
    )
    assert len(rows["valid"]) == 3
    assert {row.spk_id for row in rows["test"]} == {"31"}


def test_preparation_resumes(corpus, tmp_path, monkeypatch):
    def prepare(**changes):
        settings = {"held_out_speakers": 2, "progress": False, **changes}
        return librispeech.prepare_librispeech(corpus, tmp_path / "out", **settings)

    manifests = prepare()

    def forbidden(*args, **kwargs):
        raise AssertionError("prepared again")

    with monkeypatch.context() as patch:
        patch.setattr(librispeech, "check_files", forbidden)
        assert prepare() == manifests
        with pytest.raises(AssertionError, match="prepared again"):
            prepare(held_out_speakers=1)
        manifests["valid"].unlink()
        with pytest.raises(AssertionError, match="prepared again"):
            prepare()
    prepare()
    assert manifests["valid"].is_file()
    with monkeypatch.context() as patch:
        patch.setattr(librispeech, "check_files", forbidden)
        (corpus / "test-other/21/77/21-77.trans.txt").write_text("21-77-0000 GOODBYE\n")
        with pytest.raises(AssertionError, match="prepared again"):
            prepare()


def test_an_interrupted_preparation_starts_again(corpus, tmp_path, monkeypatch):
    real, calls = write_manifest, []
    defaults = prepare.prepare_once.__kwdefaults__

    def dies(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*args, **kwargs)

    with monkeypatch.context() as patch:
        # what prepare_once calls for each manifest unless told otherwise
        patch.setattr(prepare.prepare_once, "__kwdefaults__", {**defaults, "write": dies})
        with pytest.raises(KeyboardInterrupt):
            librispeech.prepare_librispeech(
                corpus, tmp_path / "out", held_out_speakers=2, progress=False
            )
    manifests = librispeech.prepare_librispeech(
        corpus, tmp_path / "out", held_out_speakers=2, progress=False
    )
    assert len(read(manifests, corpus)["test"]) == 6


def test_a_speaker_in_two_splits_is_refused(corpus, tmp_path):
    add_split(corpus, "test-clean", [3])
    with pytest.raises(ValueError, match="1 speakers are in both test and train, for example 3"):
        librispeech.prepare_librispeech(
            corpus, tmp_path / "out", valid_splits=["test-other"], test_splits=["test-clean"]
        )


def test_a_split_in_two_roles_is_refused(corpus, tmp_path):
    with pytest.raises(ValueError, match="test-other is named 2 times"):
        librispeech.prepare_librispeech(
            corpus, tmp_path, valid_splits=["test-other"], test_splits=["test-other"]
        )


def test_missing_folders_and_splits(corpus, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        librispeech.prepare_librispeech(tmp_path / "none", tmp_path / "out")
    with pytest.raises(FileNotFoundError, match=r"no split train-other-500.*test-other"):
        librispeech.prepare_librispeech(corpus, tmp_path / "out", train_splits=["train-other-500"])
    with pytest.raises(ValueError, match=r"no split to train on.*pass .*LibriSpeech"):
        librispeech.prepare_librispeech(tmp_path, tmp_path / "out")
    with pytest.raises(ValueError, match="no split to test on"):
        librispeech.prepare_librispeech(corpus, tmp_path / "out", test_splits=[])
    assert not (tmp_path / "out").exists()


def test_too_many_bad_files_stop_and_few_are_listed(corpus, tmp_path):
    bad = corpus / "train-clean-100/1/77/1-77-0000.flac"
    bad.write_bytes(bad.read_bytes()[:500])
    with pytest.raises(
        ValueError, match=r"1 of 24 audio files are bad(.|\n)*1-77-0000.flac is trun"
    ):
        librispeech.prepare_librispeech(corpus, tmp_path / "out", progress=False)
    assert not (tmp_path / "out").exists()
    manifests = librispeech.prepare_librispeech(
        corpus, tmp_path / "out", held_out_speakers=1, max_bad_fraction=0.05, progress=False
    )
    rows = read(manifests, corpus)
    assert len(rows["train"] + rows["valid"]) == 17
    assert "1-77-0000.flac" in (tmp_path / "out/bad_files.csv").read_text()


def test_malformed_folders_and_transcripts(corpus, tmp_path):
    trans = corpus / "test-other/21/77/21-77.trans.txt"
    trans.write_text("21-77-0000 HELLO\n\n21-77-0001\n")
    with pytest.raises(ValueError, match=r"21-77\.trans\.txt, line 3"):
        librispeech.prepare_librispeech(corpus, tmp_path / "out", progress=False)
    trans.unlink()
    soundfile.write(corpus / "test-other/stray.wav", np.ones(100), RATE)
    with pytest.raises(ValueError, match=r"stray\.wav is in no speaker's folder"):
        librispeech.prepare_librispeech(corpus, tmp_path / "out", progress=False)


def test_librispeech_is_told_from_other_folders(corpus, tmp_path):
    assert librispeech.is_librispeech(corpus)
    assert not librispeech.is_librispeech(tmp_path)
    assert not librispeech.is_librispeech(tmp_path / "none")
    # a user's own folders
    for name in ("test-takes", "train-station", "dev-", "test-clean-take2"):
        (tmp_path / "own" / name).mkdir(parents=True)
    (tmp_path / "own" / "test-clean").touch()
    assert not librispeech.is_librispeech(tmp_path / "own")


def test_other_folders_beside_the_splits_are_left_out(corpus, tmp_path):
    add_split(corpus, "test-clean", [31])
    add_split(corpus, "test-takes", [32])
    found = librispeech.choose_splits(corpus, {"train": None, "valid": None, "test": None})
    assert found == {
        "train": ["train-clean-100"], "valid": [], "test": ["test-clean", "test-other"]
    }  # fmt: skip
    found = librispeech.choose_splits(
        corpus, {"train": None, "valid": ["test-takes"], "test": None}
    )
    assert found["valid"] == ["test-takes"]


def test_real_speech(shared, tmp_path):
    root = shared / "data" / "LibriSpeech"
    rows = read(librispeech.prepare_librispeech(root, tmp_path, progress=False), root)
    assert len(rows["train"]) + len(rows["valid"]) == 251
    assert len({row.spk_id for row in rows["valid"]}) == 10
    assert len(rows["test"]) == 50
    assert all(row.wrd for row in rows["test"])
