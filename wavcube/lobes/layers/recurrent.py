"""LSTMs over padded batches: no item hears the padding, and equal lengths take the fast way."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def run_lstm(lstm: nn.LSTM, x: Tensor, counts: Tensor) -> Tensor:
    """Run an LSTM over each item's own frames.

    Parameters
    ----------
    lstm : nn.LSTM
        With ``batch_first=True``.
    x : Tensor
        `[B, N, C]`. What lies beyond an item's frames is ignored.
    counts : Tensor
        Frames of each item `[B]`, at least 1 and at most N.

    Returns
    -------
    Tensor
        `[B, N, H]`, zero beyond an item's frames.

    Notes
    -----
    Under autocast in float16 it runs in float32 on a CPU.

    Examples
    --------
    >>> lstm = nn.LSTM(3, 2, batch_first=True, bidirectional=True)
    >>> run_lstm(lstm, torch.randn(2, 5, 3), torch.tensor([5, 4]))[1, 4]
    tensor([0., 0., 0., 0.], grad_fn=<SelectBackward0>)
    """
    if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.float16:
        # oneDNN has no LSTM in float16
        with torch.autocast("cpu", enabled=False):
            return run_lstm(lstm, x.float(), counts)
    if bool((counts == x.shape[1]).all()):
        # oneDNN takes no packed sequences: on a CPU those cost three times as much
        return lstm(x)[0]
    packed = pack_padded_sequence(x, counts.cpu(), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(lstm(packed)[0], batch_first=True, total_length=x.shape[1])[0]


def run_projected_lstm(
    lstm: nn.LSTM,
    x: Tensor,
    state: tuple[Tensor, Tensor] | None,
    project: Callable[[Tensor], Tensor],
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Run an LSTM whose output is mapped before it is given, and heard at the next frame.

    Parameters
    ----------
    lstm : nn.LSTM
        With ``batch_first=True``, one layer, one direction.
    x : Tensor
        `[B, N, C]`.
    state : tuple of Tensor, optional
        Output and memory of the last frame `[B, H]`; None to begin.
    project : Callable
        From `[B, H]` to `[B, H]`.

    Returns
    -------
    made : Tensor
        Mapped outputs `[B, N, H]`.
    state : tuple of Tensor
        To go on from.

    Examples
    --------
    >>> lstm = nn.LSTM(3, 2, batch_first=True)
    >>> x = torch.randn(2, 5, 3)
    >>> made, _ = run_projected_lstm(lstm, x, None, lambda output: output)
    >>> torch.allclose(made, lstm(x)[0], atol=1e-6)
    True
    """
    if state is None:
        state = (x.new_zeros(len(x), lstm.hidden_size),) * 2
    hidden, memory = state
    # what does not depend on the frame before, of all frames at once
    weights = dict(lstm.named_parameters())
    bias = weights["bias_ih_l0"] + weights["bias_hh_l0"]
    given = F.linear(x, weights["weight_ih_l0"], bias)
    made = []
    for frame in given.unbind(1):
        gates = frame + F.linear(hidden, weights["weight_hh_l0"])
        write, keep, new, read = gates.chunk(4, dim=1)
        memory = keep.sigmoid() * memory + write.sigmoid() * new.tanh()
        hidden = project(read.sigmoid() * memory.tanh())
        made.append(hidden)
    return torch.stack(made, 1), (hidden, memory)


class BidirectionalLSTM(nn.Module):
    """One layer: an LSTM forwards, and one backwards from each item's own end.

    The same as a bidirectional nn.LSTM on packed sequences. Those go around oneDNN on a CPU, where
    they cost about six times as much; here the items are turned around by hand instead.

    Parameters
    ----------
    input_size : int
        Width of the input.
    hidden_size : int
        Units in each direction.

    Examples
    --------
    >>> layer = BidirectionalLSTM(3, 2)
    >>> layer(torch.randn(2, 5, 3), torch.tensor([5, 4])).shape
    torch.Size([2, 5, 4])
    """

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__()
        self.forwards = nn.LSTM(input_size, hidden_size, batch_first=True)
        self.backwards = nn.LSTM(input_size, hidden_size, batch_first=True)

    def forward(self, x: Tensor, counts: Tensor) -> Tensor:
        """Run both directions.

        Parameters
        ----------
        x : Tensor
            `[B, N, C]`; finite in the padding too, where it means nothing.
        counts : Tensor
            Frames of each item `[B]`.

        Returns
        -------
        Tensor
            `[B, N, 2 H]`; what is in the padding means nothing.
        """
        # frame k of an item is swapped with its frame count - 1 - k; what is padding stays behind
        steps = torch.arange(x.shape[1], device=x.device)
        turned = (counts[:, None] - 1 - steps) % x.shape[1]
        backwards = self.backwards(_pick(x, turned))[0]
        return torch.cat([self.forwards(x)[0], _pick(backwards, turned)], dim=-1)


def _pick(x: Tensor, frames: Tensor) -> Tensor:
    return x.gather(1, frames[..., None].expand(-1, -1, x.shape[2]))
