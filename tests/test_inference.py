"""The class that users load: the lobe's own results, from folders as they are found."""

import os
import shutil
import stat

import numpy as np
import pytest
import torch
from releases import random_release, random_wavcube, tree
from speechbrain.inference.interfaces import Pretrained

import wavcube.data.checks
from wavcube import WavCube
from wavcube.data.audio import read_audio, write_audio
from wavcube.inference.latent_files import Latents
from wavcube.release.source import packaged_release
from wavcube.testing import tiny_wavcube, tone

CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_release(tmp_path_factory.mktemp("release") / "model")


@pytest.fixture(scope="module")
def model(folder):
    return WavCube.from_hparams(source=folder, run_opts=CPU)


@pytest.fixture
def speech(tmp_path):
    path = tmp_path / "speech.wav"
    write_audio(path, tone(0.83), 16000)
    return path


def test_it_is_a_pretrained_that_computes_what_the_lobe_computes(model):
    lobe = random_wavcube()
    wavs, lens = torch.randn(2, 4000), torch.tensor([1.0, 0.4])
    latents, latent_lens = model.encode_batch(wavs, lens)
    with torch.no_grad():
        expected, expected_lens = lobe.encode(wavs, lens)
        audio = lobe.decode(expected, expected_lens, length=4000)
    assert isinstance(model, Pretrained)
    torch.testing.assert_close(latents, expected)
    torch.testing.assert_close(latent_lens, expected_lens)
    torch.testing.assert_close(model.decode_batch(latents, latent_lens, length=4000), audio)
    torch.testing.assert_close(model(wavs, lens), audio)
    lengths = torch.tensor([4000, 1600])
    assert model.decode_batch(latents, latent_lens, length=lengths).shape == (2, 4000)


def test_it_neither_trains_nor_keeps_a_graph(model):
    latents, _ = model.encode_batch(torch.randn(1, 1000))
    assert not latents.requires_grad
    assert not any(p.requires_grad for p in model.parameters())
    assert not any(module.training for module in model.mods.modules())


def test_a_variational_model_is_deterministic(tmp_path):
    model = WavCube.from_hparams(random_release(tmp_path / "m", variational=True), run_opts=CPU)
    wavs = torch.randn(1, 1000)
    torch.testing.assert_close(model.encode_batch(wavs)[0], model.encode_batch(wavs)[0])


def test_facts_are_read_only(model):
    facts = {"sample_rate": 16000, "frame_rate": 50.0, "hop": 320, "latent_dim": 8}
    for name, value in facts.items():
        assert getattr(model, name) == value
        with pytest.raises(AttributeError):
            setattr(model, name, value)
    assert len(model.model_hash) == 64


def test_the_hash_is_kept_until_a_weight_changes(folder, monkeypatch):
    model = WavCube.from_hparams(source=folder, run_opts=CPU)
    digest = model.model_hash
    monkeypatch.setattr("wavcube.inference.latent.release_hash", lambda _: "computed again")
    assert model.model_hash == digest
    with torch.no_grad():
        next(model.parameters()).mul_(2)
    assert model.model_hash == "computed again"


def test_one_waveform_is_a_batch_of_one(model):
    wav = torch.randn(1000)
    torch.testing.assert_close(model.encode_batch(wav)[0], model.encode_batch(wav[None])[0])


def test_another_rate_is_resampled_item_by_item(model):
    wavs = torch.stack([tone(1.0, sample_rate=8000), torch.randn(8000)])
    lens = torch.tensor([1.0, 0.25])
    latents, latent_lens = model.encode_batch(wavs, lens, sample_rate=8000)
    alone, _ = model.encode_batch(wavs[1:, :2000], sample_rate=8000)
    assert latents.shape[1] == 50
    assert round(float(latent_lens[1]) * 50) == alone.shape[1] == 13
    torch.testing.assert_close(latents[1:, :13], alone, atol=1e-4, rtol=0)


def test_the_device_is_obeyed(folder, monkeypatch):
    for device in ("cpu", torch.device("cpu")):
        model = WavCube.from_hparams(folder, run_opts={"device": device})
        assert next(model.parameters()).device.type == "cpu"
    with pytest.raises(ValueError, match="rocket"):
        WavCube.from_hparams(folder, run_opts={"device": "rocket"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="cuda:1"):
        WavCube.from_hparams(folder, run_opts={"device": "cuda:1"})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    assert wavcube.data.checks.device_name("cuda") == "cuda:0"
    with pytest.raises(ValueError, match="has 1"):
        wavcube.data.checks.device_name("cuda:1")


def test_files_go_there_and_back(model, speech, tmp_path):
    latents = model.encode_file(speech, tmp_path / "a.safetensors")
    samples = len(read_audio(speech, 16000))
    assert latents.shape == (1, -(-samples // 320), 8)
    content = Latents.load(tmp_path / "a.safetensors")
    torch.testing.assert_close(content.latents, latents[0])
    assert (content.num_samples, content.sample_rate, content.frame_rate) == (samples, 16000, 50.0)
    assert content.latent_hash == model.latent_hash
    audio = model.decode_file(tmp_path / "a.safetensors", tmp_path / "b.wav")
    assert audio.shape == (1, samples)
    again = model.resynthesize_file(speech, tmp_path / "c.flac")
    torch.testing.assert_close(again, audio, atol=1e-5, rtol=1e-5)
    assert len(read_audio(tmp_path / "b.wav", 16000)) == samples
    torch.testing.assert_close(read_audio(tmp_path / "b.wav", 16000), audio[0], atol=1e-4, rtol=0)


def test_latents_outlive_another_decoder_but_no_other_encoder(folder, speech, tmp_path):
    model, stored = WavCube.from_hparams(source=folder, run_opts=CPU), tmp_path / "a.safetensors"
    audio = model.resynthesize_file(speech, tmp_path / "a.wav")
    model.encode_file(speech, stored)
    with torch.no_grad():
        model.mods.wavcube.decoder.head.out.weight.mul_(2)
    assert not torch.equal(model.decode_file(stored, tmp_path / "b.wav"), audio)
    with torch.no_grad():
        next(model.mods.wavcube.bottleneck.parameters()).mul_(2)
    with pytest.raises(ValueError, match="decode it with the model that made it"):
        model.decode_file(stored, tmp_path / "c.wav")


def test_latents_give_the_same_bytes_each_time(model, speech, tmp_path):
    for name in "abcdef":
        model.encode_file(speech, tmp_path / f"{name}.safetensors")
    assert len({(tmp_path / f"{name}.safetensors").read_bytes() for name in "abcdef"}) == 1


def test_nothing_is_overwritten_unasked(model, speech, tmp_path):
    for call, name in ((model.encode_file, "a.safetensors"), (model.resynthesize_file, "a.wav")):
        call(speech, tmp_path / name)
        before = (tmp_path / name).read_bytes()
        with pytest.raises(FileExistsError, match=rf"{name} .*overwrite=True"):
            call(speech, tmp_path / name)
        call(speech, tmp_path / name, overwrite=True)
        assert (tmp_path / name).read_bytes() == before


def test_stereo_at_another_rate_is_averaged_and_resampled_and_said(model, tmp_path, caplog):
    import soundfile

    channels = torch.stack([tone(0.5, 1, 8000), tone(0.5, 2, 8000)])
    soundfile.write(tmp_path / "stereo.wav", channels.T.numpy(), 8000)
    with caplog.at_level("INFO", logger="wavcube"):
        assert model.encode_file(tmp_path / "stereo.wav").shape == (1, 25, 8)
    assert "8000" in caplog.text
    assert "channels" in caplog.text


def test_a_moved_read_only_folder_loads_and_stays_as_it_is(folder, tmp_path, monkeypatch, speech):
    place = tmp_path / "another place" / "model"
    shutil.copytree(folder, place)
    for path in (*place.iterdir(), place):
        path.chmod(path.stat().st_mode & ~(stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH))

    def refuse(*_, **__):
        raise OSError("a privilege not held by the client is required")

    monkeypatch.setattr(os, "symlink", refuse)
    monkeypatch.chdir(tmp_path)
    before = tree(tmp_path)
    model = WavCube.from_hparams(place, savedir=tmp_path / "cache", run_opts=CPU)
    model.resynthesize_file(speech)
    assert tree(tmp_path) == before
    assert model.model_hash == WavCube.from_hparams(str(folder), run_opts=CPU).model_hash
    place.chmod(0o755)


def test_two_models_never_share_a_file(tmp_path, speech):
    latents = []
    for seed in (0, 1):
        folder = random_release(tmp_path / str(seed) / "model", seed=seed)
        model = WavCube.from_hparams(folder, savedir=tmp_path / "cache", run_opts=CPU)
        latents.append(model.encode_file(speech))
    assert not torch.allclose(latents[0], latents[1])


def test_a_mistyped_source_is_an_error(tmp_path):
    for source in (tmp_path / "missing", "missing", "./a/b/c", "./missing", "https://host/model"):
        with pytest.raises(FileNotFoundError, match="no release"):
            WavCube.from_hparams(source)
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        WavCube.from_hparams(tmp_path)


def test_the_folder_of_a_run_is_no_release_but_has_one(tmp_path):
    random_release(tmp_path / "release")
    with pytest.raises(FileNotFoundError, match=r"folder of a run: its release is .*release"):
        WavCube.from_hparams(tmp_path)


def test_a_release_of_a_head_is_refused_in_one_line(recwarn):
    with pytest.raises(ValueError, match="is not of a WavCube: load it with WavCubeEnhancer"):
        WavCube.from_hparams(packaged_release("enhancement_tiny"), run_opts=CPU)
    assert not [warning for warning in recwarn if "meta" in str(warning.message)]


def test_a_hub_id_without_network_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="owner/name"):
        WavCube.from_hparams("owner/name", savedir=tmp_path / "cache")


def test_a_hub_id_is_read_from_its_cache(folder, tmp_path):
    commit = "0" * 40
    cache = tmp_path / "models--owner--name"
    shutil.copytree(folder, cache / "snapshots" / commit)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text(commit)
    model = WavCube.from_hparams("owner/name", savedir=tmp_path, run_opts=CPU)
    assert model.model_hash == WavCube.from_hparams(folder, run_opts=CPU).model_hash


def test_a_slip_in_a_local_path_is_no_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        WavCube.from_hparams("results/typo")


def test_numpy_s_integers_are_integers():
    model = WavCube({"wavcube": tiny_wavcube()}, run_opts={"device": "cpu"})
    latents, lens = model.encode_batch(torch.randn(1, 1000), sample_rate=np.int64(16000))
    assert model.decode_batch(latents, lens, length=np.int64(1000)).shape == (1, 1000)
