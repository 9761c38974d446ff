"""Making manifests and shards: every row checked, nothing half written, going on after a stop."""

import csv
import errno
import gzip
import json
import os
import shutil
import signal
import stat
import tarfile
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from wavcube.cli.main import main
from wavcube.data.segments import open_segments
from wavcube.data.segments.making import BadList, make_manifest
from wavcube.data.segments.sharding import DONE, write_shards
from wavcube.data.segments.tars import JOURNAL
from wavcube.utils.files import write_atomically

RATE = 8000


def speak(path, seconds, seed=0, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE))
    soundfile.write(path, noise, RATE, **options)


@pytest.fixture
def corpus(tmp_path):
    """Five files in three folders, one with a transcript; and what is not audio."""
    folder = tmp_path / "speech"
    for number, name in enumerate(("ann/a.wav", "ann/b.flac", "bob/1/c.wav", "d.wav", "bob/e.wav")):
        speak(folder / name, 0.5 + 0.1 * number, number)
    (folder / "ann/a.txt").write_text("so\nsagt man\n")
    (folder / ".hidden").mkdir()
    speak(folder / ".hidden/f.wav", 1)
    return folder


def lines_of(path):
    opened = gzip.open(path, "rt") if path.suffix == ".gz" else path.open()
    with opened as file:
        return [json.loads(line) for line in file]


def tree(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_a_folder_to_a_manifest(suffix, corpus, tmp_path, capsys):
    out = tmp_path / f"all.{suffix}"
    assert main(["manifest", str(corpus), str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out}: 5 segments by 2 speakers, 0.00 hours\n"
    rows = lines_of(out)
    assert [row["id"] for row in rows] == ["d", "ann-a", "ann-b", "bob-e", "bob-1-c"]
    wanted = {"id": "ann-a", "path": "speech/ann/a.wav", "start": 0.0, "duration": 0.5}
    assert rows[1] == {**wanted, "speaker": "ann", "text": "so sagt man"}
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.index/*")}
    segments = open_segments(out)
    assert len(before) == 5  # it was written along with the manifest, and is taken as it is
    assert all(path.stat().st_mtime_ns == when for path, when in before.items())
    assert segments.read(4, RATE).shape == (round(0.7 * RATE),)
    assert tree(tmp_path).count(f"all.{suffix}") == 1
    assert not list(tmp_path.glob(".*"))


def test_manifests_of_every_form_to_one(corpus, tmp_path):
    sources = [corpus / "bob", tmp_path / "a.csv", tmp_path / "cuts.jsonl.gz"]
    (tmp_path / "a.csv").write_text("ID,wav,spk_id,wrd\nx,speech/ann/a.wav,ann,one two\n")
    source = {"type": "file", "channels": [0], "source": "ann/b.flac"}
    cut = {"id": "lib/y_0", "start": 0.25, "duration": 0.2, "channel": 0, "type": "MonoCut"}
    cut |= {"supervisions": [{"speaker": "7", "text": "z"}], "recording": {"sources": [source]}}
    (tmp_path / "cuts.jsonl.gz").write_bytes(gzip.compress(json.dumps(cut).encode()))
    (tmp_path / "deep").mkdir()
    with pytest.raises(ValueError, match=r"3 of 4 rows are bad|2 of 4 rows are bad"):
        make_manifest(sources, tmp_path / "deep/all.jsonl", root=tmp_path / "nowhere")
    assert tree(tmp_path / "deep") == ["all.jsonl.bad.csv"]
    sources[1] = corpus.parent / "b.csv"
    sources[1].write_text("ID,wav,spk_id,wrd\nx,ann/a.wav,ann,one two\n")
    made = make_manifest(sources, tmp_path / "deep/all.jsonl", root=corpus)
    assert (made.rows, made.bad) == (4, 0)
    assert made.seconds == pytest.approx(0.7 + 0.9 + 0.5 + 0.2)
    assert tree(tmp_path / "deep")[:2] == ["all.jsonl", "all.jsonl.index"]
    rows = {row["id"]: row for row in lines_of(tmp_path / "deep/all.jsonl")}
    assert rows["lib/y_0"]["path"] == str(corpus / "ann/b.flac")
    assert (rows["lib/y_0"]["start"], rows["lib/y_0"]["speaker"]) == (0.25, "7")
    assert (rows["x"]["duration"], rows["x"]["text"]) == (0.5, "one two")
    with pytest.raises(FileExistsError):
        make_manifest(sources, tmp_path / "deep/all.jsonl", root=corpus)
    make_manifest(sources[1:2], tmp_path / "deep/all.jsonl", root=corpus, overwrite=True)
    assert len(open_segments(tmp_path / "deep/all.jsonl")) == 1


def test_the_folders_of_a_level_are_the_speakers(tmp_path, capsys):
    speak(tmp_path / "light/small/100/book/01_page.wav", 0.5)
    out, folder = tmp_path / "a.jsonl", str(tmp_path / "light")
    for options, speaker in (([], "small"), (["--speaker-level", "2"], "100")):
        assert main(["manifest", folder, str(out), "--overwrite", *options]) == 0
        assert lines_of(out)[0]["speaker"] == speaker
    assert main(["manifest", str(out), str(tmp_path / "b.jsonl"), "--speaker-level", "2"]) == 2
    assert "speaker_level 2 is for folders of audio" in capsys.readouterr().err
    for level in ("0", "4"):
        assert main(["manifest", folder, str(tmp_path / "b.jsonl"), "--speaker-level", level]) == 2
        assert f"there is no level {level}" in capsys.readouterr().err
    assert main(["manifest", folder, str(tmp_path / "b.jsonl"), "--max-bad", "2"]) == 2
    assert "max_bad_fraction 2.0 must lie in [0, 1]" in capsys.readouterr().err


def test_bad_rows_are_left_out_and_listed(corpus, tmp_path, capsys):
    rows = [
        {"id": "good", "path": "speech/d.wav"},
        {"id": "late", "path": "speech/d.wav", "start": 0.5, "duration": 0.5},
        {"id": "gone", "path": "speech/gone.wav", "duration": 0.5},
        {"id": "cut", "path": "speech/bob/e.wav", "duration": 0.5},
        {"id": "mono", "path": "speech/d.wav", "channel": 1},
    ]
    whole = (corpus / "bob/e.wav").read_bytes()
    (corpus / "bob/e.wav").write_bytes(whole[:3000])
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "out.jsonl"
    assert main(["manifest", str(tmp_path / "in.jsonl"), str(out), "--max-bad", "0.8"]) == 0
    assert "1 segments, 0.00 hours, 4 left out" in capsys.readouterr().out
    assert [(row["id"], row["duration"]) for row in lines_of(out)] == [("good", 0.8)]
    with (tmp_path / "out.jsonl.bad.csv").open() as file:
        listed = {row["ID"]: row["reason"] for row in csv.DictReader(file)}
    assert "goes from 0.50 to 1.00 s, its recording ends at 0.80 s" in listed["late"]
    assert "there is no audio file" in listed["gone"]
    assert "truncated" in listed["cut"]
    assert "d.wav: channel 1 of 1, counted from 0" in listed["mono"]
    code = main(["manifest", str(tmp_path / "in.jsonl"), str(tmp_path / "no.jsonl")])
    assert code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "error: 4 of 5 rows are bad, and at most 1.00% may be" in said
    assert "no.jsonl.bad.csv lists them" in said
    assert not (tmp_path / "no.jsonl").exists()


def test_a_list_that_a_full_disk_cuts_short_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "bad.csv").write_text("ID,reason\nold,it was bad\n")
    bad = BadList(tmp_path / "bad.csv").__enter__()
    bad.add("a", "a.wav is damaged")
    close = bad._file.close

    def full():
        close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bad, "_file", SimpleNamespace(close=full))
    with pytest.raises(OSError, match=r"No space left on device: .*bad.csv"):
        bad.__exit__(None, None, None)
    assert tree(tmp_path) == ["bad.csv"]
    assert "old" in (tmp_path / "bad.csv").read_text()


def synced_folders(monkeypatch):
    """List the folders whose names are forced to the disk from now on."""
    original, found = os.fsync, []

    def noting(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            found.append(os.readlink(f"/proc/self/fd/{handle}"))
        original(handle)

    monkeypatch.setattr(os, "fsync", noting)
    return found


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_names_are_synced_too(tmp_path, monkeypatch):
    found = synced_folders(monkeypatch)
    write_atomically(tmp_path / "deep/note", b"text")
    assert found == [str(tmp_path / "deep")]
    found.clear()
    segments = open_segments(manifest_of(tmp_path)).without([3])
    found.clear()
    write_shards(segments, tmp_path / "out", rows_per_shard=2)
    # the journal's begin, three shards, and what is done at their end
    assert found.count(str(tmp_path / "out")) >= 5


def test_a_source_that_is_wrong(corpus, tmp_path):
    out = tmp_path / "out.jsonl"
    (tmp_path / "empty").mkdir()
    (tmp_path / "in.jsonl").write_text('{"id": "a", "path": "speech/d.wav"}\n{"id": \n')
    with pytest.raises(ValueError, match=r"in.jsonl, line 2: it is not JSON"):
        make_manifest([tmp_path / "in.jsonl"], out)
    with pytest.raises(
        ValueError, match=r"out.jsonl, line (\d+): the id '.*' is that of .*line \d"
    ):
        make_manifest([corpus, corpus], out)
    with pytest.raises(FileNotFoundError, match="there is no folder or manifest"):
        make_manifest([tmp_path / "none"], out)
    with pytest.raises(ValueError, match=r"must end in .jsonl or .jsonl.gz"):
        make_manifest([corpus], tmp_path / "out.csv")
    with pytest.raises(ValueError, match="holds no audio"):
        make_manifest([tmp_path / "empty"], out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "in.jsonl", "speech"]


def manifest_of(folder, count=7):
    """Segments of a recording of ten seconds, the fourth past its end."""
    speak(folder / "long.wav", 10, subtype="PCM_16")
    rows = [
        {"id": f"s.{i}", "path": "long.wav", "start": i, "duration": 0.5 + 0.1 * i}
        | {"speaker": "ann", "text": f"ä{i}"}
        for i in range(count)
    ]
    rows[3]["start"] = 11
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "a.jsonl"


def test_a_manifest_to_shards(tmp_path, capsys):
    path, out = manifest_of(tmp_path), tmp_path / "shards"
    options = ["--shard-size", "3", "--max-bad", "0.2"]
    assert main(["shard", str(path), str(out), *options]) == 0
    said = capsys.readouterr().out
    assert said == f"wrote {out}: 6 segments in 3 shards, 1 left out ({out / 'bad.csv'})\n"
    assert sorted(path.name for path in out.glob("[!.]*")) == [
        "bad.csv",
        DONE,
        "segments.index",
        *(f"shard-00000{i}.tar" for i in range(3)),
    ]
    assert "the segment ends at 11.80 s" in (out / "bad.csv").read_text()
    with tarfile.open(out / "shard-000001.tar") as archive:
        assert [member.name for member in archive][:2] == ["000000004.flac", "000000004.json"]
    was, now = open_segments(path).without([3]), open_segments(out)
    assert [row.id for row in now] == [row.id for row in was]
    assert now.durations.tolist() == pytest.approx(was.durations.tolist())
    for i in range(6):
        assert (now[i].speaker, now[i].text) == (was[i].speaker, was[i].text)
        assert torch.equal(now.read(i, RATE), was.read(i, RATE))  # 16 bits stay as they are
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main(["shard", str(path), str(out), *options]) == 0  # all is done, and said again
    assert capsys.readouterr().out == said
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    assert main(["shard", str(path), str(out), "--shard-size", "2", "--max-bad", "0.2"]) == 2
    assert "was begun with other segments" in capsys.readouterr().err
    assert main(["shard", str(path), str(out), "--shard-size", "3"]) == 2
    assert "1 of 7 rows are bad, and at most 1.00% may be" in capsys.readouterr().err
    assert main(["shard", str(path), str(tmp_path), *options]) == 2
    assert "is not empty: choose another folder" in capsys.readouterr().err


def test_sharding_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    segments = open_segments(manifest_of(tmp_path)).without([3])
    whole, out = tmp_path / "whole", tmp_path / "stopped"
    write_shards(segments, whole, rows_per_shard=2)
    original, added = tarfile.TarFile.addfile, []

    def fails(self, member, data=None):
        added.append(member.name)
        if len(added) == 7:
            raise OSError(errno.ENOSPC, "No space left on device")
        return original(self, member, data)

    with monkeypatch.context() as patch:
        patch.setattr(tarfile.TarFile, "addfile", fails)
        with pytest.raises(OSError, match="No space left"):
            write_shards(segments, out, rows_per_shard=2)
    assert sorted(path.name for path in out.glob("[!.]*")) == ["shard-000000.tar", JOURNAL]
    with pytest.raises(ValueError, match=r"is not finished .*`wavcube shard` command again"):
        open_segments(out)
    with pytest.raises(ValueError, match="was begun with other segments"):
        write_shards(segments.without([0]), out, rows_per_shard=2)
    with (out / JOURNAL).open("a") as file:
        file.write('[["cut sh')
    first = (out / "shard-000000.tar").stat().st_mtime_ns
    done = write_shards(segments, out, rows_per_shard=2)
    assert (done.shards, done.rows, done.bad) == (3, 6, 0)
    assert (out / "shard-000000.tar").stat().st_mtime_ns == first
    for name in tree(whole):
        if (whole / name).is_file():
            assert (out / name).read_bytes() == (whole / name).read_bytes(), name
    assert tree(out) == tree(whole)


def content(folder):
    """Give the files' bytes; two journals differ in the order of their lines."""
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {
        name: sorted(path.read_bytes().splitlines()) if name == DONE else path.read_bytes()
        for name, path in files.items()
        if path.is_file()
    }


def pausing_job(segments, out, at):
    """Begin to write shards in another process, which halts at a member; give its number."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        original, added = tarfile.TarFile.addfile, []

        def halting(self, member, data=None):
            added.append(member.name)
            if len(added) == at:
                os.write(sender, b"x")
                signal.pause()
            return original(self, member, data)

        tarfile.TarFile.addfile = halting
        write_shards(segments, out, rows_per_shard=2)
        os._exit(0)
    os.close(sender)
    assert os.read(receiver, 1) == b"x"
    os.close(receiver)
    return child


def test_one_job_at_a_time_and_nothing_is_left_of_one_that_was_killed(tmp_path):
    segments = open_segments(manifest_of(tmp_path)).without([3])
    whole, out = tmp_path / "whole", tmp_path / "out"
    write_shards(segments, whole, rows_per_shard=2)
    child = pausing_job(segments, out, at=7)
    try:
        with pytest.raises(BlockingIOError, match=r"another process writes to .*out: wait"):
            write_shards(segments, out, rows_per_shard=2)
        assert [path.name for path in out.glob(".*.tar")] == [f".shard-000001.partial-{child}.tar"]
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    first = (out / "shard-000000.tar").stat().st_mtime_ns
    assert write_shards(segments, out, rows_per_shard=2) == (3, 6, 0)
    assert (out / "shard-000000.tar").stat().st_mtime_ns == first
    assert content(out) == content(whole)


@pytest.mark.parametrize("finished", [False, True])
def test_shards_that_are_gone_are_written_again(finished, tmp_path):
    segments = open_segments(manifest_of(tmp_path)).without([3])
    whole, out = tmp_path / "whole", tmp_path / "out"
    write_shards(segments, whole, rows_per_shard=2)
    shutil.copytree(whole, out)
    (out / "shard-000000.tar").unlink()
    if not finished:
        (out / DONE).rename(out / JOURNAL)
        shutil.rmtree(out / "segments.index")
    assert write_shards(segments, out, rows_per_shard=2) == (3, 6, 0)
    assert len(open_segments(out)) == 6
    assert content(out).keys() == content(whole).keys()
    for path in whole.glob("*.tar"):
        assert (out / path.name).read_bytes() == path.read_bytes()


def test_shards_beside_those_of_another_job_are_not_taken_for_one(tmp_path):
    segments = open_segments(manifest_of(tmp_path)).without([3])
    write_shards(segments.without([0, 1]), tmp_path / "other", rows_per_shard=9)
    out = tmp_path / "out"
    child = pausing_job(segments.without([2, 3, 4, 5]), out, at=3)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    shutil.copy(tmp_path / "other/shard-000000.tar", out / "more.tar")
    with pytest.raises(ValueError, match="hold 6 segments, not the 2 that were written"):
        write_shards(segments.without([2, 3, 4, 5]), out, rows_per_shard=2)


def test_sharding_stops_when_too_much_is_bad(tmp_path):
    segments = open_segments(manifest_of(tmp_path))
    with pytest.raises(ValueError, match=r"1 of the 7 segments cannot be read.*segment s.3"):
        write_shards(segments, tmp_path / "out", rows_per_shard=2)
    assert not (tmp_path / "out/segments.index").exists()
    with pytest.raises(ValueError, match="1 or more, not 0"):
        write_shards(segments, tmp_path / "no", rows_per_shard=0)
    assert not os.path.exists(tmp_path / "no")
