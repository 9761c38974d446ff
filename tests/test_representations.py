"""The table that compares representations: its sets, its baselines, its probes, its command."""

import json

import numpy as np
import pytest
import torch
from releases import CARD, random_release

from benchmarks import latent_noise, representations
from benchmarks.features import (
    latent_frames,
    log_mel_frames,
    pooled,
    restored_frames,
    ssl_frames,
    turned_frames,
)
from benchmarks.fsdd import Take, digit_accuracy, read_takes, speaker_accuracy, take_blocks
from benchmarks.griffin_lim import griffin_lim
from benchmarks.speech_sets import read_sets
from wavcube import WavCube
from wavcube.data.audio import read_audio, write_audio
from wavcube.data.synthetic import make_synthetic_corpus
from wavcube.lobes.ssl.filterbank_wavlm import LogMelFrontEnd
from wavcube.metrics import score_pair
from wavcube.metrics.linear_probe import hold_out
from wavcube.release.folder import write_release
from wavcube.release.ssl_folder import write_encoder
from wavcube.testing import tiny_acoustic_codec, tiny_ssl_encoder, tiny_wavcube, tone

RATE = 16000


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """The synthetic test voices, two clips of them, in a cache of this test run's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        (speech,) = read_sets(["synthetic"], RATE, 2, shortest=1.0)
    return speech


def takes(speakers=("ann", "bob", "cem"), digits=3, count=4):
    return [
        Take(digit, speaker, index, torch.empty(0))
        for speaker in speakers
        for digit in range(digits)
        for index in range(count)
    ]


def test_no_probe_is_tested_on_what_it_has_seen():
    everything = takes(count=11)
    speakers = np.array([take.speaker for take in everything])
    indices = np.array([take.index for take in everything])
    tested = []
    for name, train, test in hold_out(speakers.tolist()):
        assert set(speakers[test]) == {name}
        assert not set(speakers[train]) & set(speakers[test])
        assert sorted([*train, *test]) == list(range(len(everything)))
    for _, train, test in hold_out(take_blocks(indices.tolist())):
        assert set(indices[train]).isdisjoint(indices[test])
        assert set(speakers[train]) == set(speakers), "every speaker must be known"
        tested += test.tolist()
    assert sorted(tested) == list(range(len(everything)))


def test_what_belongs_to_one_speaker_or_take_helps_no_probe():
    everything = takes(digits=4, count=5)
    names = ("ann", "bob", "cem")
    # which digit it is can be read from each speaker's own columns alone
    of_speaker = np.zeros((len(everything), 12))
    of_take = np.zeros((len(everything), 15))
    for row, take in enumerate(everything):
        speaker = names.index(take.speaker)
        of_speaker[row, 4 * speaker + take.digit] = 1
        of_take[row, 5 * speaker + take.index] = 1
    assert np.mean(list(digit_accuracy(of_speaker, everything).values())) <= 0.25
    assert np.mean(list(speaker_accuracy(of_take, everything).values())) <= 0.34
    known = np.array([[take.digit == d for d in range(4)] for take in everything], dtype=float)
    assert np.mean(list(digit_accuracy(known, everything).values())) == 1.0


def frames_of(kind):
    if kind == "log-mel":
        return log_mel_frames(LogMelFrontEnd(10, stacked_frames=1))
    if kind == "ssl":
        return ssl_frames(tiny_ssl_encoder())
    if kind == "restored":
        return restored_frames(tiny_wavcube())
    return latent_frames(WavCube({"wavcube": tiny_wavcube()}, run_opts={"device": "cpu"}))


@pytest.mark.parametrize("kind", ["log-mel", "ssl", "latent", "restored"])
def test_averages_do_not_count_the_padding(kind):
    wavs = [tone(seconds, seed) for seed, seconds in enumerate((0.31, 0.1, 0.52))]
    frames = frames_of(kind)
    together = pooled(frames, wavs, progress=False)
    for wav, row in zip(wavs, together, strict=True):
        np.testing.assert_allclose(row, pooled(frames, [wav], progress=False)[0], atol=1e-5)
    assert np.abs(together[0] - together[1]).max() > 1e-3


def test_griffin_lim_of_log_mel_is_intelligible(spoken):
    for wav in spoken.clips.values():
        copy = griffin_lim(wav, RATE)
        assert copy.shape == wav.shape
        scores = score_pair(wav.numpy(), copy.numpy(), RATE, ["stoi", "pesq_wb"])
        assert scores["stoi"] > 0.95
        assert scores["pesq_wb"] > 3.0


def test_griffin_lim_keeps_time_and_the_random_state():
    wav = tone(1.0)
    torch.manual_seed(5)
    copy = griffin_lim(wav, RATE, iterations=30)
    after = torch.rand(1)
    torch.manual_seed(5)
    assert after.equal(torch.rand(1))
    assert griffin_lim(wav, RATE, iterations=30).equal(copy)
    front_end = LogMelFrontEnd(100, stacked_frames=1)

    def distance(shift):
        return float((front_end(copy.roll(shift)[None]) - front_end(wav[None])).abs().mean())

    assert distance(0) < min(distance(-40), distance(40))


def test_sets_are_chosen_evenly_and_bring_their_transcripts(tmp_path):
    chapter = tmp_path / "test-other" / "7" / "70"
    vctk = tmp_path / "VCTK"
    for index in range(4):
        write_audio(chapter / f"7-70-000{index}.flac", tone(0.1, index), RATE)
        write_audio(vctk / "wav48" / "p1" / f"p1_00{index}_mic1.flac", tone(0.1, index), RATE)
    (chapter / "7-70.trans.txt").write_text("7-70-0000 ONE\n7-70-0002 TWO\n")
    (vctk / "txt" / "p1").mkdir(parents=True)
    (vctk / "txt" / "p1" / "p1_002.txt").write_text("Two.\n")
    first, second = read_sets([str(chapter.parents[1]), str(vctk / "wav48" / "p1")], RATE, 2)
    assert (first.name, second.name) == ("test-other", "p1")
    assert list(first.clips) == ["7/70/7-70-0000", "7/70/7-70-0002"]
    assert first.transcripts == {"7/70/7-70-0000": "ONE", "7/70/7-70-0002": "TWO"}
    assert second.transcripts == {"p1_002_mic1": "Two."}
    with pytest.raises(ValueError, match="name of its own"):
        read_sets([str(vctk)] * 2, RATE, 2)
    with pytest.raises(ValueError, match=r"no audio files of 0\.5 s"):
        read_sets([str(vctk)], RATE, 2, shortest=0.5)


def test_the_synthetic_set_is_the_test_split_of_any_size_of_corpus(spoken, tmp_path):
    corpus = make_synthetic_corpus(
        tmp_path, train_minutes=0.1, dev_minutes=0.05, train_voices=2, dev_voices=1
    )
    for name, wav in spoken.clips.items():
        assert read_audio(corpus / "test-clean" / f"{name}.flac", RATE).equal(wav)
        assert len(wav) >= RATE
    assert spoken.transcripts.keys() == spoken.clips.keys()


@pytest.fixture
def inputs(tmp_path):
    """Arguments for tiny releases, two clips and five takes of two digits by two speakers."""
    write_encoder(tiny_ssl_encoder(), tmp_path / "encoder")
    random_release(tmp_path / "stage2", training_state={})
    write_release(tiny_acoustic_codec(), tmp_path / "acoustic", card=CARD)
    for index in range(2):
        write_audio(tmp_path / "speech" / f"{index}.wav", tone(0.7, index), RATE)
    for index in range(20):
        name = f"{index % 2}_{'ab'[index // 10]}_{index % 10 // 2}.wav"
        write_audio(tmp_path / "fsdd" / name, tone(0.2, index), 8000)
    return [
        *(f"--{name}={tmp_path / name}" for name in ("encoder", "stage2", "acoustic")),
        f"--speech={tmp_path / 'speech'}",
        "--shortest=0.5",
        f"--json={tmp_path / 'out.json'}",
        "--metrics=mel_distance,si_sdr",
    ]


def test_one_command_makes_the_tables(inputs, tmp_path, capsys):
    representations.main([*inputs, f"--digits={tmp_path / 'fsdd'}"])
    printed = capsys.readouterr().out
    rows = ["original", "log-mel, Griffin-Lim", "acoustic-only codec", "WavCube, stage 2"]
    for text in (*rows, "SI-SDR [dB] ↑", "∞", "unseen speakers", "SSL feature", "MFCC"):
        assert text in printed
    assert "stage 1" not in printed, "it was not given"
    content = json.loads((tmp_path / "out.json").read_text())
    table = content["sets"]["speech"]
    assert list(table["scores"]) == rows
    assert table["clips"] == ["0", "1"]
    assert table["scores"]["original"]["mel_distance"]["mean"] == 0.0
    cell = table["scores"]["WavCube, stage 2"]["mel_distance"]
    assert cell["low"] <= cell["mean"] <= cell["high"]
    assert table["metrics"]["si_sdr"]["version"]
    assert content["models"]["acoustic-only codec"]["class"] == "AcousticCodec"
    known = content["knowledge"]
    turned = "acoustic-only codec: latent turned to the SSL feature"
    restored = "WavCube, stage 2: feature restored from the latent"
    features = [turned, restored, "SSL feature", "log-mel", "MFCC, mean and deviation"]
    assert list(known) == [*rows[2:], *features]
    assert known["SSL feature"]["digits"]["held_out"].keys() == {"a", "b"}
    assert len(known["SSL feature"]["speakers"]["held_out"]) == 5
    assert known["WavCube, stage 2"]["values_per_second"] == 8 * 50


def test_a_turned_representation_is_white_on_the_speech_it_was_fitted_on():
    encoder, speech = tiny_ssl_encoder(), [tone(1.0, 1), tone(2.0, 2)]
    frames = turned_frames(ssl_frames(encoder), encoder, speech)
    with torch.no_grad():
        values = torch.cat([frames(wav[None], torch.tensor([len(wav)]))[0][0] for wav in speech])
    assert values.mean(0).abs().max() < 1e-2
    assert values[:, 0].var(correction=0).item() == pytest.approx(1.0, abs=1e-2)
    assert values.var(0, correction=0).max() < 1.01


def test_noise_on_latents_costs_sound(spoken, tmp_path, capsys):
    name, wav = next(iter(spoken.clips.items()))
    model = WavCube.from_hparams(run_opts={"device": "cpu"})
    table = latent_noise.compare(model, {name: wav}, progress=False)
    *noisy, half, _ = (row["mel_distance"].mean for row in table.values())
    assert noisy == sorted(noisy), "the more noise, the farther"
    assert noisy[2] < 1.1 * noisy[0], "5 % of it is hardly heard"
    assert half == pytest.approx(noisy[0], abs=0.01)
    write_audio(tmp_path / "speech" / "a.wav", wav, RATE)
    latent_noise.main([str(tmp_path / "speech")])
    assert "noise of 20%" in capsys.readouterr().out


def test_the_copies_are_the_release_s_own(inputs, tmp_path):
    model = WavCube.from_hparams(tmp_path / "stage2", run_opts={"device": "cpu"})
    (speech,) = read_sets([str(tmp_path / "speech")], RATE, 1)
    rows = representations.copy_set(speech, {"mine": model}, RATE)
    wav = read_audio(tmp_path / "speech" / "0.wav", RATE)
    np.testing.assert_array_equal(rows["mine"].copies["0"], model(wav[None])[0].numpy())
    np.testing.assert_array_equal(rows["original"].copies["0"], wav.numpy())


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--metrics=beauty", "beauty"),
        ("--speech=nowhere", "nowhere"),
        ("--stage1=nowhere", "nowhere"),
        ("--json=speech", "folder"),
    ],
)
def test_mistakes_end_before_the_work(inputs, tmp_path, monkeypatch, capsys, argument, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        representations.main([*inputs, argument])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()


def test_recordings_that_are_not_fsdd_s_are_refused(tmp_path):
    write_audio(tmp_path / "hello.wav", tone(0.1), RATE)
    with pytest.raises(ValueError, match="DIGIT_SPEAKER_TAKE"):
        read_takes(tmp_path, RATE)
