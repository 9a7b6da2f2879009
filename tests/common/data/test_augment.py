"""Augmentation equals slicing, flipping, turning and torchvision with the parameters that were drawn."""

import math
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import torchvision.transforms.v2.functional as tv

from common.data import augment as augment_module
from common.data import counter
from common.data.augment import Augment, Draw, normalise

MASK = 2**64 - 1
EVERYTHING = Augment(
    size=24,
    random_crop=True,
    pad=3,
    flip=0.5,
    rotate=20,
    translate=0.1,
    scale=(0.8, 1.2),
    shear=10,
    fill=7,
    brightness=0.4,
    contrast=0.4,
    saturation=0.4,
    hue=0.3,
    jitter=0.8,
    grey=0.2,
    mean=(0.4, 0.5, 0.6),
    std=(0.2, 0.25, 0.3),
)
RESIZED = replace(
    EVERYTHING,
    random_crop=False,
    pad=0,
    resized_crop=(0.2, 1.0),
    rotate=0,
    translate=0,
    scale=(1, 1),
    shear=0,
)


def pictures(n=16, channels=3, height=28, width=28, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (n, channels, height, width), generator=g, dtype=torch.uint8)


def still(n, window, flip=False, affine=(0.0, 0.0, 0.0, 1.0, 0.0)):
    """A Draw with the same geometry for all n pictures."""
    return Draw(
        window=torch.tensor(window).expand(n, 4),
        flip=torch.full((n,), flip),
        affine=torch.tensor(affine, dtype=torch.float64).expand(n, 5),
        colour=torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(n, 4),
        grey=torch.zeros(n, dtype=torch.bool),
    )


# Random numbers


def test_generator_is_splitmix64():
    """First outputs for seed 1234567: Rosetta Code, task "Pseudo-random numbers/Splitmix64"."""
    want = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    state, got = 1234567, []
    for _ in want:
        state = (state + counter.GAMMA) & MASK
        got.append(counter.mix(state))
    assert got == want


def test_uniform_equals_whole_number_arithmetic():
    index = torch.tensor([0, 1, 5, 2**31, 2**40 + 3])
    got = counter.uniform(3, 7, index, stream=2, n=4)
    for i, row in zip(index.tolist(), got.tolist()):
        start = counter.mix((i * counter.GAMMA + counter.key(3, 7, 2)) & MASK)
        want = [(counter.mix((start + j * counter.GAMMA) & MASK) >> 40) / 2**24 for j in range(1, 5)]
        assert row == want


def test_a_further_view_is_a_generator_of_its_own():
    index = torch.tensor([0, 5, 2**40 + 3])
    assert torch.equal(counter.uniform(3, 7, index, 2, 4, view=0), counter.uniform(3, 7, index, 2, 4))
    for view in (1, 2):
        got = counter.uniform(3, 7, index, stream=2, n=4, view=view)
        for i, row in zip(index.tolist(), got.tolist()):
            start = counter.mix((i * counter.GAMMA + counter.key(3, 7, 2, view)) & MASK)
            want = [(counter.mix((start + j * counter.GAMMA) & MASK) >> 40) / 2**24 for j in range(1, 5)]
            assert row == want
    n = 20_000
    u = torch.cat([counter.uniform(0, 0, torch.arange(n), 0, 2, v) for v in (0, 1, 2)], 1).double()  # (n, 6)
    assert (torch.corrcoef(u.T) - torch.eye(6)).abs().max() < 4.5 / math.sqrt(n)


def test_view_0_draws_what_was_drawn_before_there_were_views():
    """Draws of commit 4492e38, where Augment knew no views."""
    index = torch.tensor([0, 7, 2**31])
    for draw in (EVERYTHING.draw(index, 28, 28, 3, 5), EVERYTHING.draw(index, 28, 28, 3, 5, view=0)):
        assert draw.window.tolist() == [[-3, 1, 24, 24], [5, 2, 24, 24], [4, 4, 24, 24]]
        assert draw.flip.tolist() == [True, False, False]
        assert draw.affine[:, 0].tolist() == [-19.08846616744995, 2.3866701126098633, 17.619013786315918]
        assert draw.colour[:, 3].tolist() == [-0.09159819036722183, -0.27969038486480713, 0.1873575896024704]
    windows = RESIZED.draw(index, 28, 28, 3, 5).window.tolist()
    assert windows == [[12, 13, 13, 13], [6, 0, 22, 28], [0, 0, 26, 22]]


@pytest.mark.parametrize("augment", [EVERYTHING, RESIZED], ids=["affine", "resized"])
def test_views_of_a_picture_differ_in_every_draw(augment):
    index = torch.arange(64)
    first, second = (augment.draw(index, 28, 28, 3, 5, view) for view in (0, 1))
    for name in ("window", "flip", "colour", "grey", *(["affine"] if augment is EVERYTHING else [])):
        assert not torch.equal(getattr(first, name), getattr(second, name)), name
    x = pictures(64)
    images = [augment(x, index, 3, 5, view) for view in (0, 0, 1)]
    assert torch.equal(images[0], images[1])
    assert (images[0] != images[2]).flatten(1).any(1).all()


def test_uniform_is_uniform_and_streams_are_independent():
    n = 20_000
    index = torch.arange(n)
    u = torch.cat([counter.uniform(0, e, index, s, 2) for e in (0, 1) for s in (0, 1)], 1).double()  # (n, 8)
    assert u.min() >= 0
    assert u.max() < 1
    cells = torch.stack([torch.histc(c.float(), 50, 0, 1) for c in u.T])
    chi2 = ((cells - n / 50) ** 2 / (n / 50)).sum(1)  # 49 degrees of freedom: 99.99 % below 97
    assert chi2.max() < 97
    off = torch.corrcoef(u.T) - torch.eye(8)
    assert off.abs().max() < 4.5 / math.sqrt(n)
    neighbours = torch.corrcoef(torch.stack([u[:-1, 0], u[1:, 0]]))[0, 1]
    assert neighbours.abs() < 4.5 / math.sqrt(n)


def test_key_depends_on_every_part_and_on_order():
    keys = {counter.key(a, b, c) for a in range(6) for b in range(6) for c in (-1, 0, 1)}
    assert len(keys) == 6 * 6 * 3


def test_global_random_state_is_untouched():
    before = torch.get_rng_state()
    EVERYTHING(pictures(), torch.arange(16), 0, 0)
    assert torch.equal(torch.get_rng_state(), before)


# Identity


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [24, 27, 30])
def test_all_off_is_normalise_and_torchvision(channels, side):
    x = pictures(4, channels, side, side)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    got = Augment(size=24, mean=mean, std=std)(x, torch.arange(4), 0, 0)
    assert torch.equal(got, normalise(x, 24, mean, std))
    want = tv.center_crop(x, [24, 24]).float().div(255).expand(-1, 3, -1, -1)
    torch.testing.assert_close(got, tv.normalize(want, list(mean), list(std)), rtol=1e-6, atol=1e-6)
    assert got.is_contiguous()
    assert got.shape == (4, 3, 24, 24)


def test_one_number_stands_for_three():
    x = pictures(2)
    assert torch.equal(normalise(x, 28, 0.5, 0.2), normalise(x, 28, (0.5, 0.5, 0.5), (0.2, 0.2, 0.2)))


# Windows and flips are exact


def check_crop(m):
    x = pictures(40, height=10, width=12)
    a = m.Augment(size=9, random_crop=True, pad=2, fill=33)
    got, draw = a(x, torch.arange(40), 5, 1), a.draw(torch.arange(40), 10, 12, 5, 1)
    padded = F.pad(x, (2, 2, 2, 2), value=33)
    for b, (top, left, h, w) in enumerate(draw.window.tolist()):
        assert (h, w) == (9, 9)
        want = padded[b, :, top + 2 : top + 11, left + 2 : left + 11].float() / 255
        assert torch.equal(got[b], want)


def check_every_offset(m):
    """Each of 6 x 8 offsets is as likely: 4800 draws, 100 each, five standard deviations."""
    window = m.Augment(size=9, random_crop=True, pad=2).draw(torch.arange(4800), 10, 12, 0, 0).window
    counts = torch.zeros(6, 8)
    counts.index_put_((window[:, 0] + 2, window[:, 1] + 2), torch.ones(4800), accumulate=True)
    assert counts.min() > 50
    assert counts.max() < 150


def check_flip(m):
    x, index = pictures(64), torch.arange(64)
    a = m.Augment(size=28, flip=0.5)
    flipped = a.draw(index, 28, 28, 0, 0).flip
    assert 0 < flipped.sum() < 64
    want = torch.where(flipped[:, None, None, None], torch.flip(x, (3,)), x).float() / 255
    assert torch.equal(a(x, index, 0, 0), want)


@pytest.mark.parametrize("check", [check_crop, check_every_offset, check_flip])
def test_windows_and_flips(check):
    check(augment_module)


@pytest.mark.parametrize("p", [0.0, 0.2, 0.5, 1.0])
def test_rates(p):
    """Flip, grey and jitter within five standard deviations of their probability."""
    n = 20_000
    draw = Augment(size=8, flip=p, grey=p, brightness=0.5, jitter=p).draw(torch.arange(n), 8, 8, 1, 2)
    changed = (draw.colour != torch.tensor([1.0, 1.0, 1.0, 0.0])).any(1)
    for happened in (draw.flip, draw.grey, changed):
        assert abs(happened.sum().item() - n * p) <= 5 * math.sqrt(n * p * (1 - p))


def test_drawn_parameters_fill_their_ranges():
    n = 20_000
    a = replace(EVERYTHING, jitter=1.0)
    draw = a.draw(torch.arange(n), 28, 28, 0, 0)
    low = [-20, -0.1, -0.1, 0.8, -10, 0.6, 0.6, 0.6, -0.3]
    high = [20, 0.1, 0.1, 1.2, 10, 1.4, 1.4, 1.4, 0.3]
    for column, lo, hi in zip(torch.cat([draw.affine, draw.colour.double()], 1).T, low, high):
        assert lo - 1e-6 <= column.min() < lo + 0.01 * (hi - lo)
        assert hi - 0.01 * (hi - lo) < column.max() <= hi + 1e-6
        assert abs(column.mean().item() - (lo + hi) / 2) < 5 * (hi - lo) / math.sqrt(12 * n)


def test_switching_one_step_on_leaves_the_other_draws():
    index = torch.arange(50)
    a = EVERYTHING.draw(index, 28, 28, 0, 0)
    b = replace(EVERYTHING, flip=0.0, hue=0.0, grey=0.0).draw(index, 28, 28, 0, 0)
    assert torch.equal(a.window, b.window)
    assert torch.equal(a.affine, b.affine)
    assert torch.equal(a.colour[:, :3], b.colour[:, :3])


# Affine map


def check_quarter_turn(m):
    x = pictures(3)
    theta = m.affine_map(still(3, (0, 0, 28, 28), affine=(90.0, 0.0, 0.0, 1.0, 0.0)), 28, 28)
    got = m.resample(x, theta, 28) / 255
    torch.testing.assert_close(got, torch.rot90(x, -1, (2, 3)).float() / 255, rtol=0, atol=1e-5)  # clockwise


def check_shift(m):
    """A quarter of 28 pixels to the right, a seventh up, with paper of grey 90."""
    x = pictures(3)
    theta = m.affine_map(still(3, (0, 0, 28, 28), affine=(0.0, 1 / 4, -1 / 7, 1.0, 0.0)), 28, 28)
    want = torch.full_like(x, 90)
    want[:, :, :24, 7:] = x[:, :, 4:, :21]
    torch.testing.assert_close(m.resample(x, theta, 28, fill=90), want.float(), rtol=0, atol=2e-3)


def check_torchvision_affine(m):
    x = pictures(1, height=21, width=21)
    for angle, dx, dy, scale, shear in [(17, 2, -3, 1.0, 0), (-40, 0, 1, 0.7, 15), (5, -4, 0, 1.6, -25)]:
        draw = still(1, (0, 0, 21, 21), flip=True, affine=(angle, dx / 21, dy / 21, scale, shear))
        got = m.resample(x, m.affine_map(draw, 21, 21), 21)
        want = tv.affine(
            x.flip(3).float(), angle, [dx, dy], scale, [shear, 0], interpolation=tv.InterpolationMode.BILINEAR
        )
        torch.testing.assert_close(got, want, rtol=0, atol=5e-3)


def check_window_then_affine(m):
    """A padded random window, flipped and turned, is the same map on the canvas that really was padded."""
    x = pictures(2, height=20, width=16)
    draw = still(2, (-3, 2, 17, 17), flip=True, affine=(30.0, 0.1, -0.05, 1.3, 8.0))
    padded = F.pad(x, (9, 9, 9, 9))
    moved = replace(draw, window=torch.tensor([6, 11, 17, 17]).expand(2, 4))
    torch.testing.assert_close(
        m.resample(x, m.affine_map(draw, 20, 16), 17),
        m.resample(padded, m.affine_map(moved, 38, 34), 17),
        rtol=0,
        atol=5e-3,
    )


AFFINE_CHECKS = [check_quarter_turn, check_shift, check_torchvision_affine, check_window_then_affine]


@pytest.mark.parametrize("check", AFFINE_CHECKS)
def test_affine(check):
    check(augment_module)


def test_identity_map_returns_the_picture():
    x = pictures(2, height=17, width=17)
    theta = augment_module.affine_map(still(2, (0, 0, 17, 17)), 17, 17)
    torch.testing.assert_close(augment_module.resample(x, theta, 17), x.float(), rtol=0, atol=1e-3)


def test_paper_stays_paper():
    """A picture of nothing but fill keeps its value whatever the map."""
    x = torch.full((8, 1, 28, 28), 200, dtype=torch.uint8)
    a = Augment(size=28, rotate=45, translate=0.3, scale=(0.5, 1.5), shear=20, fill=200)
    torch.testing.assert_close(a(x, torch.arange(8), 0, 0), torch.full((8, 3, 28, 28), 200 / 255))


# Resized crop


def naive_window(u, height, width, scale, ratio):
    """RandomResizedCrop.get_params of torchvision, fed with given numbers."""
    for i in range(10):
        area = height * width * (scale[0] + (scale[1] - scale[0]) * u[i])
        r = math.exp(math.log(ratio[0]) + (math.log(ratio[1]) - math.log(ratio[0])) * u[10 + i])
        w, h = round(math.sqrt(area * r)), round(math.sqrt(area / r))
        if 0 < w <= width and 0 < h <= height:
            return [int(u[20] * (height - h + 1)), int(u[21] * (width - w + 1)), h, w]
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return [(height - h) // 2, (width - w) // 2, h, w]


def check_resized_window(m):
    cases = [((28, 28), (0.2, 1.0), (3 / 4, 4 / 3)), ((40, 17), (0.9, 1.0), (3 / 4, 4 / 3))]
    for (height, width), scale, ratio in [*cases, ((17, 60), (1.0, 1.0), (1.0, 1.5))]:
        a = m.Augment(size=16, resized_crop=scale, ratio=ratio)
        got = a.draw(torch.arange(300), height, width, 3, 4).window.tolist()
        u = counter.uniform(3, 4, torch.arange(300), m.WINDOW, 22).double().tolist()
        for row, window in zip(u, got, strict=True):  # one by one: pytest's diff of long lists takes minutes
            assert window == naive_window(row, height, width, scale, ratio)


def check_resized_crop(m):
    x, index = pictures(20, height=30, width=26), torch.arange(20)
    a = m.Augment(size=16, resized_crop=(0.1, 1.0), flip=0.5)
    draw, got = a.draw(index, 30, 26, 0, 0), a(x, index, 0, 0)
    for b, (top, left, h, w) in enumerate(draw.window.tolist()):
        crop = x[b : b + 1, :, top : top + h, left : left + w].float() / 255
        want = F.interpolate(crop, (16, 16), mode="bilinear", align_corners=False, antialias=False)[0]
        want = want.flip(2) if draw.flip[b] else want
        torch.testing.assert_close(got[b], want, rtol=0, atol=3e-5)


@pytest.mark.parametrize("check", [check_resized_window, check_resized_crop])
def test_resized_crop(check):
    check(augment_module)


# Colour, against torchvision picture by picture


COLOUR = {
    "adjust_brightness": (tv.adjust_brightness, (0.0, 0.5, 1.0, 1.7)),
    "adjust_contrast": (tv.adjust_contrast, (0.0, 0.5, 1.0, 1.7)),
    "adjust_saturation": (tv.adjust_saturation, (0.0, 0.5, 1.0, 1.7)),
    "adjust_hue": (tv.adjust_hue, (-0.5, -0.13, 0.0, 0.37, 0.5)),
}


def check_colour(m):
    for name, (oracle, factors) in COLOUR.items():
        for channels in (1, 3):
            x = pictures(len(factors), channels).float() / 255
            x[:, :, :4] = x[:, :1, :4]  # some grey pixels, black and white among them
            x[:, :, 0, 0], x[:, :, 0, 1] = 0.0, 1.0
            got = getattr(m, name)(x.clone(), torch.tensor(factors))
            want = torch.stack([oracle(picture, factor) for picture, factor in zip(x, factors)])
            torch.testing.assert_close(got, want, rtol=0, atol=1e-5, msg=f"{name}, {channels} channels")


def check_colour_order(m):
    """The documented order, with the drawn factors."""
    x, index = pictures(12), torch.arange(12)
    a = m.Augment(size=28, brightness=0.6, contrast=0.6, saturation=0.6, hue=0.4, grey=0.4, mean=0.5, std=0.2)
    draw, got = a.draw(index, 28, 28, 0, 0), a(x, index, 0, 0)
    assert 0 < draw.grey.sum() < 12
    for b, (brightness, contrast, saturation, hue) in enumerate(draw.colour.tolist()):
        y = tv.adjust_brightness(x[b].float() / 255, brightness)
        y = tv.adjust_saturation(tv.adjust_contrast(y, contrast), saturation)
        y = tv.adjust_hue(y, hue)
        y = tv.rgb_to_grayscale(y, 3) if draw.grey[b] else y
        torch.testing.assert_close(got[b], (y - 0.5) / 0.2, rtol=0, atol=2e-4)


@pytest.mark.parametrize("check", [check_colour, check_colour_order])
def test_colour(check):
    check(augment_module)


# Laws


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("a", [EVERYTHING, RESIZED, Augment(size=24, random_crop=True, pad=3, flip=0.5)])
def test_a_row_does_not_depend_on_its_batch(a, channels):
    """Bit for bit, one by one, in another order and with another number of threads."""
    x, index = pictures(13, channels), torch.arange(13) * 17 + 3
    whole = a(x, index, 2, 9)
    alone = torch.cat([a(x[b : b + 1], index[b : b + 1], 2, 9) for b in range(13)])
    assert torch.equal(alone, whole)
    order = torch.randperm(13, generator=torch.Generator().manual_seed(0))
    assert torch.equal(a(x[order], index[order], 2, 9), whole[order])
    threads = torch.get_num_threads()
    try:
        for n in (1, 2):
            torch.set_num_threads(n)
            assert torch.equal(a(x, index, 2, 9), whole)
    finally:
        torch.set_num_threads(threads)


def test_seed_epoch_and_index_change_every_picture():
    x, index = pictures(1).expand(32, -1, -1, -1), torch.arange(32)
    one = EVERYTHING(x, index, 0, 0)
    assert torch.equal(EVERYTHING(x, index, 0, 0), one)
    for other in (EVERYTHING(x, index, 1, 0), EVERYTHING(x, index, 0, 1), EVERYTHING(x, index + 32, 0, 0)):
        assert (other != one).flatten(1).any(1).all()
    assert len({row.numpy().tobytes() for row in one}) == 32


def test_input_is_left_alone():
    x = pictures()
    before = x.clone()
    EVERYTHING(x, torch.arange(16), 0, 0)
    RESIZED(x, torch.arange(16), 0, 0)
    assert torch.equal(x, before)


def test_grey_pictures_come_out_with_three_equal_channels():
    got = replace(EVERYTHING, mean=0.5, std=0.2)(pictures(channels=1), torch.arange(16), 0, 0)
    assert got.shape == (16, 3, 24, 24)
    assert torch.equal(got[:, 0], got[:, 1])
    assert torch.equal(got[:, 0], got[:, 2])
    got.view(16, -1)  # contiguous


# Bad input


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"size": 0}, "size = 0"),
        ({"pad": 2}, "pad = 2 has no effect without random_crop"),
        ({"random_crop": True, "resized_crop": (0.2, 1.0)}, "exclude each other"),
        ({"resized_crop": (0.5, 1.5)}, "resized_crop"),
        ({"scale": (1.2, 0.8)}, "scale"),
        ({"flip": 1.5}, "flip = 1.5"),
        ({"hue": 0.6}, "hue = 0.6"),
        ({"contrast": -0.1}, "contrast = -0.1"),
        ({"std": 0.0}, "std = 0.0"),
        ({"mean": (0.5, 0.5)}, "mean"),
    ],
)
def test_refuses_bad_fields(fields, message):
    with pytest.raises(ValueError, match=message):
        Augment(**{"size": 8, **fields})


def test_refuses_bad_pictures():
    index = torch.arange(2)
    with pytest.raises(ValueError, match="20 x 20 pixels are smaller than size = 24"):
        Augment(size=24)(pictures(2, 3, 20, 20), index, 0, 0)
    with pytest.raises(ValueError, match="pad = 1 are smaller than size = 24"):
        Augment(size=24, random_crop=True, pad=1)(pictures(2, 3, 20, 20), index, 0, 0)
    with pytest.raises(ValueError, match="smaller than size = 24"):
        normalise(pictures(2, 3, 20, 20), 24)
    with pytest.raises(TypeError, match=r"uint8 \[B, C, H, W\]"):
        Augment(size=20)(pictures(2).float(), index, 0, 0)
    with pytest.raises(ValueError, match="one index per picture"):
        Augment(size=20)(pictures(3), index, 0, 0)
    with pytest.raises(TypeError, match="int64"):
        Augment(size=20, flip=0.5)(pictures(2), index.float(), 0, 0)


# The checks above notice these


PLANTED = [
    ("* room).long() - pad", "* (room - 1)).long() - pad", check_every_offset),
    ("(draw.window[:, :2] + pad)", "(draw.window[:, :2] + 0 * pad)", check_crop),
    ("value=self.fill", "value=0", check_crop),
    ("x.flip(3), x)", "x.flip(2), x)", check_flip),
    ("xy = (torch.sin(r)", "xy = -(torch.sin(r)", check_quarter_turn),
    ("- 2 * (a * dx + b * dy)", "- (a * dx + b * dy)", check_shift),
    ("align_corners=False) + fill", "align_corners=True) + fill", check_shift),
    (
        "+ torch.cos(r) * torch.tan(s)) / scale",
        "- torch.cos(r) * torch.tan(s)) / scale",
        check_torchvision_affine,
    ),
    ("torch.where(draw.flip, -1.0, 1.0)", "torch.where(draw.flip, 1.0, 1.0)", check_torchvision_affine),
    ("(2 * left + w) / width - 1", "(2 * left + w) / height - 1", check_window_then_affine),
    ("(area / ratio).sqrt()", "(area * ratio).sqrt()", check_resized_window),
    ("fits.any(1, keepdim=True), drawn", "fits.any(1, keepdim=True), whole", check_resized_window),
    ("clamp=not self._warps", "clamp=False", check_resized_crop),
    ("0.2989 * x[:, :1]", "0.114 * x[:, :1]", check_colour),
    ("(b - r).div_(safe).add_(2)", "(r - b).div_(safe).add_(2)", check_colour),
    ("enumerate((5, 3, 1))", "enumerate((5, 1, 3))", check_colour),
    ("add_((1 - factor) * other)", "add_((1 - factor) * other * 0.99)", check_colour),
    ("x = adjust_hue(x, h) if", "x = adjust_hue(x, -h) if", check_colour_order),
]


@pytest.mark.parametrize(("right", "wrong", "check"), PLANTED, ids=[wrong for _, wrong, _ in PLANTED])
def test_planted_bug_is_caught(right, wrong, check, monkeypatch):
    source = Path(augment_module.__file__).read_text()
    assert source.count(right) >= 1, f"{right!r} is no longer in augment.py"
    module = types.ModuleType("planted_augment")
    monkeypatch.setitem(sys.modules, "planted_augment", module)  # dataclasses look their module up
    exec(compile(source.replace(right, wrong), "planted_augment", "exec"), module.__dict__)
    with pytest.raises(AssertionError):
        check(module)
