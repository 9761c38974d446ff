"""The style and the script of the evaluation's page: sorting the clips, nothing else."""

from __future__ import annotations

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
