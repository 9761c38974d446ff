"""The latent's recipe on large manifests: segments of long recordings, tar shards, both joined."""

import json
import logging
import sys

import numpy as np
import pytest
import torch

from wavcube.data.audio import read_audio, write_audio
from wavcube.data.manifest import Utterance, write_manifest
from wavcube.data.segments import Segment, open_segments
from wavcube.data.segments.collection import JoinedSegments, listed_segments
from wavcube.data.segments.crops import SegmentCrops
from wavcube.data.segments.sharding import write_shards
from wavcube.data.segments.splitting import hold_back
from wavcube.experiment.speech import crops_of, prepare_rows
from wavcube.latent.coordinates import sample_of
from wavcube.latent.run import LatentRun
from wavcube.release.folder import load_release
from wavcube.testing import tone
from wavcube.utils.files import locked_folder

RATE = 16000
TINY = [
    "--model=!include:model/tiny.yaml", "--device=cpu", "--noprogressbar", "--precision=fp32",
    "--stages=[stage1]", "--stage1_updates=2", "--validate_every=2", "--warmup=1",
    "--batch_size=2", "--crop_seconds=0.3", "--valid_utterances=2", "--test_utterances=2",
    "--shortest_test=0.5", "--metrics=[mel_distance]", "--sample_clips=1", "--num_workers=1",
]  # fmt: skip


@pytest.fixture
def manifest(tmp_path):
    """Forty segments of four long recordings, by eight speakers."""
    rows = []
    for number in range(4):
        write_audio(tmp_path / f"long{number}.flac", tone(8.0, number), RATE)
        rows += [
            {"id": f"{number}/{i}", "path": f"long{number}.flac", "start": 0.75 * i}
            | {"duration": 0.7, "speaker": f"s{2 * number + i // 5}", "text": "a"}
            for i in range(10)
        ]
    path = tmp_path / "speech.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def hparams_of(folder, **changes):
    return {
        "data_folder": None, "output_folder": str(folder), "training_folders": [],
        "add_synthetic": False, "synthetic_minutes": 1.0, "synthetic_folder": None, "seed": 7,
        "max_bad_fraction": 0.01, "valid_utterances": 3, "test_utterances": 4,
        "shortest_test": 0.5, "longest_test": 30.0, **changes,
    }  # fmt: skip


def nothing_to_prepare(*_):
    raise AssertionError("a large manifest needs no preparation")


def prepare(manifest, folder, **changes):
    hparams = hparams_of(folder, data_folder=str(manifest), **changes)
    return prepare_rows(hparams, nothing_to_prepare, large=True)


def shorten(manifest):
    lines = manifest.read_text().splitlines()
    (manifest.with_name("speech.jsonl.index") / "index.json").unlink()
    manifest.write_text("\n".join(lines[:-1]))


@pytest.fixture
def recipe(repository, tmp_path, monkeypatch):
    """Run the recipe on a manifest in this process."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    train = str(repository / "recipes" / "LibriSpeech" / "train.py")

    def run(out, manifest):
        root = logging.getLogger()
        handlers, level = list(root.handlers), root.level
        yaml = repository / "hparams/wavcube.yaml"
        try:
            LatentRun(train, "How it is used.").main(
                [str(yaml), f"--output_folder={out}", *TINY, f"--data_folder={manifest}"]
            )
        finally:
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)

    return run


def test_a_run_on_a_manifest(recipe, manifest, tmp_path, capsys):
    out = tmp_path / "run"
    recipe(out, manifest)
    assert "utterances: train 30 (" in capsys.readouterr().out
    load_release(out / "release")
    assert set(json.loads((out / "metrics.json").read_text())["scores"]) == {"stage 1"}


def test_too_much_that_is_unreadable_ends_a_run_with_one_line(
    recipe, manifest, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("wavcube.data.segments.audio._AT_LEAST", 1)
    read = SegmentCrops._read

    def fail(crops, segment, position):
        if segment.id.endswith(("1", "2", "3")):
            raise OSError("gone")
        return read(crops, segment, position)

    monkeypatch.setattr(SegmentCrops, "_read", fail)
    with pytest.raises(SystemExit) as stop:
        recipe(tmp_path / "run", manifest)
    assert stop.value.code == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("train.py")]
    assert len(said) == 1
    assert "segments could not be read, and at most 1.00% may fail (max_bad_fraction)" in said[0]


def test_two_runs_do_not_share_a_folder(recipe, manifest, tmp_path, capsys):
    out = tmp_path / "run"
    with locked_folder(out), pytest.raises(SystemExit) as stop:
        recipe(out, manifest)
    assert stop.value.code == 2
    assert f"train.py: error: another process writes to {out}: wait" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == [".lock"], "it was not touched"


def test_speakers_are_held_back_and_their_segments_copied(manifest, tmp_path):
    rows = prepare(manifest, tmp_path / "run")
    whole = open_segments(manifest)
    speakers = {part: {row.spk_id for row in rows[part]} for part in ("valid", "test")}
    assert not speakers["valid"] & speakers["test"]
    assert (len(rows["valid"]), len(rows["test"])) == (3, 4)
    apart = speakers["valid"] | speakers["test"]
    assert not {row.speaker for row in rows["train"]} & apart
    assert len(rows["train"]) == sum(row.speaker not in apart for row in whole)
    for row in rows["test"]:
        number = next(i for i, each in enumerate(whole) if each.id.replace("/", "-") == row.ID)
        # 16 bits, as the recording has
        assert torch.equal(read_audio(row.wav, RATE), whole.read(number, RATE))
    copies = tmp_path / "run/manifests/test"
    before = {path: path.stat().st_mtime_ns for path in copies.iterdir()}
    again = prepare(manifest, tmp_path / "run")
    assert [row.ID for row in again["test"]] == [row.ID for row in rows["test"]]
    assert {path: path.stat().st_mtime_ns for path in copies.iterdir()} == before
    assert prepare(manifest, tmp_path / "other", seed=8)["test"] != rows["test"]


def test_a_run_goes_on_with_its_own_segments_only(manifest, tmp_path):
    prepare(manifest, tmp_path / "run")
    shorten(manifest)
    with pytest.raises(ValueError, match="is of a run with other data"):
        prepare(manifest, tmp_path / "run")


def test_shards_train_as_the_manifest_does(manifest, tmp_path):
    write_shards(open_segments(manifest), tmp_path / "shards", rows_per_shard=16)
    rows = prepare(manifest, tmp_path / "one"), prepare(tmp_path / "shards", tmp_path / "two")
    sizes = {"crop_seconds": 0.3, "crops_per_epoch": 20, "sample_rate": RATE, "seed": 1}
    crops = [crops_of(part["train"], max_bad_fraction=0.0, **sizes) for part in rows]
    for i in range(20):
        one, two = (each[i] for each in crops)
        assert one["id"] == two["id"]
        assert torch.equal(one["wav"], two["wav"])
    assert [row.ID for row in rows[0]["test"]] == [row.ID for row in rows[1]["test"]]
    sample = sample_of(rows[1]["train"], 3, RATE, seed=1)
    assert [len(sample[i]["wav"]) for i in range(3)] == [11200] * 3


def test_large_manifests_join_a_corpus_without_its_test_speakers(manifest, tmp_path, caplog):
    folder = tmp_path / "own"
    for number in range(6):
        write_audio(folder / f"s{number}" / "clip.wav", tone(1.0, number), RATE)

    def own(source, out_folder, hparams):
        del hparams
        utterances = [
            Utterance(f"s{i}", 1.0, str(source / f"s{i}/clip.wav"), f"s{i}") for i in range(6)
        ]
        parts = {"train": utterances[:4], "valid": utterances[4:5], "test": utterances[5:]}
        for name, rows in parts.items():
            write_manifest(out_folder / f"{name}.csv", rows)
        return {name: out_folder / f"{name}.csv" for name in parts}

    hparams = hparams_of(
        tmp_path / "run", data_folder=str(folder), training_folders=[str(manifest)]
    )
    with caplog.at_level(logging.WARNING):
        rows = prepare_rows(hparams, own, large=True)
    assert "10 of 40 segments are not trained on" in caplog.text  # of s4 and s5
    train = rows["train"]
    assert len(train) == 4 + 30
    assert train.seconds == pytest.approx(4 + 30 * 0.7)
    assert [train[i].id for i in (0, 3, 4, 33)] == ["s0", "s3", "0/0", "3/9"]
    assert train[-1] == train[33]
    assert {"s4", "s5"}.isdisjoint(row.speaker for row in train)
    drawn = [train.draw(np.random.default_rng(i)) for i in range(500)]
    assert np.mean([i < 4 for i in drawn]) == pytest.approx(4 / 25, abs=0.05)
    with pytest.raises(IndexError):
        train[34]
    with pytest.raises(ValueError, match=r"speech.jsonl is a manifest .* recipe does not train"):
        prepare_rows({**hparams, "output_folder": str(tmp_path / "asr")}, own)
    shorten(manifest)
    with pytest.raises(ValueError, match=r"is of a run with other data: \{'rows': 40"):
        prepare_rows(hparams, own, large=True)


def test_a_folder_joins_a_large_manifest(manifest, tmp_path):
    write_audio(tmp_path / "more" / "clip.wav", tone(1.0, 5), RATE)
    rows = prepare(manifest, tmp_path / "run", training_folders=[str(tmp_path / "more")])
    assert isinstance(rows["train"], JoinedSegments)
    assert rows["train"][-1].id == "clip"
    assert not any(row.ID == "clip" for row in rows["test"])


def segments_of(speakers, seconds=1.0, each=5):
    rows = [
        Segment(f"{name}{i}", seconds, f"{name}.wav", speaker=name)
        for name in speakers
        for i in range(each)
    ]
    return listed_segments(rows)


def held(segments, **changes):
    settings = {"shortest": 0.5, "longest": 9, "seed": 1, **changes}
    return hold_back(segments, {"test": 20, "valid": 20}, **settings)


def test_no_more_than_a_share_is_held_back():
    speakers = [f"speaker {i}" for i in range(200)]
    segments = segments_of(speakers)
    found = held(segments)
    assert len(found.rows) <= 0.1 * len(segments)
    names = {role: {segments[i].speaker for i in rows} for role, rows in found.chosen.items()}
    assert not names["test"] & names["valid"]
    assert {len(rows) for rows in found.chosen.values()} == {20}
    assert len(names["test"]) == len(names["valid"]) == 10  # many speakers, few of each
    kept = segments.without(found.rows)
    assert not {row.speaker for row in kept} & (names["test"] | names["valid"])


def test_one_speaker_is_divided_by_rows(caplog):
    with caplog.at_level(logging.WARNING):
        found = held(segments_of(["one"], each=50))
    assert "the same may be in training and test" in caplog.text
    assert len(found.rows) == 5
    assert not set(found.chosen["test"]) & set(found.chosen["valid"])
    with pytest.raises(ValueError, match="0 of 5 segments last from 2 to 9 s"):
        held(segments_of(["one"]), shortest=2)
