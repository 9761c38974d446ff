"""The iSTFT head against slow references, and its behaviour in padded batches."""

import math

import pytest
import torch
from torch import nn

from wavcube.lobes.decoder.decoder import MAX_MAGNITUDE, ISTFTHead


def transparent_head(n_fft: int = 64, hop: int = 16) -> ISTFTHead:
    """Head whose Linear hands log magnitude and phase through."""
    head = ISTFTHead(n_fft + 2, n_fft, hop)
    nn.init.eye_(head.out.weight)
    nn.init.zeros_(head.out.bias)
    return head


def analyse(wav: torch.Tensor, n_fft: int, hop: int) -> torch.Tensor:
    """Log magnitude and phase `[1, M, n_fft + 2]` of the transform that the head inverts."""
    side = (n_fft - hop) // 2
    frames = nn.functional.pad(wav, (side, side)).unfold(0, n_fft, hop)
    spectrum = torch.fft.rfft(frames * torch.hann_window(n_fft))
    return torch.cat((spectrum.abs().clamp(min=1e-12).log(), spectrum.angle()), dim=1)[None]


@torch.no_grad()
def synthesise_slowly(head: ISTFTHead, hidden: torch.Tensor) -> torch.Tensor:
    """Add the windows one by one, in double precision: `[M, C]` to `[M * hop]`."""
    n_fft, hop, count = head.n_fft, head.hop, len(hidden)
    log_magnitude, phase = head.out(hidden).double().chunk(2, dim=1)
    spectrum = torch.polar(log_magnitude.exp().clamp(max=MAX_MAGNITUDE), phase)
    n = torch.arange(n_fft, dtype=torch.float64)
    window = 0.5 - 0.5 * torch.cos(2 * math.pi * n / n_fft)
    total = torch.zeros((count - 1) * hop + n_fft, dtype=torch.float64)
    envelope = torch.zeros_like(total)
    for frame, values in enumerate(torch.fft.irfft(spectrum, n_fft)):
        total[frame * hop : frame * hop + n_fft] += values * window
        envelope[frame * hop : frame * hop + n_fft] += window**2
    trim = (n_fft - hop) // 2
    return (total[trim:-trim] / envelope[trim:-trim]).float()


@pytest.mark.parametrize("frames", [1, 2, 5, 40])
def test_equals_a_slow_reference(frames):
    head = ISTFTHead(8, 640, 160)
    hidden = torch.randn(1, frames, 8)
    torch.testing.assert_close(
        head(hidden)[0], synthesise_slowly(head, hidden[0]), atol=1e-5, rtol=1e-5
    )


def test_inverts_the_analysis():
    wav = torch.randn(16 * 20)
    restored = transparent_head()(analyse(wav, 64, 16))
    torch.testing.assert_close(restored[0], wav, atol=2e-5, rtol=0)


@pytest.mark.parametrize("padding", [0.0, 50.0, float("nan")])
def test_a_padded_batch_equals_items_alone(padding):
    head = ISTFTHead(8, 640, 160)
    lengths = [1, 3, 11, 12]
    items = [torch.randn(1, n, 8) for n in lengths]
    batch = torch.full((4, 12, 8), padding)
    for row, item in zip(batch, items, strict=True):
        row[: item.shape[1]] = item[0]
    together = head(batch, torch.tensor(lengths))
    for wav, item, frames in zip(together, items, lengths, strict=True):
        torch.testing.assert_close(wav[: frames * 160], head(item)[0], atol=1e-6, rtol=0)
        assert torch.equal(wav[frames * 160 :], torch.zeros((12 - frames) * 160))


def test_huge_magnitudes_are_clipped_with_finite_gradients():
    head = transparent_head()
    hidden = torch.zeros(1, 3, 66)
    hidden[..., 5] = 1e4
    clipped = hidden.clone()
    clipped[..., 5] = math.log(MAX_MAGNITUDE)
    hidden.requires_grad_()
    wav = head(hidden)
    torch.testing.assert_close(wav, head(clipped))
    wav.square().sum().backward()
    assert hidden.grad.isfinite().all()
    assert head.out.weight.grad.isfinite().all()


def test_autocast_changes_nothing():
    head, hidden = ISTFTHead(8, 64, 16), torch.randn(2, 7, 8)
    with torch.autocast("cpu", torch.bfloat16):
        low = head(hidden, torch.tensor([7, 4]))
    assert low.dtype == torch.float32
    torch.testing.assert_close(low, head(hidden, torch.tensor([7, 4])))


@pytest.mark.parametrize(("n_fft", "hop"), [(640, 150), (160, 160)])
def test_windows_that_leave_gaps_are_refused(n_fft, hop):
    with pytest.raises(ValueError, match=f"n_fft={n_fft}"):
        ISTFTHead(8, n_fft, hop)
