"""Heads of voice conversion, and the model around them."""

import pytest
import torch
from converters import DIM, HEADS, RATE, random_converter, random_head, random_voice

from wavcube.release.config_file import build, release_config
from wavcube.representations import LatentRepresentation, MelRepresentation
from wavcube.tasks.conversion.model import ConversionBatch, StoredVoice, VoiceConverter, shift_f0
from wavcube.tasks.conversion.voice import Voice, instance_normalize, masked_moments
from wavcube.testing import tiny_wavcube, tone


def inputs(batch=5, size=11, seed=1):
    """Latents, frames, log F0 and voicing of sources of different lengths."""
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(batch, size, DIM, generator=generator)
    frames = torch.tensor([size, 7, 5, 3, 1])[:batch]
    log_f0 = 5 + 0.2 * torch.randn(batch, size, generator=generator)
    return latents, frames, log_f0, torch.rand(batch, size, generator=generator) > 0.3


@pytest.mark.parametrize("kind", HEADS)
@torch.no_grad()
def test_an_item_does_not_depend_on_its_batch(kind):
    head, (latents, frames, log_f0, voiced), voice = random_head(kind), inputs(), random_voice(5)
    made = head(latents, frames, log_f0, voiced, voice)
    noisy = latents.clone()
    for row, count in zip(noisy, frames.tolist(), strict=True):
        row[count:] = 1e3
    torch.testing.assert_close(head(noisy, frames, log_f0, voiced, voice), made)
    for index, count in enumerate(frames.tolist()):
        own = voice.take([index])
        own.latents = own.latents[:, : int(own.frames)]
        piece = (part[index : index + 1, :count] for part in (latents, log_f0, voiced))
        one, pitch, sung = piece
        alone = head(one, frames[index : index + 1], pitch, sung, own)
        torch.testing.assert_close(made[index, :count], alone[0], atol=1e-4, rtol=0)
        assert not made[index, count:].any()


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_learns(kind):
    head, given, voice = random_head(kind).train(), inputs(), random_voice(5)
    target = torch.randn(5, 11, DIM, generator=torch.Generator().manual_seed(5))
    optimizer = torch.optim.Adam(head.parameters(), lr=0.02)
    torch.manual_seed(0)
    losses = []
    for _ in range(120):
        loss = head.loss(*given, voice, target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) < 0.95 * sum(losses[:5])
    without = [name for name, weight in head.named_parameters() if weight.grad is None]
    assert not without, "every weight is trained"


@pytest.mark.parametrize("kind", HEADS)
def test_the_loss_ignores_the_padding(kind):
    head, (latents, frames, log_f0, voiced), voice = random_head(kind), inputs(), random_voice(5)
    target = torch.randn(5, 11, DIM)
    with torch.no_grad():
        expected = head.loss(latents, frames, log_f0, voiced, voice, target)
        for row, count in zip(target, frames.tolist(), strict=True):
            row[count:] = 1e3
        found = head.loss(latents, frames, log_f0, voiced, voice, target)
    torch.testing.assert_close(found, expected)


def test_an_untrained_conformer_gives_the_targets_nearest_frames():
    head = HEADS["conformer"]().eval()
    with torch.no_grad():
        head.match.log_sharpness.fill_(8.0)  # the nearest alone
    voice = random_voice(1)
    # the reference itself as the source: the nearest frame is the frame
    f0 = torch.full((1, 9), 5.0), torch.ones(1, 9, dtype=torch.bool)
    with torch.no_grad():
        made = head(voice.latents, voice.frames, *f0, voice)
    torch.testing.assert_close(made, voice.latents, atol=1e-3, rtol=1e-3)


def test_matching_heads_hear_content_melody_and_voice():
    head, (latents, frames, log_f0, voiced), voice = random_head("conformer"), inputs(), None
    voice = random_voice(5)
    with torch.no_grad():
        made = head(latents, frames, log_f0, voiced, voice)
        louder = head(3.0 * latents + 1.0, frames, log_f0, voiced, voice)
        higher = head(latents, frames, log_f0 + 0.3, voiced, voice)
        others = head(latents, frames, log_f0, voiced, voice.take([1, 0, 2, 3, 4]))
    # a source's moments are its speaker's: they are taken out. One frame has none.
    torch.testing.assert_close(louder[:4], made[:4], atol=1e-4, rtol=0)
    assert float((higher - made).abs().max()) > 1e-3
    assert float((others - made)[:2].abs().min(1).values.max()) > 1e-3


def test_the_same_input_gives_the_same_speech_by_a_flow():
    head, given, voice = random_head("flow"), inputs(), random_voice(5)
    with torch.no_grad():
        torch.testing.assert_close(head(*given, voice), head(*given, voice))


@torch.no_grad()
def test_superb_s_decoder_goes_on_from_its_projected_output():
    head, heard = random_head("superb"), torch.randn(2, 7, 12)
    before, states = torch.zeros(2, 7, DIM), [None, None]
    made, after = head._decode(heard, before, states, torch.Generator().manual_seed(0))
    x = torch.cat([heard, prenet(head, before)], -1)
    for lstm, projection, (kept, _) in zip(head.decoders, head.projections, after, strict=True):
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        cell = torch.nn.LSTMCell(lstm.input_size, 6)
        cell.load_state_dict({name: getattr(lstm, f"{name}_l0") for name in names})
        hidden, memory, steps = torch.zeros(2, 6), torch.zeros(2, 6), []
        for frame in x.unbind(1):
            hidden, memory = cell(frame, (hidden, memory))
            hidden = projection(hidden).tanh()
            steps.append(hidden)
        torch.testing.assert_close(kept, hidden)
        x = torch.stack(steps, 1)
    torch.testing.assert_close(made, head.output(x))


def prenet(head, before):
    """What a head's prenet makes of frames, by the draws that its decoder begins with."""
    generator = torch.Generator().manual_seed(0)
    for layer in head.prenet:
        before = head._drop(layer(before).relu(), generator)
    return before


@pytest.mark.parametrize("kind", ["autoregressive", "superb"])
@torch.no_grad()
def test_frames_given_the_ones_before_are_those_made_one_by_one(kind, monkeypatch):
    head, (latents, frames, *f0) = random_head(kind), inputs(batch=2)
    monkeypatch.setattr(head, "_drop", lambda x, generator: x)
    made = head.generate(latents, frames, *f0, None)
    errors = head.errors(latents, frames, *f0, None, made)
    valid = torch.arange(11)[None] < frames[:, None]
    assert errors[valid].abs().max() < 1e-5


@pytest.mark.parametrize("kind", HEADS)
def test_a_converter_is_rebuilt_from_its_description(kind):
    stored = StoredVoice(DIM, 6, 3) if kind == "embedding" else None
    model = random_converter(kind, stored)
    again = build(release_config(model))
    assert release_config(again) == release_config(model)
    again.load_state_dict(model.state_dict())
    wavs = tone(0.3)[None]
    voice = None if stored else random_voice(1)
    with torch.no_grad():
        torch.testing.assert_close(again.eval()(wavs, None, voice), model(wavs, None, voice))


def test_widths_are_checked():
    head, given, voice = random_head("embedding"), inputs(), random_voice(5)
    with pytest.raises(ValueError, match=r"latents must be \[batch, frames, 8\]"):
        head(given[0][..., :4], *given[1:], voice)
    with pytest.raises(ValueError, match="5 sources, but 2 voices"):
        head(*given, voice.take([0, 1]))
    voice.embedding = None
    with pytest.raises(ValueError, match="embeddings of width 3, got 0"):
        head(*given, voice)


def test_conversion_needs_a_frozen_latent():
    with pytest.raises(ValueError, match="MelRepresentation cannot be decoded"):
        VoiceConverter(MelRepresentation(), HEADS["conformer"]())
    tuned = LatentRepresentation(tiny_wavcube(), unfreeze_at=0, lr=1e-4)
    with pytest.raises(ValueError, match="must stand still"):
        VoiceConverter(tuned, HEADS["conformer"]())


def test_a_voice_is_stored_and_cut():
    model = random_converter(stored=StoredVoice(DIM, num_frames=6))
    voice = model.voice_of(tone(0.2)[None])
    assert int(voice.frames) == 10
    model.stored.keep(voice)
    kept = model.stored(3)
    torch.testing.assert_close(kept.latents, voice.latents[:, :6].expand(3, -1, -1))
    assert kept.frames.tolist() == [6, 6, 6]
    with torch.no_grad():
        made = model(tone(0.3)[None])
        cut = Voice(voice.latents[:, :6], torch.tensor([6]), voice.pitch)
        model.stored = None
        torch.testing.assert_close(made, model(tone(0.3)[None], None, cut))


@pytest.mark.parametrize("stored", [None, StoredVoice(DIM, 6)])
def test_one_voice_and_no_more(stored):
    model, voice = random_converter(stored=stored), random_voice(1)
    with pytest.raises(ValueError, match="needs a voice" if stored is None else "give it no other"):
        model(tone(0.1)[None], None, None if stored is None else voice)


@torch.no_grad()
def test_the_batch_makes_no_difference_to_speech():
    model = random_converter()
    wavs = [tone(0.2 + 0.13 * index, index) for index in range(5)]
    lens = torch.tensor([len(wav) for wav in wavs])
    batch = torch.nn.utils.rnn.pad_sequence(wavs, batch_first=True)
    references = torch.stack([tone(0.8, 20 + index) for index in range(5)])
    converted = model(batch, lens / batch.shape[1], model.voice_of(references))
    assert converted.shape == batch.shape
    for index, wav in enumerate(wavs):
        voice = model.voice_of(references[index : index + 1])
        alone = model(wav[None], None, voice)[0]
        torch.testing.assert_close(converted[index, : len(wav)], alone, atol=1e-4, rtol=0)
        assert not converted[index, len(wav) :].any()


@torch.no_grad()
def test_latents_of_the_official_framing_are_converted():
    model = random_converter()
    model.representation.model.official_framing = True
    wavs = tone(0.31)[None]  # 16 frames by the length contract, 15 by the official one
    voice = model.voice_of(tone(0.5)[None])
    assert voice.latents.shape[1] == 24
    assert model(wavs, None, voice).shape == wavs.shape


def test_a_lesson_is_a_loss():
    model, (latents, frames, log_f0, voiced) = random_converter(), inputs()
    lesson = ConversionBatch(latents, frames, log_f0, voiced, random_voice(5), latents + 1.0)
    loss = model(lesson=lesson)
    torch.testing.assert_close(loss, model.head.loss(*lesson.given(), lesson.target))
    loss.backward()
    assert all(weight.grad is None for weight in model.representation.parameters())


def test_moments_and_normalisation_are_of_valid_frames():
    x = torch.randn(2, 6, 3) * 4 + 7
    frames = torch.tensor([6, 4])
    normal = instance_normalize(x, frames)
    mean, std = masked_moments(normal, frames)
    torch.testing.assert_close(mean, torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(std, torch.ones(2, 3), atol=1e-4, rtol=0)
    assert not normal[1, 4:].any()
    still = instance_normalize(torch.full((1, 5, 3), 2.0), torch.tensor([5]))
    assert not still.any(), "a channel that stands still is not noise"


def test_a_melody_moves_as_a_whole_or_stays():
    log_f0 = torch.tensor([[4.5, 0.0, 4.7], [5.0, 5.2, 0.0]])
    voiced = log_f0 > 0
    moved = shift_f0(log_f0, voiced, torch.tensor([5.0, 0.0]))
    torch.testing.assert_close(moved[0], torch.tensor([4.9, 0.0, 5.1]))
    torch.testing.assert_close(moved[1], log_f0[1])
    assert RATE == random_converter().sample_rate
