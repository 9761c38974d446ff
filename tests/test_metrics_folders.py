"""Evaluating folders: pairing, transcripts, failures, JSON."""

import json

import numpy as np
import pytest
import soundfile

from wavcube.metrics import METRICS, evaluate_folders
from wavcube.metrics.folders import find_transcripts
from wavcube.testing import tone

RATE = 16000
FAST = ["mel_distance", "si_sdr"]


@pytest.fixture
def folders(tmp_path):
    """Two speakers' references; generated files that are noisy, silent, too long or missing."""
    reference, generated = tmp_path / "reference", tmp_path / "generated"
    rng = np.random.default_rng(0)
    for i, name in enumerate(["a/one", "a/two", "b/one", "b/three", "b/four"]):
        clean = tone(0.5, i).reshape(-1).numpy()
        bad = {
            "a/two": np.zeros_like(clean),
            "b/one": np.tile(clean, 2),
        }.get(name, clean + 0.01 * rng.standard_normal(len(clean)))
        for folder, suffix, samples in ((reference, ".flac", clean), (generated, ".wav", bad)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(f"{folder / name}{suffix}", samples, RATE)
    (generated / "b/three.wav").unlink()
    soundfile.write(generated / "extra.wav", np.ones(100), RATE)
    (reference / "a/one.txt").write_text("Hello there.\n", encoding="utf-8")
    (reference / "b/b.trans.txt").write_text("one AND THIS\nfour TOO\n", encoding="utf-8")
    return reference, generated


def test_pairs_by_name_and_tells_every_failure(folders, tmp_path):
    evaluation = evaluate_folders(*folders, FAST, progress=False)
    assert [s.name for s in evaluation.scores] == ["a/one", "a/two", "b/four", "b/one", "b/three"]
    for key in FAST:
        summary = evaluation.summary[key]
        assert summary.count == 2
        reasons = dict(summary.failed)
        assert reasons.keys() == {"a/two", "b/one", "b/three"}
        assert "silent" in reasons["a/two"]
        assert "8000 samples and the generated signal 16000" in reasons["b/one"]
        assert "no audio file" in reasons["b/three"]
    assert evaluation.without_reference == ["extra"]
    alone = [evaluation.scores[i]["si_sdr"] for i in (0, 2)]
    assert evaluation.summary["si_sdr"].mean == pytest.approx(np.mean(alone))


def test_json_carries_identity_rate_and_version(folders, tmp_path):
    evaluation = evaluate_folders(*folders, FAST, progress=False)
    evaluation.write_json(tmp_path / "out.json")
    stored = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    metric = stored["metrics"]["si_sdr"]
    assert metric["name"] == "SI-SDR"
    assert metric["unit"] == "dB"
    assert metric["version"] == METRICS["si_sdr"].info.version
    assert metric["mean"] == evaluation.summary["si_sdr"].mean
    assert len(metric["failed"]) == 3
    first = stored["files"][0]
    assert first["sample_rate"] == RATE
    assert first["scores"]["si_sdr"] == evaluation.scores[0]["si_sdr"]
    assert stored["files"][1]["failed"].keys() == set(FAST)


def test_format_has_a_line_for_each_metric(folders):
    lines = evaluate_folders(*folders, FAST, progress=False).format().splitlines()
    assert len(lines) == 2 + len(FAST)
    assert lines[2].startswith("| Log-mel distance [neper] ↓")
    assert "(3 failed)" in lines[2]
    assert lines[2].endswith(" 2 |")


def test_transcripts_are_found_in_both_forms(folders):
    assert find_transcripts(folders[0]) == {
        "a/one": "Hello there.",
        "b/one": "AND THIS",
        "b/four": "TOO",
    }


def test_the_original_error_rate_applies_only_with_transcripts(folders, monkeypatch):
    asked = []

    def only_two(pairs, metrics, *_):
        asked.append((list(metrics), {pair.name: pair.transcript for pair in pairs}))
        raise InterruptedError

    monkeypatch.setattr("wavcube.metrics.folders.score_many", only_two)
    for transcripts in (None, {}):
        with pytest.raises(InterruptedError):
            evaluate_folders(*folders, transcripts=transcripts)
    assert asked[0][0] == list(METRICS)
    assert asked[0][1]["a/one"] == "Hello there."
    assert asked[1][0] == [key for key in METRICS if key != "wer_original"]
    assert asked[1][1]["a/one"] is None


def test_user_mistakes_are_errors(folders, tmp_path):
    reference, generated = folders
    with pytest.raises(FileNotFoundError, match="nowhere"):
        evaluate_folders(tmp_path / "nowhere", generated)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no audio"):
        evaluate_folders(reference, tmp_path / "empty")
    with pytest.raises(ValueError, match="empty holds no audio"):
        evaluate_folders(tmp_path / "empty", generated)
    with pytest.raises(ValueError, match="unknown metrics"):
        evaluate_folders(reference, generated, ["loudness"])
    soundfile.write(reference / "a/one.wav", np.ones(10), RATE)
    with pytest.raises(ValueError, match="two audio files of one name"):
        evaluate_folders(reference, generated, FAST)
