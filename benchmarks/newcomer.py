"""What somebody new to the code must read: files that are entered, and lines of each task.

    python -m benchmarks.newcomer

It prints the table of docs/architecture.md: the rooms and their lines of code (without docstrings,
blanks and comments), the files of the package that `encode_file` enters, those that a dry run of
enhancement enters, the lines that each task has for itself, and those of a keyword spotter.
"""

from __future__ import annotations

import ast
import io
import re
import subprocess
import sys
import tempfile
import tokenize
from collections import Counter
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PACKAGE = REPOSITORY / "wavcube"
SILENT = {
    tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
    tokenize.ENDMARKER,
}  # fmt: skip
# counts the package's files in which a function is called while a program runs
TRACER = """
import atexit, sys
entered = set()

def note(frame, event, argument):
    name = frame.f_code.co_filename
    # what is called, not bodies of modules and classes, which an import runs
    if name.startswith({package!r}) and frame.f_code.co_flags & 1:
        entered.add(name)

sys.setprofile(note)
atexit.register(lambda: open({out!r}, "w").write("\\n".join(sorted(entered))))
{program}
"""
ENCODE = """
from wavcube import WavCube
model = WavCube.from_hparams(run_opts={{"device": "cpu"}})
entered.clear()
model.encode_file({speech!r}, {latents!r})
"""
DRY_RUN = """
import runpy
sys.argv = [{script!r}, {yaml!r}, "--debug", "--device=cpu", "--output_folder={folder}"]
runpy.run_path({script!r}, run_name="__main__")
"""


def code_lines(text: str) -> int:
    """Count the lines of a Python source that are neither docstring, blank nor comment.

    Parameters
    ----------
    text : str
        The source.
    """
    documented: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                documented.update(range(first.lineno, (first.end_lineno or first.lineno) + 1))
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            lines.update(range(token.start[0], token.end[0] + 1))
    return len(lines - documented)


def lines_of(*folders: Path) -> int:
    """Count the lines of code in folders.

    Parameters
    ----------
    *folders : Path
        With Python files at any depth.
    """
    files = [path for folder in folders for path in folder.rglob("*.py")]
    return sum(code_lines(path.read_text(encoding="utf-8")) for path in files)


def entered_by(program: str, **values: str) -> list[str]:
    """List the package's files in which a program enters a function.

    Parameters
    ----------
    program : str
        With fields for the values.
    **values
        Of the fields.
    """
    with tempfile.TemporaryDirectory() as folder:
        out = str(Path(folder) / "entered")
        filled = program.format(**values)
        code = TRACER.format(package=str(PACKAGE), out=out, program=filled)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, cwd=folder)
        return Path(out).read_text(encoding="utf-8").splitlines()


def keyword_spotter() -> dict[str, int]:
    """Count the lines of the keyword spotter that docs/tasks.md builds."""
    text = (REPOSITORY / "docs" / "tasks.md").read_text(encoding="utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)
    reader, task = [block for name, block in found if name == "python"][:2]
    (yaml,) = [block for name, block in found if name == "yaml"]
    rows = [line for line in yaml.splitlines() if line and not line.startswith("#")]
    return {"reader": code_lines(reader), "task": code_lines(task), "YAML": len(rows)}


def main() -> None:
    """Print the table."""
    rooms = Counter(
        {p.name: lines_of(p) for p in PACKAGE.iterdir() if (p / "__init__.py").exists()}
    )
    say = sys.stdout.write
    say("| room | lines of code |\n|---|---|\n")
    for room, count in rooms.most_common():
        say(f"| {room} | {count} |\n")
    say(f"| all, with what stands at the top | {lines_of(PACKAGE)} |\n\n")
    with tempfile.TemporaryDirectory() as folder:
        from wavcube.data.audio import write_audio
        from wavcube.testing import tone

        speech = str(Path(folder) / "speech.wav")
        write_audio(speech, tone(2.0), 16000)
        encoding = entered_by(ENCODE, speech=speech, latents=str(Path(folder) / "a.safetensors"))
        script = str(REPOSITORY / "recipes" / "VCTK" / "train_enhancement.py")
        yaml = str(REPOSITORY / "hparams" / "enhancement.yaml")
        dry = entered_by(DRY_RUN, script=script, yaml=yaml, folder=str(Path(folder) / "run"))
    say("| what a newcomer counts | |\n|---|---|\n")
    say(f"| rooms | {len(rooms)} |\n| files that `encode_file` enters | {len(encoding)} |\n")
    say(f"| files that a dry run of enhancement enters | {len(dry)} |\n")
    tasks = PACKAGE / "tasks"
    for task in sorted(path for path in tasks.iterdir() if (path / "task.py").exists()):
        say(f"| lines of {task.name} alone | {lines_of(task)} |\n")
    for part, count in keyword_spotter().items():
        say(f"| lines of a keyword spotter: {part} | {count} |\n")


if __name__ == "__main__":
    main()
