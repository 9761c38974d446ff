"""`wavcube extract`: what it says, and one line for every mistake."""

import builtins
import json
import shutil

import pytest
import torch
from releases import full_disk, random_release, tree

from wavcube import WavCube
from wavcube.cli.main import main
from wavcube.data.audio import write_audio
from wavcube.data.segments.lines import LineRows
from wavcube.features import FeatureFolder
from wavcube.features.engines import worker_device
from wavcube.testing import tone


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return str(random_release(tmp_path_factory.mktemp("release") / "model"))


@pytest.fixture
def manifest(tmp_path):
    """Four segments of two recordings, in JSON lines."""
    rows = []
    for name in "ab":
        write_audio(tmp_path / f"{name}.wav", tone(1.0, ord(name)), 16000)
        for start in (0.0, 0.5):
            row = {"id": f"{name}{start}", "path": f"{name}.wav", "start": start, "duration": 0.3}
            rows.append(json.dumps(row))
    path = tmp_path / "speech.jsonl"
    path.write_text("\n".join(rows))
    return path


def fails(capsys, *arguments):
    """Run a command that must fail, and return its one line."""
    capsys.readouterr()
    try:
        code = main(["extract", *map(str, arguments)])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    lines = said.err.splitlines()
    assert len(lines) == 1
    assert "error: " in lines[0]
    return lines[0]


def test_latents_of_a_release(manifest, source, tmp_path, capsys):
    out = tmp_path / "out"
    options = ["--source", source, "--device", "cpu", "--shard-size", "3"]
    assert main(["extract", str(manifest), str(out), *options]) == 0
    assert "4 segments, 60 frames of (8,)" in capsys.readouterr().out
    features, model = FeatureFolder(out), WavCube.from_hparams(source, run_opts={"device": "cpu"})
    assert features.model_hash == model.latent_hash
    wav = model.load_audio(tmp_path / "b.wav")[8000:12800]
    torch.testing.assert_close(features["b0.5"], model.encode_batch(wav[None])[0][0])
    assert features.num_samples("b0.5") == 4800


def test_other_representations_and_forms(manifest, tmp_path):
    options = ["--representation", "mel", "--half", "--format", "npy", "--batch-seconds", "9"]
    out = tmp_path / "out"
    assert main(["extract", str(manifest), str(out), *options, "--device", "cpu"]) == 0
    features = FeatureFolder(out)
    assert features["a0.0"].dtype == torch.float16
    assert features.description.form.batch_seconds == 9
    assert (out / "shards" / "000000.npy").is_file()


def test_bad_files_are_named_and_counted(manifest, tmp_path, capsys):
    (tmp_path / "b.wav").unlink()
    out, options = tmp_path / "out", ["--representation", "mel", "--device", "cpu"]
    assert "--max-bad" in fails_after_warnings(capsys, manifest, out, *options)
    assert main(["extract", str(manifest), str(out), *options, "--max-bad", "0.5"]) == 0
    assert "2 left out, see bad.csv" in capsys.readouterr().out
    assert main(["extract", str(manifest), str(out), *options, "--max-bad", "0.5"]) == 0
    write_audio(tmp_path / "b.wav", tone(1.0), 16000)
    assert main(["extract", str(manifest), str(out), *options, "--retry-bad"]) == 0
    said = capsys.readouterr().out
    assert "4 segments" in said.splitlines()[-1]
    assert "left out" not in said.splitlines()[-1]


def fails_after_warnings(capsys, *arguments):
    """Run a command that tells of bad files before its last line."""
    assert main(["extract", *map(str, arguments)]) == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--processes", "0"], "at least 1"),
        (["--shard-size", "0"], "at least 1"),
        (["--batch-seconds", "-1"], "0 or a number above it"),
        (["--max-bad", "2"], "max_bad_fraction 2.0"),
        (["--representation", "mel", "--source", "x"], "leave --source x out"),
        (["--representation", "codec"], "name its folder"),
        (["--representation", "whisper"], "invalid choice"),
        (["--source", "nowhere/at-all-or/here"], "nowhere"),
        (["--device", "warp"], "warp"),
    ],
)
def test_mistakes_are_one_line(manifest, tmp_path, capsys, options, said):
    before = tree(tmp_path)
    assert said in fails(capsys, manifest, tmp_path / "out", *options)
    new = tree(tmp_path).keys() - before.keys()
    assert not [name for name in new if "jsonl" not in name], "but for the reader's own index"


def test_a_missing_or_broken_manifest_is_one_line(tmp_path, capsys):
    out = tmp_path / "out"
    assert "no manifest" in fails(capsys, tmp_path / "gone.jsonl", out)
    (tmp_path / "bad.jsonl").write_text("{}\n")
    assert "line 1" in fails(capsys, tmp_path / "bad.jsonl", out)
    (tmp_path / "empty").mkdir()
    assert "no audio" in fails(capsys, tmp_path / "empty", out)
    assert not out.exists()


def test_another_recording_is_another_job_another_text_is_not(manifest, tmp_path, capsys):
    options = ["--representation", "mel", "--device", "cpu"]
    assert main(["extract", str(manifest), str(tmp_path / "out"), *options]) == 0
    rows = manifest.read_text()
    for changed, code in (
        (rows.replace("a.wav", "b.wav"), 2),
        (rows.replace("}", ', "text": "corrected"}'), 0),
    ):
        manifest.write_text(changed)
        shutil.rmtree(tmp_path / "speech.jsonl.index")
        assert main(["extract", str(manifest), str(tmp_path / "out"), *options]) == code
        said = capsys.readouterr().err
        assert ("manifest_hash" in said) == ("or an earlier version" in said) == bool(code)


def test_to_go_on_no_row_is_read(manifest, tmp_path, monkeypatch):
    options = ["--representation", "mel", "--device", "cpu"]
    assert main(["extract", str(manifest), str(tmp_path / "out"), *options]) == 0
    monkeypatch.setattr(LineRows, "row", lambda *_: pytest.fail("a row was read"))
    assert main(["extract", str(manifest), str(tmp_path / "out"), *options]) == 0


def test_a_full_disk_is_one_line(manifest, source, tmp_path, capsys):
    options = ["--source", source, "--device", "cpu"]
    with full_disk(1500):
        said = fails(capsys, manifest, tmp_path / "out", *options)
    assert "000000.safetensors: " in said
    assert not list((tmp_path / "out").rglob("0*"))
    assert main(["extract", str(manifest), str(tmp_path / "out"), *options]) == 0


def test_without_ray_its_extra_is_named(manifest, tmp_path, capsys, monkeypatch):
    load = builtins.__import__

    def without_ray(name, *arguments, **keywords):
        if name == "ray" or name.startswith("ray."):
            raise ImportError(name)
        return load(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", without_ray)
    options = ["--representation", "mel", "--engine", "ray", "--device", "cpu"]
    assert "wavcube[cluster]" in fails(capsys, manifest, tmp_path / "out", *options)


def test_processes_share_the_gpus_of_a_machine(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [worker_device("cuda", worker) for worker in range(3)] == ["cuda:0", "cuda:1", "cuda:0"]
    assert worker_device("cuda:1", 0) == "cuda:1"
    assert worker_device("cpu", 1) == "cpu"
