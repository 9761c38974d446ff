"""Draw the curves of a run's stages from its TensorBoard logs.

    python -m benchmarks.training_curves results/wavcube_tiny/1234 curves.png

One panel for each term, training and validation in it, the stages one after the other.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

COLUMNS = 3
# told by the log beside its learning rates, and no curve of how well it goes
LEFT_OUT = {"loss"}


class Point(NamedTuple):
    """One value of a term."""

    update: int
    value: float


Curves = Mapping[str, Mapping[str, Sequence[Point]]]


def read_stage(folder: Path) -> dict[str, dict[str, list[Point]]]:
    """Read "train" and "valid" scalars: term to part to points.

    Raises
    ------
    FileNotFoundError
        If the folder has no logs.
    """
    if not any(folder.glob("events.*")):
        raise FileNotFoundError(f"no TensorBoard log in {folder}")
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    curves: dict[str, dict[str, list[Point]]] = {}
    for tag in events.Tags()["scalars"]:
        part, _, term = tag.partition("/")
        if part in ("train", "valid") and term not in LEFT_OUT:
            points = [Point(event.step, event.value) for event in events.Scalars(tag)]
            curves.setdefault(term, {})[part] = points
    return curves


def draw(stages: Mapping[str, Curves]) -> Figure:
    """Draw all stages of a run, given by name in their order."""
    terms = list(dict.fromkeys(term for curves in stages.values() for term in curves))
    rows = -(-len(terms) // COLUMNS)
    figure = Figure(figsize=(4.2 * COLUMNS, 2.6 * rows), layout="constrained")
    axes = figure.subplots(rows, COLUMNS, squeeze=False).ravel()
    for panel, term in zip(axes, terms, strict=False):
        _draw_term(panel, term, stages)
    for panel in axes[len(terms) :]:
        panel.set_axis_off()
    axes[0].legend(frameon=False)
    return figure


def _draw_term(panel: Axes, term: str, stages: Mapping[str, Curves]) -> None:
    start = 0
    for name, curves in stages.items():
        parts = curves.get(term, {})
        for part, style in (("train", "C0-"), ("valid", "C1o-")):
            points = parts.get(part, [])
            updates = [start + point.update for point in points]
            values = [point.value for point in points]
            label = part if start == 0 else None
            panel.plot(updates, values, style, lw=0.8, ms=3, label=label)
        start += max(p[-1].update for term in curves.values() for p in term.values() if p)
        if name != list(stages)[-1]:
            panel.axvline(start, color="0.7", lw=0.8)
    panel.set_title(term.replace("_", " "), fontsize=9)
    panel.set_xlabel("update", fontsize=8)
    panel.tick_params(labelsize=7)


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, and write the picture."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_curves")
    parser.add_argument("run", type=Path, help="output folder of a recipe")
    parser.add_argument("out", type=Path, help="PNG to write")
    options = parser.parse_args(arguments)
    folders = sorted(options.run.glob("*/tensorboard"), key=lambda path: path.stat().st_mtime)
    if not folders:
        parser.error(f"{options.run} has no stage with a tensorboard folder")
    draw({path.parent.name: read_stage(path) for path in folders}).savefig(options.out, dpi=110)


if __name__ == "__main__":
    main()
