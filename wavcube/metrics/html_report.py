"""An evaluation as one HTML page that needs nothing else: no network, no other file.

A content security policy in the page forbids every outside resource, so it cannot come to need one
unnoticed. All that was not written here (names, reasons, titles) is escaped.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

import soundfile

from wavcube.data.audio import inspect_audio, read_audio
from wavcube.metrics.folders import audio_files, note_on_words
from wavcube.metrics.report import group_failures, heading
from wavcube.utils.files import write_atomically

STYLE = """
:root { color-scheme: light dark; font-family: system-ui, sans-serif; line-height: 1.45; }
body { margin: 1.5rem auto; padding: 0 1rem; max-width: 110rem; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.1rem; margin-top: 2rem; }
p { max-width: 50rem; overflow-wrap: anywhere; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { padding: 0.3rem 0.6rem; border-bottom: 1px solid #8886; text-align: left; }
th { vertical-align: bottom; }
th button { all: unset; cursor: pointer; font-weight: bold; }
th button:focus-visible { outline: 2px solid; }
th[aria-sort=ascending] button::after { content: " \\25B2"; }
th[aria-sort=descending] button::after { content: " \\25BC"; }
#clips td:first-child { max-width: 18rem; overflow-wrap: anywhere; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
.failed { color: #c33; }
audio { width: 14rem; height: 2.2rem; display: block; }
"""

# Cells without a number (failed clips) stay below in both directions.
SCRIPT = """
document.querySelectorAll("th button").forEach((button) => {
  button.addEventListener("click", () => {
    const head = button.parentElement, row = head.parentElement;
    const column = [...row.children].indexOf(head);
    const sign = head.getAttribute("aria-sort") === "ascending" ? -1 : 1;
    for (const other of row.children) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const body = row.closest("table").tBodies[0];
    const numeric = [...body.rows].some((line) => line.cells[column].dataset.value);
    const key = (line) => {
      const cell = line.cells[column];
      return numeric ? parseFloat(cell.dataset.value ?? "NaN") : cell.textContent;
    };
    const sorted = [...body.rows].sort((first, second) => {
      const a = key(first), b = key(second);
      if (!numeric) return sign * a.localeCompare(b);
      if (isNaN(a) || isNaN(b)) return isNaN(a) - isNaN(b);
      return sign * (a - b);
    });
    body.append(...sorted);
  });
});
"""

# Browsers open a page of this size in a second or two; it is some 100 pairs of 10 s at 16 kHz.
AUDIO_LIMIT = 50_000_000


@dataclass
class Players:
    """What a page can play.

    Parameters
    ----------
    limit : int
        Bytes that all data URIs together may take.
    sources : dict of str to list
        By clip: the data URIs of the reference and of the generated signal, None for one that
        cannot be read (its row says why).
    left_out : list of str
        Clips for which the limit left no room.
    """

    limit: int = AUDIO_LIMIT
    sources: dict[str, list[str | None]] = field(default_factory=dict)
    left_out: list[str] = field(default_factory=list)


def embed_players(
    reference_dir: str | Path,
    generated_dir: str | Path,
    names: Sequence[str],
    limit: int = AUDIO_LIMIT,
) -> Players:
    """Embed clips and their references until the limit is reached.

    The clips that find room are spread over the whole list, not its beginning: a clip too long for
    what is left is passed over, and the search goes on.

    Parameters
    ----------
    reference_dir, generated_dir : str or Path
        Folders that were evaluated.
    names : Sequence of str
        Clips to embed: relative names without suffix.
    limit : int
        Bytes that all data URIs together may take; with 0 no file is read.

    Returns
    -------
    Players
        Data URIs of 16-bit FLAC, mono, each at its own rate.
    """
    players = Players(limit)
    references, generated = audio_files(reference_dir), audio_files(generated_dir)
    room = limit
    # counting with reversed bits: any number of first steps is spread evenly over the list
    for index in sorted(range(len(names)), key=lambda i: f"{i:032b}"[::-1]):
        name = names[index]
        pair = [_data_uri(files.get(name)) for files in (references, generated)] if limit else []
        size = sum(len(uri) for uri in pair if uri is not None)
        if limit and size <= room:
            players.sources[name] = pair
            room -= size
        else:
            players.left_out.append(name)
    players.left_out.sort()
    return players


def _data_uri(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        rate = inspect_audio(path).sample_rate
        samples = read_audio(path, rate).numpy()
        stream = io.BytesIO()
        soundfile.write(stream, samples, rate, format="FLAC", subtype="PCM_16")
    except (OSError, ValueError, soundfile.LibsndfileError):
        # scoring met the same file and told the reason; FLAC has no rates above 655 kHz
        return None
    return f"data:audio/flac;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"


_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; media-src data:"
)
_BOOTSTRAP = (
    "Mean over the clips that have a value (an error rate: over all words), with the percentile "
    "bootstrap 95 % interval of 1000 draws of clips. A clip without a value is counted as failed "
    "and listed; it is neither zero nor dropped."
)


def write_html(
    path: str | Path,
    report: Mapping[str, Any],
    players: Players,
    title: str,
    *,
    overwrite: bool = False,
) -> None:
    """Write the page, whole or not at all.

    Parameters
    ----------
    path : str or Path
        File to write.
    report : Mapping
        What ``Evaluation.as_dict`` gives, or its JSON file holds.
    players : Players
        Audio to embed.
    title : str
        What was evaluated.
    overwrite : bool
        Replace an existing file.

    Raises
    ------
    FileExistsError
        If the file exists and may not be replaced.
    """
    # a file name that is not Unicode has lone surrogates, which UTF-8 cannot hold
    page = render_html(report, players, title).encode("utf-8", "xmlcharrefreplace")
    write_atomically(path, page, overwrite=overwrite)


def render_html(report: Mapping[str, Any], players: Players, title: str) -> str:
    """Lay the page out.

    Parameters
    ----------
    report, players, title
        See :func:`write_html`.

    Returns
    -------
    str
        The page.

    Examples
    --------
    >>> from wavcube.metrics.html_report import Players
    >>> report = {"metrics": {}, "files": [], "without_reference": []}
    >>> "<h1>a &lt; b</h1>" in render_html(report, Players(), "a < b")
    True
    """
    body = [
        f"<h1>{escape(title)}</h1>",
        _summary(report),
        _clips(report, players),
        _failures(report),
        _definitions(report),
    ]
    return "\n".join(
        [
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            *body,
            f"<script>{SCRIPT}</script>\n</body>\n</html>\n",
        ]
    )


def _summary(report: Mapping[str, Any]) -> str:
    rows = []
    for key, metric in report["metrics"].items():
        low, high, counts = metric["low"], metric["high"], (metric["count"], len(metric["failed"]))
        interval = "-" if low is None else f"[{low:.3f}, {high:.3f}]"
        rows.append(map(_cell, (heading(key), metric["mean"], interval, *counts)))
    head = map(_heading, ["Metric", "Mean", "95 % interval", "Clips", "Failed"])
    table = _table("summary", head, rows)
    words = report.get("word_references")
    note = f"\n<p>{escape(note_on_words(words))}</p>" if words else ""
    return f"<h2>Scores</h2>\n<p>{_BOOTSTRAP}</p>\n{table}{note}"


def _clips(report: Mapping[str, Any], players: Players) -> str:
    metrics = report["metrics"]
    head = [_sortable("Clip"), *map(_heading, ["Reference", "Generated"])]
    head += [_sortable(heading(key)) for key in metrics]
    rows = []
    for file in report["files"]:
        playing, scores = _player_cells(file["name"], players), (_score(file, k) for k in metrics)
        rows.append([_cell(file["name"]), *playing, *scores])
    note = "Click on a heading to sort. The players hold 16-bit FLAC, mono."
    if players.left_out:
        note += (
            f" Audio of {len(players.left_out)} of {len(rows)} clips is left out, to keep the "
            f"page's audio within {players.limit / 1e6:g} MB; their scores are here all the same."
        )
    return f"<h2>Clips</h2>\n<p>{note}</p>\n{_table('clips', head, rows)}"


def _player_cells(name: str, players: Players) -> list[str]:
    if name not in players.sources:
        return [_cell("left out")] * 2
    return [
        _cell("no audio")
        if uri is None
        else f'<td><audio controls preload="none" src="{escape(uri)}"></audio></td>'
        for uri in players.sources[name]
    ]


def _score(file: Mapping[str, Any], key: str) -> str:
    if key in file["scores"]:
        return _cell(file["scores"][key])
    return f'<td class="number failed" title="{escape(file["failed"][key])}">failed</td>'


def _failures(report: Mapping[str, Any]) -> str:
    names = {key: metric["name"] for key, metric in report["metrics"].items()}
    groups = group_failures({file["name"]: file["failed"] for file in report["files"]})
    parts = []
    if groups:
        rows = []
        for (reason, keys), clips in groups.items():
            concerned = [names[key] for key in keys] if len(keys) < len(names) else ["every metric"]
            rows.append(map(_cell, (", ".join(clips), reason, ", ".join(concerned))))
        head = map(_heading, ["Clips", "Reason", "Metrics"])
        parts.append(f"<h2>Failed</h2>\n{_table('failures', head, rows)}")
    if report["without_reference"]:
        listed = escape(", ".join(report["without_reference"]))
        parts.append(f"<h2>Without a reference, not scored</h2>\n<p>{listed}</p>")
    return "\n".join(parts)


def _definitions(report: Mapping[str, Any]) -> str:
    names = ["Metric", "Key", "Definition", "Unit", "Better", "Rate", "Computed by"]
    rows = []
    for key, metric in report["metrics"].items():
        said = (metric["name"], key, metric["description"], metric["unit"] or "-", metric["better"])
        rate = f"{metric['sample_rate']} Hz" if metric["sample_rate"] else "the reference's"
        rows.append(map(_cell, (*said, rate, _computed_by(metric))))
    rates = sorted({file["sample_rate"] for file in report["files"] if file["sample_rate"]})
    note = f"Sample rates of the references: {', '.join(f'{rate} Hz' for rate in rates) or '-'}."
    return (
        f"<h2>Definitions</h2>\n<p>{note}</p>\n{_table('definitions', map(_heading, names), rows)}"
    )


def _computed_by(metric: Mapping[str, Any]) -> str:
    package = f"{metric['package']} {metric['version']}"
    if not metric["model_sha256"]:
        return package
    return f"{package} with {metric['model_file']} (SHA-256 {metric['model_sha256']})"


def _cell(value: str | float | None) -> str:
    """Lay out a text, a count or a measured number, which has its full value for sorting."""
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    if value is None:
        return '<td class="number">-</td>'
    shown = value if isinstance(value, int) else f"{value:.3f}"
    return f'<td class="number" data-value="{float(value)!r}">{shown}</td>'


def _heading(text: str) -> str:
    return f"<th>{escape(text)}</th>"


def _sortable(text: str) -> str:
    return f"<th><button>{escape(text)}</button></th>"


def _table(name: str, head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Lay a table out of cells that are HTML already."""
    lines = "\n".join(f"<tr>{''.join(cells)}</tr>" for cells in rows)
    return (
        f'<div class="wide"><table id="{name}">\n<thead><tr>{"".join(head)}</tr></thead>\n'
        f"<tbody>\n{lines}\n</tbody></table></div>"
    )
