"""`wavcube evaluate`: the table, the files it writes, and what it says about mistakes."""

import io
import json
import os
import sys
from html import escape

import numpy as np
import pytest
import soundfile
from releases import tree

from wavcube.cli.main import main
from wavcube.data.transcripts import read_transcripts
from wavcube.metrics import METRICS, evaluate_folders
from wavcube.testing import tone

RATE = 16000
FAST = "mel_distance,si_sdr"
CLIPS = ("a/one", "a/two", "b/three", "b/four")


@pytest.fixture
def folders(tmp_path):
    """Four noisy copies, of which one is silent and one lost, and one too many."""
    reference, generated = tmp_path / "reference", tmp_path / "generated"
    rng = np.random.default_rng(0)
    for number, name in enumerate(CLIPS):
        clean = tone(0.3, number).numpy()
        noisy = clean + 0.01 * (number + 1) * rng.standard_normal(len(clean))
        for folder, samples in ((reference, clean), (generated, noisy)):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / f"{name}.wav", samples, RATE)
    soundfile.write(generated / "b/four.wav", np.zeros(4800), RATE)
    (generated / "b/three.wav").unlink()
    soundfile.write(generated / "extra.wav", np.ones(100), RATE)
    return [str(reference), str(generated)]


def fails(capsys, *arguments):
    """Run a command that must fail before it works, and return its one line."""
    capsys.readouterr()
    try:
        code = main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = stop.code
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert said.err.count("\n") == 1, said.err
    return said.err


def test_a_table_alone_is_enough(folders, tmp_path, capsys):
    before = tree(tmp_path)
    assert main(["evaluate", *folders, "--metrics", FAST]) == 2
    assert "Log-mel distance" in capsys.readouterr().out
    assert tree(tmp_path) == before


def test_prints_a_table_and_writes_every_score(folders, tmp_path, capsys):
    out = tmp_path / "new" / "scores.json"
    assert main(["evaluate", *folders, "--json", str(out), "--metrics", FAST]) == 2
    printed = capsys.readouterr().out.splitlines()
    expected = evaluate_folders(*folders, FAST.split(","), progress=False)
    assert printed[:4] == expected.format().splitlines()
    summary = expected.summary["si_sdr"]
    interval = f"{summary.mean:.3f} [{summary.low:.3f}, {summary.high:.3f}] (2 failed)"
    assert interval in printed[3]
    assert json.loads(out.read_text(encoding="utf-8")) == expected.as_dict()
    assert [path.name for path in out.parent.iterdir()] == ["scores.json"]


def test_lists_failed_clips_with_reason_and_metrics(folders, tmp_path, capsys):
    # a signal against itself: SI-SDR is infinite there, the distance is not
    wav, _ = soundfile.read(f"{folders[0]}/a/two.wav")
    soundfile.write(f"{folders[1]}/a/two.wav", wav, RATE)
    out = str(tmp_path / "scores.json")
    assert main(["evaluate", *folders, "--json", out, "--metrics", FAST]) == 2
    lines = capsys.readouterr().out.splitlines()[4:]
    assert lines[0] == "clips without some score: 3 of 4"
    assert "[SI-SDR]: a/two" in lines[1]
    assert "silent" in lines[2]
    assert "[every metric]: b/four" in lines[2]
    assert "no audio file" in lines[3]
    assert lines[3].endswith("b/three")
    assert lines[4] == "without a reference, not scored: 1 (extra)"


def test_a_terminal_without_arrows_costs_nothing(folders, tmp_path, monkeypatch):
    stream = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(stream, "ascii"))
    os.rename(f"{folders[1]}/extra.wav", f"{folders[1]}/caf\udce9.wav")
    out = tmp_path / "scores.json"
    assert main(["evaluate", *folders, "--json", str(out), "--metrics", "si_sdr"]) == 2
    sys.stdout.flush()
    assert b"SI-SDR [dB] \\u2191" in stream.getvalue()
    assert b"(caf\\udce9)" in stream.getvalue()
    assert json.loads(out.read_text())["without_reference"] == ["caf\udce9"]


def test_no_score_at_all_is_exit_code_2_with_the_reasons_kept(folders, tmp_path, capsys):
    for name in ("a/one", "a/two"):
        soundfile.write(f"{folders[1]}/{name}.wav", np.zeros(4800), RATE)
    out = tmp_path / "scores.json"
    assert main(["evaluate", *folders, "--json", str(out), "--metrics", FAST]) == 2
    said = capsys.readouterr()
    assert "not a single score" in said.err
    assert "[every metric]: a/one, a/two, b/four" in said.out
    assert len(json.loads(out.read_text())["metrics"]["si_sdr"]["failed"]) == 4


def test_a_clip_that_cannot_be_scored_is_no_mistake_but_a_lost_one_is(folders, tmp_path, capsys):
    command = ["evaluate", *folders, "--json", str(tmp_path / "a"), "--metrics", FAST]
    assert main(command) == 2
    assert "clips without some score because of a file or a tool: 1 of 4" in capsys.readouterr().err
    os.rename(f"{folders[1]}/extra.wav", f"{folders[1]}/b/three.wav")  # of another length
    assert main([*command, "--overwrite"]) == 0
    said = capsys.readouterr()
    assert "clips without some score: 2 of 4" in said.out
    assert "error" not in said.err


def test_says_what_word_error_rates_are_measured_against(folders, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("wavcube.metrics.recognition.recognize", lambda *_: "hello there")
    texts, page = tmp_path / "texts.txt", tmp_path / "page.html"
    texts.write_text("a/one HELLO\n")
    command = ["evaluate", *folders, "--transcripts", str(texts), "--metrics", "wer"]
    main([*command, "--json", str(tmp_path / "a.json"), "--html", str(page)])
    note = (
        "Clips with a word error rate against their transcript: 1, against the recogniser's "
        "reading: 1"
    )
    assert note in capsys.readouterr().out
    assert escape(note) in page.read_text(encoding="utf-8")
    counts = json.loads((tmp_path / "a.json").read_text())["word_references"]
    assert counts == {"transcript": 1, "recogniser": 1}


def test_writes_the_page(folders, tmp_path, capsys):
    page = tmp_path / "page.html"
    command = ["evaluate", *folders, "--metrics", FAST, "--overwrite"]
    command += ["--json", str(tmp_path / "scores.json"), "--html", str(page)]
    assert main(command) == 2  # a clip is lost
    text = page.read_text(encoding="utf-8")
    assert text.count("data:audio/flac;base64,") == 7  # one of the eight is lost
    assert "left out" not in text
    assert main([*command, "--audio-limit", "0"]) == 2
    text = page.read_text(encoding="utf-8")
    assert "<audio" not in text
    assert "4 of 4 clips is left out" in text


def test_transcripts_metrics_and_processes_are_passed_on(folders, tmp_path, monkeypatch):
    asked = []

    def stop(pairs, metrics, num_processes, *_):
        texts = [(pair.name, pair.transcript) for pair in pairs]
        asked.append((texts[:2], list(metrics), num_processes))
        raise InterruptedError("seen")

    monkeypatch.setattr("wavcube.metrics.folders.score_many", stop)
    texts = tmp_path / "texts.txt"
    texts.write_text("a/one HELLO THERE\n\na/two\tAnd here\n", encoding="utf-8")
    command = ["evaluate", *folders, "--json", str(tmp_path / "x"), "--transcripts", str(texts)]
    assert main(command) == 2
    assert main([*command, "--metrics", "stoi, wer", "--processes", "3"]) == 2
    said = [("a/one", "HELLO THERE"), ("a/two", "And here")]
    assert asked == [(said, list(METRICS), 1), (said, ["stoi", "wer"], 3)]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a/one HELLO\na/two\n", "line 2: a name and its text"),
        (b"a/one HELLO\na/one AGAIN\n", "line 2: 'a/one' has a text already"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
    ],
)
def test_a_bad_file_of_transcripts_is_refused(tmp_path, content, reason):
    (tmp_path / "texts.txt").write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        read_transcripts(tmp_path / "texts.txt")


def test_mistakes_are_one_line_and_write_nothing(folders, tmp_path, capsys):
    taken, other, new = tmp_path / "taken.json", tmp_path / "other.txt", tmp_path / "new.json"
    taken.write_text("mine")
    other.write_text("one SOMETHING\n")
    (tmp_path / "empty").mkdir()
    before = tree(tmp_path)
    calls = {
        "--overwrite": [*folders, "--json", taken],
        "is a folder": [*folders, "--json", tmp_path / "empty"],
        "nowhere": [tmp_path / "nowhere", folders[1], "--json", new],
        "empty holds no audio": [folders[0], tmp_path / "empty", "--json", new],
        "names must agree": [f"{folders[0]}/a", folders[1], "--json", new],
        "known: ['mel_distance'": [*folders, "--json", new, "--metrics", "loudness"],
        "at least 1": [*folders, "--json", new, "--metrics", "stoi", "--processes", 0],
        "both name": [*folders, "--json", new, "--html", new],
        "needs --html": [*folders, "--json", new, "--audio-limit", 3],
        "at least 0": [*folders, "--json", new, "--html", "page.html", "--audio-limit", -1],
        "got inf": [*folders, "--json", new, "--html", "page.html", "--audio-limit", "inf"],
        "no text file": [*folders, "--json", new, "--transcripts", "gone.txt"],
        "no transcript belongs": [*folders, "--json", new, "--transcripts", other],
        "no file can be made in": [*folders, "--json", taken / "new.json"],
    }
    for word, arguments in calls.items():
        assert word in fails(capsys, "evaluate", *arguments), word
    assert tree(tmp_path) == before


def test_a_lost_clip_is_not_scored_against_another(folders, tmp_path):
    """Only the suffix is not part of a name: "one.take2" is another clip than "one"."""
    soundfile.write(f"{folders[0]}/a/one.take2.wav", tone(0.3).numpy(), RATE)
    evaluation = evaluate_folders(*folders, ["si_sdr"], progress=False)
    entry = next(scores for scores in evaluation.scores if scores.name == "a/one.take2")
    assert "a/one.take2.wav" in entry.failures["si_sdr"]
