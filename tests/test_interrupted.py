"""Ctrl-C: one line, exit code 130, and nothing half written."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from releases import random_release

from wavcube import WavCube
from wavcube.cli.main import main
from wavcube.data.audio import write_audio
from wavcube.metrics import METRICS, Measurement, Metric, SignalPair, score_many
from wavcube.testing import tone


def test_a_command_keeps_what_it_has_done(tmp_path, capsys, monkeypatch):
    source = random_release(tmp_path / "release")
    for name in "abc":
        write_audio(tmp_path / "in" / f"{name}.wav", tone(0.2), 16000)
    resynthesize, calls = WavCube.resynthesize_file, []

    def interrupted(model, path, out, **options):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return resynthesize(model, path, out, **options)

    monkeypatch.setattr(WavCube, "resynthesize_file", interrupted)
    out = tmp_path / "out"
    command = ["resynth", str(tmp_path / "in"), "--source", str(source), "--out", str(out)]
    assert main(command) == 130
    said = capsys.readouterr().err.splitlines()
    assert said[-1] == "wavcube: interrupted; 1 of 3 files done"
    assert [path.name for path in out.iterdir()] == ["a.wav"]


def test_the_installed_command_prints_no_traceback(tmp_path):
    write_audio(tmp_path / "a.wav", tone(0.2), 16000)
    code = (
        "import os, signal, sys; from wavcube.cli import info, main\n"
        "info.describe = lambda path: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.exit(main.main(['info', 'a.wav']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 130
    assert done.stderr.splitlines() == ["wavcube: interrupted; 0 of 1 files done"]


def is_deaf(pair):
    """Measure whether Ctrl-C reaches the process that scores."""
    return Measurement(float(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())))


@pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="no signal masks here")
def test_the_processes_that_score_leave_ctrl_c_to_the_first():
    """A terminal sends the signal to all; no process but the first may speak of it."""
    pair = SignalPair("a", np.ones(16000), np.ones(16000), 16000)
    metrics = [Metric(METRICS["si_sdr"].info, is_deaf)]
    (scores,) = score_many([pair], metrics, num_processes=2, progress=False)
    assert scores["si_sdr"] == 1.0
    (scores,) = score_many([pair], metrics, progress=False)
    assert scores["si_sdr"] == 0.0
