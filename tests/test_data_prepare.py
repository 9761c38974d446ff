"""A user's own audio to manifests: once, and again when anything has changed."""

import csv
import os
from pathlib import Path

import pytest
from sounds import audio, spoil, three_speakers

from wavcube.data.manifest import read_manifest
from wavcube.data.prepare import prepare_own_audio


@pytest.fixture
def folder(tmp_path):
    return three_speakers(tmp_path / "own")


def test_own_folder_becomes_manifests(folder, tmp_path):
    manifests = prepare_own_audio(folder, tmp_path / "out", progress=False)
    rows = {name: read_manifest(path, folder) for name, path in manifests.items()}
    assert {name: len(found) for name, found in rows.items()} == {
        "train": 10,
        "valid": 1,
        "test": 1,
    }
    everything = [row.wav for found in rows.values() for row in found]
    assert sorted(everything) == sorted(str(p) for p in folder.rglob("*.*"))
    assert "$data_root/" in manifests["train"].read_text()
    assert str(tmp_path) not in manifests["train"].read_text()


def test_own_csv_becomes_manifests(folder, tmp_path):
    with (folder / "my.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ID", "wav", "spk_id", "wrd"])
        writer.writerows(
            [i, f"{s}/{i % 4}.{'wf'[i % 2]}{['av', 'lac'][i % 2]}", s, "HI"]
            for i, s in enumerate(["ann"] * 4 + ["bob"] * 4)
        )
    manifests = prepare_own_audio(
        folder / "my.csv", tmp_path / "out", valid_fraction=0.25, progress=False
    )
    rows = read_manifest(manifests["valid"], folder)
    assert len(rows) == 2
    assert rows[0].wrd == "HI"
    assert rows[0].duration > 0.09


def test_preparation_is_done_once(folder, tmp_path, monkeypatch):
    def prepare(**changes):
        return prepare_own_audio(folder, tmp_path / "out", progress=False, **changes)

    manifests = prepare()
    first = {name: path.read_bytes() for name, path in manifests.items()}

    def forbidden(*args, **kwargs):
        raise AssertionError("prepared again")

    with monkeypatch.context() as patch:
        patch.setattr("wavcube.data.prepare.scan_audio_folder", forbidden)
        assert prepare() == manifests
        for changes in ({"seed": 5}, {"valid_fraction": 0.3}):
            with pytest.raises(AssertionError, match="prepared again"):
                prepare(**changes)
        for name in ("train.csv", "prepared.json"):
            (tmp_path / "out" / name).write_text("damaged")
            with pytest.raises(AssertionError, match="prepared again"):
                prepare()
    prepare()
    assert {name: path.read_bytes() for name, path in manifests.items()} == first
    audio(folder / "dora" / "new.wav")
    prepare()
    assert len(read_manifest(manifests["train"], folder)) == 11


def test_two_processes_may_prepare_at_once(folder, tmp_path, monkeypatch):
    def prepare():
        return prepare_own_audio(folder, tmp_path / "out", progress=False)

    replace = Path.replace

    def overtaken(path, target):
        if Path(target).name == "prepared.json":
            monkeypatch.setattr(Path, "replace", replace)
            monkeypatch.setattr(os, "getpid", lambda: 1)
            prepare()  # the other, from beginning to end
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", overtaken)
    manifests = prepare()
    assert Path.replace is replace, "the other has run"
    monkeypatch.setattr("wavcube.data.prepare.scan_audio_folder", None)
    assert prepare() == manifests
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "train.csv", "valid.csv", "test.csv", "prepared.json"
    }  # fmt: skip


def test_changed_audio_of_the_same_size_is_noticed(folder, tmp_path):
    def prepare():
        manifests = prepare_own_audio(folder, tmp_path / "out", max_bad_fraction=1, progress=False)
        return sum(len(read_manifest(path, folder)) for path in manifests.values())

    assert prepare() == 12
    path = folder / "ann" / "0.wav"
    size = path.stat().st_size
    path.write_bytes(bytes(size))
    assert prepare() == 11
    (folder / "bob").rename(folder / "bea")
    assert prepare() == 11
    assert "bea/" in (tmp_path / "out" / "train.csv").read_text()


def test_a_copy_that_lost_its_times_gives_the_same_manifests(folder, tmp_path):
    def prepare():
        manifests = prepare_own_audio(folder, tmp_path / "out", progress=False)
        return {name: path.read_bytes() for name, path in manifests.items()}

    first = prepare()
    for path in folder.rglob("*.*"):
        os.utime(path, (1, 1))
    assert prepare() == first


def test_bad_files_of_own_audio_are_listed(tmp_path):
    spoil(tmp_path / "own", 1, 100)
    prepare_own_audio(tmp_path / "own", tmp_path / "out", progress=False)
    with (tmp_path / "out" / "bad_files.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 1
    assert rows[0]["wav"].endswith("000.wav")
    assert "truncated" in rows[0]["reason"]


def test_bad_sources_write_nothing(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(FileNotFoundError, match="no folder or CSV file"):
        prepare_own_audio(tmp_path / "none", out)
    audio(tmp_path / "two" / "a.wav")
    audio(tmp_path / "two" / "b.wav")
    with pytest.raises(ValueError, match="has 2 utterances"):
        prepare_own_audio(tmp_path / "two", out, progress=False)
    spoil(tmp_path / "bad", 2, 100)
    with pytest.raises(ValueError, match="2 of 100"):
        prepare_own_audio(tmp_path / "bad", out, progress=False)
    assert not out.exists()
