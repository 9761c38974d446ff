"""Windowed attention against the full matrix, rotary positions against complex rotation."""

import pytest
import torch
from torch.nn import functional as F

from wavcube.lobes.decoder.rotary_transformer import rotary_table, rotate
from wavcube.lobes.layers.local_attention import LocalAttention
from wavcube.lobes.lengths import length_mask


def attend_fully(query, key, value, window, lengths):
    """Attend under a T x T mask with the same window."""
    position = torch.arange(query.shape[2])
    offset = position[None, :] - position[:, None]
    band = (offset >= -window[0]) & (offset <= window[1])
    valid = length_mask(lengths, query.shape[2])
    mask = band & (valid[:, None, :] | torch.eye(len(position), dtype=torch.bool))
    return F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None])


@pytest.mark.parametrize("window", [(40, 10), (3, 0), (0, 5), (0, 0), (90, 100)])
@pytest.mark.parametrize("frames", [1, 2, 63, 64, 65, 200])
def test_local_attention_equals_full_attention(window, frames):
    query, key, value = (torch.randn(2, 3, frames, 4, requires_grad=True) for _ in range(3))
    lengths = torch.tensor([frames, (frames + 1) // 2])
    outputs, gradients = [], []
    valid = length_mask(lengths, frames)[:, None, :, None]
    weight = torch.randn(2, 3, frames, 4)
    for attend in (
        LocalAttention(window, frames, lengths),
        lambda q, k, v: attend_fully(q, k, v, window, lengths),
    ):
        out = attend(query, key, value).masked_fill(~valid, 0.0)
        outputs.append(out)
        gradients.append(torch.autograd.grad((out * weight).sum(), (query, key, value)))
    torch.testing.assert_close(outputs[0], outputs[1], atol=1e-5, rtol=0)
    for local, full in zip(*gradients, strict=True):
        torch.testing.assert_close(local, full, atol=1e-5, rtol=0)


def test_padding_gives_finite_values():
    attend = LocalAttention((4, 2), 300, torch.tensor([300, 1]))
    out = attend(*torch.randn(3, 2, 1, 300, 4))
    assert out.isfinite().all()
    # some kernels make NaN of a query without any key
    assert attend.mask.any(dim=-1).all()


def test_cost_is_linear_in_length():
    masks = [LocalAttention((40, 10), frames).mask.numel() for frames in (1024, 4096)]
    assert masks[1] == 4 * masks[0]


@pytest.mark.parametrize("window", [(1,), (-1, 3), (1, 2, 3)])
def test_a_wrong_window_is_refused(window):
    with pytest.raises(ValueError, match="window"):
        LocalAttention(window, 5)


def test_rotation_is_complex_multiplication_of_half_split_pairs():
    x = torch.randn(1, 1, 6, 8)
    pairs = torch.complex(x[..., :4].contiguous(), x[..., 4:].contiguous())
    angles = torch.arange(6)[:, None] * 1e4 ** (-torch.arange(4) / 4)
    turned = pairs * torch.polar(torch.ones_like(angles), angles)
    expected = torch.cat((turned.real, turned.imag), dim=-1)
    torch.testing.assert_close(rotate(x, rotary_table(6, 8)), expected)


def test_rotated_products_depend_on_distance_only():
    query, key = torch.randn(2, 8)
    table = rotary_table(20, 8)
    rows = rotate(query.expand(1, 1, 20, 8), table)[0, 0]
    columns = rotate(key.expand(1, 1, 20, 8), table)[0, 0]
    products = rows @ columns.T
    torch.testing.assert_close(products[3, 1], products[19, 17], atol=1e-5, rtol=0)
    assert (products[3, 1] - products[1, 3]).abs() > 1e-3


def test_odd_heads_are_refused():
    with pytest.raises(ValueError, match="even"):
        rotary_table(4, 3)
