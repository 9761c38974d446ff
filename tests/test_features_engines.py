"""The same bytes from every engine, also after processes were killed."""

import hashlib
import os
import tempfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from feature_models import Fatal
from processes import run_code
from releases import full_disk, random_release

from wavcube.cli.main import main
from wavcube.data.audio import write_audio
from wavcube.features import Form, Processes, extract
from wavcube.features.cluster import _Actor
from wavcube.features.extract import open_source
from wavcube.features.shards import Description
from wavcube.features.worker import ShardWriter, Task
from wavcube.representations import MelRepresentation
from wavcube.testing import tone

SMALL = Form(shard_size=2)


@pytest.fixture(scope="module")
def speech(tmp_path_factory):
    """Eleven clips; the sixth is the one that `Fatal` may die of."""
    folder = tmp_path_factory.mktemp("data") / "speech"
    for number in range(11):
        seconds = Fatal.FATAL / 16000 if number == 5 else 0.11 + 0.03 * number
        write_audio(folder / f"{number:02d}.wav", tone(seconds, number), 16000)
    return folder


def hashes(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(Path(folder).rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def written(folder):
    """Give the shards that count as written, which have a record, and when they were."""
    records = sorted(Path(folder).glob("shards/[0-9]*.json"))
    return {path.stem: path.with_suffix(".safetensors").stat().st_mtime_ns for path in records}


@pytest.mark.slow
def test_a_killed_worker_loses_and_repeats_nothing(speech, tmp_path):
    make, out = partial(Fatal, tmp_path), tmp_path / "out"
    whole = extract(speech, tmp_path / "whole", make, form=SMALL).folder
    (tmp_path / "kill-1").touch()
    with pytest.raises(ChildProcessError, match="died"):
        extract(speech, out, make, form=SMALL, engine=Processes(2))
    (out / "shards" / ".000003.partial-1.json").touch()
    kept = written(out)
    assert "000002" not in kept
    assert len(kept) < 6
    extract(speech, out, make, form=SMALL)
    assert {name: time for name, time in written(out).items() if name in kept} == kept
    assert hashes(out) == hashes(whole)


def test_a_killed_job_loses_and_repeats_nothing(speech, tmp_path, repository):
    make, out = partial(Fatal, tmp_path), tmp_path / "out"
    (tmp_path / "kill-1").touch()
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from functools import partial\n"
        "from feature_models import Fatal\n"
        "from wavcube.features import Form, extract\n"
        "extract(sys.argv[2], 'out', partial(Fatal, '.'), form=Form(shard_size=2))\n"
    )
    ended = run_code(code, tmp_path, [str(repository / "tests"), str(speech)])
    assert ended.returncode == -9
    kept = written(out)
    assert sorted(kept) == ["000000", "000001"]
    (out / "shards" / ".000002.partial-1.safetensors").write_bytes(b"half a shard")
    extract(speech, out, make, form=SMALL)
    assert {name: time for name, time in written(out).items() if name in kept} == kept
    assert not list((out / "shards").glob(".*"))
    assert hashes(out) == hashes(extract(speech, tmp_path / "whole", make, form=SMALL).folder)


def extract_by_ray(repository, speech, markers, found_by_workers):
    """Run Ray in a process of its own, into the folder `out` beside the markers."""
    code = (
        "import os, sys\n"
        "tests, path, source, markers, short = sys.argv[1:]\n"
        "os.environ.update(PYTHONPATH=path, RAY_TMPDIR=short)\n"  # Ray's workers read them
        "sys.path.insert(0, tests)\n"
        "from functools import partial\n"
        "from feature_models import Fatal\n"
        "from wavcube.features import Form, RayData, extract\n"
        "make, form = partial(Fatal, markers), Form(shard_size=2)\n"
        "extract(source, 'out', make, form=form, engine=RayData(2))\n"
    )
    path = os.pathsep.join(map(str, found_by_workers))
    # its sockets need a short name
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as short:
        arguments = [str(repository / "tests"), path, str(speech), str(markers), short]
        return run_code(code, markers.parent, arguments, timeout=500)


@pytest.mark.slow
def test_ray_writes_the_same_bytes_through_the_death_of_a_worker(speech, tmp_path, repository):
    markers = tmp_path / "markers"
    markers.mkdir()
    whole = extract(speech, tmp_path / "whole", partial(Fatal, markers), form=SMALL).folder
    (markers / "kill-1").touch()
    ended = extract_by_ray(repository, speech, markers, [repository, repository / "tests"])
    assert ended.returncode == 0, ended.stderr
    assert not list(markers.iterdir()), "no worker was killed"
    assert hashes(tmp_path / "out") == hashes(whole)


@pytest.mark.slow
def test_a_failure_of_ray_is_one_line(speech, tmp_path, repository):
    markers = tmp_path / "markers"
    markers.mkdir()
    ended = extract_by_ray(repository, speech, markers, [repository])
    assert ended.returncode == 1
    last = ended.stderr.strip().splitlines()[-1]
    assert last == "OSError: Ray: ModuleNotFoundError: No module named 'feature_models'"


@pytest.fixture
def task(speech, tmp_path):
    """What a worker is given."""
    source, make = partial(open_source, speech), partial(Fatal, tmp_path)
    extract(speech, tmp_path / "out", make, form=SMALL)
    for shard in (tmp_path / "out" / "shards").iterdir():
        shard.unlink()
    return Task(source, make, tmp_path / "out", Description.load(tmp_path / "out"))


def test_a_worker_of_ray_hands_a_full_disk_back(task):
    actor = _Actor(task, "cpu")
    with full_disk(500):
        row = actor({"shard": 1})
    assert "000001.safetensors: " in row["failure"]
    assert not list((task.folder / "shards").iterdir())
    assert actor({"shard": 1}) == {"shard": 1, "failure": ""}
    assert len(written(task.folder)) == 1


@pytest.mark.parametrize("error", [RuntimeError("CUDA out of memory"), MemoryError("no room")])
def test_what_memory_does_not_suffice_for_is_named(task, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("wavcube.features.worker.states_of_clips", fail)
    message = f"shard 1, computing 02: {error}"
    with pytest.raises(OSError, match=message):
        ShardWriter(task, "cpu").write(1)
    assert _Actor(task, "cpu")({"shard": 1}) == {"shard": 1, "failure": message}


def test_a_worker_with_another_model_writes_nothing(task):
    other = replace(task, make=partial(MelRepresentation, 5))
    with pytest.raises(ValueError, match="this worker's model"):
        ShardWriter(other, "cpu")


@pytest.mark.slow
def test_the_command_writes_the_same_bytes_by_two_processes(speech, tmp_path, capsys):
    release = str(random_release(tmp_path / "release"))
    options = ["--source", release, "--shard-size", "4", "--half", "--device", "cpu"]
    assert main(["extract", str(speech), str(tmp_path / "one"), *options]) == 0
    assert "11 segments" in capsys.readouterr().out
    assert main(["extract", str(speech), str(tmp_path / "two"), *options, "--processes", "2"]) == 0
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")
    assert len(written(tmp_path / "one")) == 3
