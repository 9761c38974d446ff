"""Folders that one process alone writes to."""

import errno

import pytest
from filelock import FileLock

from wavcube.claims import claimed


def refuse(code):
    def acquire(self):
        raise OSError(code, "refused")

    return acquire


def test_where_nothing_can_be_locked_work_goes_on_with_a_warning(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(FileLock, "acquire", refuse(errno.ENOLCK))
    with claimed(tmp_path), claimed(tmp_path):
        pass
    assert f"{tmp_path} is where nothing can be locked" in caplog.text


def test_other_errors_are_errors(tmp_path, monkeypatch):
    monkeypatch.setattr(FileLock, "acquire", refuse(errno.ENOSPC))
    with pytest.raises(OSError, match="refused"), claimed(tmp_path):
        pass
