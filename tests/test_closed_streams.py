"""Output that nobody reads: commands end quietly, and their files are written all the same."""

import os
import subprocess
import sys

import pytest

from wavcube.data.audio import write_audio
from wavcube.testing import tone

COMMAND = [sys.executable, "-m", "wavcube"]


@pytest.fixture
def folder(tmp_path):
    for number in range(40):
        write_audio(tmp_path / "speech" / f"{number}.wav", tone(0.2, number), 16000)
    return tmp_path / "speech"


def test_a_reader_who_goes_is_not_an_error_of_the_files_that_follow(folder):
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*COMMAND, "info", folder], stdout=writing, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writing)
    assert done.returncode == 141
    assert "error" not in done.stderr
    assert "Traceback" not in done.stderr


def test_so_it_is_with_stderr(folder):
    reading, writing = os.pipe()
    os.close(reading)
    command = [*COMMAND, "info", folder, folder / "none.wav"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=writing, check=False)
    os.close(writing)
    assert done.returncode in (2, 141)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_cost_no_file(folder, tmp_path, closed):
    out = tmp_path / "copies"
    command = (
        f"{sys.executable} -m wavcube resynth {folder}/1.wav {folder}/2.wav --out {out} {closed}"
    )
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["1.wav", "2.wav"]


def test_a_mistake_is_told_by_the_exit_code_alone(folder):
    command = f"{sys.executable} -m wavcube info {folder}/none.wav 2>&-"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
