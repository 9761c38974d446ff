"""Speech for training alone."""

import pytest
from sounds import audio

from wavcube.data.prepare import extra_speech, scan_audio_folder


def test_folders_follow_each_other(tmp_path):
    for folder in ("b", "a"):
        (tmp_path / folder).mkdir()
        audio(tmp_path / folder / f"{folder}1.wav")
    rows = extra_speech([tmp_path / "b", tmp_path / "a"], [])
    assert [row.ID for row in rows] == ["b1", "a1"]


def test_a_file_that_is_kept_apart_is_refused_under_any_name(tmp_path):
    (tmp_path / "a").mkdir()
    audio(tmp_path / "a" / "1.wav")
    (tmp_path / "link").symlink_to(tmp_path / "a")
    apart = scan_audio_folder(tmp_path / "a").utterances
    with pytest.raises(ValueError, match=r"1 of its files are kept.*1\.wav"):
        extra_speech([tmp_path / "link"], apart)
