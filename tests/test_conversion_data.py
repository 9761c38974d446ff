"""Lessons, the library behind them, and the conversions that are judged."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from converters import RATE, random_converter, write_vctk

from wavcube.data.audio import read_audio
from wavcube.data.corpora.custom import extra_voices, hold_out_sentences, prepare_custom_corpus
from wavcube.data.manifest import Utterance
from wavcube.metrics import PairScores
from wavcube.metrics.base import Measurement
from wavcube.tasks.conversion import task as conversion_recipe
from wavcube.tasks.conversion import trials as conversion_trials
from wavcube.tasks.conversion.data import Clip, ConversionDataset
from wavcube.tasks.conversion.feature_cache import FeatureCache, check_several
from wavcube.tasks.conversion.perturbation import SpeakerPerturbation
from wavcube.tasks.conversion.trials import (
    ACCEPTED,
    NEARER,
    TO_SOURCE,
    TO_TARGET,
    make_trials,
    read_references,
    score_trials,
)

LATENTS = {
    f"{name}{index}{kind}": torch.full((20 + 5 * index, 1), 100.0 * ord(name) + index)
    + torch.arange(20.0 + 5 * index)[:, None] / 1000 + (0.5 if kind else 0.0)
    for name in "ab" for index in range(3) for kind in ("", "~")
}  # fmt: skip


def clip(name, index):
    key = f"{name}{index}"
    f0 = torch.arange(float(len(LATENTS[key])))[:, None].expand(-1, 2)
    return Clip(key, name, key, (f"{key}~",), f0)


CLIPS = [clip(name, index) for name in "ab" for index in range(3)]


def lessons(clips=CLIPS, seed=1, **changes):
    sizes = {"lessons": 30, "crop_frames": 8, "reference_frames": 10, **changes}
    return ConversionDataset(clips, LATENTS.__getitem__, seed=seed, **sizes)


def test_a_lesson_is_a_piece_its_copy_its_melody_and_another_utterance():
    for lesson in lessons():
        source, target, f0, reference = (
            lesson[name] for name in ("source", "target", "f0", "reference")
        )
        assert len(source) == len(target) == len(f0) == 8
        torch.testing.assert_close(source - target, torch.full((8, 1), 0.5), atol=1e-3, rtol=0)
        start = int(f0[0, 0])
        torch.testing.assert_close(target, LATENTS[lesson["id"]][start : start + 8])
        spoken, own = reference.floor(), float(target[0].floor())
        assert bool((spoken != own).all()), "not the utterance itself"
        assert bool(((spoken / 100).floor() == own // 100).all()), "but the same speaker"
        assert 2 <= len(reference) <= 10


def test_lessons_are_drawn_by_seed_epoch_and_index_alone():
    def drawn(dataset):
        return [lesson["f0"][0, 0].item() for lesson in dataset], [x["id"] for x in dataset]

    first, again, other = lessons(), lessons(), lessons(seed=2)
    assert drawn(first) == drawn(again) != drawn(other)
    again.set_epoch(1)
    assert drawn(first) != drawn(again)
    with pytest.raises(IndexError):
        first[30]


def test_a_single_utterance_is_cut_and_does_not_hear_itself():
    dataset = lessons([CLIPS[0]], crop_frames=50, reference_frames=50)
    for lesson in dataset:
        assert len(lesson["target"]) == 10
        both = torch.cat([lesson["target"], lesson["reference"]])
        assert len(both.unique()) == len(both)


def test_lessons_need_clips_and_copies():
    with pytest.raises(ValueError, match="no utterance"):
        lessons([])
    with pytest.raises(ValueError, match="'x' has no copy"):
        lessons([Clip("x", "a", "a0", (), torch.zeros(20, 2))])
    with pytest.raises(ValueError, match="crop_frames 0"):
        lessons(crop_frames=0)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    return write_vctk(tmp_path_factory.mktemp("data"), speakers=("p1", "p2"))


@pytest.fixture(scope="module")
def rows(corpus):
    found = sorted((corpus / "wav48_silence_trimmed").glob("*/*.flac"))
    return [
        Utterance(path.stem[:6], 1.0, str(path), path.parent.name, f"sentence {path.stem[5]}")
        for path in found
    ]


def test_a_library_computes_once_and_what_the_model_would(rows, tmp_path, monkeypatch):
    model = random_converter()
    made = FeatureCache(model, tmp_path, SpeakerPerturbation(), copies=2)
    clips = made.add(rows[:2], 3, progress=False)
    wav = read_audio(rows[0].wav, RATE)
    with torch.no_grad():
        expected = model.representation(wav[None])[0][0]
        log_f0, voiced = model.track(wav[None])
    assert torch.equal(made.read(clips[0].key), expected)
    torch.testing.assert_close(clips[0].f0, torch.stack([log_f0[0], voiced[0].float()], 1))
    copies = [made.read(key) for key in clips[0].copies]
    assert all(copy.shape == expected.shape for copy in copies)
    assert not torch.allclose(copies[0], expected)
    assert not torch.allclose(copies[0], copies[1])

    def computed(*_):
        raise AssertionError("it was there")

    monkeypatch.setattr(model.representation, "states", computed)
    monkeypatch.setattr(model, "track", computed)
    again = FeatureCache(model, tmp_path, SpeakerPerturbation(), copies=2)
    for one, other in zip(again.add(rows[:2], 3, progress=False), clips, strict=True):
        assert (one.key, one.copies) == (other.key, other.copies)
        assert torch.equal(one.f0, other.f0)
    other = FeatureCache(model, tmp_path, SpeakerPerturbation(pitch=1.2), copies=1)
    with pytest.raises(AssertionError, match="it was there"):
        other.add(rows[:1], 3, progress=False)


def test_trials_are_all_pairs_and_the_sentence_is_in_no_reference(rows):
    trials = make_trials(rows, sentences=2, reference_seconds=20)
    assert [trial.pair for trial in trials] == [("p1", "p2")] * 2 + [("p2", "p1")] * 2
    for trial in trials:
        assert trial.parallel.wrd == trial.source.wrd
        assert trial.parallel.spk_id == trial.target
        assert [row.wrd == trial.source.wrd for row in trial.references] == [False]
    assert len({trial.name for trial in trials}) == 4
    assert len(read_references(trials[0], RATE, 0.5)) == 8000
    one = make_trials(rows, sentences=1, reference_seconds=20, targets=["p2"])
    assert [trial.pair for trial in one] == [("p1", "p2")]


def test_trials_that_cannot_be_are_refused(rows):
    with pytest.raises(ValueError, match=r"only \['p1'\]"):
        make_trials(rows[:2], sentences=1, reference_seconds=20)
    with pytest.raises(ValueError, match="'p2' has no recording of another sentence"):
        make_trials(rows[:3], sentences=1, reference_seconds=20)
    nobody = Utterance("x", 1.0, "x.wav", "", "")
    with pytest.raises(ValueError, match=r"'x' \(x.wav\) has no speaker"):
        make_trials([*rows, nobody], sentences=1, reference_seconds=20)


def test_without_a_parallel_sentence_a_recording_judges_that_the_converter_has_not_heard(rows):
    third = replace(rows[3], ID="p2_003", wrd="sentence three")
    untold = [replace(row, wrd="") for row in (*rows, third)]
    first = make_trials(untold, sentences=1, reference_seconds=20, targets=["p2"])[0]
    assert first.parallel is None
    assert first.judge.ID == "p2_003"
    assert [row.ID for row in first.references] == ["p2_001", "p2_002"]
    single = make_trials(untold[:3], sentences=1, reference_seconds=20, targets=["p2"])[0]
    assert single.references == (single.judge,), "there is no other"
    for trial in make_trials([*rows, third], sentences=2, reference_seconds=20):
        assert (trial.judge in trial.references) == (
            trial.parallel is None and trial.target == "p1"
        )
        assert trial.parallel in (None, trial.judge)


def test_the_distortion_is_of_the_parallel_trials_alone(rows, monkeypatch):
    def scored(pairs, metrics, *_):
        scores = {
            key: Measurement(float(pair.reference.std())) for pair in pairs for key in metrics
        }
        return [PairScores(pair.name, RATE, dict(scores)) for pair in pairs]

    monkeypatch.setattr(conversion_trials, "score_many", scored)
    other = replace(rows[0], wrd="a sentence of nobody else")
    trials = make_trials([other, *rows[1:]], sentences=2, reference_seconds=20)
    parallel = [trial for trial in trials if trial.parallel]
    assert 0 < len(parallel) < len(trials)
    made = {trial.name: torch.zeros(RATE) for trial in trials}
    found = score_trials(trials, made, RATE, ["mel_cepstral_distortion", "f0_mean_difference"])
    assert found["mel_cepstral_distortion"].count == len(parallel)
    assert found["f0_mean_difference"].count == found[TO_TARGET].count == len(trials)
    silent = [trial for trial in trials if not trial.parallel]
    assert "mel_cepstral_distortion" not in score_trials(silent, made, RATE, progress=False)


def test_superb_sg_accepts_what_is_like_the_target_s_own_recording(rows, monkeypatch):
    trials = make_trials(rows, sentences=2, reference_seconds=20)
    # of the target's recordings; two are on either side of the threshold, one is silent
    values = dict(zip([trial.name for trial in trials], (0.7406, 0.7405, 0.99, None), strict=True))

    def scored(pairs, metrics, *_):
        made = []
        for pair in pairs:
            own = read_audio(trial_of[pair.name].judge.wav, RATE).numpy()
            value = values[pair.name] if np.array_equal(pair.reference, own) else 1.0
            found = {} if value is None else {"speaker_similarity": Measurement(value)}
            failed = {"speaker_similarity": "no voice"} if value is None else {}
            made.append(PairScores(pair.name, RATE, found, failed))
        return made

    trial_of = {trial.name: trial for trial in trials}
    monkeypatch.setattr(conversion_trials, "score_many", scored)
    made = {trial.name: torch.zeros(RATE) for trial in trials}
    accepted = score_trials(trials, made, RATE, [])[ACCEPTED]
    assert accepted.mean == pytest.approx(2 / 3)
    assert (accepted.count, accepted.failed) == (3, ((trials[3].name, "no voice"),))


def test_validation_hears_every_speaker_and_the_same_copies_in_every_run(monkeypatch, tmp_path):
    seeds = []

    class Library:
        def __init__(self, *_):
            self.read = None

        def add(self, rows, seed, _):
            seeds.append(seed)
            return [Clip(r.ID, r.spk_id, r.ID, (r.ID,), torch.zeros(9, 2)) for r in rows]

    monkeypatch.setattr(conversion_recipe, "FeatureCache", Library)
    voice = {n: [Utterance(f"{n}_{i}", 1.0, "a.wav", n) for i in range(9)] for n in "abcd"}
    rows = {"train": voice["a"], "valid": voice["b"] + voice["c"]}
    task = conversion_recipe.Conversion()
    task.hparams = {
        "valid_utterances": 7, "copies": 1, "seed": 5, "cache_folder": tmp_path,
        "perturbation": None, "crop_seconds": 1, "reference_seconds": 1, "validate_every": 1,
        "batch_size": 1, "valid_lessons": 1,
    }  # fmt: skip
    task.training_rows, task.valid_rows = (
        rows["train"],
        conversion_recipe.share_out(rows["valid"], 7),
    )
    task.trials = []
    datasets = [task.dataset(random_converter(), rows[role], role) for role in ("train", "valid")]
    valid = datasets[1]
    assert [clip.ID for clip in valid.clips] == [f"{n}_{i}" for n in "bc" for i in range(3)]
    assert seeds == [5, 0]
    few = conversion_recipe.share_out([row for rows in voice.values() for row in rows], 5)
    assert [row.ID for row in few] == ["a_0", "a_1", "c_0", "c_1"]
    assert len(conversion_recipe.share_out(voice["a"], 1)) == 1
    lone = [rows[0] for rows in voice.values()]
    assert conversion_recipe.share_out(lone, 24) == lone


@pytest.mark.parametrize("transcribed", [True, False])
def test_one_voice_is_not_trained_on_what_its_conversions_are_compared_with(transcribed):
    def said(name, index):
        words = f"sentence {index}" if transcribed else ""
        return Utterance(f"{name}_{index}", 1.0, f"{name}_{index}.wav", name, words)

    def begun(sentences=2, **changes):
        run = conversion_recipe.Conversion()
        rows = {
            "train": [said("one", index) for index in range(9)],
            "valid": [],
            "test": [said(name, index) for name in "ab" for index in range(sentences)],
        }  # fmt: skip
        run.hparams = {
            "metrics": [], "target_speaker": "one", "valid_sentences": 3, "data_folder": None,
            "single_utterances": False, "sentences_per_pair": 2, "reference_seconds": 2,
            "valid_utterances": 24, **changes,
        }  # fmt: skip
        run.setup(rows, None)
        return run, rows

    run, rows = begun()
    judges = {trial.judge.ID for trial in run.trials}
    assert judges == ({"one_0", "one_1"} if transcribed else {"one_8"})
    train, valid = ({row.ID for row in rows[part]} for part in ("train", "valid"))
    assert judges < valid
    assert not train & valid
    assert (len(train), len(valid)) == (6, 3)
    if transcribed:
        _, rows = begun(valid_sentences=1)
        assert [row.ID for row in rows["valid"]] == ["one_0", "one_1"]
        with pytest.raises(ValueError, match="compared with 8: 1 are left to train on"):
            begun(sentences=8, valid_sentences=1, sentences_per_pair=8)


def test_scores_know_target_from_source(rows):
    pytest.importorskip("resemblyzer")
    trials = make_trials(rows, sentences=1, reference_seconds=20)
    copied = {trial.name: read_audio(trial.source.wav, RATE) for trial in trials}
    perfect = {trial.name: read_audio(trial.parallel.wav, RATE) for trial in trials}
    metrics = ["mel_cepstral_distortion", "f0_mean_difference"]
    kept, won = (
        score_trials(trials, made, RATE, metrics, progress=False) for made in (copied, perfect)
    )
    assert kept[TO_SOURCE].mean == pytest.approx(1.0, abs=1e-4)
    assert won[TO_TARGET].mean == pytest.approx(1.0, abs=1e-4)
    assert (kept[NEARER].mean, won[NEARER].mean) == (0.0, 1.0)
    assert won[ACCEPTED].mean == 1.0
    assert won["mel_cepstral_distortion"].mean == pytest.approx(0.0, abs=1e-6)
    assert won["f0_mean_difference"].mean == 0.0 < kept["f0_mean_difference"].mean
    with pytest.raises(ValueError, match="none of conversion's"):
        score_trials(trials, perfect, RATE, ["pesq_wb"])


def test_a_single_utterance_is_named_with_its_row(rows):
    check_several(rows, None)
    with pytest.raises(ValueError, match=r"p2_001.*: .*'p2'"):
        check_several(rows[:3], None)


def test_own_voices_are_split_by_sentence_or_by_speaker(corpus, tmp_path):
    folder = corpus / "wav48_silence_trimmed"
    with pytest.raises(ValueError, match="'p1' has 2 recordings, and 4 are needed"):
        prepare_custom_corpus(folder, tmp_path / "a", progress=False)
    with pytest.raises(ValueError, match="valid_speakers must name speakers"):
        prepare_custom_corpus(folder, tmp_path / "b", test_speakers=["p1"], progress=False)
    chosen = {"valid_speakers": ["p1"], "test_speakers": ["p2"]}
    with pytest.raises(ValueError, match="nobody is left"):
        prepare_custom_corpus(folder, tmp_path / "c", **chosen, progress=False)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        prepare_custom_corpus(tmp_path / "nowhere", tmp_path / "d")
    generator = np.random.default_rng(0)
    many = [Utterance(f"{n}{i}", 1.0, "a.wav", n) for n in "ab" for i in range(6)]
    generator.shuffle(many)
    parts = hold_out_sentences(many)
    assert {role: len(part) for role, part in parts.items()} == {"train": 8, "valid": 2, "test": 2}
    assert {row.spk_id for row in parts["test"]} == {"a", "b"}


def test_further_voices_are_of_subfolders_or_of_the_folder(corpus):
    folder = corpus / "wav48_silence_trimmed"
    found = extra_voices([folder, folder / "p2"], [])
    assert [row.spk_id for row in found] == ["p1", "p1", "p2", "p2", "p2", "p2"]
    kept = [Utterance("x", 1.0, found[0].wav, "p1")]
    with pytest.raises(ValueError, match="kept for validation or test"):
        extra_voices([folder], kept)
