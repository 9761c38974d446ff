"""Run a function of bounded reach over a sequence that comes in pieces, exactly."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class SlidingWindow:
    """Give piece by piece what a function gives of the whole.

    Each run covers `step` frames and, around them, the context that their results depend on; what
    the context itself gives is dropped. At the ends there is no context, as in the whole.

    Parameters
    ----------
    function : callable
        From frames `[B, n, C]` to `[B, n * scale]`.
    context : tuple of int
        Frames before and after a frame that its result depends on.
    scale : int
        Results per frame.
    step : int
        New frames of a run.

    Raises
    ------
    ValueError
        If the step is below 1.

    Examples
    --------
    >>> window = SlidingWindow(lambda x: x.sum(2), context=(1, 1), scale=1, step=2)
    >>> window.push(torch.ones(1, 4, 3)).shape, window.flush().shape
    (torch.Size([1, 2]), torch.Size([1, 2]))
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        context: tuple[int, int],
        scale: int,
        step: int,
    ) -> None:
        if step < 1:
            raise ValueError(f"a step of {step} frames: at least 1 is needed")
        self.function, self.scale, self.step = function, scale, step
        self.before, self.after = context
        self._frames: Tensor | None = None
        self._first = 0  # of the frames that are kept, counted from the beginning
        self._done = 0

    def push(self, frames: Tensor) -> Tensor:
        """Take frames `[B, n, C]` and give the results that are complete, `[B, m * scale]`."""
        kept = self._frames
        self._frames = frames if kept is None else torch.cat([kept, frames], dim=1)
        return self._run_until(self._end - self.after - self.step)

    def flush(self) -> Tensor:
        """Give the results that were waiting for more, `[B, m * scale]`."""
        return self._run_until(self._end - 1)

    @property
    def _end(self) -> int:
        return self._first + (0 if self._frames is None else self._frames.shape[1])

    def _run_until(self, last_start: int) -> Tensor:
        if self._frames is None:
            raise ValueError("nothing was pushed: there is nothing to flush")
        made: list[Tensor] = []
        while self._done <= last_start:
            made.append(self._run(self._frames, min(self._done + self.step, self._end)))
        if not made:
            return self._frames.new_zeros(len(self._frames), 0)
        return torch.cat(made, dim=1)

    def _run(self, frames: Tensor, stop: int) -> Tensor:
        """Give the results of the frames that are not done, before `stop`."""
        start = max(self._first, self._done - self.before)
        window = frames[:, start - self._first : stop + self.after - self._first]
        made = self.function(window)
        made = made[:, (self._done - start) * self.scale : (stop - start) * self.scale]
        self._done = stop
        first = max(self._first, self._done - self.before)
        # a copy: a view would keep all that was ever pushed
        self._frames, self._first = frames[:, first - self._first :].clone(), first
        return made
