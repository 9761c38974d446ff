"""Recognition heads: SUPERB's sizes, exact batches, augmentation within each item, learning."""

import pytest
import torch
from speechbrain.nnet.losses import ctc_loss
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from wavcube.lobes.layers.recurrent import BidirectionalLSTM
from wavcube.lobes.layers.spec_augment import SpecAugment
from wavcube.tasks.recognition.heads import BLSTMHead, ConformerHead

DIM, TOKENS = 8, 5


def blstm(**how):
    return BLSTMHead(DIM, TOKENS, projected_dim=12, hidden_dim=16, **how)


def conformer(**how):
    return ConformerHead(DIM, TOKENS, 16, 2, 2, 32, kernel_size=7, **how)


def centred(**how):
    return blstm(mean_norm=True, **how)


HEADS = {"blstm": blstm, "conformer": conformer, "centred": centred}


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_an_item_is_the_same_alone_and_in_a_padded_batch(make):
    head = make().eval()
    lengths = (30, 1, 29, 17, 2)
    features = torch.randn(len(lengths), 33, DIM)
    out = head(features, torch.tensor(lengths) / 33)
    assert out.shape == (5, 33, TOKENS)
    for row, length in enumerate(lengths):
        alone = head(features[row : row + 1, :length])[0]
        torch.testing.assert_close(out[row, :length], alone, atol=1e-4, rtol=0)
        assert not out[row, length:].any()
        torch.testing.assert_close(alone.exp().sum(-1), torch.ones(length))


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_nan_in_the_padding_reaches_nothing(make):
    features = torch.randn(2, 9, DIM)
    features[1, 4:] = float("nan")
    head = make().train()
    out = head(features, torch.tensor([1.0, 4 / 9]))
    assert out.isfinite().all()
    out.sum().backward()
    assert all(p.grad.isfinite().all() for p in head.parameters() if p.grad is not None)


def test_what_an_utterance_has_in_all_its_frames_can_be_taken_away():
    features, lens, offset = torch.randn(2, 9, DIM), torch.tensor([1.0, 5 / 9]), torch.randn(DIM)
    for make, same in ((centred, True), (blstm, False)):
        head = make().eval()
        out = head(features, lens)
        assert torch.allclose(head(features + offset, lens), out, atol=1e-5) is same


def test_the_blstm_is_superb_s():
    with torch.device("meta"):  # 42.8 million parameters that need no memory
        head = BLSTMHead(768, 32)
    shapes = {name: list(p.shape) for name, p in head.named_parameters()}
    assert shapes["projection.weight"] == [1024, 768]
    assert shapes["output.weight"] == [32, 2048]
    for layer, width in enumerate((1024, 2048)):
        for direction in ("forwards", "backwards"):
            assert shapes[f"layers.{layer}.{direction}.weight_ih_l0"] == [4096, width]
    assert len(head.layers) == 2
    assert head.dropout.p == 0.2
    assert sum(p.numel() for p in head.parameters()) == 42_828_832


def test_dropout_is_behind_every_lstm():
    head = blstm(dropout=0.5).train()
    seen = []
    head.dropout.register_forward_hook(lambda *call: seen.append(call[2]))
    head(torch.randn(1, 50, DIM))
    assert len(seen) == 2
    assert all(0.3 < (x == 0).float().mean() < 0.7 for x in seen)


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_a_config_builds_the_same_head(make):
    head = make()
    again = type(head)(**head.config())
    assert {k: v.shape for k, v in again.state_dict().items()} == {
        k: v.shape for k, v in head.state_dict().items()
    }


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_a_head_learns_by_speechbrain_s_ctc(make):
    head = make(dropout=0.0)
    features, lens = torch.randn(2, 20, DIM), torch.tensor([1.0, 0.8])
    labels, label_lens = torch.tensor([[1, 2, 3], [4, 4, 0]]), torch.tensor([1.0, 2 / 3])
    optimizer = torch.optim.Adam(head.parameters(), 0.02)
    for _ in range(100):
        loss = ctc_loss(head(features, lens), labels, lens, label_lens, blank_index=0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    best = head.eval()(features, lens).argmax(-1)
    said = [row[:n].unique_consecutive().tolist() for row, n in zip(best, (20, 16), strict=True)]
    assert [[t for t in row if t] for row in said] == [[1, 2, 3], [4, 4]]


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_features_of_another_width_are_refused(make):
    with pytest.raises(ValueError, match=r"\[batch, frames, 8\], got \[1, 4, 7\]"):
        make()(torch.zeros(1, 4, 7))


def test_a_conformer_of_impossible_sizes_is_refused():
    with pytest.raises(ValueError, match="odd"):
        ConformerHead(8, 5, model_dim=8, num_heads=2, kernel_size=4)
    with pytest.raises(ValueError, match="multiple"):
        ConformerHead(8, 5, model_dim=8, num_heads=3)


def runs(marked):
    """Lengths of the runs of True."""
    text = "".join("x" if m else " " for m in marked.tolist())
    return [len(run) for run in text.split()]


def test_masks_lie_within_an_item_and_are_no_wider_than_asked():
    augment = SpecAugment(time_masks=2, time_width=6, feature_masks=3, feature_width=4, warp=0)
    features = torch.rand(3, 60, 40) + 1
    before, lengths = features.clone(), torch.tensor([60, 25, 1])
    totals = torch.zeros(2)
    for _ in range(200):
        out = augment(features, lengths)
        assert features.equal(before), "the input is not changed"
        for row, length in enumerate(lengths.tolist()):
            assert out[row, length:].equal(features[row, length:])
            silent = out[row, :length] == 0
            times, dims = silent.all(1), silent.all(0)
            kept = ~(times[:, None] | dims[None])
            assert out[row, :length][kept].equal(features[row, :length][kept])
            if length > 1:
                assert sum(runs(times)) <= 2 * 5
                assert sum(runs(dims)) <= 3 * 3
        totals += torch.tensor([(out[0] == 0).all(1).sum(), (out[0] == 0).all(0).sum()])
    # widths are uniform from 0 to width - 1, overlaps take a little
    assert 3.5 < totals[0] / 200 <= 5.3
    assert 3.0 < totals[1] / 200 <= 4.8


def test_items_are_masked_differently_and_nothing_is_done_in_eval_mode():
    augment = SpecAugment(warp=0)
    features, lengths = torch.ones(2, 300, 400), torch.tensor([300, 300])
    out = augment(features, lengths)
    assert not out[0].equal(out[1])
    assert augment.eval()(features, lengths).equal(features)


def test_warping_moves_a_ramp_by_little_and_keeps_its_ends():
    augment = SpecAugment(time_masks=0, feature_masks=0, warp=5)
    ramp = torch.arange(60.0)[None, :, None].expand(1, 60, 2).clone()
    lengths = torch.tensor([50])
    moved = []
    for _ in range(50):
        out = augment(ramp, lengths)
        assert out.shape == ramp.shape
        assert out[:, 50:].equal(ramp[:, 50:])
        moved.append((out - ramp).abs().max().item())
        assert (out[0, 0] - ramp[0, 0]).abs().max() < 3
        assert (out[0, 49] - ramp[0, 49]).abs().max() < 3
    assert 1 < max(moved) < 12
    short = torch.tensor([10])
    assert augment(ramp, short).equal(ramp)


def test_masks_can_be_scaled_to_the_width():
    assert SpecAugment.scaled(768).feature_width == SpecAugment().feature_width == 50
    assert SpecAugment.scaled(128).feature_width == 8
    assert SpecAugment.scaled(8).feature_width == 2
    assert SpecAugment.scaled(128).time_width == 40


def test_training_is_augmented_and_evaluation_is_not():
    head = blstm(augment=SpecAugment(feature_width=2), dropout=0.0)
    features = torch.randn(1, 200, DIM)
    assert not head(features).equal(head(features))
    head.eval()
    assert head(features).equal(head(features))


def test_items_are_turned_around_as_packed_sequences_are():
    layer = BidirectionalLSTM(3, 4)
    packed = nn.LSTM(3, 4, batch_first=True, bidirectional=True)
    directions = {"": layer.forwards, "_reverse": layer.backwards}
    packed.load_state_dict(
        {
            name + suffix: value
            for suffix, own in directions.items()
            for name, value in own.state_dict().items()
        }
    )
    x, counts = torch.randn(3, 7, 3), torch.tensor([4, 7, 1])
    sequence = pack_padded_sequence(x, counts, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(packed(sequence)[0], batch_first=True)
    made = layer(x, counts)
    for item, count in enumerate(counts.tolist()):
        torch.testing.assert_close(made[item, :count], expected[item, :count])


@pytest.mark.parametrize("make", HEADS.values(), ids=HEADS)
def test_a_new_head_can_begin_with_blanks(make):
    features = torch.randn(4, 50, DIM)
    shares = [
        (make(blank_bias=bias).eval()(features).argmax(-1) == 0).float().mean() for bias in (0, 3)
    ]
    assert shares[1] > 0.9 > shares[0]
