"""A full disk, met by what writes much: an error that names the file, and no half of anything."""

import json

import pytest
import torch
from releases import full_disk, random_release, tree
from test_parity_convert import Research

from wavcube.cli.main import main
from wavcube.data.audio import write_audio
from wavcube.data.segments import open_segments
from wavcube.data.segments.lines import build_index
from wavcube.testing import tone
from wavcube.training.checkpoints import AtomicCheckpointer


@pytest.fixture
def manifest(tmp_path):
    """Ninety segments of a recording, in JSON lines."""
    write_audio(tmp_path / "long.wav", tone(10.0), 16000)
    rows = [
        {"id": f"segment {i}", "path": "long.wav", "start": i / 10, "duration": 0.9}
        for i in range(90)
    ]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    return tmp_path / "in.jsonl"


def fails(capsys, *command):
    """Run a command that must fail, and return its last line."""
    capsys.readouterr()
    assert main([str(part) for part in command]) == 2
    return capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.gz"])
def test_no_manifest(manifest, tmp_path, capsys, name):
    before = tree(tmp_path)
    with full_disk(10):
        assert fails(capsys, "manifest", manifest, tmp_path / name).endswith(
            f"{tmp_path / name}: File too large"
        )
    assert tree(tmp_path) == before
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("wavcube.data.segments.making.build_index", cramped_index)
        said = fails(capsys, "manifest", manifest, tmp_path / name)
    assert said.endswith(f"{tmp_path / name}.index: File too large")
    assert tree(tmp_path) == before
    assert main(["manifest", str(manifest), str(tmp_path / name)]) == 0
    assert len(open_segments(tmp_path / name)) == 90


def cramped_index(*arguments):
    with full_disk(100):
        build_index(*arguments)


def test_no_index(manifest, tmp_path):
    before = tree(tmp_path)
    with full_disk(300), pytest.raises(OSError, match=r"in\.jsonl\.index"):
        open_segments(manifest)
    assert tree(tmp_path).keys() - before.keys() <= {".in.jsonl.index.lock"}
    assert len(open_segments(manifest)) == 90


def test_no_shard(manifest, tmp_path, capsys):
    out, options = tmp_path / "shards", ["--shard-size", "40"]
    with full_disk(100_000):
        said = fails(capsys, "shard", manifest, out, *options)
    assert "shard-000000.tar" in said
    assert not list(out.glob("*.tar"))
    assert main(["shard", str(manifest), str(out), *options]) == 0
    assert len(open_segments(out)) == 90


def test_no_conversion(tmp_path, capsys):
    research = Research(tmp_path)
    research.write()
    before = tree(tmp_path)
    command = ["convert-official", tmp_path / "model.ckpt", tmp_path / "out"]
    command += ["--config", tmp_path / "config.yaml"]
    with full_disk():
        assert "model.safetensors" in fails(capsys, *command)
    assert tree(tmp_path) == before


def test_no_networks(tmp_path, capsys):
    release = random_release(tmp_path / "release")
    before = tree(tmp_path)
    with full_disk():
        said = fails(capsys, "export-onnx", release, tmp_path / "out")
    assert said.endswith(f"{tmp_path / 'out'}: File too large")
    assert tree(tmp_path) == before


def test_no_checkpoint_and_the_earlier_one_stays(tmp_path):
    parts = {"model": torch.nn.Linear(99, 99)}
    checkpointer = AtomicCheckpointer(tmp_path, parts)
    checkpointer.save_and_keep_only({"version": 1})
    before = tree(tmp_path)
    parts["model"].weight.data.zero_()
    for limit in (100, 1500):  # of the file's beginning, and of its content
        with full_disk(limit), pytest.raises(OSError, match=rf"{tmp_path}.*is the disk full"):
            checkpointer.save_and_keep_only({"version": 2})
        assert tree(tmp_path) == before
    assert checkpointer.recover_if_possible().meta["version"] == 1
    assert bool(parts["model"].weight.any())
