"""Folders that one process alone writes to."""

import errno

import pytest

from wavcube.experiment.run import cleanup_on_error, lock_folder
from wavcube.utils.files import locked_folder


def refuse(code):
    def lock(*_):
        raise OSError(code, "refused")

    return lock


def test_where_nothing_can_be_locked_work_goes_on_with_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("fcntl.flock", refuse(errno.ENOLCK))
    with locked_folder(tmp_path), locked_folder(tmp_path):
        pass
    assert f"{tmp_path} is where nothing can be locked" in caplog.text


def test_other_errors_are_errors(tmp_path, monkeypatch):
    monkeypatch.setattr("fcntl.flock", refuse(errno.EIO))
    with pytest.raises(OSError, match="refused"), locked_folder(tmp_path):
        pass


def test_a_folder_that_was_there_stays_and_a_new_one_goes(tmp_path):
    def run(folder):
        with lock_folder("train.py", folder), cleanup_on_error(folder):
            (folder / "manifests").mkdir()
            (folder / "manifests" / "train.csv").touch()
            (folder / "log.txt").touch()
            raise ValueError("a mistake")

    there, new = tmp_path / "there", tmp_path / "new"
    there.mkdir()
    for folder in (there, new):
        with pytest.raises(ValueError, match="a mistake"):
            run(folder)
    assert [path.name for path in there.iterdir()] == [".lock"]
    assert not new.exists()
    (there / "mine").touch()
    with pytest.raises(ValueError, match="a mistake"):
        run(there)
    assert (there / "mine").exists()
