"""Asteroid's Conv-TasNet as a head: the waveform itself to the waveforms of its sources.

Luo and Mesgarani, "Conv-TasNet: Surpassing ideal time-frequency magnitude masking for speech
separation" (arXiv 1809.07454): the baseline that knows no pretrained representation.
"""

from __future__ import annotations

from torch import Tensor, nn

from wavcube.lobes.configurable import Configurable


class ConvTasNetHead(Configurable):
    """Separate waveforms.

    Its normalisation looks at the whole of an item, so that padding would change the result: items
    of different lengths run one after the other, those of equal length together.

    Parameters
    ----------
    num_sources : int
        Waveforms for a mixture.
    num_filters : int
        Of the encoder.
    kernel_size : int
        Samples of a filter; half of them are the stride.
    bottleneck_dim : int
        Channels between the blocks, and of what they add to the masks.
    hidden_dim : int
        Channels within a block.
    num_blocks : int
        Blocks in a repeat, each dilated twice as far as the one before.
    num_repeats : int
        Repeats.

    Raises
    ------
    ImportError
        If asteroid is missing.

    Examples
    --------
    >>> import torch
    >>> head = ConvTasNetHead(2, 8, 16, bottleneck_dim=4, hidden_dim=8, num_blocks=2, num_repeats=1)
    >>> head(torch.randn(3, 400), torch.tensor([400, 400, 250])).shape
    torch.Size([3, 2, 400])
    """

    def __init__(
        self,
        num_sources: int = 2,
        num_filters: int = 512,
        kernel_size: int = 32,
        bottleneck_dim: int = 128,
        hidden_dim: int = 512,
        num_blocks: int = 8,
        num_repeats: int = 3,
    ) -> None:
        super().__init__()
        try:
            from asteroid.models import ConvTasNet
        except ImportError as error:
            raise ImportError(
                f"Conv-TasNet needs asteroid: pip install 'wavcube[eval]' ({error})"
            ) from error
        self.num_sources, self.kernel_size = num_sources, kernel_size
        self.network = ConvTasNet(
            num_sources,
            n_blocks=num_blocks,
            n_repeats=num_repeats,
            bn_chan=bottleneck_dim,
            hid_chan=hidden_dim,
            skip_chan=bottleneck_dim,
            n_filters=num_filters,
            kernel_size=kernel_size,
            stride=kernel_size // 2,
        )
        # leads to a next block that is not there; several processes would wait for its gradient
        self.network.masker.TCN[-1].res_conv.requires_grad_(False)

    def forward(self, wavs: Tensor, num_samples: Tensor) -> Tensor:
        """Separate.

        Parameters
        ----------
        wavs : Tensor
            Mixtures `[B, T]`. What lies beyond an item's samples is ignored.
        num_samples : Tensor
            Samples of each `[B]`.

        Returns
        -------
        Tensor
            `[B, S, T]`, zero after an item's own samples.
        """
        found = wavs.new_zeros(len(wavs), self.num_sources, wavs.shape[1])
        for size in num_samples.unique().tolist():
            chosen = num_samples == size
            # a single filter needs so much
            short = max(0, self.kernel_size - size)
            heard = nn.functional.pad(wavs[chosen, :size], (0, short))
            made = self.network(heard)[..., :size]
            found[chosen] = nn.functional.pad(made, (0, wavs.shape[1] - size)).to(found.dtype)
        return found
