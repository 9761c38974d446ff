"""Heads on recordings of any length: windows, joined to what the whole gives."""

import pytest
import soundfile
import torch

from wavcube import inference
from wavcube.data.audio import LongAudio, read_audio
from wavcube.tasks.long_audio import predict_long
from wavcube.testing import tone

RATE = 16000


@pytest.fixture
def recording(tmp_path):
    wav = torch.cat([tone(1.7, seed) for seed in range(6)])
    soundfile.write(tmp_path / "long.wav", wav.numpy(), RATE)
    return tmp_path / "long.wav"


@pytest.fixture
def short_windows(monkeypatch):
    """Let 3 s be long, in windows of 4 s."""
    monkeypatch.setattr("wavcube.inference.base.LONG", 3.0)
    monkeypatch.setattr("wavcube.tasks.conversion.inference._CHUNK", 2.0)
    monkeypatch.setattr("wavcube.tasks.conversion.inference._CONTEXT", 1.0)
    monkeypatch.setattr("wavcube.tasks.recognition.inference.CHUNK", 2.0)
    monkeypatch.setattr("wavcube.tasks.recognition.inference.CONTEXT", 1.0)
    monkeypatch.setattr(predict_long, "__defaults__", (2.0, 1.0))


def relative(made, expected):
    return float((made - expected).norm() / expected.norm())


@pytest.mark.parametrize("chunk", [2.0, 3.3, 9.0, 40.0])
def test_what_needs_no_context_is_as_of_the_whole(recording, chunk):
    wav = read_audio(recording, RATE)
    parts = list(
        predict_long(lambda x: torch.stack([x, 2 * x], 1), LongAudio(recording, RATE), chunk, 1.0)
    )
    torch.testing.assert_close(torch.cat(parts), torch.stack([wav, 2 * wav], 1))


def test_sources_keep_their_order(recording):
    """A separator names its sources anew in every window."""
    calls = iter(range(99))

    def swapping(x):
        sources = torch.stack([x * (x > 0), x * (x <= 0)], 1)
        return sources.flip(1) if next(calls) % 2 else sources

    wav = read_audio(recording, RATE)
    made = torch.cat(list(predict_long(swapping, LongAudio(recording, RATE), 2.0, 1.0)))
    torch.testing.assert_close(made, torch.stack([wav * (wav > 0), wav * (wav <= 0)], 1))
    assert next(calls) > 3


@pytest.mark.parametrize(("kind", "error"), [("WavCubeEnhancer", 0.1), ("WavCubeSeparator", 0.5)])
def test_files_are_made_window_by_window(short_windows, recording, tmp_path, kind, error):
    model = getattr(inference, kind).from_hparams(run_opts={"device": "cpu"})
    whole = model.predict_batch(read_audio(recording, RATE)[None])
    made = model.predict_file(recording, tmp_path / "out.wav")
    assert made.shape == whole.shape
    others = [made] if made.dim() == 2 else [made, made.flip(2)]
    assert min(relative(other, whole) for other in others) < error
    files = sorted(tmp_path.glob("out*.wav"))
    wavs = torch.stack([read_audio(file, RATE) for file in files], -1)
    torch.testing.assert_close(wavs, made[0].reshape(wavs.shape).clamp(-1, 1), atol=1e-4, rtol=0)
    assert model.predict_file(recording, tmp_path / "out.wav", overwrite=True, keep=False) is None


def test_conversion_hears_its_voice_once(short_windows, recording, tmp_path):
    model = inference.WavCubeVoiceConverter.from_hparams(run_opts={"device": "cpu"})
    made = model.convert_file(recording, recording, tmp_path / "out.wav")
    wav = read_audio(recording, RATE)
    assert made.shape == (1, len(wav))
    torch.testing.assert_close(
        read_audio(tmp_path / "out.wav", RATE), made[0].clamp(-1, 1), atol=1e-4, rtol=0
    )
    assert model.convert_file(recording, recording, keep=False) is None


def test_text_is_searched_for_in_all_windows(short_windows, recording, monkeypatch):
    model = inference.WavCubeASR.from_hparams(run_opts={"device": "cpu"})
    frames = model.mods.model.representation.num_frames(len(read_audio(recording, RATE)))
    found = []
    monkeypatch.setattr(model, "search", lambda made, lens: found.append(made) or ["text"])
    assert model.transcribe_file(recording) == "text"
    assert found[0].shape[1] == frames
    with torch.no_grad():
        whole = model.mods.model(read_audio(recording, RATE)[None])[0]
    assert found[0].shape == whole.shape
    assert (found[0].argmax(-1) == whole.argmax(-1)).float().mean() > 0.8
