"""A Conformer's convolution that does not see the padding."""

from __future__ import annotations

from speechbrain.lobes.models.transformer.Conformer import ConvolutionModule
from torch import Tensor


class MaskedConvolution(ConvolutionModule):
    """A Conformer's convolution that does not see the padding.

    SpeechBrain's masks what the convolution gives and not what it reads, so that the last frames of
    an item hear how long its batch is.
    """

    def forward(
        self, x: Tensor, mask: Tensor | None = None, dynchunktrain_config: None = None
    ) -> Tensor:
        """Convolve.

        Parameters
        ----------
        x : Tensor
            `[B, N, C]`.
        mask : Tensor, optional
            `[B, N, 1]`, True in the padding.
        dynchunktrain_config : None
            SpeechBrain's argument for streaming, which is not supported.

        Returns
        -------
        Tensor
            `[B, N, C]`, zero in the padding.
        """
        gated = self.bottleneck(self.layer_norm(x).transpose(1, 2))
        if mask is not None:
            gated = gated.masked_fill(mask.transpose(1, 2), 0.0)
        made = self.after_conv(self.conv(gated).transpose(1, 2))
        return made if mask is None else made.masked_fill(mask, 0.0)
