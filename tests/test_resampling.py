"""Other sample rates: any two of them, in memory and time that the sound alone asks for."""

import subprocess
import sys

import numpy as np
import pytest
import soundfile
import torch

from wavcube.data.resampling import ResampleStream, resample, resampled_length
from wavcube.testing import tone

RATES = [8000, 11127, 22050, 44099, 44100, 47999, 48000]


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_stays_what_it_is(rate):
    time = torch.arange(rate, dtype=torch.float64) / rate
    expected = torch.sin(2 * np.pi * 440 * torch.arange(16000, dtype=torch.float64) / 16000)
    made = resample(torch.sin(2 * np.pi * 440 * time), rate, 16000)
    assert made.dtype == torch.float64
    torch.testing.assert_close(made[200:-200], expected[200:-200], atol=1e-3, rtol=0)


@pytest.mark.parametrize("rate", RATES)
@pytest.mark.parametrize("size", [1, 2, 3, 1000, 4321])
def test_no_sample_is_lost_at_the_end(rate, size):
    assert len(resample(torch.ones(size), rate, 16000)) == resampled_length(size, rate, 16000)
    stream = ResampleStream(rate, 16000)
    made = torch.cat([*map(stream.push, torch.ones(size).split(700)), stream.flush()])
    torch.testing.assert_close(made, resample(torch.ones(size), rate, 16000))


def test_what_cannot_be_heard_at_the_new_rate_is_gone():
    time = torch.arange(48000, dtype=torch.float64) / 48000
    assert resample(torch.sin(2 * np.pi * 12000 * time), 48000, 16000)[200:-200].abs().max() < 1e-4


@pytest.mark.parametrize("rate", [11127, 44099])
def test_rates_without_a_common_factor_take_no_more(tmp_path, rate):
    """The seven places that bring sound to another rate, each in a process of little memory."""
    soundfile.write(tmp_path / "a.wav", tone(0.7, sample_rate=rate).numpy(), rate)
    script = f"""
import resource, sys
import torch
from wavcube.data.audio import LongAudio, read_audio
from wavcube.data.checks import resample_batch
from wavcube.data.crops import CropDataset
from wavcube.data.mixing.noisy import read_noise, read_piece
from wavcube.data.segments.audio import read_segment
from wavcube.data.segments.row import Segment
from wavcube.metrics.base import resample
path = sys.argv[1]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
wav = read_audio(path, 16000)
list(LongAudio(path, 16000).blocks())
resample_batch(torch.zeros(2, {rate}), None, {rate}, 16000)
row = dict(ID="a", wav=path, duration=0.7)
CropDataset([row], crop_seconds=0.5, crops_per_epoch=1, sample_rate=16000, seed=0)[0]
read_piece(path, 0.5, 4000, 16000)
read_noise(path, 16000)
read_segment(Segment("a", 0.0, path, 0.0), 16000)
resample(wav.numpy(), 16000, {rate})
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "a.wav")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 100  # MiB; a filter for every common period takes 12 GiB
