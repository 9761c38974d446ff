"""Texts and tables as people have them: byte-order marks, other encodings, open quotes."""

import numpy as np
import pytest
import soundfile

from wavcube.cli.main import main
from wavcube.data.corpora.vctk import read_transcript
from wavcube.data.manifest import Utterance, read_manifest
from wavcube.data.mixing.mixtures import MixtureRow, read_mixtures, write_mixtures
from wavcube.data.mixing.pairs import read_pairs
from wavcube.data.segments.collection import read_csv
from wavcube.data.tokens import read_sentences
from wavcube.data.transcripts import read_transcripts, read_transcripts_beside, row_of

MARK = b"\xef\xbb\xbf"
# characters at which str.splitlines ends a line, and an editor does not
SEPARATORS = "\u2028", "\u2029", "\u0085", "\x0b", "\x0c", "\x1c"


def test_a_byte_order_mark_is_not_part_of_the_first_name(tmp_path):
    table = tmp_path / "sue.trans.txt"
    table.write_bytes(MARK + b"one HELLO THERE\ntwo AND HERE\n")
    assert read_transcripts(table) == {"one": "HELLO THERE", "two": "AND HERE"}
    rows = read_transcripts_beside([Utterance("one", 1.0, str(tmp_path / "one.wav"))])
    assert [row.wrd for row in rows] == ["HELLO THERE"]


@pytest.mark.parametrize("read", [read_transcript, lambda path: read_sentences(path)[0]])
def test_a_byte_order_mark_is_not_part_of_a_text(read, tmp_path):
    path = tmp_path / "a.txt"
    path.write_bytes(MARK + "Grüße\r\n".encode())
    assert read(path) == "Grüße"


@pytest.mark.parametrize("separator", SEPARATORS)
def test_only_line_ends_end_a_line(separator, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text(f"one ALL{separator}OF IT\r\ntwo MORE\n", encoding="utf-8", newline="")
    assert list(read_transcripts(path)) == ["one", "two"]
    assert read_transcripts(path)["one"] == f"ALL{separator}OF IT"
    assert len(read_sentences(path)) == 2


@pytest.mark.parametrize("name", ["a.txt", "all.trans.txt"])
def test_evaluate_names_a_text_in_another_encoding(name, tmp_path, capsys):
    folders = [tmp_path / "references", tmp_path / "made"]
    for folder in folders:
        folder.mkdir()
        noise = 0.1 * np.random.default_rng(0).standard_normal(16000)
        soundfile.write(folder / "a.wav", noise, 16000)
    (folders[0] / name).write_bytes("a Grüße".encode("latin-1"))
    paths = [str(folder) for folder in folders]
    assert main(["evaluate", *paths, "--json", str(tmp_path / "scores.json")]) == 2
    said = capsys.readouterr().err
    assert name in said
    assert "is not text in UTF-8" in said
    assert said.count("\n") == 1


READERS = {
    "manifest": (read_manifest, "wav,wrd", "{i}.wav,WORD"),
    "pairs": (lambda path: read_pairs(path), "noisy,clean", "{i}.wav,{i}.wav"),
    "segments": (lambda path: read_csv(path, path.parent), "wav,duration", "{i}.wav,1.0"),
    "place": (lambda path: row_of(Utterance("none", 1.0, "x"), path), "wav,wrd", "{i}.wav,WORD"),
}


@pytest.mark.parametrize("kind", READERS)
@pytest.mark.parametrize("quoted", ['"{}', '"{}" and more'])
def test_an_open_quote_does_not_swallow_the_rows_after_it(kind, quoted, tmp_path):
    read, header, row = READERS[kind]
    rows = [row.format(i=i) for i in range(4)]
    first, _, rest = rows[2].partition(",")
    rows[2] = f"{first},{quoted.format(rest)}"
    for i in range(4):
        (tmp_path / f"{i}.wav").touch()
    path = tmp_path / "mine.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    with pytest.raises(ValueError, match=r"mine\.csv, row 3"):
        read(path)


def test_an_open_quote_in_a_list_of_mixtures_is_told(tmp_path):
    path = tmp_path / "mine.csv"
    sources = "/d/a.wav", "/d/b.wav"
    write_mixtures(path, [MixtureRow(f"m{i}", sources, (1.0, 1.0)) for i in range(4)])
    path.write_text(path.read_text().replace("m2", '"m2'))
    with pytest.raises(ValueError, match=r"mine\.csv, row 3"):
        read_mixtures(path)


def test_a_quote_within_a_field_is_text(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text('wav,wrd\na.wav,A 5" DISK\n"b, c.wav","SAY ""HI"""\n')
    rows = read_manifest(path)
    assert [row.wrd for row in rows] == ['A 5" DISK', 'SAY "HI"']
    assert rows[1].wav.endswith("b, c.wav")
