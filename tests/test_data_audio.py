"""Audio files in and out, and what is said when one of them is wrong."""

from __future__ import annotations

import logging
import os

import numpy as np
import pytest
import soundfile
import torch
from releases import full_disk

from wavcube.data.audio import inspect_audio, read_audio, write_audio

RATE = 16000
NOISE = 0.1 * np.random.default_rng(0).standard_normal(RATE)


def truncate(path, share):
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "aiff"])
def test_every_format_is_read_whole(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, NOISE, RATE)
    wav = read_audio(path, RATE)
    assert wav.dtype == torch.float32
    assert wav.shape == (RATE,)
    assert inspect_audio(path).duration == 1.0


def test_the_c_library_s_own_notes_are_not_shown(tmp_path, capfd):
    path = tmp_path / "a.mp3"
    path.write_text("no sound at all, but long enough to be taken for the middle of a file" * 3)
    with pytest.raises(ValueError, match=r"a\.mp3 is not an audio file"):
        inspect_audio(path)
    os.write(2, b"still there")
    assert capfd.readouterr().err == "still there"


def test_values_are_those_of_the_file(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, NOISE, RATE, subtype="DOUBLE")
    torch.testing.assert_close(read_audio(path, RATE), torch.tensor(NOISE, dtype=torch.float32))


def test_channels_are_averaged_and_said_so(tmp_path, caplog):
    path = tmp_path / "stereo.wav"
    soundfile.write(path, np.stack([NOISE, 0 * NOISE], 1), RATE, subtype="FLOAT")
    with caplog.at_level(logging.INFO, "wavcube"):
        wav = read_audio(path, RATE)
    torch.testing.assert_close(wav, torch.tensor(NOISE / 2, dtype=torch.float32))
    assert "2 channels" in caplog.text


def test_other_rates_are_resampled_and_said_so(tmp_path, caplog):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.sin(2 * np.pi * 440 * np.arange(44100) / 44100), 44100)
    with caplog.at_level(logging.INFO, "wavcube"):
        wav = read_audio(path, RATE)
    assert wav.shape == (RATE,)
    assert torch.fft.rfft(wav).abs().argmax() == 440
    assert "44100 to 16000" in caplog.text


def test_nothing_is_said_of_a_file_as_wanted(tmp_path, caplog):
    path = tmp_path / "a.flac"
    soundfile.write(path, NOISE, RATE)
    with caplog.at_level(logging.INFO, "wavcube"):
        read_audio(path, RATE)
    assert caplog.text == ""


def test_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.wav"):
        read_audio(tmp_path / "none.wav", RATE)


def test_folder(tmp_path):
    with pytest.raises(ValueError, match="is a folder"):
        read_audio(tmp_path, RATE)


def test_empty_file(tmp_path):
    path = tmp_path / "empty.wav"
    path.touch()
    with pytest.raises(ValueError, match="empty"):
        read_audio(path, RATE)


@pytest.mark.parametrize("name", ["text.wav", "text.flac", "text.mp3"])
def test_not_audio(tmp_path, name):
    path = tmp_path / name
    path.write_text("This is not audio. " * 100)
    with pytest.raises(ValueError, match="not an audio file"):
        read_audio(path, RATE)


@pytest.mark.parametrize("suffix", ["wav", "flac", "aiff", "mp3"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.97])
def test_truncated_file(tmp_path, suffix, share):
    path = tmp_path / f"a.{suffix}"
    soundfile.write(path, NOISE, RATE)
    truncate(path, share)
    for read in (inspect_audio, lambda name: read_audio(name, RATE)):
        with pytest.raises(ValueError, match="truncated"):
            read(path)


def test_a_streamed_wav_of_unknown_size_is_not_truncated(tmp_path):
    path = tmp_path / "piped.wav"
    soundfile.write(path, NOISE, RATE)
    data = bytearray(path.read_bytes())
    data[4:8] = b"\xff\xff\xff\xff"
    at = data.index(b"data") + 4
    data[at : at + 4] = b"\xff\xff\xff\xff"
    path.write_bytes(data)
    assert read_audio(path, RATE).shape == (RATE,)


def test_damage_in_the_middle(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, NOISE, RATE)
    data = bytearray(path.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 2000] = bytes(2000)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.flac is (damaged|truncated)"):
        read_audio(path, RATE)


def test_no_samples(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0), RATE)
    with pytest.raises(ValueError, match="no samples"):
        read_audio(path, RATE)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_that_are_no_numbers(tmp_path, value):
    path = tmp_path / "a.wav"
    samples = NOISE.copy()
    samples[77] = value
    soundfile.write(path, samples, RATE, subtype="FLOAT")
    for read in (inspect_audio, lambda name: read_audio(name, RATE)):
        with pytest.raises(ValueError, match=r"a\.wav: 1 of 16000 samples are NaN or infinite"):
            read(path)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_written_files_are_read_back(tmp_path, suffix):
    path = tmp_path / "new" / f"a.{suffix}"
    write_audio(path, torch.tensor(NOISE), RATE)
    torch.testing.assert_close(
        read_audio(path, RATE), torch.tensor(NOISE, dtype=torch.float32), atol=1 / 32768, rtol=0
    )
    assert soundfile.info(path).subtype == "PCM_16"
    assert os.listdir(path.parent) == [path.name]


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    write_audio(path, torch.zeros(10), RATE)
    before = path.read_bytes()

    def full_disk(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("wavcube.data.audio.SoundFile.write", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write_audio(path, torch.ones(10), RATE)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.wav"]


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg"])
def test_a_full_disk_is_an_os_error(tmp_path, suffix):
    loud = torch.tensor(np.random.default_rng(0).uniform(-1, 1, 16000))
    with full_disk(), pytest.raises(OSError, match=rf"a\.{suffix}: is the disk full"):
        write_audio(tmp_path / f"a.{suffix}", loud, RATE)
    assert os.listdir(tmp_path) == []


def test_what_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match=r"a\.flac at 700000 Hz: .*sample rate"):
        write_audio(tmp_path / "a.flac", torch.zeros(10), 700000)
    bad = {
        r"shape \[T\], not \[2, 10\]": torch.zeros(2, 10),
        "no samples": torch.zeros(0),
        "floating point": torch.zeros(10, dtype=torch.int16),
        "NaN or infinite at sample 0": torch.full((10,), torch.nan),
    }
    for message, wav in bad.items():
        with pytest.raises(ValueError, match=message):
            write_audio(tmp_path / "a.wav", wav, RATE)
    with pytest.raises(ValueError, match=r"\.xyz"):
        write_audio(tmp_path / "a.xyz", torch.zeros(10), RATE)
    assert os.listdir(tmp_path) == []


def test_clipping_is_said(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "wavcube"):
        write_audio(tmp_path / "a.wav", torch.tensor([0.5, 1.5, -3.0]), RATE)
    assert "2 samples clipped" in caplog.text
    assert read_audio(tmp_path / "a.wav", RATE).abs().max() <= 1
