"""The page of an evaluation: what it holds, that it needs nothing else, that it is escaped."""

import base64
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import soundfile

from wavcube.metrics import METRICS, evaluate_folders
from wavcube.metrics.html_report import Players, embed_players, render_html, write_html
from wavcube.testing import tone

RATE = 16000
EVIL = '<script>alert("x")</script>&amp;\'" onerror='
VOID = {"meta"}


class Page(HTMLParser):
    """Tables by id as lists of texts, all attributes, and whether every tag is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tables, self.open, self.attributes, self.tags = {}, [], [], []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.rows = self.tables[dict(attrs)["id"]] = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data


@pytest.fixture
def folders(tmp_path):
    """Three clips; the third has no generated file."""
    reference, generated = tmp_path / "reference", tmp_path / "generated"
    rng = np.random.default_rng(0)
    for number, name in enumerate("abc"):
        clean = tone(0.3, number).numpy()
        for folder in (reference, generated):
            folder.mkdir(exist_ok=True)
        soundfile.write(reference / f"{name}.flac", clean, RATE)
        if name != "c":
            noisy = clean + 0.02 * rng.standard_normal(len(clean))
            soundfile.write(generated / f"{name}.wav", noisy, RATE, subtype="FLOAT")
    return reference, generated


@pytest.fixture
def evaluation(folders):
    return evaluate_folders(*folders, ["mel_distance", "si_sdr"], progress=False)


def test_tables_hold_scores_intervals_failures_and_versions(evaluation, folders):
    page = Page(render_html(evaluation.as_dict(), embed_players(*folders, "abc"), "title"))
    summary = evaluation.summary["si_sdr"]
    assert page.tables["summary"][2] == [
        "SI-SDR [dB] ↑",
        f"{summary.mean:.3f}",
        f"[{summary.low:.3f}, {summary.high:.3f}]",
        "2",
        "1",
    ]
    clips = page.tables["clips"]
    assert [row[0] for row in clips[1:]] == ["a", "b", "c"]
    assert clips[1][3:] == [f"{evaluation.scores[0][key]:.3f}" for key in evaluation.summary]
    assert clips[3][2:] == ["no audio", "failed", "failed"]
    failed = page.tables["failures"][1]
    assert failed[0] == "c"
    assert "c.flac" in failed[1]
    assert failed[2] == "every metric"
    info = METRICS["si_sdr"].info
    assert page.tables["definitions"][2] == [
        info.name, "si_sdr", info.description, "dB", "higher", "the reference's",
        f"{info.package} {info.version}",
    ]  # fmt: skip


def test_players_hold_the_signals(evaluation, folders):
    page = Page(render_html(evaluation.as_dict(), embed_players(*folders, "abc"), "title"))
    sources = [value for tag, key, value in page.attributes if (tag, key) == ("audio", "src")]
    assert len(sources) == 5
    for source, path in zip(sources[:2], ("reference/a.flac", "generated/a.wav"), strict=True):
        data = base64.b64decode(source.removeprefix("data:audio/flac;base64,"), validate=True)
        assert soundfile.info(io.BytesIO(data)).subtype == "PCM_16"
        samples, rate = soundfile.read(io.BytesIO(data))
        expected, _ = soundfile.read(folders[0].parent / path)
        assert rate == RATE
        np.testing.assert_allclose(samples, expected, atol=1 / 32768)


def test_the_page_needs_nothing_else(evaluation, folders):
    text = render_html(evaluation.as_dict(), embed_players(*folders, "abc"), "title")
    page = Page(text)
    assert {"link", "img", "iframe", "object", "base"}.isdisjoint(page.tags)
    outside = [a for a in page.attributes if a[1] in ("src", "href") and a[2][:5] != "data:"]
    assert outside == []
    without_audio = re.sub(r"data:audio/flac;base64,[\w+/=]*", "", text)
    assert not re.search(r"https?:|url\(|@import|fetch\(|XMLHttp", without_audio)
    policy = dict(page.attributes[i][1:] for i in range(4))["content"]
    assert policy.startswith("default-src 'none'")


def test_names_reasons_and_titles_are_escaped():
    metric = {**METRICS["stoi"].info.as_dict(), "name": EVIL, "description": EVIL, "version": EVIL}
    metric |= {"mean": None, "low": None, "high": None, "count": 0, "failed": [EVIL]}
    file = {"name": EVIL, "sample_rate": None, "scores": {}, "failed": {"stoi": EVIL}}
    report = {"metrics": {"stoi": metric}, "files": [file], "without_reference": [EVIL]}
    page = Page(render_html(report, Players(left_out=[EVIL]), EVIL))
    assert page.tags.count("script") == 1
    assert {name for _, name, _ in page.attributes}.isdisjoint({"onerror", "onload"})
    assert page.tables["clips"][1][0] == EVIL
    assert page.tables["failures"][1][:2] == [EVIL, EVIL]
    assert EVIL in page.tables["definitions"][1]
    assert ("td", "title", EVIL) in page.attributes


def test_the_limit_leaves_clips_out_and_says_so(evaluation, folders):
    sizes = {
        name: sum(len(uri) for uri in pair if uri)
        for name, pair in embed_players(*folders, "abc").sources.items()
    }
    exact = embed_players(*folders, "abc", limit=sum(sizes.values()))
    assert exact.left_out == []
    less = embed_players(*folders, "abc", limit=sum(sizes.values()) - 1)
    assert sum(sizes[name] for name in less.sources) <= less.limit
    assert len(less.left_out) == 1
    page = render_html(evaluation.as_dict(), less, "title")
    assert "Audio of 1 of 3 clips is left out" in page
    assert f"within {less.limit / 1e6:g} MB" in page
    row = next(row for row in Page(page).tables["clips"] if row[0] == less.left_out[0])
    assert row[1:3] == ["left out", "left out"]
    assert "failed" in row or float(row[3]) >= 0


def test_clips_with_players_are_spread_over_the_list(tmp_path):
    names = [f"{number:02d}" for number in range(16)]
    for folder in ("reference", "generated"):
        (tmp_path / folder).mkdir()
        for name in names:
            soundfile.write(tmp_path / folder / f"{name}.wav", tone(0.05).numpy(), RATE)
    both = tmp_path / "reference", tmp_path / "generated"
    one = sum(map(len, embed_players(*both, names[:1]).sources["00"]))
    assert sorted(embed_players(*both, names, limit=4 * one).sources) == ["00", "04", "08", "12"]
    assert embed_players(*both, names, limit=0).left_out == names


def test_a_name_that_is_no_unicode_can_be_written(tmp_path):
    report = {"metrics": {}, "files": [], "without_reference": ["caf\udce9"]}
    write_html(tmp_path / "page.html", report, Players(), "title")
    assert "caf&#56553;" in (tmp_path / "page.html").read_text(encoding="utf-8")
    with pytest.raises(FileExistsError):
        write_html(tmp_path / "page.html", report, Players(), "title")
