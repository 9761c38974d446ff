"""Transcription for users: batches, searches, and what it makes of bad input."""

import numpy as np
import pytest
import soundfile
import torch
from recognizers import TEXT, random_recognizer, recognizer_release, spell

from wavcube.cli.main import main as cli
from wavcube.data.audio import write_audio
from wavcube.data.manifest import Utterance
from wavcube.data.tokens import train_tokens
from wavcube.data.transcripts import read_transcripts_beside, split_by_speaker
from wavcube.inference import WavCubeASR
from wavcube.tasks.recognition.search import CTCSearch
from wavcube.testing import tone

CPU = {"device": "cpu"}
WAV = tone(1.0)


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return recognizer_release(tmp_path_factory.mktemp("asr") / "model", seed=2)


@pytest.fixture(scope="module")
def asr(release):
    return WavCubeASR.from_hparams(release, run_opts=CPU)


def with_nan():
    wav = WAV.clone()
    wav[100] = torch.nan
    return wav


# what each kind of input gives: a text of this many results, or an error that says this
INPUTS = {
    "silent": (torch.zeros(16000), 1),
    "one sample": (torch.ones(1), 1),
    "very short": (WAV[:200], 1),
    "clipped": ((20 * WAV).clamp(-1, 1), 1),
    "loud": (1e4 * WAV, 1),
    "float64": (WAV.double(), 1),
    "a list of two": (torch.stack([WAV, WAV]), 2),
    "array": (WAV.numpy(), 1),
    "stereo": (WAV.expand(1, 2, -1), "average the channels"),
    "channels last": (torch.zeros(16000, 2), "average the channels"),
    "NaN": (with_nan(), "waveform 0 is NaN or infinite at sample 100"),
    "infinite": (WAV / 0, "NaN or infinite"),
    "integers": ((32767 * WAV).short(), "floating point"),
    "empty": (torch.zeros(0), "no samples"),
    "empty batch": (torch.zeros(0, 100), "no samples"),
}


@pytest.mark.parametrize("kind", INPUTS)
def test_every_input_gives_text_or_a_clear_error(asr, kind):
    wavs, expected = INPUTS[kind]
    if isinstance(expected, str):
        with pytest.raises(ValueError, match=expected):
            asr.transcribe_batch(wavs)
        return
    texts = asr.transcribe_batch(wavs)
    assert len(texts) == expected
    assert all(isinstance(text, str) for text in texts)


@pytest.mark.parametrize(
    ("lens", "rate", "message"),
    [
        (torch.tensor([0.0]), None, r"\(0, 1\]"),
        (torch.tensor([1.0, 1.0]), None, "the batch needs"),
        (None, -5, "not a positive whole number of Hz"),
        (None, 8000.5, "not a positive whole number of Hz"),
    ],
)
def test_bad_lengths_and_rates(asr, lens, rate, message):
    with pytest.raises(ValueError, match=message):
        asr.transcribe_batch(WAV, lens, rate)


def test_an_item_reads_the_same_alone_and_in_a_batch_of_five(asr):
    wavs = [spell(text) for text in TEXT]
    longest = max(map(len, wavs))
    batch = torch.randn(5, longest)
    for row, wav in zip(batch, wavs, strict=True):
        row[: len(wav)] = wav
    lens = torch.tensor([len(wav) / longest for wav in wavs])
    alone = [asr.transcribe_batch(wav)[0] for wav in wavs]
    assert len(set(alone)) > 1, "texts that differ"
    assert asr.transcribe_batch(batch, lens) == alone
    asr.set_search(beam_size=4)
    try:
        assert asr.transcribe_batch(batch, lens) == [asr.transcribe_batch(w)[0] for w in wavs]
    finally:
        asr.set_search()


def test_another_rate_and_stereo_files_read_as_the_same_speech(asr, tmp_path):
    wav = spell("TWO NINE", 48000)
    soundfile.write(tmp_path / "mono.wav", wav.numpy(), 48000, subtype="FLOAT")
    soundfile.write(tmp_path / "stereo.wav", np.stack([wav, wav], 1), 48000, subtype="FLOAT")
    expected = asr.transcribe_batch(wav, sample_rate=48000)[0]
    assert expected != asr.transcribe_batch(wav)[0], "at a third of its speed"
    assert asr.transcribe_file(tmp_path / "mono.wav") == expected
    assert asr.transcribe_file(tmp_path / "stereo.wav") == expected


def test_the_command_names_several_files_and_the_bad_ones(release, asr, tmp_path, capsys):
    folder = tmp_path / "speech"
    folder.mkdir()
    write_audio(folder / "a.wav", spell("ONE"), 16000)
    write_audio(folder / "b.wav", spell("TWO SIX"), 16000)
    (folder / "c.wav").write_bytes(b"no audio")
    assert cli(["transcribe", str(folder), "--source", str(release), "--device=cpu"]) == 2
    said = capsys.readouterr()
    heard = {name: asr.transcribe_file(folder / name) for name in ("a.wav", "b.wav")}
    assert said.out == "".join(f"{folder / name}: {text}\n" for name, text in heard.items())
    assert "c.wav" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--beam=0"], "a beam of 0"),
        (["--language-model=lm.arpa"], "a beam of 1"),
        (["--beam=4", "--language-model=lm.arpa"], "no language model lm.arpa"),
        (["--source=nowhere"], "no release at 'nowhere'"),
    ],
)
def test_mistakes_on_the_command_line(release, tmp_path, capsys, arguments, message):
    write_audio(tmp_path / "a.wav", WAV, 16000)
    source = [] if "--source" in arguments[0] else ["--source", str(release)]
    assert cli(["transcribe", str(tmp_path / "a.wav"), *source, "--device=cpu", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_a_missing_extra_is_one_line_on_the_command_line(release, tmp_path, capsys, monkeypatch):
    write_audio(tmp_path / "a.wav", WAV, 16000)
    (tmp_path / "lm.arpa").write_text(ARPA)
    monkeypatch.setattr("wavcube.tasks.recognition.search.find_spec", lambda _: None)
    options = ["--device=cpu", "--beam=4", f"--language-model={tmp_path / 'lm.arpa'}"]
    assert cli(["transcribe", str(tmp_path / "a.wav"), "--source", str(release), *options]) == 2
    assert "wavcube[lm]" in capsys.readouterr().err


def test_info_describes_the_release_of_a_head(release, capsys):
    assert cli(["info", str(release)]) == 0
    said = capsys.readouterr().out
    for word in ("RecognitionModel", "WavCubeASR", "16000 Hz", "MelRepresentation"):
        assert word in said


def path_to(tokens, labels):
    """Log-probabilities whose best path is these labels, each a frame."""
    scores = torch.full((1, len(labels), len(tokens)), -6.0)
    scores[0, torch.arange(len(labels)), torch.tensor(labels)] = 0.0
    return scores.log_softmax(-1)


@pytest.mark.parametrize("kind", ["char", "unigram"])
@pytest.mark.parametrize("beam", [1, 8])
def test_repeats_merge_and_blanks_part(tmp_path, kind, beam):
    tokens = train_tokens(TEXT * 3, tmp_path, kind, 21)
    labels = tokens.encode("THREE FOUR")
    path = [part for label in labels for part in (label, label, tokens.blank)]
    search = CTCSearch(tokens, beam)
    assert search(path_to(tokens, path)) == ["THREE FOUR"]
    assert search(path_to(tokens, [tokens.blank] * 4)) == [""]


def test_a_beam_adds_the_paths_of_a_text(tmp_path):
    """A is read along two paths, each less likely than the best path, together more likely."""
    tokens = train_tokens(["A B"], tmp_path)
    label = tokens.encode("A")[0]
    scores = torch.full((1, 2, len(tokens)), -30.0)
    scores[..., tokens.blank], scores[..., label] = (
        torch.tensor(0.55).log(),
        torch.tensor(0.45).log(),
    )
    assert CTCSearch(tokens)(scores) == [""]
    assert CTCSearch(tokens, beam_size=4)(scores) == ["A"]


ARPA = """\\data\\
ngram 1=5
ngram 2=1

\\1-grams:
-3\t<unk>
-9\t<s>\t0
-1\t</s>
-0.1\tTOO\t0
-3\tTWO\t0

\\2-grams:
-0.2\t<s> TOO

\\end\\
"""


def test_a_language_model_decides_between_words_that_sound_alike(tmp_path):
    tokens, arpa = train_tokens(["TWO TOO"], tmp_path), tmp_path / "lm.arpa"
    arpa.write_text(ARPA)
    probabilities = torch.full((1, 5, len(tokens)), 1e-4)
    for place, (two, too) in enumerate(
        zip(tokens.encode("TWO"), tokens.encode("TOO"), strict=True)
    ):
        probabilities[0, 2 * place, two] += 0.5
        probabilities[0, 2 * place, too] += 0.4
    probabilities[0, [1, 3], tokens.blank] = 1.0
    scores = probabilities.log()
    assert CTCSearch(tokens, 4)(scores) == ["TWO"]
    assert CTCSearch(tokens, 4, arpa)(scores) == ["TOO"]
    assert CTCSearch(tokens, 4, arpa, lm_weight=0.0)(scores) == ["TWO"]


def test_a_language_model_that_cannot_be_used_is_a_clear_error(tmp_path, monkeypatch):
    tokens, arpa = train_tokens(["A B"], tmp_path), tmp_path / "lm.arpa"
    arpa.write_text(ARPA[:60])
    with pytest.raises(ValueError, match=r"lm\.arpa is not a language model that KenLM reads"):
        CTCSearch(tokens, 4, arpa)
    monkeypatch.setattr("wavcube.tasks.recognition.search.find_spec", lambda _: None)
    with pytest.raises(ImportError, match=r"wavcube\[lm\]"):
        CTCSearch(tokens, 4, arpa)


def test_a_model_of_another_vocabulary_is_refused(tmp_path):
    tokens = train_tokens(["A B"], tmp_path)
    files = {"files": {tokens.path.name: tokens.path}}
    with pytest.raises(ValueError, match="has 4 tokens, the model 9: the release is broken"):
        WavCubeASR({"model": random_recognizer(9)}, files, CPU)


def test_transcripts_beside_the_audio(tmp_path):
    (tmp_path / "a.txt").write_text("ONE\n TWO\n")
    rows = [Utterance(name, 1.0, str(tmp_path / f"{name}.wav")) for name in "ab"]
    rows.append(Utterance("c", 1.0, str(tmp_path / "a.wav"), wrd="OWN"))
    assert [row.wrd for row in read_transcripts_beside(rows)] == ["ONE TWO", "", "OWN"]
    (tmp_path / "b.txt").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match=r"b\.txt is not text in UTF-8"):
        read_transcripts_beside(rows)


def test_a_speaker_with_one_utterance_cannot_be_all_there_is():
    rows = {"all": [Utterance(name, 1.0, "", name) for name in "ab"]}
    with pytest.raises(ValueError, match="1 utterances are left; 2 are needed"):
        split_by_speaker(rows, ["a"], 0)
