"""Who speaks in a folder of audio, told by names or by the first folder."""

from pathlib import Path

import pytest

from wavcube.data.manifest import speaker_of


@pytest.mark.parametrize(
    ("searched", "inside", "speaker"),
    [
        ("/a/libri", "test-other/61/70968/61-70968-0000.flac", "61"),
        ("/a/libri/test-other/61/70968", "61-70968-0000.flac", "61"),
        ("/a/vctk", "wav48/p225/p225_001_mic1.flac", "p225"),
        ("/a/vctk/wav48/s5", "s5_001.wav", "s5"),
        # no names of theirs
        ("/corpus/train", "ann/train_0000.wav", "ann"),
        ("/rec", "ann/session1/session1_003.wav", "ann"),
        ("/rec", "ann/05/2024-05-12.wav", "ann"),
        ("/data/p225", "ann/p225_001.wav", "ann"),
        ("/rec", "alone.wav", ""),
    ],
)
def test_speakers_of_folders(searched, inside, speaker):
    assert speaker_of(Path(searched, inside), Path(searched)) == speaker


def test_a_relative_folder_is_as_good_as_an_absolute_one(tmp_path, monkeypatch):
    (tmp_path / "p225").mkdir()
    monkeypatch.chdir(tmp_path / "p225")
    assert speaker_of(Path("p225_001.wav"), Path(".")) == "p225"
