"""Tokens of transcripts: there and back, clear errors, and frames enough for CTC."""

import pytest

from wavcube.data.manifest import Utterance
from wavcube.data.tokens import (
    TextTokens,
    find_too_short,
    frames_needed,
    read_sentences,
    train_tokens,
)

TEXTS = [
    "THE CAT SAT ON THE MAT",
    "A CAT AND A BAT",
    "THAT HAT IS THE BEST HAT",
    "IT'S A RAT NEAR THE TABLE",
]


@pytest.mark.parametrize(("kind", "size"), [("char", 1000), ("unigram", 20), ("bpe", 25)])
def test_text_comes_back(tmp_path, kind, size):
    tokens = train_tokens(TEXTS, tmp_path, kind, size)
    for text in [*TEXTS, "BEN SAT"]:
        labels = tokens.encode(text)
        assert tokens.decode(labels) == text
        assert 0 == tokens.blank not in labels
        assert max(labels) < len(tokens)
    characters = len(set("".join(TEXTS)))
    assert len(tokens) == (characters + 1 if kind == "char" else size)
    if kind == "char":
        assert len(tokens.encode("A CAT")) == 5, "a space is a label, and none is before the first"


def test_the_same_text_is_trained_once_and_other_text_apart(tmp_path, monkeypatch):
    first = train_tokens(TEXTS, tmp_path)
    assert TextTokens(first.path.parent).encode("CAT") == first.encode("CAT")
    with monkeypatch.context() as patch:
        patch.setattr("wavcube.data.tokens._train", None)
        assert train_tokens(TEXTS, tmp_path).path == first.path
    second = train_tokens([*TEXTS, "ZOO"], tmp_path)
    assert second.path != first.path
    assert len(second) == len(first) + 1
    assert sorted(path.suffix for path in tmp_path.rglob("*.*")) == [".model"] * 2


def test_paths_with_spaces_and_commas_do(tmp_path):
    tokens = train_tokens(TEXTS, tmp_path / "my, own tokens", "bpe", 25)
    assert tokens.decode(tokens.encode("THE CAT")) == "THE CAT"


def place(row):
    """Where a transcript stands."""
    return f"my {row.ID}"


def test_a_character_outside_of_the_vocabulary_is_named_with_its_row(tmp_path):
    tokens = train_tokens(TEXTS, tmp_path)
    rows = [Utterance("a", 1.0, "a.wav", wrd="CAT"), Utterance("b", 1.0, "b.wav", wrd="CÄT 9")]
    with pytest.raises(ValueError, match=r"^my b: 9 Ä not in the"):
        tokens.encode_rows(rows, place)
    assert list(tokens.encode_rows(rows[:1], place)) == ["a"]


@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_transcript_is_named_with_its_row(tmp_path, empty):
    tokens = train_tokens(TEXTS, tmp_path)
    rows = [Utterance("a", 1.0, "a.wav", wrd="CAT"), Utterance("b", 1.0, "b.wav", wrd=empty)]
    with pytest.raises(ValueError, match=r"^my b: .* is empty"):
        tokens.encode_rows(rows, place)
    with pytest.raises(ValueError, match="text 5 of 5: the transcript is empty"):
        train_tokens([*TEXTS, empty], tmp_path)


def test_what_cannot_be_trained_is_refused_and_leaves_nothing(tmp_path):
    with pytest.raises(ValueError, match=r"no 5000 tokens \(bpe\) .* 4 transcripts"):
        train_tokens(TEXTS, tmp_path, "bpe", 5000)
    with pytest.raises(ValueError, match="'word' are none of"):
        train_tokens(TEXTS, tmp_path, "word")
    with pytest.raises(ValueError, match="no text"):
        train_tokens([], tmp_path)
    assert not list(tmp_path.iterdir())
    with pytest.raises(FileNotFoundError, match="0 tokenizers"):
        TextTokens(tmp_path)


def test_one_text_file_gives_a_vocabulary(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text("\ufeffone two\n\n  three \n", encoding="utf-8")
    assert read_sentences(path) == ["one two", "three"]
    tokens = train_tokens(read_sentences(path), tmp_path / "tokens")
    assert tokens.decode(tokens.encode("three two")) == "three two"
    path.write_text(" \n", encoding="utf-8")
    with pytest.raises(ValueError, match="holds no text"):
        read_sentences(path)
    path.write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(ValueError, match="UTF-8"):
        read_sentences(path)
    with pytest.raises(FileNotFoundError, match="no text file"):
        read_sentences(tmp_path / "none")


@pytest.mark.parametrize(
    ("labels", "frames"), [([], 0), ([1], 1), ([1, 2], 2), ([1, 1], 3), ([2, 2, 2, 1], 6)]
)
def test_labels_and_repeats_need_frames(labels, frames):
    assert frames_needed(labels) == frames


def test_utterances_with_too_few_frames_are_counted_and_refused_above_a_share(caplog):
    labels = {str(i): [1, 1, 2] for i in range(100)}
    frames = dict.fromkeys(labels, 4)
    assert find_too_short(labels, frames) == []
    frames["7"] = 3
    assert find_too_short(labels, frames) == ["7"]
    assert "1 of 100 utterances" in caplog.text
    frames["8"] = 1
    with pytest.raises(ValueError, match=r"2 of 100 utterances .* '8' 1 for 4; at most 1\.0%"):
        find_too_short(labels, frames)
    assert find_too_short(labels, frames, limit=0.02) == ["7", "8"]
