"""A full disk, a folder that cannot be written: one clear error, and nothing left behind."""

import errno
import os
import re
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
import soundfile
import torch
from releases import CARD, full_disk, random_release, random_wavcube, tree

from wavcube import WavCube
from wavcube.cli.main import main
from wavcube.data.audio import write_audio
from wavcube.inference.latent_files import Latents
from wavcube.release.folder import write_release
from wavcube.testing import tone

CPU = {"device": "cpu"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return random_release(tmp_path_factory.mktemp("release") / "model")


@pytest.fixture(scope="module")
def model(folder):
    return WavCube.from_hparams(source=folder, run_opts=CPU)


@pytest.fixture
def files(model, tmp_path):
    """Two clips and their latents."""
    for seed, name in enumerate("ab"):
        path = tmp_path / "in" / f"{name}.wav"
        write_audio(path, tone(2.0, seed), 16000)
        model.encode_file(path, path.with_suffix(".safetensors"))
    return tmp_path / "in"


# what each command reads and writes
SUFFIXES = {
    "encode": (".wav", ".safetensors"),
    "decode": (".safetensors", ".wav"),
    "resynth": (".wav", ".flac"),
}


@contextmanager
def no_space():
    """Writing sound stops half way with the error of a full disk."""
    write = soundfile.SoundFile.write

    def broken(self, data):
        write(self, data[: len(data) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), os.fsdecode(self.name))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(soundfile.SoundFile, "write", broken)
        yield


@pytest.mark.parametrize(
    ("command", "disk"),
    [
        ("encode", full_disk),
        ("decode", full_disk),
        ("decode", no_space),
        ("resynth", full_disk),
        ("resynth", no_space),
    ],
)
def test_on_the_command_line_a_full_disk_is_one_line(folder, files, capsys, command, disk):
    read, write = SUFFIXES[command]
    before = tree(files.parent)
    out = files.parent / "new" / "deep" / f"copy{write}"
    options = ["--source", str(folder), "--out", str(out)]
    with disk():
        assert main([command, str(files / f"a{read}"), *options]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(r"disk|large|space", said)
    assert tree(files.parent) == before


@pytest.mark.parametrize("disk", [full_disk, no_space])
def test_an_old_file_outlives_a_full_disk(folder, files, capsys, disk):
    out = files / "old.wav"
    out.write_bytes(b"old")
    before = tree(files)
    options = ["--source", str(folder), "--out", str(out), "--overwrite"]
    with disk():
        assert main(["decode", str(files / "a.safetensors"), *options]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert tree(files) == before


def test_a_run_is_not_exported_to_a_full_disk(tmp_path, capsys):
    random_release(tmp_path / "run" / "release")
    before = tree(tmp_path)
    with full_disk():
        assert main(["export", str(tmp_path / "run"), str(tmp_path / "out")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert tree(tmp_path) == before


@pytest.mark.parametrize("command", SUFFIXES)
def test_an_output_folder_that_is_a_file_is_one_line(files, capsys, command):
    read, write = SUFFIXES[command]
    taken = files.parent / "file"
    taken.write_bytes(b"mine")
    inputs = [str(files / f"{name}{read}") for name in "ab"]
    before = tree(files.parent)
    for out, given in (("deep", inputs), ("deep/deeper", inputs), (f"a{write}", inputs[:1])):
        # found out before the model is looked for
        options = ["--source", "nowhere", "--out", str(taken / out)]
        assert main([command, *given, *options]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"no file can be made in {taken}" in said
    assert tree(files.parent) == before


def test_a_full_disk(model, tmp_path):
    write_audio(tmp_path / "a.wav", tone(2.0), 16000)
    model.encode_file(tmp_path / "a.wav", tmp_path / "a.safetensors")
    before = tree(tmp_path)
    calls = [
        lambda: model.encode_file(tmp_path / "a.wav", tmp_path / "b.safetensors"),
        lambda: model.decode_file(tmp_path / "a.safetensors", tmp_path / "b.wav"),
        lambda: model.resynthesize_file(tmp_path / "a.wav", tmp_path / "b.flac"),
    ]
    for call in calls:
        with full_disk(), pytest.raises(OSError, match=r"disk|large|space"):
            call()
    assert tree(tmp_path) == before


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="no /proc here")
def test_where_nothing_can_be_written_is_found_out_before_the_work(files, capsys):
    random_release(files / "run" / "release")
    wav, out = files / "a.wav", "/proc/new"
    for command in (
        ["resynth", wav, "--source", "nowhere", "--out", f"{out}.wav"],
        ["evaluate", files, files, "--json", f"{out}.json", "--metrics", "unknown"],
        ["export", files / "run", out],
        ["convert-official", "a.ckpt", out, "--config", "gone.yaml"],
    ):
        assert main([str(argument) for argument in command]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"cannot write {out}" in said


def test_a_file_without_read_permission(files, folder, capsys, monkeypatch):
    path, read = files / "a.wav", Path.open

    def locked(self, *arguments, **keywords):
        if self == path:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return read(self, *arguments, **keywords)

    monkeypatch.setattr(Path, "open", locked)
    options = ["--source", str(folder), "--out", str(files / "copy.wav")]
    assert main(["resynth", str(path), *options]) == 2
    assert capsys.readouterr().err == f"wavcube: error: cannot read {path}: Permission denied\n"


@pytest.fixture
def no_rights(tmp_path):
    """A folder that this process may read but not write, for root too."""
    target = tmp_path / "locked"
    target.mkdir(mode=0o555)
    if os.geteuid() != 0:
        yield target
        return
    above = [p for p in tmp_path.parents if p.is_relative_to(tempfile.gettempdir())]
    modes = {path: path.stat().st_mode for path in (tmp_path, *above)}
    for path, mode in modes.items():
        path.chmod(mode | 0o055)
    os.seteuid(65534)
    try:
        yield target
    finally:
        os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(mode)


def test_a_folder_without_write_permission(no_rights):
    model = WavCube({"wavcube": random_wavcube()}, run_opts=CPU)
    with pytest.raises(PermissionError, match="locked"):
        write_release(model.mods.wavcube, no_rights / "model", card=CARD)
    with pytest.raises(PermissionError, match="locked"):
        Latents(torch.zeros(3, 8), 900, 16000, 50.0, "").save(no_rights / "a.safetensors")
    with pytest.raises(PermissionError, match="locked"):
        write_audio(no_rights / "a.wav", torch.zeros(900), 16000)
    assert not list(no_rights.iterdir())
