"""A writer that is killed while it replaces a folder costs neither the old content nor the new."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from releases import CARD, random_release, random_wavcube, tree

from wavcube import WavCube
from wavcube.cli.main import main
from wavcube.release.folder import export_run, load_release, release_hash, write_release
from wavcube.utils.files import atomic_folder

OPERATIONS = ((Path, "rename"), (os, "rmdir"), (os, "fsync"))


def write(folder, text):
    """Replace a folder's content."""
    with atomic_folder(folder, overwrite=True) as draft:
        (draft / "text").write_text(text)


def killed(folder, operation):
    """Write "new" in a process that is killed before an operation on folders, counted from 1."""
    child = os.fork()
    if child == 0:
        count = 0
        kept = {name: getattr(owner, name) for owner, name in OPERATIONS}

        def dying(name):
            def wrapper(*arguments, **options):
                nonlocal count
                count += 1
                if count == operation:
                    os.kill(os.getpid(), signal.SIGKILL)
                return kept[name](*arguments, **options)

            return wrapper

        for owner, name in OPERATIONS:
            setattr(owner, name, dying(name))
        write(folder, "new")
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def test_killed_at_any_operation_the_next_writer_finds_all_and_leaves_nothing(tmp_path):
    operation, contents = 1, []
    while True:
        folder = tmp_path / str(operation) / "model"
        write(folder, "old")
        if not killed(folder, operation):
            break
        with pytest.raises(FileExistsError, match="not empty"), atomic_folder(folder):
            pytest.fail("what was there must be back")
        contents.append((folder / "text").read_text())
        write(folder, "newer")
        assert (folder / "text").read_text() == "newer"
        assert os.listdir(folder.parent) == ["model"]
        operation += 1
    assert contents == sorted(contents, reverse=True)
    assert set(contents) == {"old", "new"}


def interrupted(folder):
    """Leave a folder as a process does that is killed between its two renames."""
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    folder.rename(folder.with_name(f".{folder.name}.old-{ended.pid}"))
    draft = folder.with_name(f".{folder.name}.partial-{ended.pid}")
    draft.mkdir()
    (draft / "config.json").write_text("{")


def test_readers_say_where_the_content_is(tmp_path, capsys):
    folder = random_release(tmp_path / "run" / "release")
    interrupted(folder)
    before = tree(tmp_path)
    for read in (load_release, WavCube.from_hparams):
        with pytest.raises(FileNotFoundError, match=r"killed while.*\.release\.old-\d+: rename"):
            read(folder)
    with pytest.raises(FileNotFoundError, match=r"killed while.*\.release\.old-\d+: rename"):
        export_run(tmp_path / "run", tmp_path / "out")
    assert main(["info", str(folder)]) == 2
    assert ".release.old-" in capsys.readouterr().err
    assert tree(tmp_path) == before


def test_a_release_is_written_where_one_was_interrupted(tmp_path):
    folder = random_release(tmp_path / "model")
    interrupted(folder)
    with pytest.raises(FileExistsError, match="overwrit"):
        random_release(folder, seed=1)
    assert release_hash(load_release(folder)) == release_hash(random_wavcube())
    interrupted(folder)
    write_release(random_wavcube(1), folder, card=CARD, overwrite=True)
    assert release_hash(load_release(folder)) == release_hash(random_wavcube(1))
    assert os.listdir(tmp_path) == ["model"]


def test_the_folders_of_a_process_that_runs_are_left_alone(tmp_path):
    other = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        draft = tmp_path / f".model.partial-{other.pid}"
        draft.mkdir()
        write(tmp_path / "model", "mine")
        assert sorted(os.listdir(tmp_path)) == [draft.name, "model"]
    finally:
        other.communicate(b"\n")
    write(tmp_path / "model", "mine")
    assert os.listdir(tmp_path) == ["model"]


def test_behind_a_link_it_is_the_folder_that_is_replaced(tmp_path):
    write(tmp_path / "model", "old")
    (tmp_path / "link").symlink_to("model")
    write(tmp_path / "link", "new")
    assert (tmp_path / "model" / "text").read_text() == "new"
    assert sorted(os.listdir(tmp_path)) == ["link", "model"]
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    "config", ['{"model_type": "wavlm", "format": null}', "[1]", "{", '{"format": "other"}']
)
def test_overwriting_spares_the_models_of_others(tmp_path, capsys, config):
    random_release(tmp_path / "run" / "release")
    other = tmp_path / "wavlm-large"
    other.mkdir()
    (other / "config.json").write_text(config)
    (other / "model.safetensors").write_bytes(b"gigabytes")
    before = tree(tmp_path)
    assert main(["export", str(tmp_path / "run"), str(other), "--overwrite"]) == 2
    assert "not a WavCube release" in capsys.readouterr().err
    assert tree(tmp_path) == before


def test_a_release_of_another_version_may_be_replaced(tmp_path):
    folder = random_release(tmp_path / "model")
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 0}))
    write_release(random_wavcube(1), folder, card=CARD, overwrite=True)
    assert release_hash(load_release(folder)) == release_hash(random_wavcube(1))
