"""Recordings in blocks: the same samples as those that are read whole, in bounded memory."""

import numpy as np
import pytest
import soundfile
import torch

from wavcube.data import audio as audio_module
from wavcube.data.audio import AudioWriter, LongAudio, read_audio, windows_of
from wavcube.testing import tone


@pytest.fixture
def recording(tmp_path):
    def write(seconds, rate, channels=1, name="a.wav"):
        wav = tone(seconds, sample_rate=rate)
        content = torch.stack([wav] * channels, 1) if channels > 1 else wav
        soundfile.write(tmp_path / name, content.numpy(), rate)
        return tmp_path / name

    return write


@pytest.mark.parametrize(("rate", "channels"), [(16000, 2), (44100, 1), (8000, 1), (22050, 2)])
@pytest.mark.parametrize("seconds", [0.3, 2.503])
def test_blocks_equal_the_whole(recording, monkeypatch, rate, channels, seconds):
    audio = LongAudio(recording(seconds, rate, channels), 16000)
    whole = read_audio(audio.path, 16000)  # in one block
    monkeypatch.setattr(audio_module, "BLOCK", 1)
    blocks = list(audio.blocks())
    assert audio.num_samples == len(whole)
    torch.testing.assert_close(torch.cat(blocks), whole, atol=1e-6, rtol=0)


def test_no_block_is_long(recording, monkeypatch):
    monkeypatch.setattr(audio_module, "BLOCK", 1)
    longest = [max(map(len, LongAudio(recording(s, 22050), 16000).blocks())) for s in (3, 9)]
    assert max(longest) < 2 * 16000


def test_the_level_is_that_of_the_whole(recording):
    audio = LongAudio(recording(1.5, 16000), 16000)
    wav, level = read_audio(audio.path, 16000), audio.level()
    assert level.mean == pytest.approx(float(wav.mean()), abs=1e-7)
    assert level.variance == pytest.approx(float(wav.var(unbiased=False)), rel=1e-5)


@pytest.mark.parametrize("size", [1, 7, 100])
def test_windows_overlap_as_they_were_asked_for(size):
    wav = torch.arange(100)
    bounds = [(0, 10), (0, 30), (25, 60), (59, 100), (80, 100)]
    made = list(windows_of(wav.split(size), bounds))
    assert all(torch.equal(window, wav[a:b]) for window, (a, b) in zip(made, bounds, strict=True))


def test_damage_is_found_wherever_it_is(recording, monkeypatch):
    monkeypatch.setattr(audio_module, "BLOCK", 1)
    path = recording(2.0, 16000, name="a.flac")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = bytes(400)
    path.write_bytes(data)
    with pytest.raises(ValueError, match=r"a\.flac"):
        list(LongAudio(path, 16000).blocks())
    wav = np.zeros(40000, np.float32)
    wav[39000] = np.nan
    soundfile.write(path.with_suffix(".wav"), wav, 16000, "FLOAT")
    with pytest.raises(ValueError, match="1 of 40000 samples are NaN"):
        LongAudio(path.with_suffix(".wav"), 16000)


def test_a_writer_leaves_a_whole_file_or_none(tmp_path, caplog):
    wav = 1.2 * tone(1.0)
    with caplog.at_level("INFO", "wavcube"), AudioWriter(tmp_path / "a.wav", 16000) as writer:
        for chunk in wav.split(5000):
            writer.write(chunk)
        assert not (tmp_path / "a.wav").exists()
    assert "samples clipped" in caplog.text or wav.abs().max() <= 1
    copy = read_audio(tmp_path / "a.wav", 16000)
    torch.testing.assert_close(copy, wav.clamp(-1, 1), atol=1e-4, rtol=0)
    with pytest.raises(AttributeError), AudioWriter(tmp_path / "b.wav", 16000) as writer:
        writer.write(None)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]
