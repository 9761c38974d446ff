"""One process's part of the items that several train on together."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from torch.utils.data import Sampler

__all__ = ["BatchShare"]


class BatchShare(Sampler[int]):
    """A process's part of every batch that all processes make up together.

    With B items for each of P processes, a global batch is what one process alone would take with
    batches of P * B. A last batch that is not full is left out, as there would not be the same
    number for every process.

    Parameters
    ----------
    order : Collection of int
        Indices of the dataset in the order of the epoch: a range, or a sampler with a length that
        is the same in every process.
    batch_size : int
        Items of one process, B.
    rank : int
        Number of the process, from 0.
    size : int
        Number of the processes, P.

    Raises
    ------
    ValueError
        If there is not one full batch.

    Examples
    --------
    >>> [list(BatchShare(range(9), batch_size=2, rank=rank, size=2)) for rank in (0, 1)]
    [[0, 2, 4, 6], [1, 3, 5, 7]]
    """

    def __init__(self, order: Collection[int], batch_size: int, rank: int, size: int) -> None:
        self.order, self.batch_size, self.rank, self.size = order, batch_size, rank, size
        if not len(self):
            raise ValueError(
                f"{len(order)} items do not fill one batch of {batch_size} for each of {size} "
                f"processes: lower batch_size, or start fewer processes"
            )

    def __len__(self) -> int:
        """Return the items of this process in an epoch."""
        return len(self.order) // (self.batch_size * self.size) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        """Yield this process's items of one global batch after the other."""
        together: list[int] = []
        for index in self.order:
            together.append(index)
            if len(together) == self.batch_size * self.size:
                # of a batch sorted by length each process gets short and long items
                yield from together[self.rank :: self.size]
                together = []
