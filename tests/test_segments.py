"""Manifests of segments: forms, indexes, seekable reads, and everything that can be wrong."""

import gzip
import io
import json
import os
import pickle
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import soundfile
import torch

from wavcube.data.segments import Segment, is_segments, open_segments, read_segment
from wavcube.data.segments.lines import BlockWriter

RATE = 8000


@pytest.fixture
def recording(tmp_path):
    """Ten seconds whose samples tell their place, in flac."""
    samples = (np.arange(10 * RATE) % 30000 - 15000) / 32768
    soundfile.write(tmp_path / "long.flac", samples, RATE)
    return samples.astype(np.float32)


def plain_rows(count=4):
    return [
        {"id": f"s{i}", "path": "long.flac", "start": 2.0 * i, "duration": 1.5 + 0.25 * i}
        | {"speaker": "abc"[i % 3], "text": f"words {i} ä"}
        for i in range(count)
    ]


def cut(row):
    return {
        "id": row["id"],
        "start": row["start"],
        "duration": row["duration"],
        "channel": 0,
        "supervisions": [
            {
                "id": row["id"],
                "start": 0,
                "speaker": row["speaker"],
                "custom": {"texts": [row["text"], row["text"].upper()]},
            }
        ],
        "recording": {
            "id": "long",
            "sources": [{"type": "file", "channels": [0], "source": row["path"]}],
            "sampling_rate": RATE,
            "num_samples": 10 * RATE,
            "duration": 10.0,
        },
        "type": "MonoCut",
    }


def write_lines(path, rows, form="plain"):
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    if form == "blocks":
        file = io.BytesIO()
        writer = BlockWriter(file)
        for line in data.splitlines(keepends=True):
            writer.write(line)
        writer.close()
        data = file.getvalue()
    path.write_bytes(gzip.compress(data) if form == "gzip" else data)
    return path


def write_shard(path, rows, samples):
    with tarfile.open(path, "w") as archive:
        for row in rows:
            first, count = round(row["start"] * RATE), round(row["duration"] * RATE)
            audio = io.BytesIO()
            soundfile.write(audio, samples[first : first + count], RATE, format="FLAC")
            told = json.dumps(row).encode()
            for ending, data in (("flac", audio.getvalue()), ("json", told)):
                member = tarfile.TarInfo(f"{row['id']}.{ending}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return path


def make(form, folder, recording, rows=None):
    """Write the same rows in some form, and return what to open."""
    rows = plain_rows() if rows is None else rows
    if form == "shards":
        (folder / "shards").mkdir()
        write_shard(folder / "shards/a-0.tar", rows[:3], recording)
        write_shard(folder / "shards/a-1.tar", rows[3:], recording)
        return folder / "shards"
    if form == "csv":
        lines = [f"{r['id']},{r['duration']},{r['start']},{r['path']}" for r in rows]
        lines = [f"{line},{r['speaker']},{r['text']}" for line, r in zip(lines, rows, strict=True)]
        text = "\n".join(["ID,duration,start,wav,spk_id,wrd", *lines])
        (folder / "a.csv").write_text(text, encoding="utf-8")
        return folder / "a.csv"
    if form == "cuts":
        return write_lines(folder / "a.jsonl", map(cut, rows))
    suffix = "jsonl" if form == "plain" else "jsonl.gz"
    return write_lines(folder / f"a.{suffix}", rows, form)


@pytest.mark.parametrize("form", ["plain", "cuts", "gzip", "blocks", "csv", "shards"])
def test_every_form_gives_the_same_rows_and_audio(form, tmp_path, recording):
    rows, path = plain_rows(), make(form, tmp_path, recording)
    for _ in range(2):  # the second time with the index that is there
        segments = open_segments(path)
        assert len(segments) == 4
        assert segments.seconds == pytest.approx(sum(row["duration"] for row in rows))
        for i in (3, 0, 2, 1, -1):
            row, found = rows[i], segments[i]
            told = [found.id, found.duration, found.speaker, found.text]
            assert told == [row["id"], row["duration"], row["speaker"], row["text"]]
            first, count = round(row["start"] * RATE), round(row["duration"] * RATE)
            wanted = torch.from_numpy(recording[first : first + count])
            torch.testing.assert_close(segments.read(i, RATE), wanted, atol=1e-6, rtol=0)
    assert segments.durations.dtype == np.float32
    assert is_segments(path) == (form != "csv")
    again = pickle.loads(pickle.dumps(segments))
    assert again[1] == segments[1]
    with pytest.raises(IndexError):
        segments[4]


def test_rows_over_many_blocks_are_found(tmp_path):
    rng = np.random.default_rng(0)
    rows = [
        {"id": f"{i}", "path": "a.wav", "duration": 1 + i, "text": rng.bytes(700).hex()}
        for i in range(300)
    ]
    expected = write_lines(tmp_path / "b.jsonl", rows)
    blocked = open_segments(write_lines(tmp_path / "a.jsonl.gz", rows, "blocks"))
    assert os.path.getsize(tmp_path / "a.jsonl.gz") > 2 * 65536  # of several blocks
    assert gzip.decompress((tmp_path / "a.jsonl.gz").read_bytes()) == expected.read_bytes()
    sent = pickle.dumps(blocked.without([299]))
    assert len(sent) < 2000  # no column of the index is in it
    for i in (0, 46, 47, 150, 298):
        assert blocked[i].text == pickle.loads(sent)[i].text == rows[i]["text"]


def test_only_the_segment_is_decoded(tmp_path, recording, monkeypatch):
    read = []
    original = soundfile.SoundFile.read

    def spy(self, frames=-1, **options):
        read.append(frames)
        return original(self, frames, **options)

    monkeypatch.setattr(soundfile.SoundFile, "read", spy)
    open_segments(make("plain", tmp_path, recording)).read(2, RATE)
    assert read == [2 * RATE]


def test_resamples_and_chooses_channels(tmp_path):
    stereo = np.stack([np.full(RATE, 0.5), np.full(RATE, -0.25)], axis=1)
    soundfile.write(tmp_path / "s.wav", stereo, RATE, subtype="FLOAT")
    path = str(tmp_path / "s.wav")
    assert read_segment(Segment("a", 0.5, path), 16000).shape == (8000,)
    mean = read_segment(Segment("a", 0.5, path), RATE)
    right = read_segment(Segment("a", 0.5, path, channel=1), RATE)
    assert (mean[0], right[0]) == (0.125, -0.25)
    with pytest.raises(ValueError, match="channel 2 of 2"):
        read_segment(Segment("a", 0.5, path, channel=2), RATE)


def test_without_keeps_the_others_in_order(tmp_path, recording):
    segments = open_segments(make("plain", tmp_path, recording, plain_rows(9)))
    rest = segments.without([0, 4, 8])
    assert [row.id for row in rest] == ["s1", "s2", "s3", "s5", "s6", "s7"]
    further = rest.without([0, 3])  # s1 and s5
    assert [row.id for row in further] == ["s2", "s3", "s6", "s7"]
    assert further.seconds == pytest.approx(sum(row.duration for row in further))
    assert len(further.durations) == len(further.groups) == 4
    drawn = [further.draw(np.random.default_rng(i)) for i in range(400)]
    shares = np.bincount(drawn, minlength=4) / 400
    assert np.abs(shares - further.durations / further.seconds).max() < 0.07
    with pytest.raises(ValueError, match="all of the 4"):
        further.without(range(4))


def test_a_row_past_the_end_of_its_recording(tmp_path, recording):
    rows = [*plain_rows(1), {"id": "late", "path": "long.flac", "start": 9, "duration": 2}]
    segments = open_segments(write_lines(tmp_path / "a.jsonl", rows))
    with pytest.raises(ValueError, match=r"long.flac \(segment late\).* 11.00 s.* 10.00 s"):
        segments.read(1, RATE)


def test_a_missing_and_a_damaged_recording(tmp_path):
    (tmp_path / "bad.flac").write_bytes(b"no audio")
    rows = [{"id": name, "path": f"{name}.flac", "duration": 1} for name in ("gone", "bad")]
    segments = open_segments(write_lines(tmp_path / "a.jsonl", rows))
    with pytest.raises(FileNotFoundError, match=r"there is no recording .*gone"):
        segments.read(0, RATE)
    with pytest.raises(ValueError, match=r"bad.flac .*cannot be decoded"):
        segments.read(1, RATE)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": "a", "path": ', "line 2: it is not JSON"),
        ("[1]", "line 2: a row is an object"),
        ('{"path": "a.wav", "duration": 1}', "line 2: 'id' must be a text, not None"),
        ('{"id": "a", "duration": 1}', "line 2: 'path' must be a text"),
        ('{"id": "a", "path": "a.wav"}', "line 2: it has no 'duration'"),
        ('{"id": "a", "path": "a.wav", "duration": -1}', "line 2: 'duration' .* not -1"),
        ('{"id": "a", "path": "a.wav", "duration": NaN}', "line 2: 'duration' .* not nan"),
        ('{"id": "a", "path": "a.wav", "duration": 1, "start": "x"}', "line 2: 'start' must"),
        ('{"id": "s0", "path": "a.wav", "duration": 1}', "line 2: the id 's0' is that of .*line 1"),
        ('{"id": "a", "tracks": [], "type": "MixedCut"}', "line 2: a cut of several .*MixedCut"),
        (
            '{"id": "a", "recording": {"sources": [{"type": "url", "source": "x"}]}}',
            "line 2: its recording is a 'url'",
        ),
    ],
)
def test_a_bad_line_is_named(line, message, tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(plain_rows(1)[0]) + "\n" + line + "\n")
    with pytest.raises(ValueError, match=message):
        open_segments(path)
    assert not (tmp_path / "a.jsonl.index").exists()


@pytest.mark.parametrize("form", ["gzip", "blocks"])
@pytest.mark.parametrize("lost", [1, 30, 200])
def test_gz_cut_short(form, lost, tmp_path):
    path = write_lines(tmp_path / "a.jsonl.gz", plain_rows(50), form)
    path.write_bytes(path.read_bytes()[:-lost])
    with pytest.raises(ValueError, match="cut short"):
        open_segments(path)
    assert not (tmp_path / "a.jsonl.gz.index").exists()


@pytest.mark.parametrize("form", ["plain", "gzip", "blocks"])
def test_an_index_of_another_manifest(form, tmp_path, recording):
    path = make(form, tmp_path, recording)
    open_segments(path)
    index = path.with_name(f"{path.name}.index")
    os.utime(path, (1, 1))  # the same bytes at another time: a copy
    assert len(open_segments(path)) == 4
    write_lines(path, plain_rows(3), form)
    with pytest.raises(ValueError, match=f"{index.name} does not match .*remove the index"):
        open_segments(path)
    for part in index.iterdir():
        part.unlink()
    index.rmdir()
    assert len(open_segments(path)) == 3
    (index / "offsets.bin").write_bytes(b"123")
    with pytest.raises(ValueError, match=r"damaged \(offsets.bin has 3 bytes, not 24\): remove"):
        open_segments(path)
    (index / "index.json").write_text("{")
    with pytest.raises(ValueError, match="damaged: remove it"):
        open_segments(path)


def test_a_truncated_shard(tmp_path, recording):
    folder = make("shards", tmp_path, recording)
    whole = (folder / "a-1.tar").read_bytes()
    with tarfile.open(folder / "a-1.tar") as archive:
        json_begins = archive.getmembers()[-1].offset  # the audio before it is whole
    for size in (len(whole) - 9000, json_begins, 700, 100):
        (folder / "a-1.tar").write_bytes(whole[:size])
        with pytest.raises(ValueError, match=r"a-1.tar is truncated or no tar file"):
            open_segments(folder)
    # what a copy that was cut short leaves in a file of the final size
    (folder / "a-1.tar").write_bytes(whole[:json_begins].ljust(len(whole) + 20000, b"\0"))
    with pytest.raises(ValueError, match=r"a-1.tar is truncated .*from byte \d+ on it is empty"):
        open_segments(folder)
    assert not (folder / "segments.index").exists()


def test_shards_that_changed_behind_their_index(tmp_path, recording):
    folder = make("shards", tmp_path, recording)
    segments = open_segments(folder)
    write_shard(folder / "a-2.tar", plain_rows(9)[8:], recording)
    with pytest.raises(ValueError, match=r"segments.index does not match its shards"):
        open_segments(folder)
    (folder / "a-0.tar").write_bytes(bytes((folder / "a-0.tar").stat().st_size))
    with pytest.raises(ValueError, match=r"segments.index does not match .*a-0.tar"):
        segments[0]


def test_shards_of_others(tmp_path, recording):
    """Long names, folders in names, no json: durations are then measured."""
    name = f"speaker/{'chapter' * 20}.with.dots"
    audio = io.BytesIO()
    soundfile.write(audio, recording[:RATE], RATE, format="FLAC")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        for ending in ("flac", "txt"):
            member = tarfile.TarInfo(f"{name}.{ending}".replace(".with.dots", ""))
            member.size = len(audio.getvalue())
            archive.addfile(member, io.BytesIO(audio.getvalue()))
    segments = open_segments(tmp_path)
    assert (segments[0].id, segments[0].duration) == (name.partition(".")[0], 1.0)
    assert segments.read(0, RATE).shape == (RATE,)
    (tmp_path / "y.tar").write_bytes((tmp_path / "x.tar").read_bytes())
    (tmp_path / "segments.index/index.json").unlink()
    with pytest.raises(ValueError, match=r"y.tar: the id 'speaker/.* is that of .*x.tar already"):
        open_segments(tmp_path)


def test_what_is_no_manifest(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no manifest"):
        open_segments(tmp_path / "none.jsonl")
    with pytest.raises(ValueError, match="is not a manifest: give JSON lines"):
        open_segments(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(ValueError, match=r"empty.jsonl has no row"):
        open_segments(tmp_path / "empty.jsonl")
    (tmp_path / "a.csv").write_text("ID,wav\na,b.wav\n")
    with pytest.raises(ValueError, match="row 1: it has no duration"):
        open_segments(tmp_path / "a.csv")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_an_index_that_cannot_be_written(tmp_path):
    write_lines(tmp_path / "a.jsonl", plain_rows())
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError, match=r"index .* cannot be written .*wavcube manifest"):
            open_segments(tmp_path / "a.jsonl")
    finally:
        tmp_path.chmod(0o700)


def test_processes_that_open_one_manifest_make_one_index(tmp_path, recording):
    path = make("gzip", tmp_path, recording)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: len(open_segments(path)), range(8)))
    assert found == [4] * 8
    names = sorted(each.name for each in tmp_path.glob("a.jsonl.gz*"))
    assert names == ["a.jsonl.gz", "a.jsonl.gz.index"]
