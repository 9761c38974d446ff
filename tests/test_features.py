"""Extraction: every segment's features as the model gives them; what is bad is told of."""

import csv
import json
from functools import partial

import numpy as np
import pytest
import soundfile
import torch
from feature_models import Loud, tiny_latent
from filelock import FileLock
from releases import full_disk
from safetensors.torch import load_file

from wavcube.data.audio import read_audio, write_audio
from wavcube.data.segments import Segments
from wavcube.features import FeatureFolder, Form, extract
from wavcube.features.worker import plan_batches
from wavcube.representations import MelRepresentation, SSLRepresentation
from wavcube.testing import tiny_ssl_encoder, tone

MEL = partial(MelRepresentation, 4)
SMALL = Form(shard_size=2)


@pytest.fixture
def speech(tmp_path):
    """Five clips of different lengths in two folders."""
    folder = tmp_path / "speech"
    for number, name in enumerate(("a", "b", "c/a", "c/ü b", "d")):
        write_audio(folder / f"{name}.wav", tone(0.11 + 0.07 * number, number), 16000)
    return folder


def digests(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def test_bfloat16_is_near_float32_and_another_job(speech, tmp_path):
    make, form = partial(tiny_latent), Form(shard_size=2, computed_in="bfloat16")
    exact = extract(speech, tmp_path / "exact", make, form=SMALL)
    rounded = extract(speech, tmp_path / "rounded", make, form=form)
    assert list(rounded) == list(exact)
    for name in exact:
        error = (rounded[name] - exact[name]).norm() / exact[name].norm()
        assert 1e-5 < error < 0.05
    with pytest.raises(ValueError, match="computed_in is float32 there, bfloat16 here"):
        extract(speech, tmp_path / "exact", make, form=form)
    with pytest.raises(ValueError, match="MelRepresentation has no matrices that could be"):
        extract(speech, tmp_path / "mel", MEL, form=form)
    assert not (tmp_path / "mel").exists(), "the right command would be refused there"


@pytest.mark.parametrize("file_format", ["safetensors", "npy"])
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_features_are_those_of_the_model_for_the_file_alone(
    speech, tmp_path, file_format, precision
):
    form = Form(2, precision=precision, file_format=file_format)
    features = extract(speech, tmp_path / "out", tiny_latent, form=form)
    model = tiny_latent()
    assert list(features) == ["a", "b", "c/a", "c/ü b", "d"]
    assert len(features) == 5
    assert (features.sample_rate, features.frame_rate) == (16000, 50.0)
    assert features.model_hash == model.model_hash
    for name in features:
        wav = read_audio(speech / f"{name}.wav", 16000)
        wanted = model(wav[None])[0][0].to(getattr(torch, precision))
        torch.testing.assert_close(features[name], wanted)
        assert features.num_samples(name) == len(wav)
    assert features.bad() == {}
    stored = features["d"]
    moved = (tmp_path / "out").rename(tmp_path / "moved")
    assert torch.equal(FeatureFolder(moved)["d"], stored)


def test_statistics_are_those_of_all_stored_frames(speech, tmp_path):
    features = extract(speech, tmp_path / "out", MEL, form=Form(2, precision="float16"))
    frames = torch.cat([features[name] for name in features]).double()
    torch.testing.assert_close(features.mean, frames.mean(dim=0).float())
    torch.testing.assert_close(features.std, frames.std(dim=0, correction=0).float())
    assert features.num_frames == len(frames)


def test_all_layers_of_an_encoder_are_kept(speech, tmp_path):
    encoder = tiny_ssl_encoder()
    features = extract(speech, tmp_path / "out", lambda: SSLRepresentation(encoder), form=SMALL)
    states, _ = SSLRepresentation(encoder).states(read_audio(speech / "d.wav", 16000)[None])
    torch.testing.assert_close(features["d"], states[0].transpose(0, 1))
    assert features.mean.shape == features.shape == (3, 16)


def test_any_tool_reads_the_shards(speech, tmp_path):
    features = extract(speech, tmp_path / "one", MEL, form=SMALL)
    shard = load_file(tmp_path / "one" / "shards" / "000001.safetensors")
    assert sorted(shard) == ["c/a", "c/ü b"]
    assert torch.equal(shard["c/a"], features["c/a"])
    extract(speech, tmp_path / "two", MEL, form=Form(2, file_format="npy"))
    frames = np.load(tmp_path / "two" / "shards" / "000001.npy")
    rows = json.loads((tmp_path / "two" / "shards" / "000001.json").read_text())["rows"]
    assert [row[:3] for row in rows] == [["c/a", 0, 13], ["c/ü b", 13, 16]]
    assert np.array_equal(frames[13:29], features["c/ü b"].numpy())


def test_a_batch_changes_the_last_bits_at_most(speech, tmp_path):
    manifest = tmp_path / "speech.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["ID", "duration", "wav"])
        for path in sorted(speech.rglob("*.wav")):
            name = path.relative_to(speech).with_suffix("").as_posix()
            writer.writerow([name, soundfile.info(path).duration, path])
    batched = extract(manifest, tmp_path / "out", tiny_latent, form=Form(4, batch_seconds=1.0))
    alone = extract(speech, tmp_path / "alone", tiny_latent)
    for name in alone:
        torch.testing.assert_close(batched[name], alone[name], atol=1e-4, rtol=0)


def test_what_is_too_long_is_left_out(speech, tmp_path):
    form = Form(2, max_seconds=0.3)
    with pytest.raises(ValueError, match=r"b: 0.32 s are more than 0.3: cut it by a manifest"):
        extract(speech, tmp_path / "out", MEL, form=form)
    features = extract(speech, tmp_path / "out", MEL, form=form, max_bad_fraction=0.5)
    assert list(features) == ["a", "b", "c/a"]
    with pytest.raises(ValueError, match=r"max_seconds is 0\.3 there, None here"):
        extract(speech, tmp_path / "out", MEL, form=Form(2))
    with pytest.raises(ValueError, match="at most 0 s"):
        Form(max_seconds=0)


def test_batches_hold_what_they_may():
    durations = np.random.default_rng(0).uniform(0.1, 9, 200).round(2).tolist()
    batches = plan_batches(range(200), durations, 20.0)
    assert sorted(number for batch in batches for number in batch) == list(range(200))
    sizes = [len(batch) * max(durations[number] for number in batch) for batch in batches]
    assert max(sizes) <= 20
    assert len(batches) < 80
    assert plan_batches([1, 2], [30.0, 40.0], 20.0) == [[1], [2]]


def test_nothing_is_computed_twice(speech, tmp_path, monkeypatch):
    out = tmp_path / "out"
    extract(speech, out, MEL, form=SMALL)
    before = digests(out)
    (out / "shards" / "000001.json").unlink()
    calls = []
    compute = MelRepresentation.compute

    def counted(self, wavs, *arguments):
        calls.append(len(wavs))
        return compute(self, wavs, *arguments)

    monkeypatch.setattr(MelRepresentation, "compute", counted)
    extract(speech, out, MEL, form=SMALL)
    assert len(calls) == 2
    assert digests(out) == before
    extract(speech, out, MEL, form=SMALL)
    assert len(calls) == 2


@pytest.mark.parametrize("harm", ["shard cut", "record cut", "shard gone"])
def test_a_broken_shard_is_written_again(speech, tmp_path, caplog, harm):
    out = tmp_path / "out"
    features = extract(speech, out, MEL, form=SMALL)
    before = digests(out)
    what, how = harm.split()
    path = out / "shards" / f"000000.{'json' if what == 'record' else 'safetensors'}"
    if how == "cut":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        path.unlink()
    if what == "shard":
        with pytest.raises((ValueError, FileNotFoundError), match="000000"):
            features["a"]
    extract(speech, out, MEL, form=SMALL)
    assert digests(out) == before
    assert ("written again" in caplog.text) == (how == "cut")


def spoil(speech):
    (speech / "b.wav").write_bytes(b"no sound")
    cut = speech / "c" / "a.wav"
    cut.write_bytes(cut.read_bytes()[:-100])


def test_bad_segments_are_listed_and_left_out(speech, tmp_path, caplog):
    good = extract(speech, tmp_path / "good", MEL, form=SMALL)
    spoil(speech)
    out = tmp_path / "out"
    features = extract(speech, out, MEL, form=SMALL, max_bad_fraction=0.4)
    assert list(features) == ["a", "c/ü b", "d"]
    assert features.bad().keys() == {"b", "c/a"}
    assert "left out: b: " in caplog.text
    assert "b" not in features
    with pytest.raises(KeyError, match="'b'"):
        features["b"]
    assert torch.equal(features["d"], good["d"])
    # repaired
    write_audio(speech / "b.wav", tone(0.2), 16000)
    write_audio(speech / "c" / "a.wav", tone(0.2), 16000)
    again = extract(speech, out, MEL, form=SMALL, max_bad_fraction=0.4)
    assert len(again) == 3, "what is there stays as it is until it is asked for"
    again = extract(speech, out, MEL, form=SMALL, retry_bad=True)
    assert len(again) == 5
    assert again.bad() == {}


def test_a_row_that_is_damaged_is_listed(speech, tmp_path, monkeypatch):
    read = Segments.__getitem__

    def row(self, number):
        if number == 1:
            raise ValueError("its row is damaged")
        return read(self, number)

    monkeypatch.setattr(Segments, "__getitem__", row)
    features = extract(speech, tmp_path / "out", MEL, form=SMALL, max_bad_fraction=0.4)
    assert len(features) == 4
    assert features.bad() == {"row 1": "its row is damaged"}


def test_too_many_bad_segments_stop_the_job(speech, tmp_path):
    spoil(speech)
    out = tmp_path / "out"
    with pytest.raises(ValueError, match=r"(?s)2 of 5 .* at most 20\.00%.*b: "):
        extract(speech, out, MEL, form=SMALL, max_bad_fraction=0.2)
    with pytest.raises(FileNotFoundError, match="not complete"):
        FeatureFolder(out)
    # also when all is there
    with pytest.raises(ValueError, match="2 of 5"):
        extract(speech, out, MEL, form=SMALL, max_bad_fraction=0.2)
    extract(speech, out, MEL, form=SMALL, max_bad_fraction=0.4)


def test_values_that_are_not_finite_are_bad(tmp_path):
    folder = tmp_path / "speech"
    for name, gain in (("loud", 1.9), ("silent", 0.0), ("good", 1.0)):
        write_audio(folder / f"{name}.wav", gain * tone(0.2), 16000)
    half = Form(precision="float16")
    features = extract(folder, tmp_path / "out", Loud, form=half, max_bad_fraction=1.0)
    assert list(features) == ["good"]
    assert "beyond float16" in features.bad()["loud"]
    assert "NaN" in features.bad()["silent"]


def test_nothing_good_is_an_error(tmp_path):
    write_audio(tmp_path / "speech" / "silent.wav", torch.zeros(1600), 16000)
    with pytest.raises(ValueError, match="every segment"):
        extract(tmp_path / "speech", tmp_path / "out", Loud, max_bad_fraction=1.0)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"make": partial(MelRepresentation, 5)}, "model_hash"),
        ({"form": Form(2, precision="float16")}, "precision is float32 there, float16 here"),
        ({"form": Form(3)}, "shard_size"),
        ({"form": Form(2, file_format="npy")}, "file_format"),
        ({"form": Form(2, batch_seconds=1.0)}, "batch_seconds"),
        ({"source": "speech/c"}, "manifest_hash"),
    ],
)
def test_another_job_is_not_mixed_in(speech, tmp_path, change, said, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = {"source": "speech", "folder": "out", "make": MEL, "form": SMALL}
    before = digests(extract(**job).folder)
    with pytest.raises(ValueError, match=f"another job.*{said}"):
        extract(**{**job, **change})
    assert digests(tmp_path / "out") == before


def test_no_other_folder_is_written_to(speech, tmp_path):
    with pytest.raises(ValueError, match="holds something else"):
        extract(speech, speech, MEL)
    with FileLock(tmp_path / "out" / ".lock"), pytest.raises(BlockingIOError, match="another"):
        extract(speech, tmp_path / "out", MEL)
    with pytest.raises(FileNotFoundError, match="holds no features"):
        FeatureFolder(speech)


def test_what_is_fine_tuned_is_not_extracted(speech, tmp_path):
    def make():
        return SSLRepresentation(tiny_ssl_encoder(), unfreeze_at=5, lr=1e-4)

    with pytest.raises(ValueError, match="update 5"):
        extract(speech, tmp_path / "out", make)


def test_two_files_of_one_name_are_refused(speech, tmp_path):
    write_audio(speech / "a.flac", tone(0.1), 16000)
    with pytest.raises(ValueError, match=r"a\.flac.*a\.wav.*'a'"):
        extract(speech, tmp_path / "out", MEL)


@pytest.mark.parametrize("harm", ["cut", "of something else", "of another shard"])
def test_an_index_that_does_not_match_is_an_error(speech, tmp_path, harm):
    out = tmp_path / "out"
    features = extract(speech, out, MEL, form=SMALL)
    index, shards = out / "index.safetensors", out / "shards"
    if harm == "cut":
        index.write_bytes(index.read_bytes()[:-20])
    elif harm == "of something else":
        index.write_bytes((shards / "000000.safetensors").read_bytes())
    else:
        (shards / "000000.safetensors").write_bytes((shards / "000001.safetensors").read_bytes())
        with pytest.raises(ValueError, match="not of this index"):
            features["a"]
        return
    with pytest.raises(ValueError, match=r"index\.safetensors is broken"):
        FeatureFolder(out)


@pytest.mark.parametrize("file_format", ["safetensors", "npy"])
def test_a_full_disk_leaves_whole_shards_only(tmp_path, file_format):
    speech, out = tmp_path / "speech", tmp_path / "out"
    for name, seconds in (("a", 0.2), ("b", 0.2), ("c", 3.0)):
        write_audio(speech / f"{name}.wav", tone(seconds), 16000)
    form = Form(1, file_format=file_format)
    with full_disk(3000), pytest.raises(OSError, match=rf"000002\.{file_format}"):
        extract(speech, out, MEL, form=form)
    left = [path.name for path in sorted((out / "shards").iterdir())]
    assert left == ["000000.json", f"000000.{file_format}", "000001.json", f"000001.{file_format}"]
    before = {path: path.stat().st_mtime_ns for path in (out / "shards").iterdir()}
    extract(speech, out, MEL, form=form)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    fresh = extract(speech, tmp_path / "fresh", MEL, form=form)
    assert digests(out) == digests(fresh.folder)
