"""Voice conversion for users: the class, bad input, files and the command."""

import numpy as np
import pytest
import soundfile
import torch
from converters import DIM, RATE, random_converter
from releases import CARD

from wavcube.cli.main import main as wavcube
from wavcube.data.audio import read_audio, write_audio
from wavcube.inference import WavCube, WavCubeVoiceConverter
from wavcube.release.folder import write_release
from wavcube.tasks.conversion.model import StoredVoice
from wavcube.testing import tone

CPU = {"device": "cpu"}
REFERENCE = tone(1.2, seed=9)


@pytest.fixture(scope="module")
def converter():
    return WavCubeVoiceConverter({"model": random_converter()}, run_opts=CPU)


@pytest.fixture(scope="module")
def to_one():
    model = random_converter(stored=StoredVoice(DIM, 40))
    model.stored.keep(model.voice_of(REFERENCE[None]))
    return WavCubeVoiceConverter({"model": model}, run_opts=CPU)


@pytest.fixture
def release(tmp_path, converter):
    return write_release(converter.mods.model, tmp_path / "release", card=CARD)


def test_one_of_five_is_one_alone(converter):
    wavs = [tone(0.1 + 0.1 * index, index) for index in range(5)]
    lens = torch.tensor([len(wav) for wav in wavs])
    batch = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
    batch[0, int(lens[0]) :] = 0.7  # what lies beyond an item's end is not heard
    voices = [tone(0.8 + 0.1 * index, 10 + index) for index in range(5)]
    reference_lens = torch.tensor([len(wav) for wav in voices])
    references = torch.nn.utils.rnn.pad_sequence(voices, batch_first=True)
    made = converter.convert_batch(
        batch, references, lens / batch.shape[1], reference_lens / references.shape[1]
    )
    for index, wav in enumerate(wavs):
        alone = converter.convert_batch(wav[None], voices[index][None])[0]
        torch.testing.assert_close(made[index, : len(wav)], alone, atol=1e-4, rtol=0)
        assert not made[index, len(wav) :].any()


def test_one_reference_serves_all(converter):
    wavs = torch.stack([tone(0.2, seed) for seed in range(3)])
    made = converter.convert_batch(wavs, REFERENCE)
    torch.testing.assert_close(
        made, converter.convert_batch(wavs, REFERENCE.expand(3, -1)), atol=1e-5, rtol=0
    )


# what is done with a source, and with a reference, that is not as usual
SOURCES = {
    "silent": (torch.zeros(1, 3200), None),
    "very short": (torch.full((1, 3), 0.1), None),
    "one sample": (torch.full((1, 1), 0.1), None),
    "clipped": (torch.clamp(9 * tone(0.3), -1, 1)[None], None),
    "far too loud": (200 * tone(0.3)[None], None),
    "stereo": (torch.zeros(1, 2, 3200), "average the channels"),
    "channels last": (torch.zeros(3200, 2), "average the channels"),
    "integers": (torch.zeros(1, 3200, dtype=torch.int16), "divide integers"),
    "empty": (torch.zeros(1, 0), "no samples"),
    "NaN": (torch.tensor([[0.0, float("nan")]]), "waveform 0 is NaN or infinite at sample 1"),
    "infinite": (torch.full((1, 4), torch.inf), "NaN or infinite at sample 0"),
}
VOICES = {
    "clipped": (torch.clamp(9 * REFERENCE, -1, 1)[None], None),
    "silent": (torch.zeros(1, RATE), "0.00 s of voiced speech, at least 0.5 s"),
    "noise": (
        0.1 * torch.randn(1, RATE, generator=torch.Generator().manual_seed(0)),
        "s of voiced speech",
    ),
    "very short": (REFERENCE[None, :4000], "at least 0.5 s are needed"),
    "NaN": (torch.full((1, RATE), float("nan")), "NaN or infinite"),
    "stereo": (torch.zeros(1, 2, RATE), "average the channels"),
    "of another number": (REFERENCE.expand(3, -1), "1 sources, but 3 voices"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_sources_that_are_not_as_usual(converter, case):
    wavs, message = SOURCES[case]
    if message is not None:
        with pytest.raises(ValueError, match=message):
            converter.convert_batch(wavs, REFERENCE)
        return
    made = converter.convert_batch(wavs, REFERENCE)
    assert made.shape == wavs.shape
    assert bool(made.isfinite().all())


@pytest.mark.parametrize("case", VOICES)
def test_references_that_are_not_as_usual(converter, case):
    wavs, message = VOICES[case]
    source = tone(0.2)[None]
    if message is not None:
        with pytest.raises(ValueError, match=message):
            converter.convert_batch(source, wavs)
    else:
        assert bool(converter.convert_batch(source, wavs).isfinite().all())


def test_other_rates_are_resampled(converter):
    made = converter.convert_batch(tone(0.3)[None, ::2], REFERENCE[::2], sample_rate=RATE // 2)
    assert made.shape == (1, 4800)
    with pytest.raises(ValueError, match="not a positive whole number"):
        converter.convert_batch(tone(0.3)[None], REFERENCE, sample_rate=0)


def test_a_reference_is_needed_or_not(converter, to_one):
    with pytest.raises(ValueError, match="needs a reference"):
        converter.convert_batch(tone(0.2)[None])
    with pytest.raises(ValueError, match="leave the reference out"):
        to_one.convert_batch(tone(0.2)[None], REFERENCE)
    assert to_one.convert_batch(tone(0.2)[None]).shape == (1, 3200)


def test_embeddings_come_from_resemblyzer(monkeypatch):
    pytest.importorskip("resemblyzer")
    user = WavCubeVoiceConverter({"model": random_converter("embedding")}, run_opts=CPU)
    with pytest.raises(ValueError, match="embeddings of width 3, got 256"):
        user.convert_batch(tone(0.2)[None], REFERENCE)


def test_files_are_converted(release, tmp_path):
    stereo = np.stack([tone(0.4).numpy()] * 2, 1)
    soundfile.write(tmp_path / "source.wav", stereo[::2], RATE // 2)
    write_audio(tmp_path / "a.wav", REFERENCE[:8000], RATE)
    write_audio(tmp_path / "b.wav", REFERENCE[8000:], RATE)
    user = WavCubeVoiceConverter.from_hparams(release, run_opts=CPU)
    files = tmp_path / "source.wav", [tmp_path / "a.wav", tmp_path / "b.wav"]
    made = user.convert_file(*files, tmp_path / "out.wav")
    assert made.shape == (1, 6400)
    written = read_audio(tmp_path / "out.wav", RATE)
    torch.testing.assert_close(written, made[0].clamp(-1, 1), atol=1e-4, rtol=0)
    with pytest.raises(FileExistsError, match="overwrite=True"):
        user.convert_file(*files, tmp_path / "out.wav")
    with pytest.raises(ValueError, match=r"\.mp3 must end in"):
        user.convert_file(*files, tmp_path / "out.mp3")
    with pytest.raises(FileNotFoundError, match=r"missing\.wav"):
        user.convert_file(tmp_path / "source.wav", tmp_path / "missing.wav")


def test_the_command_gives_what_the_class_gives(release, tmp_path, capsys):
    write_audio(tmp_path / "source.wav", tone(0.4), RATE)
    write_audio(tmp_path / "voice.wav", REFERENCE, RATE)
    files = [str(tmp_path / name) for name in ("source.wav", "voice.wav")]
    options = ["--source", str(release), "--device", "cpu", "--out", str(tmp_path / "out.flac")]
    assert wavcube(["convert", *files, *options]) == 0
    user = WavCubeVoiceConverter.from_hparams(release, run_opts=CPU)
    expected = user.convert_file(*files)[0].clamp(-1, 1)
    made = read_audio(tmp_path / "out.flac", RATE)
    torch.testing.assert_close(made, expected, atol=1e-4, rtol=0)
    assert wavcube(["convert", *files, *options]) == 2
    assert "pass --overwrite" in capsys.readouterr().err
    assert wavcube(["convert", files[0], *options[:-1], files[0]]) == 2
    assert wavcube(["convert", files[0], *options[:-1], str(tmp_path / "new.wav")]) == 2
    assert "needs a reference" in capsys.readouterr().err
    assert not (tmp_path / "new.wav").exists()


def test_another_class_is_refused(release):
    with pytest.raises(ValueError, match="load it with WavCubeVoiceConverter"):
        WavCube.from_hparams(release, run_opts=CPU)
