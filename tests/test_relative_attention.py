"""WavLM's attention over a window against the same over everything under a band mask."""

import pytest
import torch
from torch.nn import functional as F

from wavcube.lobes.lengths import length_mask
from wavcube.lobes.ssl.transformer import RelativeTransformer

WINDOW = 7


def two_stacks() -> tuple[RelativeTransformer, RelativeTransformer]:
    """One that sees all and one with a window, of the same weights, large enough to matter."""
    torch.manual_seed(0)
    everything = RelativeTransformer(16, 2, num_heads=2, ffn_dim=32)
    for parameter in everything.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    local = RelativeTransformer(16, 2, num_heads=2, ffn_dim=32, window=WINDOW)
    local.load_state_dict(everything.state_dict())
    return everything, local


def under_a_band(stack: RelativeTransformer, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Run a stack with the full matrix of scores, all but the window masked."""
    frames = x.shape[1]
    position = torch.arange(frames)
    distance = position[None, :] - position[:, None]
    seen = (distance.abs() <= WINDOW) & (mask[:, None, None, :] | (distance == 0))
    bias = stack[0].attention.plan(frames).bias

    def attend(query, key, value, gate):
        scores = (gate * bias).masked_fill(~seen, float("-inf"))
        return F.scaled_dot_product_attention(query, key, value, attn_mask=scores)

    for layer in stack:
        x = layer(x, attend)
    return x


@pytest.mark.parametrize("frames", [1, WINDOW + 1, WINDOW + 2, 63, 64, 65, 200])
def test_a_window_equals_the_full_matrix_under_a_band(frames):
    everything, local = two_stacks()
    x = torch.randn(2, frames, 16)
    mask = length_mask(torch.tensor([frames, (frames + 1) // 2]), frames)
    results, gradients = [], []
    for stack, run in ((local, local), (everything, lambda x, m: under_a_band(everything, x, m))):
        out = run(x, mask) * mask[..., None]
        results.append(out)
        out.square().sum().backward()
        gradients.append([parameter.grad for parameter in stack.parameters()])
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-5)
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def test_what_fits_the_window_is_untouched_by_it():
    everything, local = two_stacks()
    x = torch.randn(2, WINDOW + 1, 16)
    torch.testing.assert_close(local(x), everything(x), atol=1e-6, rtol=1e-6)
    longer = torch.randn(2, 3 * WINDOW, 16)
    assert (local(longer) - everything(longer)).abs().max() > 1e-3


def test_memory_is_linear_in_the_length():
    _, local = two_stacks()
    masks = [
        local[0].attention.plan(frames, window=WINDOW).attend.mask.numel()
        for frames in (1024, 4096)
    ]
    assert masks[1] == 4 * masks[0]


def test_a_negative_window_is_refused():
    with pytest.raises(ValueError, match="window"):
        RelativeTransformer(16, 1, 2, 32, window=-1)
