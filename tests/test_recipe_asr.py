"""The recogniser's recipe from its command line to text, and what it says to mistakes."""

import csv
import re
import shutil

import pytest
import torch
from codec_models import ENCODEC, save_codec
from recognizers import TEXT, random_recognizer, recognizer_release, spell
from speechbrain.utils.run_opts import RunOptions
from task_runs import TaskRun, scores

from wavcube.cli.main import main as cli
from wavcube.data.audio import write_audio
from wavcube.data.manifest import Utterance
from wavcube.data.transcripts import place_of
from wavcube.experiment.command_line import read_yaml
from wavcube.inference import WavCubeASR
from wavcube.release.folder import load_release, read_card
from wavcube.representations import CodecRepresentation, LatentRepresentation
from wavcube.tasks.recognition.task import with_new_tokens
from wavcube.testing import tiny_wavcube

CPU = {"device": "cpu"}
MEL = "--representation=!include:representation/mel.yaml"
TINY = [
    MEL, "--device=cpu", "--noprogressbar", "--updates=6", "--warmup=1", "--validate_every=3",
    "--ckpt_interval_steps=2", "--batch_size=2", "--projected_dim=8", "--hidden_dim=8",
]  # fmt: skip


@pytest.fixture
def recipe(repository, tmp_path, monkeypatch):
    """Function that runs the recipe in a folder of its own and returns that folder."""
    monkeypatch.chdir(tmp_path)
    return TaskRun(repository, "LibriSpeech/train_asr.py", "asr", tmp_path, TINY)


def write_speech(folder, copies=3):
    """A folder of what the texts sound like, and a CSV of it, by two speakers."""
    folder.mkdir()
    rows = []
    for copy in range(copies):
        for number, text in enumerate(TEXT):
            name = f"{copy}{number}"
            write_audio(folder / f"{name}.wav", (0.4 + 0.2 * copy) * spell(text), 16000)
            rows.append({"ID": name, "wav": f"{name}.wav", "spk_id": "ab"[copy % 2], "wrd": text})
    write_csv(folder / "speech.csv", rows)
    return rows


def write_csv(path, rows):
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def speech(tmp_path):
    write_speech(tmp_path / "speech")
    return tmp_path / "speech" / "speech.csv"


def test_a_run_leaves_table_alignments_and_a_release_that_says_the_same(
    recipe, speech, capsys, monkeypatch
):
    out = recipe(f"--data_folder={speech}")
    said = capsys.readouterr().out
    assert re.search(r"utterances: train 1\d .* valid . .* test . ", said)
    for word in ("WER [%]", "CER [%]", "at the start", "recognition", f"release: {out}"):
        assert word in said
    assert scores(out).keys() == {"at the start", "recognition"}
    assert (out / "train_asr.py").is_file(), "the recipe is kept with its run"
    alignments = (out / "wer_recognition.txt").read_text()
    assert alignments.startswith(f"%WER {scores(out)['recognition']['WER [%] ↓']:.2f} ")
    check_same_text(out, alignments, capsys)

    monkeypatch.setattr(recipe.brain, "fit_batch", tampered)
    before = scores(out)
    recipe(f"--data_folder={speech}")
    assert scores(out) == before


def tampered(*_):
    raise AssertionError("a finished run must not train again")


def check_same_text(out, alignments, capsys):
    """Class and command line hear what the recipe's evaluation heard."""
    with (out / "manifests" / "test.csv").open() as file:
        rows = list(csv.DictReader(file))
    asr = WavCubeASR.from_hparams(out / "release", run_opts=CPU)
    for row in rows:
        path = row["wav"].replace("$data_root", str(out.parent / "speech"))
        heard = asr.transcribe_file(path)
        assert cli(["transcribe", path, "--source", str(out / "release"), "--device=cpu"]) == 0
        assert capsys.readouterr().out == f"{heard}\n"
        block = alignments.split(f"\n{row['ID']}, ")[1]
        lines = block.splitlines()[1:4]
        hypothesis = [word.strip() for word in lines[2].split(";")]
        assert " ".join(w for w in hypothesis if w not in ("<eps>", "")) == heard


def test_the_best_weights_are_released_and_not_the_last(recipe, speech, monkeypatch):
    recipe.check_that_the_best_weights_are_released(monkeypatch, f"--data_folder={speech}")


@pytest.mark.slow
def test_a_killed_run_ends_as_one_that_was_not(recipe, speech, tmp_path):
    options = f"--data_folder={speech}"
    recipe.check_that_a_killed_run_ends_as_another(tmp_path, options, updates=5)


def test_a_head_on_a_codec_is_released_with_the_codec(recipe, speech, tmp_path, capsys):
    save_codec(tmp_path / "codec", ENCODEC)
    codec = f"!include:representation/encodec.yaml [[source, {tmp_path / 'codec'}]]"
    options = [f"--representation={codec}", *TINY[1:]]
    out = recipe(f"--data_folder={speech}", options=options)
    shutil.rmtree(tmp_path / "codec")
    capsys.readouterr()
    check_same_text(out, (out / "wer_recognition.txt").read_text(), capsys)
    model = load_release(out / "release")
    assert isinstance(model.representation, CodecRepresentation)
    assert model.sample_rate == 24000


def test_a_release_is_fine_tuned_on_a_folder_with_its_own_tokens(recipe, speech, tmp_path):
    source = recognizer_release(tmp_path / "source", text=["ABCDEFGHIJKLMNOPQRSTUVWXYZ A"])
    for path in speech.parent.glob("*.wav"):
        path.with_suffix(".txt").write_text(TEXT[int(path.stem[1])] + "\n")
    speech.unlink()
    out = recipe(f"--data_folder={speech.parent}", f"--pretrained={source}")
    assert scores(out).keys() == {"as released", "recognition"}
    before, after = load_release(source).state_dict(), load_release(out / "release").state_dict()
    assert before.keys() == after.keys()
    assert any(not before[name].equal(after[name]) for name in before)
    (tokens,) = (out / "release").glob("*.model")
    assert tokens.read_bytes() == next(source.glob("*.model")).read_bytes()
    assert "the model it was tuned from" in [s.name for s in read_card(out / "release").upstream]


def test_a_new_vocabulary_needs_one_text_file(recipe, speech, tmp_path):
    source = recognizer_release(tmp_path / "source", text=["QQQ XXX"])
    text = tmp_path / "words.txt"
    text.write_text("THE QUICK BROWN FOX JUMPS OVER THE LAZY DOG\n")
    out = recipe(f"--data_folder={speech}", f"--pretrained={source}", f"--vocabulary={text}")
    model = load_release(out / "release")
    assert model.head.num_tokens == 28, "26 letters, the space and the blank"
    assert model.head.projection.out_features == load_release(source).head.projection.out_features
    # a last layer begins as the YAML has it: with silence
    assert model.head.output.bias.argmax() == 0
    assert model.head.output.bias[0] > 2.5


def test_new_tokens_leave_the_representation_to_be_fine_tuned():
    released = random_recognizer(9, LatentRepresentation(tiny_wavcube(), unfreeze_at=0, lr=1e-4))
    model = with_new_tokens(released, 5)
    assert model.head.num_tokens == 5
    assert not model.representation.is_frozen


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_pieces_of_words(recipe, speech, kind):
    # a tenth of a second for a letter: pieces need no more frames
    out = recipe(f"--data_folder={speech}", f"--token_kind={kind}", "--vocab_size=21")
    assert [path.name for path in (out / "release").glob("*.model")] == [f"21_{kind}.model"]
    WavCubeASR.from_hparams(out / "release", run_opts=CPU)


def test_a_beam_is_searched_in_the_evaluation(recipe, speech, monkeypatch):
    from wavcube.tasks.recognition.search import CTCBeamSearcher

    beams, search = [], CTCBeamSearcher.decode_log_probs

    def note(self, *arguments):
        beams.append(self.beam_size)
        return search(self, *arguments)

    monkeypatch.setattr(CTCBeamSearcher, "decode_log_probs", note)
    recipe(f"--data_folder={speech}", "--beam_size=3")
    assert set(beams) == {3}
    assert len(beams) < 4, "the test utterances, by the trained model alone"


def test_a_speaker_is_left_out(recipe, speech):
    out = recipe(f"--data_folder={speech}", "--test_speakers=[b]", "--updates=3")
    names = re.findall(r"^(\d\d), %WER", (out / "wer_recognition.txt").read_text(), re.M)
    assert sorted(names) == ["10", "11", "12", "13", "14"]


def test_whom_a_run_trained_on_it_is_not_tested_on(recipe, speech, capsys):
    recipe(f"--data_folder={speech}", "--test_speakers=[b]", "--updates=1")
    other = [f"--data_folder={speech}", "--test_speakers=[a]", "--updates=1"]
    assert "a run with other data: {'test_speakers': ['b']}" in recipe.refusal(
        capsys, *other, out="run"
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [("--lr=0.5", "other settings: {'lr': 0.002}"), ("--updates=2", "settings: {'updates': 1}")],
)
def test_a_run_goes_on_with_its_own_settings_only(recipe, speech, capsys, changed, message):
    recipe(f"--data_folder={speech}", "--updates=1")
    noted = (recipe.folder / "run" / "hyperparams.yaml").read_bytes()
    line = recipe.refusal(capsys, f"--data_folder={speech}", "--updates=1", changed, out="run")
    assert message in line
    assert (recipe.folder / "run" / "hyperparams.yaml").read_bytes() == noted


def test_a_run_goes_on_with_its_own_utterances_only(recipe, speech, capsys):
    recipe(f"--data_folder={speech}", "--updates=1")
    speech.write_text("".join(speech.read_text().splitlines(keepends=True)[:-1]))
    line = recipe.refusal(capsys, f"--data_folder={speech}", "--updates=1", out="run")
    assert "other utterances: {'" in line


@pytest.mark.parametrize("updates", ["four", "0"])
def test_updates_are_counted(recipe, speech, capsys, updates):
    line = recipe.refusal(capsys, f"--data_folder={speech}", f"--updates={updates}")
    assert ("must be whole numbers" if updates == "four" else "does not fit into 0") in line


def test_more_speech_brings_its_transcripts_along(recipe, speech, tmp_path, capsys):
    folder = tmp_path / "more" / "7" / "1"
    folder.mkdir(parents=True)
    for number, text in enumerate(TEXT):
        write_audio(folder / f"7-1-{number}.flac", spell(text), 16000)
    lines = [f"7-1-{number} {text}" for number, text in enumerate(TEXT)]
    (folder / "7-1.trans.txt").write_text("\n".join(lines))
    recipe(f"--data_folder={speech}", f"--training_folders=[{tmp_path / 'more'}]", "--updates=1")
    told = capsys.readouterr().out
    assert "utterances: train 16 (" in told, "11 of 15, and 5"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows[6].update(wrd=" "), r"speech\.csv, row 7 \(11\).*empty"),
        (
            lambda rows: rows[6].update(wrd="TWO É"),
            r"csv, row 7 \(11\).*É not in the vocabulary",
        ),
        (lambda rows: [row.pop("wrd") for row in rows], "no row has a transcript.*column 'wrd'"),
        (lambda rows: rows[6].update(wav="no.wav"), "no.wav"),
        (lambda rows: [row.pop("wav") for row in rows], "no column 'wav'"),
    ],
    ids=["empty transcript", "unknown character", "no column wrd", "missing file", "no column wav"],
)
def test_mistakes_in_a_table_name_their_row(recipe, speech, capsys, tmp_path, change, message):
    rows = write_speech(tmp_path / "again")
    change(rows)
    write_csv(speech, [{k: v for k, v in row.items()} for row in rows])
    text = tmp_path / "words.txt"
    text.write_text("\n".join(TEXT))
    own = [] if "transcript" in message else [f"--vocabulary={text}"]
    line = recipe.refusal(capsys, f"--data_folder={speech}", *own)
    assert re.search(message, line)
    assert not (tmp_path / "mistaken").exists(), "a mistake leaves nothing behind"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--best_metric=bleu"], "best_metric 'bleu' is not one of"),
        (["--test_speakers=[carl]"], r"\['carl'\] speak nothing; there are \['a', 'b'\]"),
        (["--vocabulary=nothing.txt"], "no text file nothing.txt"),
        (["--token_kind=words"], "tokens 'words' are none of"),
        (["--pretrained=nowhere"], "nowhere"),
        (["--token_kind=unigram", "--vocab_size=5000"], "no 5000 tokens"),
        (["--language_model=lm.arpa"], "beam of 1"),
        (["--beam_size=4", "--language_model=lm.arpa"], "no language model lm.arpa"),
    ],
)
def test_mistakes_end_with_one_line(recipe, speech, capsys, arguments, message):
    assert re.search(message, recipe.refusal(capsys, f"--data_folder={speech}", *arguments))


def test_a_row_is_found_by_its_id_and_not_by_the_name_of_another_file(tmp_path):
    table = tmp_path / "mine.csv"
    table.write_text("ID,wav,wrd\na,b.wav,ONE\nb,a.wav,\n")
    place = place_of(Utterance("b", 1.0, "a.wav"), table)
    assert place == f"{table}, row 2 (b), column 'wrd'"


def test_speech_too_short_for_its_text_is_counted_and_refused(recipe, speech, capsys):
    with speech.open() as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["ID"] < "04":
            row["wrd"] = f"{row['wrd']} " * 60
    write_csv(speech, rows)
    line = recipe.refusal(capsys, f"--data_folder={speech}")
    assert re.search(r"\d of \d+ utterances have fewer frames than their labels need", line)
    assert not (speech.parents[1] / "mistaken").exists(), "before anything is written"
    recipe(f"--data_folder={speech}", "--max_short_fraction=0.5")
    assert "utterances with fewer frames than their labels need" in capsys.readouterr().out


def test_splits_of_librispeech_are_chosen(recipe, capsys, tmp_path):
    for split in ("train-clean-100", "train-clean-360", "dev-clean", "test-clean"):
        folder = tmp_path / "corpus" / split / split / "1"
        folder.mkdir(parents=True)
        for number, text in enumerate(TEXT):
            write_audio(folder / f"{split}-{number}.wav", spell(text), 16000)
        lines = [f"{split}-{number} {text}" for number, text in enumerate(TEXT)]
        (folder / f"{split}-1.trans.txt").write_text("\n".join(lines))
    recipe(f"--data_folder={tmp_path / 'corpus'}", "--train_splits=[train-clean-100]")
    assert "utterances: train 5 (" in capsys.readouterr().out


def test_a_release_of_another_task_is_refused(recipe, speech, capsys, tmp_path):
    from releases import random_release

    latent = random_release(tmp_path / "latent")
    line = recipe.refusal(capsys, f"--data_folder={speech}", f"--pretrained={latent}")
    assert "it is not a recogniser's release" in line


@pytest.mark.parametrize("yaml", ["asr", "asr_conformer", "asr_digits", "asr_probe", "asr_superb"])
def test_every_key_of_the_yaml_is_used(repository, readers, yaml):
    text = read_yaml(repository / "hparams" / f"{yaml}.yaml")
    keys = re.findall(r"^(\w+):", text, flags=re.MULTILINE)
    assert len(keys) == len(set(keys))
    options = RunOptions().as_dict()
    for key in set(keys) - {"__set_seed"}:
        assert f"<{key}>" in text or f'"{key}"' in readers or key in options, f"{key} is unused"


def test_the_transcripts_do_not_depend_on_the_batch(recipe, speech):
    out = recipe(f"--data_folder={speech}", "--updates=3")
    asr = WavCubeASR.from_hparams(out / "release", run_opts=CPU)
    wavs = [spell(text) for text in TEXT]
    longest = max(map(len, wavs))
    batch = torch.randn(len(wavs), longest)
    for row, wav in zip(batch, wavs, strict=True):
        row[: len(wav)] = wav
    lens = torch.tensor([len(wav) / longest for wav in wavs])
    assert asr.transcribe_batch(batch, lens) == [asr.transcribe_batch(wav)[0] for wav in wavs]
