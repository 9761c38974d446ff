"""Folders of sound: every command finds the same files in them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from releases import random_release

from wavcube.data.audio import write_audio
from wavcube.features import FeatureFolder
from wavcube.testing import tone
from wavcube.utils.files import walk_files

SUFFIXES = (".wav", ".flac")


@pytest.fixture
def folder(tmp_path):
    """Two clips, one in a folder behind a link; a link to the parent; what must stay out."""
    here = tmp_path / "speech"
    for place in (here / "a.wav", tmp_path / "elsewhere" / "b.flac"):
        write_audio(place, tone(1.5), 16000)
    (here / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(here)
    (here / "._a.wav").write_bytes(b"macOS keeps the other half of a file here")
    for hidden in (".trash/c.wav", ".b.wav.partial-1.wav"):
        write_audio(here / hidden, tone(1.5), 16000)
    return here


def test_links_are_followed_and_nothing_is_found_twice(folder):
    found = [path.relative_to(folder).as_posix() for path in walk_files(folder, SUFFIXES)]
    assert found == ["a.wav", "linked/b.flac"]


def test_a_link_to_nowhere_is_found_so_that_it_is_told_of(folder):
    (folder / "gone.wav").symlink_to("nowhere.wav")
    assert [path.name for path in walk_files(folder, SUFFIXES)] == ["a.wav", "gone.wav", "b.flac"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every folder")
def test_a_folder_that_may_not_be_read_is_told_of(folder, caplog):
    (folder / "locked").mkdir(mode=0)
    assert len(list(walk_files(folder, SUFFIXES))) == 2
    assert "locked is passed over: Permission denied" in caplog.text


def test_there_must_be_a_folder(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        list(walk_files(tmp_path / "no", SUFFIXES))


@pytest.mark.slow
def test_all_commands_find_the_same_files(folder, tmp_path):
    source = str(random_release(tmp_path / "model"))
    model, found = ["--source", source, "--device", "cpu"], {}

    def run(*arguments):
        command = [sys.executable, "-m", "wavcube", *map(str, arguments)]
        subprocess.run(command, check=True, capture_output=True)

    for verb in ("encode", "resynth"):
        run(verb, folder, "--out", tmp_path / verb, *model)
        found[verb] = {path.stem for path in (tmp_path / verb).rglob("*.*")}
    run("extract", folder, tmp_path / "features", *model)
    found["extract"] = {Path(name).name for name in FeatureFolder(tmp_path / "features")}
    run("manifest", folder, tmp_path / "a.jsonl")
    lines = (tmp_path / "a.jsonl").read_text().splitlines()
    found["manifest"] = {Path(json.loads(line)["path"]).stem for line in lines}
    run("evaluate", folder, folder, "--json", tmp_path / "a.json", "--metrics", "stoi")
    scored = json.loads((tmp_path / "a.json").read_text())["files"]
    found["evaluate"] = {Path(clip["name"]).name for clip in scored}
    assert found == {verb: {"a", "b"} for verb in found}
