"""Arrays as users have them: reversed, of another byte order, of different lengths, no arrays."""

from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
import soundfile
import torch

from wavcube import WavCube
from wavcube.data.audio import LongAudio, read_audio
from wavcube.metrics.folders import evaluate_folders
from wavcube.testing import tone


@pytest.fixture(scope="module")
def model():
    return WavCube.from_hparams(run_opts={"device": "cpu"})


@pytest.mark.parametrize("change", [lambda x: x[::-1], lambda x: x.astype(">f4"), lambda x: x[::2]])
def test_any_array_is_taken(model, change):
    wav = change(tone(0.5).numpy())
    expected = torch.tensor([float(sample) for sample in wav])
    torch.testing.assert_close(model.encode_batch(wav)[0], model.encode_batch(expected)[0])


def test_a_list_is_padded(model):
    wavs = [tone(0.5, 0), tone(0.3, 1).numpy(), tone(0.4, 2)]
    latents, lens = model.encode_batch(wavs)
    for wav, made, length in zip(wavs, latents, lens, strict=True):
        alone = model.encode_batch(wav)[0][0]
        assert round(float(length) * latents.shape[1]) == len(alone)
        torch.testing.assert_close(made[: len(alone)], alone, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(model.encode_batch(wavs[:1])[0], model.encode_batch(wavs[0])[0])
    same = [tone(0.5, 0), tone(0.5, 1)]
    torch.testing.assert_close(
        model.encode_batch(same)[0], model.encode_batch(torch.stack(same))[0]
    )
    torch.testing.assert_close(
        model.encode_batch([tone(0.5).tolist()])[0], model.encode_batch(tone(0.5))[0]
    )


@pytest.mark.parametrize("wavs", [None, "a.wav", Path("a.wav"), ["a.wav", "b.wav"]])
def test_a_file_is_told_its_method(model, wavs):
    with pytest.raises(TypeError, match="methods that end in _file take a file, as encode_file"):
        model.encode_batch(wavs)


@pytest.mark.parametrize("rate", [True, 16000.5, 0, "16000", float("nan"), None.__class__])
def test_a_rate_is_a_whole_number(model, rate):
    with pytest.raises(ValueError, match="is not a positive whole number of Hz"):
        model.encode_batch(tone(0.5), sample_rate=rate)


def test_a_whole_rate_may_be_a_float(model):
    wav = tone(0.5, sample_rate=8000)
    expected = model.encode_batch(wav, sample_rate=8000)[0]
    for rate in (8000.0, np.float64(8000), np.int64(8000)):
        torch.testing.assert_close(model.encode_batch(wav, sample_rate=rate)[0], expected)


@pytest.mark.parametrize("method", ["half", "double", "bfloat16"])
def test_precision_is_chosen_on_loading(model, method):
    with pytest.raises(TypeError, match="precision is chosen on loading"):
        getattr(model, method)()


@pytest.mark.parametrize(
    ("gains", "warned"), [((1, -1), True), ((1, 0, 0, 0), True), ((1, 0), False), ((1, 0.5), False)]
)
def test_channels_that_go_out_are_told(tmp_path, caplog, gains, warned):
    channels = np.stack([gain * tone(0.5).numpy() for gain in gains], 1)
    soundfile.write(tmp_path / "a.wav", channels, 16000, "FLOAT")
    read_audio(tmp_path / "a.wav", 16000)
    assert ("far quieter than one of them" in caplog.text) == warned
    caplog.clear()
    audio = LongAudio(tmp_path / "a.wav", 16000)
    audio.level(), list(audio.blocks())
    assert caplog.text.count("far quieter than one of them") == warned


@pytest.mark.parametrize(("peak", "warned"), [(32768, True), (1.3, False)])
def test_samples_that_nobody_divided_are_told(tmp_path, caplog, peak, warned):
    wav = tone(0.5).numpy()
    soundfile.write(tmp_path / "a.wav", peak * wav / np.abs(wav).max(), 16000, "FLOAT")
    read_audio(tmp_path / "a.wav", 16000)
    assert ("its peak is 3.277e+04, where full scale is 1" in caplog.text) == warned


def test_two_spellings_of_one_name_are_a_pair(tmp_path):
    for form in ("NFC", "NFD"):
        (tmp_path / form).mkdir()
        soundfile.write(tmp_path / form / f"{normalize(form, 'é')}.wav", tone(1.0).numpy(), 16000)
    (scored,) = evaluate_folders(tmp_path / "NFC", tmp_path / "NFD", ["si_sdr"]).scores
    assert scored.name == "é"
