"""States of clips of any lengths: padded together, computed, cut apart and checked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from wavcube.representations.base import Representation


def states_of_clips(representation: Representation, wavs: Sequence[Tensor]) -> list[Tensor]:
    """Compute the states of clips in one batch, on the model's device.

    Parameters
    ----------
    representation : Representation
        Its device and its mode are used as they are.
    wavs : sequence of Tensor
        Waveforms `[T]` at its rate. The states of one that is alone are bit for bit those of
        :meth:`Representation.states`.

    Returns
    -------
    list of Tensor
        `[S, N, C]` for each, on the CPU. They may hold NaN.

    Raises
    ------
    ValueError
        If a waveform holds no samples.

    Examples
    --------
    >>> from wavcube.representations.mel import MelRepresentation
    >>> states = states_of_clips(MelRepresentation(4), [torch.zeros(1600), torch.zeros(640)])
    >>> [list(s.shape) for s in states]
    [[1, 5, 8], [1, 2, 8]]
    """
    if any(not len(wav) for wav in wavs):
        raise ValueError("a waveform holds no samples")
    model = representation.model
    device = next(chain(model.parameters(), model.buffers())).device
    batch = pad_sequence(list(wavs), batch_first=True)
    lens = torch.tensor([len(wav) for wav in wavs], dtype=torch.float64) / batch.shape[1]
    states = representation.states(batch.to(device), lens)[0].cpu()
    frames = [representation.num_frames(len(wav)) for wav in wavs]
    return [row[:, :count].contiguous() for row, count in zip(states, frames, strict=True)]
