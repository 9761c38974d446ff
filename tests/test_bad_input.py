"""Every mistake of a user is an error that names it, and leaves nothing behind."""

import os
import pickle

import numpy as np
import pytest
import soundfile
import torch
from releases import random_release, tree
from safetensors.torch import load_file, save_file

from wavcube import WavCube
from wavcube.cli.main import main
from wavcube.data.audio import write_audio
from wavcube.inference.latent_files import Latents
from wavcube.release.folder import load_release
from wavcube.testing import tone

CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_release(tmp_path_factory.mktemp("release") / "model")


@pytest.fixture(scope="module")
def model(folder):
    return WavCube.from_hparams(source=folder, run_opts=CPU)


def missing(path):
    pass


def empty(path):
    path.write_bytes(b"")


def text(path):
    path.write_text("This is not sound.\n" * 100)


def truncated(path):
    write_audio(path, tone(0.5), 16000)
    path.write_bytes(path.read_bytes()[:3000])


def without_samples(path):
    soundfile.write(path, np.zeros(0), 16000)


def not_finite(path):
    samples = tone(0.5).numpy()
    samples[77] = np.nan
    soundfile.write(path, samples, 16000, subtype="FLOAT")


def infinite(path):
    samples = tone(0.5).numpy()
    samples[77] = np.inf
    soundfile.write(path, samples, 16000, subtype="DOUBLE")


BAD_AUDIO = [missing, empty, text, truncated, without_samples, not_finite, infinite]


@pytest.mark.parametrize("spoil", BAD_AUDIO)
def test_bad_audio_files(model, folder, tmp_path, capsys, spoil):
    path = tmp_path / "bad.wav"
    spoil(path)
    before = tree(tmp_path)
    for call, name in ((model.encode_file, "a.safetensors"), (model.resynthesize_file, "a.wav")):
        with pytest.raises((ValueError, FileNotFoundError), match=r"bad\.wav"):
            call(path, tmp_path / "out" / name)
    for command in ("encode", "resynth"):
        out = str(tmp_path / "out")
        assert main([command, str(path), "--source", str(folder), "--out", out]) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1
        assert "bad.wav" in said[0]
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("wavs", "lens", "message"),
    [
        (torch.zeros(2, 2, 1000), None, r"mono.*\[2, 2, 1000\]"),
        (torch.zeros(1, 0), None, "no samples"),
        (torch.zeros(0, 1000), None, "no samples"),
        (torch.zeros(0), None, "no samples"),
        (torch.zeros(1, 1000, dtype=torch.int16), None, "int16"),
        (torch.full((1, 1000), torch.nan), None, "waveform 0 .* sample 0"),
        (torch.tensor([[0.0] * 9 + [torch.inf]]), None, "sample 9"),
        (torch.zeros(2, 1000), torch.tensor([1.0]), r"shape \(1,\)"),
        (torch.zeros(2, 1000), torch.tensor([1.0, 0.0]), r"\(0, 1\]"),
        (torch.zeros(2, 1000), torch.tensor([1.0, 1.5]), r"\(0, 1\]"),
        (torch.zeros(2, 1000), torch.tensor([1.0, torch.nan]), r"\(0, 1\]"),
        (torch.zeros(2, 1000), torch.tensor([1000, 500]), r"\(0, 1\]"),
    ],
)
def test_bad_arrays(model, wavs, lens, message):
    with pytest.raises(ValueError, match=message):
        model.encode_batch(wavs, lens)


@pytest.mark.parametrize("rate", [0, -8000, 8000.5, "8000"])
def test_bad_rates(model, rate):
    with pytest.raises(ValueError, match="sample rate"):
        model.encode_batch(torch.zeros(1, 1000), sample_rate=rate)


@pytest.mark.parametrize(
    ("latents", "lens", "message"),
    [
        (torch.zeros(1, 5, 9), None, r"5, 9\]"),
        (torch.zeros(1, 8, 5), None, r"8, 5\]"),
        (torch.zeros(5, 8), None, r"\[5, 8\]"),
        (torch.zeros(1, 0, 8), None, r"0, 8\]"),
        (torch.full((1, 5, 8), torch.nan), None, "frame 0"),
        (torch.zeros(2, 5, 8), torch.tensor([1.0, 0.0]), r"\(0, 1\]"),
    ],
)
def test_bad_latents(model, latents, lens, message):
    with pytest.raises(ValueError, match=message):
        model.decode_batch(latents, lens)


def latents_of(model, **changes):
    content = {
        "latents": torch.zeros(3, 8),
        "num_samples": 900,
        "sample_rate": 16000,
        "frame_rate": 50.0,
        "latent_hash": model.latent_hash,
    }
    return Latents(**{**content, **changes})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"latent_hash": "0" * 64}, "holds latents of kind 000000000000"),
        ({"latents": torch.zeros(3, 9)}, "width 9"),
        ({"num_samples": 9000}, "9000 samples"),
    ],
)
def test_latents_of_others_are_refused(model, folder, tmp_path, capsys, changes, message):
    latents_of(model, **changes).save(tmp_path / "a.safetensors")
    before = tree(tmp_path)
    with pytest.raises(ValueError, match=message):
        model.decode_file(tmp_path / "a.safetensors", tmp_path / "a.wav")
    assert main(["decode", str(tmp_path), "--source", str(folder)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "a.safetensors" in said[0]
    assert tree(tmp_path) == before


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


def test_a_pickle_is_never_read(tmp_path):
    folder, mark = random_release(tmp_path / "model"), tmp_path / "mark"
    weights = folder / "model.safetensors"
    weights.unlink()
    torch.save({"weight": Bomb(mark)}, weights)
    for load in (WavCube.from_hparams, load_release):
        with pytest.raises(ValueError, match="safetensors file"):
            load(folder)
    assert not mark.exists()
    # the bomb is a real one
    torch.load(weights, weights_only=False)
    assert mark.exists()


def test_on_the_command_line_a_pickle_is_refused_in_one_line(tmp_path, capsys):
    folder, mark = random_release(tmp_path / "model"), tmp_path / "mark"
    write_audio(tmp_path / "a.wav", tone(0.2), 16000)
    torch.save({"weight": Bomb(mark)}, folder / "model.safetensors")
    before = tree(tmp_path)
    assert main(["encode", str(tmp_path / "a.wav"), "--source", str(folder)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert tree(tmp_path) == before


def test_a_raw_pickle_as_latents_is_never_read(model, tmp_path):
    (tmp_path / "a.safetensors").write_bytes(pickle.dumps(Bomb(tmp_path / "mark")))
    with pytest.raises(ValueError, match="complete"):
        model.decode_file(tmp_path / "a.safetensors")
    assert not (tmp_path / "mark").exists()


def test_a_checkpoint_of_other_sizes(tmp_path, capsys):
    folder = random_release(tmp_path / "model")
    weights = load_file(folder / "model.safetensors")
    name = sorted(weights)[0]
    weights[name] = torch.zeros(3, 3, 3)
    save_file(weights, folder / "model.safetensors")
    assert main(["info", str(folder)]) == 2
    said = capsys.readouterr().err
    assert name in said
    assert "[3, 3, 3]" in said


def test_truncated_weights(tmp_path):
    folder = random_release(tmp_path / "model")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="complete safetensors"):
        WavCube.from_hparams(folder)


@pytest.mark.parametrize("suffix", [".xyz", "", ".mp3"])
def test_sound_in_an_unknown_or_lossy_format(model, tmp_path, suffix):
    write_audio(tmp_path / "a.wav", tone(0.2), 16000)
    with pytest.raises(ValueError, match=r"must end in \.wav or \.flac"):
        model.resynthesize_file(tmp_path / "a.wav", tmp_path / f"out{suffix}")
    assert os.listdir(tmp_path) == ["a.wav"]
