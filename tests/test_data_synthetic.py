"""The corpus that the package synthesises itself."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import subprocess
import sys
import threading

import numpy as np
import pytest
import soundfile
from processes import run_code

from wavcube.data.synthetic import corpus as corpus_module
from wavcube.data.synthetic import default_cache_folder, make_synthetic_corpus
from wavcube.data.synthetic.corpus import make_voices, resample
from wavcube.data.synthetic.espeak import Espeak, Voice
from wavcube.data.synthetic.text import DIGITS, VOCABULARY, draw_text, transcript

TINY = {
    "train_minutes": 0.3,
    "dev_minutes": 0.1,
    "test_minutes": 0.1,
    "train_voices": 4,
    "dev_voices": 2,
    "test_voices": 2,
    "progress": False,
}


def digest(folder):
    """One hash of all names and bytes of a folder."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            total.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return total.hexdigest()


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cache")
    make_synthetic_corpus(folder, **TINY)
    return folder


@pytest.fixture
def corpus(cache):
    return make_synthetic_corpus(cache, **TINY)


def test_the_folders_are_those_of_librispeech(corpus):
    assert corpus.name == "LibriSpeech"
    assert sorted(path.name for path in corpus.iterdir()) == [
        "SPEAKERS.TXT",
        "dev-clean",
        "test-clean",
        "train-clean-100",
    ]
    files = sorted(corpus.glob("*/*/*/*.flac"))
    assert len(files) == len(list(corpus.rglob("*.flac"))) > 8
    for path in files:
        speaker, chapter, number = path.stem.split("-")
        assert path.parent.name == chapter
        assert path.parent.parent.name == speaker
        assert len(number) == 4
        lines = (path.parent / f"{speaker}-{chapter}.trans.txt").read_text().splitlines()
        assert sum(line.startswith(path.stem + " ") for line in lines) == 1


def test_audio_is_speech_at_the_asked_rate_and_amount(corpus):
    amounts = {}
    for path in corpus.rglob("*.flac"):
        samples, rate = soundfile.read(path)
        assert rate == 16000
        assert samples.ndim == 1
        assert 0.2 < len(samples) / rate < 20
        assert 0.24 < np.abs(samples).max() < 0.86
        # louder than a hum, quieter than clipped noise
        assert 0.01 < samples.std() < 0.4
        split = path.relative_to(corpus).parts[0]
        amounts[split] = amounts.get(split, 0) + len(samples) / rate
    for split, minutes in [("train-clean-100", 0.3), ("dev-clean", 0.1), ("test-clean", 0.1)]:
        # each of the two chapters of a voice may exceed its share by an utterance
        assert 60 * minutes <= amounts[split] < 60 * minutes + 80


def test_transcripts_are_upper_case_words(corpus):
    lines = [line for path in corpus.rglob("*.trans.txt") for line in path.read_text().splitlines()]
    words = {word for line in lines for word in line.split(" ")[1:]}
    assert len(words) > 40
    assert words <= VOCABULARY


def test_speakers_are_listed(corpus):
    lines = (corpus / "SPEAKERS.TXT").read_text().splitlines()
    rows = [[field.strip() for field in line.split("|")] for line in lines if line[0] != ";"]
    assert len(rows) == 8
    for speaker, sex, split, minutes, name in rows:
        assert (corpus / split / speaker).is_dir()
        assert sex in ("F", "M")
        assert float(minutes) > 0
        assert name.startswith("espeak-ng ")


def test_the_same_bytes_twice_and_others_for_another_seed(corpus, tmp_path):
    again = make_synthetic_corpus(tmp_path, **TINY)
    assert digest(again) == digest(corpus)
    other = make_synthetic_corpus(tmp_path, **TINY, seed=5)
    assert other != again
    assert digest(other) != digest(corpus)


def test_the_same_bytes_in_another_process(corpus, tmp_path):
    code = (
        "import sys\n"
        "from wavcube.data.synthetic import make_synthetic_corpus\n"
        "from wavcube.data.synthetic.espeak import Espeak, Voice\n"
        "with Espeak() as espeak:\n"
        "    espeak.speak('Something else first.', Voice('gmw/en', 'f4', 'F'), seed=9)\n"
        f"print(make_synthetic_corpus(sys.argv[1], **{TINY!r}))\n"
    )
    # the hash seed and dirty memory are what differs between two machines' processes
    environment = {**os.environ, "PYTHONHASHSEED": "123", "MALLOC_PERTURB_": "165"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert digest(corpus.__class__(done.stdout.strip())) == digest(corpus)


def test_an_utterance_does_not_depend_on_what_was_said_before():
    text = "A heavy bridge, near the coast."
    voices = make_voices("train", 12, seed=1) + make_voices("dev", 4, seed=1)
    with Espeak() as espeak:
        first = [espeak.speak(text, voice)[0] for voice in voices]
        for index in reversed(range(len(voices))):
            espeak.speak("Seven, zero!", voices[index - 3], seed=index)
            assert np.array_equal(espeak.speak(text, voices[index])[0], first[index])
    assert len({samples.tobytes() for samples in first}) == len(voices)


def test_what_espeak_refuses():
    with Espeak() as espeak:
        with pytest.raises(ValueError, match=r"no voice 'gmw/xx\+f1'"):
            espeak.speak("Hello.", Voice("gmw/xx", "f1", "F"))
        with pytest.raises(ValueError, match="no sound"):
            espeak.speak("", Voice("gmw/en", "f1", "F"))
        assert espeak.speak("Hello.", Voice("gmw/en", "f1", "F"))[0].any()


def test_a_missing_loader_is_said(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "espeakng_loader", None)
    with pytest.raises(ImportError, match="pip install espeakng-loader"):
        make_synthetic_corpus(tmp_path, **TINY)
    assert not list(tmp_path.glob("synthetic*"))


def test_a_loader_without_library_is_said(monkeypatch, tmp_path):
    loader = importlib.import_module("espeakng_loader")
    monkeypatch.setattr(loader, "get_library_path", lambda: str(tmp_path / "none.so"))
    with pytest.raises(ImportError, match="no library"):
        Espeak()


def test_voices_are_many_and_splits_share_none():
    voices = {
        "train": make_voices("train", 48, seed=1),
        "dev": make_voices("dev", 6, seed=1),
        "test": make_voices("test", 6, seed=1),
    }
    timbres = {split: {voice.variant for voice in found} for split, found in voices.items()}
    assert len({(v.accent, v.variant) for found in voices.values() for v in found}) == 60
    assert not timbres["train"] & timbres["dev"]
    assert not timbres["train"] & timbres["test"]
    assert not timbres["dev"] & timbres["test"]
    for found in voices.values():
        assert {voice.sex for voice in found} == {"F", "M"}
    assert len({voice.accent for voice in voices["train"]}) == 8
    assert len({(v.pitch, v.pitch_range, v.rate) for v in voices["train"]}) > 40


def test_every_voice_of_the_largest_set_is_another():
    for split, limit in [("train", 144), ("dev", 48), ("test", 48)]:
        voices = make_voices(split, limit, seed=1)
        assert len({(voice.accent, voice.variant) for voice in voices}) == limit
        with pytest.raises(ValueError, match=f"{split} has from 1 to {limit} voices"):
            make_voices(split, limit + 1, seed=1)


def test_text_is_varied_and_has_digits():
    rng = random.Random(0)
    texts = [draw_text(rng) for _ in range(2000)]
    words = [transcript(text).split() for text in texts]
    digits = {digit.upper() for digit in DIGITS}
    assert len(VOCABULARY) > 350
    assert len({word for line in words for word in line}) > 0.95 * len(VOCABULARY)
    assert len(set(texts)) > 1500
    single = [line[0] for line in words if len(line) == 1]
    assert digits <= set(single)
    assert 0.05 < len(single) / len(words) < 0.15
    strings = [line for line in words if len(line) > 1 and set(line) <= digits]
    assert 0.07 < len(strings) / len(words) < 0.13
    assert not any("{" in text or "}" in text for text in texts)


def test_a_finished_corpus_is_not_made_again(cache, corpus, monkeypatch):
    def forbidden(*args):
        raise AssertionError("made again")

    monkeypatch.setattr(corpus_module, "_write_corpus", forbidden)
    assert make_synthetic_corpus(cache, **TINY) == corpus
    with pytest.raises(AssertionError, match="made again"):
        make_synthetic_corpus(cache, **{**TINY, "dev_voices": 3})


@pytest.mark.parametrize("damage", ["file", "bytes", "marker", "no marker", "other plan"])
def test_an_incomplete_corpus_is_made_again(tmp_path, damage):
    settings = {**TINY, "train_minutes": 0.05, "train_voices": 1, "dev_voices": 1, "test_voices": 1}
    folder = make_synthetic_corpus(tmp_path, **settings)
    whole = digest(folder)
    marker = folder.parent / "complete.json"
    victim = sorted(folder.rglob("*.flac"))[0]
    if damage == "file":
        victim.unlink()
    elif damage == "bytes":
        victim.write_bytes(victim.read_bytes()[:-100])
    elif damage == "marker":
        marker.write_text("{")
    elif damage == "no marker":
        marker.unlink()
    else:
        contents = json.loads(marker.read_text())
        contents["plan"]["seed"] += 1
        marker.write_text(json.dumps(contents))
    assert make_synthetic_corpus(tmp_path, **settings) == folder
    assert digest(folder) == whole
    assert json.loads(marker.read_text())["plan"]["seed"] == 1234


def test_an_interrupted_run_leaves_nothing_that_counts(tmp_path, monkeypatch):
    real, calls = corpus_module._write_speaker, []

    def dies(*args):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(corpus_module, "_write_speaker", dies)
        with pytest.raises(KeyboardInterrupt):
            make_synthetic_corpus(tmp_path, **TINY)
    assert not [path for path in tmp_path.iterdir() if path.is_dir()]


def test_leftovers_of_a_killed_run_are_removed(cache, corpus, tmp_path):
    code = (
        "import os, sys\n"
        "from wavcube.data.synthetic import corpus\n"
        "corpus._write_speaker = lambda *args: os._exit(9)\n"
        f"corpus.make_synthetic_corpus(sys.argv[1], **{TINY!r})\n"
    )
    assert run_code(code, tmp_path, [tmp_path]).returncode == 9
    assert len(list(tmp_path.glob(".*.partial"))) == 1
    again = make_synthetic_corpus(tmp_path, **TINY)
    assert not list(tmp_path.glob(".*.partial"))
    assert digest(again) == digest(corpus)


def test_makers_at_the_same_time_wait_for_each_other(corpus, tmp_path, monkeypatch):
    real, calls, found = corpus_module._write_corpus, [], []

    def counted(*args):
        calls.append(args)
        real(*args)

    monkeypatch.setattr(corpus_module, "_write_corpus", counted)

    def make():
        found.append(make_synthetic_corpus(tmp_path, **TINY))

    makers = [threading.Thread(target=make) for _ in range(3)]
    for maker in makers:
        maker.start()
    for maker in makers:
        maker.join()
    assert len(found) == 3
    assert len(calls) == 1
    assert digest(found[0]) == digest(corpus)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_minutes": 0}, "train_minutes must be positive"),
        ({"dev_minutes": float("nan")}, "dev_minutes must be positive"),
        ({"test_voices": 0}, "test has from 1"),
        ({"sample_rate": 4000}, "sample_rate must be at least 8000"),
    ],
)
def test_bad_sizes_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make_synthetic_corpus(tmp_path, **{**TINY, **changes})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    def denied(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkdtemp", denied)
    with pytest.raises(PermissionError, match="choose a folder you may write to"):
        make_synthetic_corpus(tmp_path, **TINY)


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / "wavcube"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_cache_folder() == tmp_path / ".cache" / "wavcube"


def test_resampling_keeps_the_pass_band_and_adds_nothing():
    time = np.arange(22050) / 22050
    for frequency in (100, 1000, 7000):
        out = resample(np.sin(2 * np.pi * frequency * time), 22050, 16000)
        spectrum = np.abs(np.fft.rfft(out[:16000] * np.hanning(16000))) / 4000
        assert abs(spectrum[frequency] - 1) < 0.01
        spectrum[frequency - 5 : frequency + 6] = 0
        assert spectrum.max() < 1e-3
    out = resample(np.sin(2 * np.pi * 9500 * time), 22050, 16000)
    assert np.abs(out[500:-500]).max() < 1e-3
