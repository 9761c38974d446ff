"""A task's recipe as tests run it: in this process, in one of its own, killed, and refusing."""

import json
import logging
import re
import signal
import sys

import pytest
from processes import run_code
from speechbrain import Stage

from wavcube.release.folder import load_release
from wavcube.tasks import run as tasks_run
from wavcube.tasks.brain import TaskBrain

DYING = """
import os, signal
from wavcube.tasks.brain import TaskBrain as Brain

step, count = Brain.fit_batch, iter(range(100))

def dying(self, batch):
    if next(count) == {updates}:
        os.kill(os.getpid(), signal.SIGKILL)
    return step(self, batch)

Brain.fit_batch = dying
"""
OWN_PROCESS = """
{before}
from wavcube.tasks.run import TaskRun
TaskRun({script!r}, "", {task!r}).main({arguments!r})
"""


class TaskRun:
    """Runs a recipe, with the options that make it tiny; called, it gives the run's folder."""

    def __init__(self, repository, script, yaml, folder, options):
        self.hparams, self.folder, self.yaml = repository / "hparams", folder, yaml
        self.options = list(options)
        path = repository / "recipes" / script
        self.script, self.brain = str(path), TaskBrain
        self.task = re.search(r'__doc__, "(\w+)"', path.read_text()).group(1)

    def __call__(self, *arguments, out="run", yaml=None, options=None):
        root = logging.getLogger()
        handlers, level, hook = list(root.handlers), root.level, sys.excepthook
        try:
            made = tasks_run.TaskRun(self.script, "How it is used.", self.task)
            made.main(self._arguments(self.folder / out, arguments, yaml, options))
        finally:
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)
            sys.excepthook = hook
        return self.folder / out

    def refusal(self, capsys, *arguments, out="mistaken", **settings):
        """The one line that a mistake ends with."""
        with pytest.raises(SystemExit) as stop:
            self(*arguments, out=out, **settings)
        assert stop.value.code == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
        return line

    def check_that_a_killed_run_ends_as_another(self, folder, *arguments, updates=3):
        """Kill a run before an update, let it go on, and compare it with one never killed."""
        dying = DYING.format(updates=updates)
        whole, killed = folder / "whole", folder / "killed"
        assert self._in_its_own_process(whole, arguments) == 0
        assert self._in_its_own_process(killed, arguments, dying) == -signal.SIGKILL
        assert not (killed / "release").exists()
        assert self._in_its_own_process(killed, arguments) == 0
        assert same(*(load_release(run / "release").state_dict() for run in (whole, killed)))
        assert scores(killed) == scores(whole)

    def check_that_the_best_weights_are_released(self, monkeypatch, *arguments):
        """Let the second of three validations score best: a release has its weights."""
        validated, ends = [], TaskBrain.on_stage_end

        def scored(brain, stage, stage_loss, epoch=None):
            ends(brain, stage, stage_loss, epoch)
            if stage == Stage.VALID:
                score = (1.0, 3.0, 2.0)[len(validated)]
                sign = 1 if brain.settings.best_is_highest else -1
                brain.stage_scores[brain.settings.best_metric] = sign * score
                validated.append({k: v.clone() for k, v in brain.model.state_dict().items()})

        monkeypatch.setattr(TaskBrain, "on_stage_end", scored)
        out = self(*arguments, "--updates=6", "--validate_every=2", out="best")
        released = load_release(out / "release").state_dict()
        assert [same(released, weights) for weights in validated] == [False, True, False]

    def _in_its_own_process(self, out, arguments, before=""):
        """Run whatever other tests left in this process."""
        code = OWN_PROCESS.format(
            before=before,
            script=self.script,
            task=self.task,
            arguments=self._arguments(out, arguments),
        )
        return run_code(code, out.parent, timeout=500).returncode

    def _arguments(self, out, arguments, yaml=None, options=None):
        path = self.hparams / f"{yaml or self.yaml}.yaml"
        options = self.options if options is None else options
        return [str(path), f"--output_folder={out}", *options, *arguments]


def same(first, second):
    """Whether two states are equal, name by name and bit by bit."""
    assert first.keys() == second.keys()
    return all(first[name].equal(second[name]) for name in first)


def scores(folder):
    """Means of a run's table, by row and column."""
    content = json.loads((folder / "metrics.json").read_text())
    return {row: {k: v["mean"] for k, v in c.items()} for row, c in content["scores"].items()}
