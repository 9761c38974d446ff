"""Manifests, scans of folders, bad files, and what is held out."""

from __future__ import annotations

import logging

import pytest
import torch
from sounds import RATE, audio, spoil, three_speakers
from speechbrain.dataio.dataloader import make_dataloader
from speechbrain.dataio.dataset import DynamicItemDataset

from wavcube.data.crops import utterance_dataset
from wavcube.data.manifest import (
    Utterance,
    hold_out_speakers,
    hold_out_utterances,
    read_manifest,
    require_disjoint_speakers,
    write_manifest,
)
from wavcube.data.prepare import check_files, scan_audio_folder


@pytest.fixture
def folder(tmp_path):
    return three_speakers(tmp_path / "own")


def rows_of(count, speakers=4):
    return [Utterance(f"u{i}", 1.0, f"{i}.wav", f"s{i % speakers}") for i in range(count)]


def test_a_manifest_comes_back(tmp_path):
    rows = [
        Utterance("a", 1.25, str(tmp_path / "data/x/a.flac"), "1", 'SO, "HE" SAID'),
        Utterance("b", 0.1, "/elsewhere/b.wav"),
    ]
    path = tmp_path / "out" / "train.csv"
    write_manifest(path, rows, data_root=tmp_path / "data")
    assert read_manifest(path, data_root=tmp_path / "data") == rows
    moved = read_manifest(path, data_root="moved")
    assert [row.wav for row in moved] == ["moved/x/a.flac", "/elsewhere/b.wav"]
    assert [item.name for item in path.parent.iterdir()] == ["train.csv"]


def test_speechbrain_reads_a_manifest(tmp_path):
    write_manifest(
        tmp_path / "a.csv", [Utterance("a", 1.25, "/data/x/a.flac", "1", "HI")], data_root="/data"
    )
    dataset = DynamicItemDataset.from_csv(
        tmp_path / "a.csv", {"data_root": "/new"}, output_keys=["id", "duration", "wav", "wrd"]
    )
    assert dataset[0] == {"id": "a", "duration": 1.25, "wav": "/new/x/a.flac", "wrd": "HI"}


def test_a_users_csv_needs_only_paths(tmp_path):
    path = tmp_path / "my.csv"
    path.write_text("\ufeffwav, note\nclips/a.wav, x\n/abs/b.wav, y\n", encoding="utf-8")
    assert read_manifest(path) == [
        Utterance("a", 0.0, str(tmp_path / "clips/a.wav")),
        Utterance("b", 0.0, "/abs/b.wav"),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column 'wav'"),
        ("ID,path\na,b.wav\n", r"no column 'wav'.*\['ID', 'path'\]"),
        ("ID,wav\n", "no rows"),
        ("ID,wav\na,a.wav\nb\n", "row 2: it has more or fewer fields"),
        ("ID,wav\na,a.wav,c\n", "row 1: it has more or fewer fields"),
        ("ID,wav\na, \n", "row 1, column 'wav': it is empty"),
        ("ID,wav\n,a.wav\n", "row 1, column 'ID': it is empty"),
        ("ID,wav\na,a.wav\nb,b.wav\na,c.wav\n", "row 3, column 'ID': 'a' was row 1"),
        ("wav,duration\na.wav,abc\n", "row 1, column 'duration': 'abc'"),
        ("wav,duration\na.wav,-1\n", "row 1, column 'duration': '-1'"),
        ("wav,duration\na.wav,nan\n", "row 1, column 'duration': 'nan'"),
        ("wav\n$data_root/a.wav\n", r"row 1, column 'wav'.*\$data_root"),
    ],
)
def test_errors_name_row_and_column(tmp_path, text, message):
    path = tmp_path / "my.csv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=rf"my\.csv.*{message}"):
        read_manifest(path)


def test_what_is_no_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.csv"):
        read_manifest(tmp_path / "none.csv")
    (tmp_path / "a.csv").write_bytes(b"wav\n\xff\xfe\x00.wav\n")
    with pytest.raises(ValueError, match="UTF-8"):
        read_manifest(tmp_path / "a.csv")


def test_nothing_or_twins_are_not_written(tmp_path):
    with pytest.raises(ValueError, match="no utterance"):
        write_manifest(tmp_path / "a.csv", [])
    with pytest.raises(ValueError, match="'u0' was row 1"):
        write_manifest(tmp_path / "a.csv", rows_of(1) * 2)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_scanned_in_order(folder):
    audio(folder / "top.WAV")
    audio(folder / ".hidden" / "no.wav")
    (folder / "ann" / "notes.txt").write_text("no audio")
    found, bad = scan_audio_folder(folder)
    assert bad == []
    assert len(found) == 13
    assert found[0] == Utterance("ann-0", 0.1, str(folder / "ann/0.wav"), "ann")
    assert found[-1] == Utterance("top", 0.1, str(folder / "top.WAV"), "")
    assert [row.wav for row in found] == sorted(row.wav for row in found)


def test_a_folder_without_audio(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        scan_audio_folder(tmp_path / "none")
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ValueError, match="holds no audio"):
        scan_audio_folder(tmp_path)


def test_two_percent_of_bad_files_stop_the_run(tmp_path):
    spoil(tmp_path, 2, 100)
    with pytest.raises(ValueError, match="2 of 100 audio files are bad") as error:
        scan_audio_folder(tmp_path)
    assert "000.wav is truncated" in str(error.value)
    assert "001.wav is empty" in str(error.value)


def test_a_few_bad_files_are_listed_and_left_out(tmp_path, caplog):
    spoil(tmp_path, 3, 30)
    with caplog.at_level(logging.WARNING, "wavcube"):
        found, bad = scan_audio_folder(tmp_path, max_bad_fraction=0.1)
    assert len(found) == 27
    assert [item.wav[-7:] for item in bad] == ["000.wav", "001.wav", "002.wav"]
    for reason in ("000.wav is truncated", "001.wav is empty", "002.wav is not an audio file"):
        assert reason in caplog.text
    assert "3 of 30 audio files left out" in caplog.text


def test_exactly_one_percent_passes(tmp_path):
    spoil(tmp_path, 1, 100)
    assert len(scan_audio_folder(tmp_path).utterances) == 99


def test_many_bad_files_are_not_all_printed(tmp_path):
    spoil(tmp_path, 15, 15)
    with pytest.raises(ValueError, match="and 5 more") as error:
        scan_audio_folder(tmp_path)
    assert str(error.value).count(".wav") == 10


def test_missing_files_and_wrong_durations_are_bad(folder):
    rows = [
        Utterance("ok", 0.1, str(folder / "ann/0.wav")),
        Utterance("long", 9.0, str(folder / "ann/1.flac")),
        Utterance("gone", 0.1, str(folder / "ann/9.flac")),
    ]
    found, bad = check_files(rows, max_bad_fraction=1)
    assert [row.ID for row in found] == ["ok"]
    assert "lasts 0.11 s, but its manifest says 9.00 s" in bad[0].reason
    assert "there is no audio file" in bad[1].reason


def test_speakers_are_held_back_whole_and_seeded():
    rows = rows_of(20)
    kept, held = hold_out_speakers(rows, 1, seed=3)
    assert len(kept) == 15
    assert len(held) == 5
    assert not {row.spk_id for row in kept} & {row.spk_id for row in held}
    assert hold_out_speakers(rows, 1, seed=3) == (kept, held)
    # the same in every process and in whatever order the rows come
    drawn = [hold_out_speakers(rows[::-1], 1, seed=seed)[1][0].spk_id for seed in range(8)]
    assert drawn == ["s3", "s1", "s0", "s1", "s1", "s2", "s0", "s2"]


@pytest.mark.parametrize("count", [0, 4, 9])
def test_some_speakers_must_be_left(count):
    with pytest.raises(ValueError, match=f"from 1 to 3 of the 4 speakers.*not {count}"):
        hold_out_speakers(rows_of(8), count, seed=0)


def test_unknown_speakers_cannot_be_held_back():
    with pytest.raises(ValueError, match="'a' has no speaker"):
        hold_out_speakers([Utterance("a", 1.0, "a.wav"), *rows_of(3)], 1, seed=0)


def test_utterances_are_held_back():
    kept, held = hold_out_utterances(rows_of(20), 0.2, seed=1)
    assert len(held) == 4
    assert sorted(row.ID for row in kept + held) == sorted(row.ID for row in rows_of(20))
    assert len(hold_out_utterances(rows_of(3), 0.01, seed=1)[1]) == 1
    for rows, fraction in [(rows_of(3), 1.0), (rows_of(3), 0.0), (rows_of(1), 0.5)]:
        with pytest.raises(ValueError, match=r"hold out|held out"):
            hold_out_utterances(rows, fraction, seed=1)


def test_shared_speakers_are_found():
    rows = rows_of(8)
    require_disjoint_speakers({"train": rows[:1], "test": rows[1:2]})
    with pytest.raises(ValueError, match="1 speakers are in both test and train, for example s0"):
        require_disjoint_speakers({"train": rows[:1], "test": rows[4:5]})


def test_whole_utterances_make_batches(folder):
    rows = scan_audio_folder(folder).utterances[:2]
    dataset = utterance_dataset(rows, RATE, ("id", "wav", "wrd"))
    batch = next(iter(make_dataloader(dataset, batch_size=2)))
    assert batch.id == ["ann-0", "ann-1"]
    assert batch.wav.data.shape == (2, 1760)
    torch.testing.assert_close(batch.wav.lengths, torch.tensor([1600 / 1760, 1.0]))
    with pytest.raises(ValueError, match="no utterance"):
        utterance_dataset([], RATE)
