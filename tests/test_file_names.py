"""File names of any bytes: read, written, listed, and named in what is said."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from releases import random_release

from wavcube.data.audio import AudioWriter, LongAudio, read_audio, write_audio
from wavcube.data.manifest import write_manifest
from wavcube.data.prepare import scan_audio_folder
from wavcube.data.segments import open_segments
from wavcube.features import FeatureFolder
from wavcube.testing import tone

LATIN = os.fsdecode(b"caf\xe9")  # as an old disk or an unpacked archive has it
GERMAN = "größe"


@pytest.fixture
def folder(tmp_path):
    for name in (LATIN, GERMAN):
        write_audio(tmp_path / "speech" / f"{name}.wav", tone(0.5), 16000)
    return tmp_path / "speech"


def test_files_are_read_and_written(folder):
    path = folder / f"{LATIN}.wav"
    wav = read_audio(path, 16000)
    assert len(wav) == sum(map(len, LongAudio(path, 16000).blocks())) == 8000
    with AudioWriter(path.with_suffix(".flac"), 16000) as writer:
        writer.write(wav)
    assert len(read_audio(path.with_suffix(".flac"), 16000)) == 8000


def test_a_csv_names_the_file_that_it_cannot_hold(folder, tmp_path):
    scanned = scan_audio_folder(folder)
    assert [row.ID for row in scanned.utterances] == [r"caf\xe9", GERMAN]
    with pytest.raises(ValueError, match=r"caf\\udce9\.wav': a name that is not UTF-8"):
        write_manifest(tmp_path / "a.csv", scanned.utterances)
    assert not list(tmp_path.glob("*a.csv*"))


@pytest.mark.parametrize("locale", ["C.UTF-8", "C"])
def test_commands_take_them_in_any_locale(folder, tmp_path, locale):
    source = str(random_release(tmp_path / "model"))
    # without them Python takes C for UTF-8
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}

    def run(*arguments):
        command = [sys.executable, "-m", "wavcube", *map(str, arguments)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    model = ["--source", source, "--device", "cpu"]
    run("encode", folder, "--out", tmp_path / "latents", *model)
    assert {path.stem for path in (tmp_path / "latents").iterdir()} == {LATIN, GERMAN}
    run("decode", tmp_path / "latents", "--out", tmp_path / "again", *model)
    assert {path.stem for path in (tmp_path / "again").iterdir()} == {LATIN, GERMAN}
    run("evaluate", folder, tmp_path / "again", "--metrics", "si_sdr")
    run("manifest", folder, tmp_path / "all.jsonl")
    rows = open_segments(tmp_path / "all.jsonl")
    # in the C locale the second is kept as bytes, too
    found = {os.fsencode(Path(rows[number].path).stem) for number in range(2)}
    assert found == {os.fsencode(LATIN), os.fsencode(GERMAN)}
    run("extract", tmp_path / "all.jsonl", tmp_path / "features", *model)
    assert len(FeatureFolder(tmp_path / "features")) == 2
