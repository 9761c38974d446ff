"""Recognition heads: frames to CTC log-probabilities of tokens.

The loss is :func:`speechbrain.nnet.losses.ctc_loss`, which takes them and SpeechBrain's lengths.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable
from wavcube.lobes.layers.conformer import MaskedConformer
from wavcube.lobes.layers.recurrent import BidirectionalLSTM
from wavcube.lobes.layers.spec_augment import SpecAugment
from wavcube.lobes.lengths import length_mask, to_absolute


class RecognitionHead(Configurable):
    """Centre, augment, project, run a body over the frames, and classify each.

    What an item gets does not depend on its batch, and its padding is zero. A subclass gives
    :meth:`run`.

    Parameters
    ----------
    projection : nn.Linear
        From the representation's width.
    output : nn.Linear
        To the tokens, the blank first.
    augment : SpecAugment, optional
        For training; by default none.
    mean_norm : bool
        Take each item's mean over its frames away from the features: much of a voice and of a
        room, as in cepstral mean normalisation.
    blank_bias : float
        Log-odds of the blank against any token in a new head, 0 for random ones. Most frames of a
        trained one are blank, which takes a random start hundreds of updates to learn.
    """

    training_arguments = frozenset({"augment", "blank_bias"})

    def __init__(
        self,
        projection: nn.Linear,
        output: nn.Linear,
        augment: SpecAugment | None,
        mean_norm: bool,
        blank_bias: float,
    ) -> None:
        super().__init__()
        self.projection, self.output = projection, output
        self.augment, self.mean_norm = augment, mean_norm
        if blank_bias:
            with torch.no_grad():
                output.bias.zero_()
                output.bias[0] = blank_bias

    @property
    def dim(self) -> int:
        """Width C of the features."""
        return self.projection.in_features

    @property
    def num_tokens(self) -> int:
        """Of the vocabulary, the blank among them."""
        return self.output.out_features

    def run(self, x: Tensor, frames: Tensor) -> Tensor:
        """Run the body.

        Parameters
        ----------
        x : Tensor
            `[B, N, projected]`.
        frames : Tensor
            Counts `[B]`.

        Returns
        -------
        Tensor
            `[B, N, width]`.
        """
        raise NotImplementedError

    def forward(self, features: Tensor, lens: Tensor | None = None) -> Tensor:
        """Recognise.

        Parameters
        ----------
        features : Tensor
            `[B, N, C]`. What lies beyond an item's length is ignored.
        lens : Tensor, optional
            Relative lengths `[B]`; by default every item fills the batch.

        Returns
        -------
        Tensor
            Log-probabilities `[B, N, tokens]`, float32, zero in the padding.

        Raises
        ------
        ValueError
            If the features are not `[B, N, C]` of the head's width.
        """
        if features.dim() != 3 or features.shape[2] != self.dim:
            raise ValueError(
                f"features must be [batch, frames, {self.dim}], got {list(features.shape)}"
            )
        frames = to_absolute(lens, features.shape[1], len(features), features.device)
        padding = ~length_mask(frames, features.shape[1])[..., None]
        features = features.masked_fill(padding, 0.0)
        if self.mean_norm:
            mean = features.sum(1, keepdim=True) / frames.clamp(min=1)[:, None, None]
            features = (features - mean).masked_fill(padding, 0.0)
        if self.augment is not None:
            features = self.augment(features, frames)
        logits = self.output(self.run(self.projection(features), frames))
        return logits.float().log_softmax(-1).masked_fill(padding, 0.0)


class BLSTMHead(RecognitionHead):
    """SUPERB's recogniser: bidirectional LSTMs, dropout behind each, between two linear maps.

    The defaults are those of SUPERB (arXiv 2105.01051).

    Parameters
    ----------
    dim : int
        Width of the representation.
    num_tokens : int
        Of the vocabulary, the blank among them.
    projected_dim : int
        Width between the first linear map and the LSTMs.
    hidden_dim : int
        Of an LSTM in each direction.
    num_layers : int
        LSTMs.
    dropout : float
        Behind every LSTM.
    augment : SpecAugment, optional
        On the features in training.
    mean_norm : bool
        Take each item's mean away from its features.
    blank_bias : float
        Of a new head; see :class:`RecognitionHead`.

    Examples
    --------
    >>> import torch
    >>> head = BLSTMHead(8, num_tokens=5, projected_dim=6, hidden_dim=4)
    >>> head(torch.randn(2, 10, 8), torch.tensor([1.0, 0.5])).shape
    torch.Size([2, 10, 5])
    """

    def __init__(
        self,
        dim: int,
        num_tokens: int,
        projected_dim: int = 1024,
        hidden_dim: int = 1024,
        num_layers: int = 2,
        dropout: float = 0.2,
        augment: SpecAugment | None = None,
        mean_norm: bool = False,
        blank_bias: float = 0.0,
    ) -> None:
        width = 2 * hidden_dim
        projection, output = nn.Linear(dim, projected_dim), nn.Linear(width, num_tokens)
        super().__init__(projection, output, augment, mean_norm, blank_bias)
        sizes: Sequence[int] = [projected_dim, *[width] * (num_layers - 1)]
        self.layers = nn.ModuleList(BidirectionalLSTM(size, hidden_dim) for size in sizes)
        self.dropout = nn.Dropout(dropout)

    def run(self, x: Tensor, frames: Tensor) -> Tensor:
        """Run the LSTMs; see the base class."""
        for layer in self.layers:
            x = self.dropout(layer(x, frames))
        return x


class LinearHead(RecognitionHead):
    """A probe: each frame is classified by itself, through two linear maps.

    The defaults are those of SUPERB's phone recognition (arXiv 2105.01051).

    Parameters
    ----------
    dim : int
        Width of the representation.
    num_tokens : int
        Of the vocabulary, the blank among them.
    projected_dim : int
        Width between the maps.
    augment : SpecAugment, optional
        On the features in training.
    mean_norm : bool
        Take each item's mean away from its features.
    blank_bias : float
        Of a new head; see :class:`RecognitionHead`.

    Examples
    --------
    >>> import torch
    >>> LinearHead(8, num_tokens=5, projected_dim=6)(torch.randn(2, 10, 8)).shape
    torch.Size([2, 10, 5])
    """

    def __init__(
        self,
        dim: int,
        num_tokens: int,
        projected_dim: int = 256,
        augment: SpecAugment | None = None,
        mean_norm: bool = False,
        blank_bias: float = 0.0,
    ) -> None:
        projection, output = nn.Linear(dim, projected_dim), nn.Linear(projected_dim, num_tokens)
        super().__init__(projection, output, augment, mean_norm, blank_bias)

    def run(self, x: Tensor, frames: Tensor) -> Tensor:
        """Give the projected features as they are; see the base class."""
        del frames
        return x


class ConformerHead(RecognitionHead):
    """SpeechBrain's Conformer (arXiv 2005.08100) between two linear maps.

    Parameters
    ----------
    dim : int
        Width of the representation.
    num_tokens : int
        Of the vocabulary, the blank among them.
    model_dim : int
        Width of the Conformer.
    num_layers : int
        Its blocks.
    num_heads : int
        Of its attention.
    ffn_dim : int
        Width inside its feed-forward networks.
    kernel_size : int
        Frames that a convolution sees, odd.
    dropout : float
        In every block.
    augment : SpecAugment, optional
        On the features in training.
    mean_norm : bool
        Take each item's mean away from its features.
    blank_bias : float
        Of a new head; see :class:`RecognitionHead`.

    Raises
    ------
    ValueError
        If the kernel size is even, or the width no multiple of the heads.

    Examples
    --------
    >>> import torch
    >>> head = ConformerHead(8, 5, model_dim=4, num_layers=1, num_heads=2, ffn_dim=8, kernel_size=3)
    >>> head(torch.randn(2, 10, 8)).shape
    torch.Size([2, 10, 5])
    """

    def __init__(
        self,
        dim: int,
        num_tokens: int,
        model_dim: int = 256,
        num_layers: int = 6,
        num_heads: int = 4,
        ffn_dim: int = 1024,
        kernel_size: int = 31,
        dropout: float = 0.1,
        augment: SpecAugment | None = None,
        mean_norm: bool = False,
        blank_bias: float = 0.0,
    ) -> None:
        projection, output = nn.Linear(dim, model_dim), nn.Linear(model_dim, num_tokens)
        super().__init__(projection, output, augment, mean_norm, blank_bias)
        self.body = MaskedConformer(model_dim, num_layers, num_heads, ffn_dim, kernel_size, dropout)

    def run(self, x: Tensor, frames: Tensor) -> Tensor:
        """Run the blocks; see the base class."""
        return self.body(x, frames)
