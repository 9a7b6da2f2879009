"""Parameter counts of the authors' networks, shapes, and DropBlock against its definition."""

import pytest
import torch
import torch.nn.functional as F

from hyperbolic_embeddings.fewshot.backbones import Conv4, DropBlock, ResNet12, ResNet18


def count(network):
    return sum(p.numel() for p in network.parameters())


@pytest.mark.parametrize(("dim", "parameters"), [(1600, 1_002_432), (1024, 668_928), (64, 113_088)])
def test_conv4_has_the_published_number_of_parameters(dim, parameters):
    assert count(Conv4(dim)) == parameters
    assert count(Conv4(dim, pool="flatten")) == parameters, "the pool has none"


def test_resnet18_has_the_published_number_of_parameters():
    assert count(ResNet18()) == 11_168_832


def test_resnet12_has_the_parameters_of_its_layers():
    expected, before = 0, 3
    for width in (64, 128, 256, 512):
        expected += 9 * (before * width + 2 * width**2) + before * width + 4 * 2 * width
        before = width
    assert count(ResNet12()) == expected == 7_996_800


@pytest.mark.parametrize(("size", "side"), [(84, 5), (28, 1), (64, 4)])
def test_conv4_takes_the_maximum_over_places_or_keeps_them(size, side):
    torch.manual_seed(0)
    flat, peak = Conv4(6, width=4, size=size, pool="flatten"), Conv4(6, width=4, size=size)
    peak.load_state_dict(flat.state_dict())
    x = torch.rand(3, 3, size, size)
    places = flat(x)
    assert places.shape == (3, flat.dim) == (3, 6 * side * side)
    assert peak.dim == 6
    torch.testing.assert_close(peak(x), places.view(3, 6, -1).amax(2))


def test_conv4_is_the_four_blocks_of_the_paper():
    torch.manual_seed(0)
    net = Conv4(5, channels=1, width=4, size=32).double().eval()
    x = y = torch.rand(2, 1, 32, 32, dtype=torch.float64)
    names = iter(net.state_dict().values())
    for _ in range(4):
        w, b, gamma, beta, mean, var, _ = (next(names) for _ in range(7))
        y = F.conv2d(y, w, b, padding=1)
        shape = (1, -1, 1, 1)
        y = (y - mean.view(shape)) / (var.view(shape) + 1e-5).sqrt() * gamma.view(shape) + beta.view(shape)
        y = F.max_pool2d(y.clamp(min=0), 2)
    torch.testing.assert_close(net(x), y.amax((2, 3)))


def test_resnets_end_in_the_maximum_of_512_channels():
    torch.manual_seed(0)
    for net in (ResNet18(channels=1), ResNet12()):
        x = torch.rand(2, 1 if isinstance(net, ResNet18) else 3, 48, 48)
        assert net.eval()(x).shape == (2, 512)
    net = ResNet18(channels=1).eval()
    assert net.blocks(net.stem(torch.rand(1, 1, 24, 24))).shape == (1, 512, 3, 3), (
        "24 / 8: the stem keeps the size"
    )
    assert net.stem[0].weight.shape[2:] == (3, 3)


def test_resnet12_leaves_a_gradient_everywhere():
    torch.manual_seed(0)
    net = ResNet12(ramp=1)
    net(torch.rand(4, 3, 84, 84)).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


def squares(corner, size, h, w):
    """Positions that the squares of these corners cover, by loops."""
    covered = torch.zeros(*corner.shape[:2], h, w, dtype=torch.bool)
    for b, c, i, j in corner.nonzero().tolist():
        covered[b, c, i : i + size, j : j + size] = True
    return covered


@pytest.mark.parametrize("size", [1, 2, 5])
def test_dropblock_equals_its_definition(size):
    h, w, rate = 9, 7, 0.3
    block = DropBlock(rate, size, ramp=1)
    x = torch.randn(6, 4, h, w, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(3)
    got = block(x)
    torch.manual_seed(3)
    gamma = rate / size**2 * h * w / ((h - size + 1) * (w - size + 1))
    covered = squares(torch.rand(6, 4, h - size + 1, w - size + 1) < gamma, size, h, w)
    assert covered.any()
    torch.testing.assert_close(got, x * ~covered * (covered.numel() / float((~covered).sum())))


def test_dropblock_ramps_up_and_carries_its_count():
    x = torch.ones(64, 16, 6, 6)
    block = DropBlock(0.2, 1, ramp=4)
    shares = []
    torch.manual_seed(0)
    for _ in range(6):
        shares.append(float((block(x) == 0).float().mean()))
    assert shares == pytest.approx([0.05, 0.1, 0.15, 0.2, 0.2, 0.2], abs=0.01)
    again = DropBlock(0.2, 1, ramp=4)
    again.load_state_dict(block.state_dict())
    assert int(again.seen) == 6


def test_dropblock_does_nothing_in_evaluation():
    block = DropBlock(0.9, 3, ramp=1).eval()
    x = torch.randn(2, 3, 5, 5)
    assert block(x) is x
    assert int(block.seen) == 0


def test_what_cannot_be_built_is_one_sentence():
    with pytest.raises(ValueError, match="size = 12: four max-pools need"):
        Conv4(64, size=12)
    with pytest.raises(ValueError, match="use max or flatten"):
        Conv4(64, pool="mean")
    with pytest.raises(ValueError, match="dim = 0"):
        Conv4(0)
    with pytest.raises(ValueError, match=r"rate = 1.0"):
        DropBlock(1.0, 5, 1)
    with pytest.raises(ValueError, match="size 5 does not fit a map of 4 x 4"):
        DropBlock(0.1, 5, 1)(torch.rand(1, 1, 4, 4))
