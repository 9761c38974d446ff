"""The synthetic corpus in VCTK's layout: read by VCTK's own preparation, parallel where it says."""

from __future__ import annotations

from itertools import groupby

import numpy as np
import pytest
import soundfile
from test_data_synthetic import digest

from wavcube.data.corpora.vctk import prepare_vctk
from wavcube.data.manifest import read_manifest
from wavcube.data.synthetic import make_synthetic_vctk, synthetic_speakers

SIZES = {
    "train_voices": 3,
    "valid_voices": 1,
    "test_voices": 2,
    "common_sentences": 2,
    "own_sentences": 1,
}
TINY = {**SIZES, "progress": False}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return make_synthetic_vctk(tmp_path_factory.mktemp("cache"), **TINY)


def test_preparation_reads_it(corpus, tmp_path):
    speakers = {role: synthetic_speakers(role, n) for role, n in (("valid", 1), ("test", 2))}
    manifests = prepare_vctk(
        corpus,
        tmp_path,
        valid_speakers=speakers["valid"],
        test_speakers=speakers["test"],
        progress=False,
    )
    rows = {role: read_manifest(path, corpus) for role, path in manifests.items()}
    assert {role: len(found) for role, found in rows.items()} == {"train": 9, "valid": 3, "test": 6}
    assert {row.spk_id for row in rows["train"]} == set(synthetic_speakers("train", 3))
    assert all(row.wrd and row.duration > 0.3 for found in rows.values() for row in found)


def test_common_sentences_are_parallel_and_the_others_are_not(corpus):
    texts = {path.stem: path.read_text(encoding="utf-8") for path in corpus.glob("txt/*/*.txt")}
    said = {
        number: {texts[name] for name in names}
        for number, names in groupby(sorted(texts, key=number_of), key=number_of)
    }
    assert {number: len(found) for number, found in said.items()} == {"001": 1, "002": 1, "003": 6}
    # said alike, not one recording
    first = [soundfile.read(path)[0] for path in sorted(corpus.glob("wav*/*/*_001_mic1.flac"))]
    assert len(first) == 6
    assert len({samples.tobytes() for samples in first}) == 6


def number_of(name):
    return name.partition("_")[2]


def test_every_recording_has_its_text_and_its_rate(corpus):
    audio = sorted(corpus.glob("wav48_silence_trimmed/*/*.flac"))
    assert len(audio) == 18
    for path in audio:
        words = corpus / "txt" / path.parent.name / f"{path.stem.removesuffix('_mic1')}.txt"
        assert words.read_text(encoding="utf-8").endswith((".\n", "?\n"))
        samples, rate = soundfile.read(path)
        assert rate == 16000
        assert 0.24 < np.abs(samples).max() < 0.86
    lines = (corpus / "speaker-info.txt").read_text(encoding="utf-8").splitlines()
    assert [line.split()[0] for line in lines] == [
        "ID",
        "p401",
        "p402",
        "p403",
        "p601",
        "p701",
        "p702",
    ]
    assert [line.split()[2] for line in lines[1:]] == ["F", "M", "F", "F", "F", "M"]


def test_the_same_bytes_twice_and_others_for_another_seed(corpus, tmp_path):
    small = {**TINY, "train_voices": 1, "test_voices": 1, "common_sentences": 1}
    first = make_synthetic_vctk(tmp_path / "a", **small)
    assert make_synthetic_vctk(tmp_path / "a", **small) == first
    assert digest(make_synthetic_vctk(tmp_path / "b", **small)) == digest(first)
    other = make_synthetic_vctk(tmp_path / "a", **small, seed=5)
    assert other != first
    assert digest(other) != digest(first)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train_voices": 0}, "train has from 1"),
        ({"test_voices": 49}, "test has from 1 to 48"),
        ({"common_sentences": 0, "own_sentences": 0}, "one of them above 0"),
        ({"own_sentences": -1}, "must not be negative"),
        ({"sample_rate": 4000}, "sample_rate must be at least 8000"),
    ],
)
def test_bad_sizes_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make_synthetic_vctk(tmp_path, **{**TINY, **changes})
    assert not list(tmp_path.iterdir())
