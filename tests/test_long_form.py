"""Long recordings: windows and chunks against the whole, in bounded memory, without clicks."""

import pytest
import torch

from wavcube.data.audio import read_audio, write_audio
from wavcube.inference import WavCube, base, long_form
from wavcube.inference.latent_files import Latents
from wavcube.testing import tiny_wavcube, tone


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(1)
    return WavCube({"wavcube": tiny_wavcube()}, run_opts={"device": "cpu"})


@pytest.fixture(scope="module")
def causal():
    torch.manual_seed(1)
    lobe = tiny_wavcube("transformer", with_basis=True)
    return WavCube({"wavcube": lobe}, run_opts={"device": "cpu"})


def relative(made, expected):
    return float((made - expected).norm() / expected.norm())


def test_what_fits_a_window_is_encoded_whole(model):
    wav = tone(3.0)
    whole, _ = model.encode_batch(wav)
    torch.testing.assert_close(model.encode_long(wav), whole, atol=1e-5, rtol=0)


def test_windows_give_the_frames_of_the_whole_and_nearly_its_latents(model):
    wav = tone(5.003)
    whole, _ = model.encode_batch(wav)
    made = model.encode_long(wav[None], chunk_seconds=1.0, context_seconds=0.5)
    assert made.shape == whole.shape
    assert 1e-6 < relative(made, whole) < 0.3
    closer = model.encode_long(wav, chunk_seconds=1.0, context_seconds=1.8)
    assert relative(closer, whole) < relative(made, whole)


def test_the_level_is_that_of_the_recording(model):
    wav = torch.cat([0.05 * tone(2.0), tone(2.0, seed=1)])
    whole, _ = model.encode_batch(wav)
    made = model.encode_long(wav, chunk_seconds=1.0, context_seconds=0.5)
    alone = torch.cat([model.encode_batch(part)[0] for part in wav.split(16000)], dim=1)
    assert relative(made, whole) < relative(alone, whole)


@pytest.mark.parametrize("kind", ["model", "causal"])
@pytest.mark.parametrize("seconds", [0.4, 1.0, 30.0])
def test_chunks_decode_to_the_whole(kind, seconds, request):
    model = request.getfixturevalue(kind)
    latents = torch.randn(1, 151, 8)
    whole = model.decode_batch(latents, length=48_100)
    made = model.decode_long(latents, length=48_100, chunk_seconds=seconds)
    assert made.shape == whole.shape
    assert relative(made, whole) < 1e-4


def test_there_is_no_click_at_a_join(model):
    wav = tone(6.0)
    latents = model.encode_long(wav, chunk_seconds=1.0, context_seconds=1.0)
    made = model.decode_long(latents, chunk_seconds=0.7)[0]
    steps = made.diff().abs()
    usual = float(steps.quantile(0.999))
    for second in range(1, 6):
        assert float(steps[second * 16000 - 400 : second * 16000 + 400].max()) <= 2 * usual


@pytest.fixture
def short_limits(monkeypatch):
    monkeypatch.setattr(base, "LONG", 1.0)
    monkeypatch.setattr(long_form.LongForm._encoded, "__defaults__", (1.0, 0.5))
    monkeypatch.setattr(long_form.LongForm._decoded, "__defaults__", (0.5,))


def test_files_equal_tensors(model, short_limits, tmp_path):
    write_audio(tmp_path / "a.wav", tone(3.21), 16000)
    wav = read_audio(tmp_path / "a.wav", 16000)
    expected = model.encode_long(wav, chunk_seconds=1.0, context_seconds=0.5)
    made = model.encode_file(tmp_path / "a.wav", tmp_path / "a.safetensors")
    torch.testing.assert_close(made, expected, atol=1e-5, rtol=1e-5)
    stored = Latents.load(tmp_path / "a.safetensors")
    torch.testing.assert_close(stored.latents, made[0])
    assert stored.num_samples == len(wav)
    assert stored.latent_hash == model.latent_hash
    stored.save(tmp_path / "b.safetensors")
    one, other = ((tmp_path / f"{name}.safetensors").read_bytes() for name in "ab")
    assert one == other
    audio = model.decode_file(tmp_path / "a.safetensors", tmp_path / "copy.wav")
    assert audio.shape == (1, len(wav))
    torch.testing.assert_close(
        audio, model.decode_batch(expected, length=len(wav)), atol=1e-4, rtol=0
    )
    again = model.resynthesize_file(tmp_path / "a.wav")
    torch.testing.assert_close(again, audio, atol=1e-5, rtol=1e-5)
    copy = read_audio(tmp_path / "copy.wav", 16000)
    torch.testing.assert_close(copy, audio[0].clamp(-1, 1), atol=1e-4, rtol=0)


def test_no_piece_grows_with_the_recording(model, short_limits, tmp_path, monkeypatch):
    largest = {}
    lobe = model.mods.wavcube
    encode, decode = lobe.latents_of, lobe.decoder.forward

    def spy(name, function, axis):
        def run(given, *others):
            largest[name] = max(largest.get(name, 0), given.shape[axis])
            return function(given, *others)

        return run

    monkeypatch.setattr(lobe, "latents_of", spy("samples", encode, 1))
    monkeypatch.setattr(lobe.decoder, "forward", spy("frames", decode, 1))
    seen = []
    for seconds in (3, 8):
        write_audio(tmp_path / "a.wav", tone(seconds), 16000)
        kept = model.resynthesize_file(
            tmp_path / "a.wav", tmp_path / "b.wav", overwrite=True, keep=False
        )
        assert kept is None
        seen.append(dict(largest))
    assert seen[0] == seen[1]
    assert largest["samples"] == 2 * 16000
    before, after = lobe.decoder.context
    assert largest["frames"] == 25 + before + after


def test_what_goes_wrong_midway_leaves_nothing(model, short_limits, tmp_path, monkeypatch):
    write_audio(tmp_path / "a.wav", tone(3.0), 16000)
    made = []

    def fail(*_):
        made.append(None)
        if len(made) > 1:
            raise OSError("no space left")
        return torch.zeros(1, 100, 8)

    monkeypatch.setattr(model.mods.wavcube, "latents_of", fail)
    for call, out in ((model.encode_file, "o.safetensors"), (model.resynthesize_file, "o.wav")):
        made.clear()
        with pytest.raises(OSError, match="no space"):
            call(tmp_path / "a.wav", tmp_path / out)
    assert [path.name for path in tmp_path.iterdir()] == ["a.wav"]


def test_a_stream_of_the_model_equals_its_batch(model):
    latents = torch.randn(2, 40, 8)
    stream = model.decoder_stream(step_seconds=0.1)
    made = [stream.push(chunk) for chunk in latents.split(3, dim=1)]
    made = torch.cat([*made, stream.flush()], dim=1)
    torch.testing.assert_close(made, model.decode_batch(latents), atol=1e-5, rtol=0)
    assert stream.delay_seconds < 0.5


def test_wrong_recordings_are_named(model):
    with pytest.raises(ValueError, match="one recording, not 2"):
        model.encode_long(torch.randn(2, 16000))
    with pytest.raises(ValueError, match="a chunk of 0 frames"):
        model.encode_long(torch.randn(16000), chunk_seconds=0.0)
    with pytest.raises(ValueError, match="of one recording, not of 2"):
        model.decode_long(torch.randn(2, 5, 8))
    with pytest.raises(ValueError, match="3200 samples make 10 frames, not 5"):
        model.decode_long(torch.randn(1, 5, 8), length=3200)
    with pytest.raises(ValueError, match="NaN or infinite at frame 2"):
        model.decode_long(torch.tensor([[0.0] * 8] * 2 + [[float("nan")] * 8]))
    with pytest.raises(ValueError, match=r"\[batch, frames, 8\], got \[1, 0, 8\]"):
        model.decode_long(torch.randn(0, 8))
    with pytest.raises(ValueError, match=r"chunk_seconds 0.001 is 0 frames: give at least 0.02 s"):
        model.decode_long(torch.randn(5, 8), chunk_seconds=0.001)
    with pytest.raises(ValueError, match="chunk_seconds -1 is -50 frames"):
        model.decode_long(torch.randn(5, 8), chunk_seconds=-1)


def test_wrong_latents_of_a_stream_are_named(model):
    stream, latents = model.decoder_stream(step_seconds=0.1), torch.zeros(2, 5, 8)
    latents[1, 3] = float("nan")
    with pytest.raises(ValueError, match=r"\[batch, frames, 8\], got \[40, 8\]"):
        stream.push(torch.randn(40, 8))
    with pytest.raises(ValueError, match=r"\[batch, frames, 8\], got \[1, 40, 9\]"):
        stream.push(torch.randn(1, 40, 9))
    with pytest.raises(ValueError, match="latents 1 is NaN or infinite at frame 3"):
        stream.push(latents)
    assert stream.push(torch.zeros(2, 0, 8)).shape == (2, 0)
