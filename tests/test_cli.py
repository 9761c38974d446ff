"""The command line: files, folders and globs in, one line and exit code 2 for a mistake."""

import os
import socket
import subprocess
import sys

import pytest
import torch
from releases import random_release, tree

from wavcube import WavCube, __version__
from wavcube.cli.main import main
from wavcube.data.audio import read_audio, write_audio
from wavcube.inference.latent_files import Latents
from wavcube.testing import tone


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return str(random_release(tmp_path_factory.mktemp("release") / "model"))


@pytest.fixture
def corpus(tmp_path):
    """Three clips in two folders, and something that is not sound."""
    folder = tmp_path / "speech"
    for number, name in enumerate(("a.wav", "b.flac", "deep/c.wav")):
        write_audio(folder / name, tone(0.2 + 0.1 * number, number), 16000)
    (folder / "notes.txt").write_text("not a sound")
    return folder


def fails(capsys, *arguments):
    """Run a command that must fail, and return its one line."""
    capsys.readouterr()
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 1
    assert "error: " in lines[0]
    return lines[0]


def test_a_file_there_and_back(source, corpus, tmp_path):
    latents, copy = tmp_path / "a.safetensors", tmp_path / "out" / "a.wav"
    assert main(["encode", str(corpus / "a.wav"), "--source", source, "--out", str(latents)]) == 0
    assert main(["decode", str(latents), "--source", source, "--out", str(copy)]) == 0
    model = WavCube.from_hparams(source, run_opts={"device": "cpu"})
    torch.testing.assert_close(
        Latents.load(latents).latents, model.encode_file(corpus / "a.wav")[0]
    )
    audio = read_audio(copy, 16000)
    torch.testing.assert_close(audio, model.decode_file(latents)[0], atol=1e-4, rtol=0)
    again = tmp_path / "again.flac"
    assert main(["resynth", str(corpus / "a.wav"), "--source", source, "--out", str(again)]) == 0
    torch.testing.assert_close(read_audio(again, 16000), audio, atol=1e-4, rtol=0)


def test_a_folder_keeps_its_shape(source, corpus, tmp_path, capsys):
    out = tmp_path / "latents"
    assert main(["encode", str(corpus), "--source", source, "--out", str(out)]) == 0
    assert "3 of 3" in capsys.readouterr().out
    names = sorted(str(path.relative_to(out)) for path in out.rglob("*.safetensors"))
    assert names == ["a.safetensors", "b.safetensors", "deep/c.safetensors"]
    assert main(["decode", str(out), "--source", source, "--out", str(tmp_path / "copy")]) == 0
    assert len(list((tmp_path / "copy").rglob("*.wav"))) == 3


def test_globs_and_several_inputs(source, corpus, tmp_path):
    pattern = str(corpus / "**" / "*.wav")
    assert main(["encode", pattern, "--source", source, "--out", str(tmp_path / "one")]) == 0
    assert sorted(os.listdir(tmp_path / "one")) == ["a.safetensors", "c.safetensors"]
    inputs = [str(corpus / "a.wav"), str(corpus / "b.flac")]
    assert main(["encode", *inputs, "--source", source, "--out", str(tmp_path / "two")]) == 0
    assert sorted(os.listdir(tmp_path / "two")) == ["a.safetensors", "b.safetensors"]


def test_outputs_are_beside_the_inputs_by_default(source, corpus):
    assert main(["encode", str(corpus), "--source", source]) == 0
    assert (corpus / "deep" / "c.safetensors").is_file()


def test_one_bad_file_does_not_stop_the_others(source, corpus, tmp_path, capsys):
    (corpus / "broken.wav").write_bytes(b"RIFF")
    out = tmp_path / "latents"
    assert main(["encode", str(corpus), "--source", source, "--out", str(out)]) == 2
    said = capsys.readouterr()
    errors = [line for line in said.err.splitlines() if "error" in line]
    assert len(errors) == 1
    assert "broken.wav" in errors[0]
    assert "3 of 4" in said.out
    assert len(list(out.rglob("*"))) == 4  # three files, one folder


def test_resampling_is_said(source, tmp_path, capsys):
    write_audio(tmp_path / "a.wav", tone(0.2, sample_rate=8000), 8000)
    assert main(["encode", str(tmp_path / "a.wav"), "--source", source]) == 0
    assert "8000" in capsys.readouterr().err
    assert Latents.load(tmp_path / "a.safetensors").num_samples == 3200


def test_info_describes_everything(source, corpus, tmp_path, capsys):
    latents = tmp_path / "a.safetensors"
    assert main(["encode", str(corpus / "a.wav"), "--source", source, "--out", str(latents)]) == 0
    assert main(["info", source, str(latents), str(corpus)]) == 0
    said = capsys.readouterr().out
    digest = WavCube.from_hparams(source, run_opts={"device": "cpu"}).latent_hash
    assert said.count(digest) == 2
    for word in ("50 Hz", "3200 at 16000 Hz", "0.200 s", "b.flac", "FLAC"):
        assert word in said


def test_info_says_what_it_was_given_instead(corpus, tmp_path, repository, capsys):
    encoder, run = repository / "wavcube" / "pretrained" / "encoder", tmp_path / "run"
    release = random_release(run / "release")
    (tmp_path / "empty").mkdir()
    halved = random_release(tmp_path / "halved")
    (halved / "model.safetensors").unlink()
    calls = {
        encoder: "is the folder of an SSL encoder (filterbank_wavlm)",
        encoder / "config.json": "is the configuration of an SSL encoder (filterbank_wavlm)",
        release / "config.json": "is the configuration of a WavCube release",
        halved: "is the folder of a WavCube release, without model.safetensors",
        tmp_path / "empty": "holds no file",
        tmp_path / "gone": "there is no file or folder",
    }
    for path, words in calls.items():
        said = fails(capsys, "info", path)
        assert f"{path}" in said
        assert words in said
        assert "info describes releases" in said
    assert f"its release is {release}" in fails(capsys, "info", run)
    # the others are described all the same
    assert main(["info", str(encoder), str(corpus / "a.wav")]) == 2
    assert "0.200 s" in capsys.readouterr().out
    # data that are called like a run are data
    (corpus / "deep").rename(corpus / "release")
    assert main(["info", str(corpus)]) == 0


def test_a_run_is_exported(tmp_path, capsys):
    random_release(tmp_path / "run" / "release")
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "out")]) == 0
    WavCube.from_hparams(tmp_path / "out", run_opts={"device": "cpu"})
    assert "out" in fails(capsys, "export", tmp_path / "run", tmp_path / "out")
    assert main(["export", str(tmp_path / "run"), str(tmp_path / "out"), "--overwrite"]) == 0


def test_a_run_is_not_exported_into_itself(tmp_path, capsys, monkeypatch):
    run = tmp_path / "run"
    random_release(run / "release")
    (run / "config.json").touch()  # all that --overwrite asks of a folder to replace
    (tmp_path / "link").symlink_to(run / "release")
    before = tree(tmp_path)
    monkeypatch.chdir(run)
    for out in ("release/sub", "release", tmp_path / "link" / "sub", run, tmp_path):
        said = fails(capsys, "export", run, out, "--overwrite")
        assert f"{out} " in said
        assert "name a folder apart" in said
    assert tree(tmp_path) == before
    assert main(["export", ".", "copy"]) == 0


def test_mistakes_are_one_line_and_write_nothing(source, corpus, tmp_path, capsys):
    taken = tmp_path / "taken.safetensors"
    taken.write_bytes(b"mine")
    (tmp_path / "empty").mkdir()
    write_audio(corpus / "a.flac", tone(0.1), 16000)
    wav = corpus / "a.wav"
    before = tree(tmp_path)
    calls = {
        "gone.wav": ["encode", tmp_path / "gone.wav", "--source", source],
        "no file matches": ["encode", tmp_path / "*.mp3", "--source", source],
        "holds no file": ["encode", tmp_path / "empty", "--source", source],
        "no release": ["encode", wav, "--source", tmp_path / "gone"],
        "--out": ["resynth", wav, "--source", source],
        "--overwrite": ["encode", wav, "--source", source, "--out", taken],
        "must end in .safetensors": ["encode", wav, "--source", source, "--out", "x.wav"],
        "must end in .wav or .flac": ["resynth", wav, "--source", source, "--out", "x.mp3"],
        "several inputs need a folder": ["encode", corpus, "--source", source, "--out", taken],
        "would both give": ["encode", corpus, "--source", source, "--out", tmp_path / "new"],
        "is an input": ["resynth", wav, "--source", source, "--out", wav, "--overwrite"],
        "rocket": ["encode", wav, "--source", source, "--device", "rocket"],
        "invalid choice": ["dance"],
        "no release folder": ["export", tmp_path, tmp_path / "new"],
        "is audio: encode it first": ["decode", wav, "--source", source],
        "is a release already": ["export", source, tmp_path / "new"],
        "not a WavCube release": ["encode", wav, "--source", tmp_path / "empty"],
        "notes.txt": ["info", corpus / "notes.txt"],
        "no checkpoint at a.ckpt": ["convert-official", "a.ckpt", "new", "--config", "b.yaml"],
    }
    for word, arguments in calls.items():
        assert word in fails(capsys, *arguments), word
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("command", "name", "out"),
    [
        ("resynth", ".wav", "copy.wav"),
        ("resynth", ".wav", "copy.MP3"),
        ("encode", ".wav", "copy.safetensors"),
        ("decode", ".safetensors", "copy.flac"),
    ],
)
def test_several_inputs_make_no_folder_that_is_called_like_a_file(
    source, tmp_path, capsys, command, name, out
):
    folder = tmp_path / "in"
    folder.mkdir()
    inputs = [folder / f"{stem}{name}" for stem in "ab"]
    for path in inputs:
        path.touch()
    for several in (inputs, [folder], [folder / "*"]):
        options = ["--source", source, "--out", tmp_path / out]
        assert "several inputs need a folder" in fails(capsys, command, *several, *options)
    assert sorted(tmp_path.iterdir()) == [folder]


def test_a_folder_may_have_a_dot_or_be_there_under_a_file_s_name(source, corpus, tmp_path):
    (tmp_path / "kept.wav").mkdir()
    for out in ("latents.v2", "kept.wav"):
        assert main(["encode", str(corpus), "--source", source, "--out", str(tmp_path / out)]) == 0
        assert (tmp_path / out / "a.safetensors").is_file()


def test_a_hub_id_without_a_network_fails_at_once(corpus, capsys, monkeypatch):
    def unknown(*_):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    monkeypatch.setattr("urllib.request.getproxies", dict)
    said = fails(capsys, "encode", corpus / "a.wav", "--source", "owner/name")
    assert "owner/name is not a folder here and not in the cache, and there is no network" in said


def test_the_version(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"wavcube {__version__}\n"


def test_nothing_is_overwritten_unasked(source, corpus, tmp_path, capsys):
    command = ["encode", str(corpus / "a.wav"), "--source", source]
    assert main(command) == 0
    first = (corpus / "a.safetensors").read_bytes()
    assert "exists" in fails(capsys, *command)
    assert main([*command, "--overwrite"]) == 0
    assert (corpus / "a.safetensors").read_bytes() == first


def test_a_bug_keeps_its_traceback(source, corpus, monkeypatch):
    monkeypatch.setattr(WavCube, "encode_file", lambda *_, **__: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main(["encode", str(corpus / "a.wav"), "--source", source])


def test_the_installed_command_says_one_line(tmp_path):
    command = [sys.executable, "-m", "wavcube", "encode", "gone.wav", "--source", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "gone.wav" in done.stderr
