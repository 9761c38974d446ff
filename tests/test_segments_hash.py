"""What tells one list of segments from another: the same for every form, not for other sound."""

import json
import shutil

import pytest
from test_segments import RATE, make, plain_rows, write_lines, write_shard

from wavcube.data.audio import write_audio
from wavcube.data.segments import open_segments
from wavcube.features.extract import open_source
from wavcube.testing import tone


def hash_of(path, **options):
    return open_segments(path, **options).content_hash


@pytest.fixture
def wanted(tmp_path):
    (tmp_path / "wanted").mkdir()
    return hash_of(write_lines(tmp_path / "wanted" / "a.jsonl", plain_rows()))


@pytest.mark.parametrize("form", ["plain", "gzip", "blocks", "csv"])
def test_every_form_has_the_same_hash_wherever_it_lies(form, tmp_path, wanted):
    (tmp_path / "here").mkdir()
    path = make(form, tmp_path / "here", None)
    assert hash_of(path) == hash_of(path) == wanted  # also by the index that is there
    assert hash_of(path, root=tmp_path / "elsewhere") == wanted
    shutil.copytree(tmp_path / "here", tmp_path / "moved")
    assert hash_of(tmp_path / "moved" / path.name) == wanted


@pytest.mark.parametrize("form", ["plain", "gzip", "csv"])
@pytest.mark.parametrize(
    "change",
    [
        {"id": "another"},
        {"path": "long2.flac"},
        {"start": 2.001},
        {"duration": 1.751},
        None,  # the row is gone
    ],
)
def test_every_row_counts(form, change, tmp_path, wanted):
    rows = plain_rows()
    rows[1:2] = [] if change is None else [{**rows[1], **change}]
    assert hash_of(make(form, tmp_path, None, rows)) != wanted


def test_channels_and_the_order_count_speakers_and_texts_do_not(tmp_path, wanted):
    first, *others = plain_rows()
    told = [{**first, "speaker": "x", "text": "corrected"}, *others]
    assert hash_of(write_lines(tmp_path / "told.jsonl", told)) == wanted
    turned, one_channel = [*others, first], [{**first, "channel": 0}, *others]
    for name, rows in (("turned", turned), ("one_channel", one_channel)):
        assert hash_of(write_lines(tmp_path / f"{name}.jsonl", rows)) != wanted


def test_shards(tmp_path):
    samples = tone(10.0, 0, RATE).numpy()
    write_shard(tmp_path / "a-0.tar", plain_rows(), samples)
    before = hash_of(tmp_path)
    assert hash_of(tmp_path) == before
    found = {before}
    for name, rows in (("a-0", plain_rows(3)), ("a-0", plain_rows(4)[::-1]), ("b", plain_rows())):
        (tmp_path / "a-0.tar").unlink()
        shutil.rmtree(tmp_path / "segments.index")
        write_shard(tmp_path / f"{name}.tar", rows, samples)
        found.add(hash_of(tmp_path))
    assert len(found) == 4


def test_folders_of_audio(tmp_path):
    for name in ("a", "deep/b"):
        write_audio(tmp_path / "one" / f"{name}.wav", tone(0.1), 16000)
    before = open_source(tmp_path / "one").content_hash
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    assert open_source(tmp_path / "two").content_hash == before
    (tmp_path / "two" / "a.wav").rename(tmp_path / "two" / "c.wav")
    assert open_source(tmp_path / "two").content_hash != before


def test_what_is_left_out_counts(tmp_path, wanted):
    segments = open_segments(write_lines(tmp_path / "a.jsonl", plain_rows()))
    found = [segments.without(rows).content_hash for rows in ([0], [1], [0, 1])]
    assert len({wanted, *found}) == 4
    assert segments.without([0]).without([0]).content_hash == found[2]


def test_an_index_of_an_earlier_version_serves_training_alone(tmp_path):
    path = write_lines(tmp_path / "a.jsonl", plain_rows())
    wanted = hash_of(path)
    note = tmp_path / "a.jsonl.index" / "index.json"
    content = json.loads(note.read_text())
    del content["rows_sha256"]
    note.write_text(json.dumps(content))
    assert open_segments(path)[3].id == "s3"
    with pytest.raises(ValueError, match=r"a.jsonl.index was made by an earlier version.*remove"):
        hash_of(path)
    shutil.rmtree(note.parent)
    assert hash_of(path) == wanted
