"""The encoders: the published size, torchvision as an oracle, unit rows in float32, Eq. (1)'s classifier."""

import math

import pytest
import torch
import torchvision
from torch import nn

from instance_discrimination.model import (
    ParametricSoftmax,
    alexnet,
    parameters,
    resnet18,
    resnet50,
    resnet_cifar,
    vgg16,
)


def narrow() -> nn.Module:
    return resnet_cifar(dim=7, widths=(4, 6), blocks=1)


def test_resnet18_for_cifar_has_the_published_number_of_parameters():
    def conv(i: int, o: int, k: int) -> int:
        return i * o * k * k + 2 * o  # without bias, and its batch norm

    total, width = conv(3, 64, 3), 64
    for o in (64, 128, 256, 512):
        total += conv(width, o, 3) + 3 * conv(o, o, 3) + (conv(width, o, 1) if width != o else 0)
        width = o
    total += 512 * 128 + 128
    assert parameters(resnet_cifar()) == total
    assert round(total / 1e6, 3) == 11.234


def test_resnet_cifar_is_torchvisions_with_another_stem():
    theirs = torchvision.models.resnet18(num_classes=16)
    theirs.conv1, theirs.maxpool = nn.Conv2d(3, 64, 3, 1, 1, bias=False), nn.Identity()
    ours = resnet_cifar(dim=16)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values())))
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours.eval()(x, unit=False), theirs.eval()(x), rtol=1e-5, atol=1e-5)


def test_embeddings_are_unit_rows_in_float32_under_autocast_too():
    net, x = narrow().eval(), torch.randn(5, 3, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        v, z = net(x), net(x, unit=False)
        h = net.neck(next(reversed(net.maps(x).values())))
    assert v.dtype == z.dtype == torch.float32
    assert h.dtype == torch.bfloat16, "the stages do run in bfloat16"
    torch.testing.assert_close(v.norm(dim=1), torch.ones(5), rtol=0, atol=1e-6)
    torch.testing.assert_close(z, h.float() @ net.fc.weight.T + net.fc.bias, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(v, z / z.norm(dim=1, keepdim=True))


@pytest.mark.parametrize(
    ("make", "shapes"),
    [
        (resnet18, [(64, 56), (64, 56), (128, 28), (256, 14), (512, 7)]),
        (resnet50, [(64, 56), (256, 56), (512, 28), (1024, 14), (2048, 7)]),
        (alexnet, [(64, 55), (192, 27), (384, 13), (256, 13), (256, 13)]),
        (vgg16, [(64, 224), (128, 112), (256, 56), (512, 28), (512, 14)]),
    ],
)
def test_probed_maps_are_the_ends_of_the_five_convolutions(make, shapes):
    with torch.device("meta"):
        net = make(dim=128).eval()
        x = torch.empty(2, 3, 224, 224)
        maps = net.maps(x)
        assert net.fc(net.neck(maps["conv5"])).shape == (2, 128)
    assert list(maps) == ["conv1", "conv2", "conv3", "conv4", "conv5"]
    assert [(m.shape[1], m.shape[2]) for m in maps.values()] == shapes
    assert all(m.shape[2] == m.shape[3] for m in maps.values())


@pytest.mark.parametrize("make", [alexnet, resnet18])
def test_stages_and_neck_leave_no_layer_of_torchvision_out(make):
    theirs = {alexnet: torchvision.models.alexnet, resnet18: torchvision.models.resnet18}[make](num_classes=9)
    ours = make(dim=9)
    ours.load_state_dict(dict(zip(ours.state_dict(), theirs.state_dict().values())))
    x = torch.randn(1, 3, 70, 70, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(ours.eval()(x, unit=False), theirs.eval()(x), rtol=1e-5, atol=1e-5)


def test_maps_are_what_the_embedding_is_made_of():
    net, x = narrow().eval(), torch.randn(3, 3, 16, 16)
    maps = net.maps(x)
    assert list(maps) == ["conv1", "res1", "res2"]
    assert [tuple(m.shape[1:]) for m in maps.values()] == [(4, 16, 16), (4, 16, 16), (6, 8, 8)]
    torch.testing.assert_close(net(x, unit=False), net.fc(maps["res2"].mean((2, 3))))
    assert [tuple(m.shape[2:]) for m in resnet_cifar(widths=(4,), stem_stride=2).maps(x).values()] == [
        (8, 8)
    ] * 2


def test_parametric_softmax_is_equation_1():
    w, v = ParametricSoftmax(5, 3), torch.randn(2, 3)
    logits = w(v)
    for b in range(2):
        scores = [math.exp(sum(float(a) * float(c) for a, c in zip(row, v[b]))) for row in w.w.detach()]
        for i in range(5):
            assert float(logits[b].detach().softmax(0)[i]) == pytest.approx(scores[i] / sum(scores), rel=1e-5)
    logits.sum().backward()
    assert w.w.grad is not None
    assert w.w.grad.abs().sum() > 0
    assert parameters(ParametricSoftmax(50, 8)) == 400


def test_bad_shapes_are_named():
    with pytest.raises(ValueError, match=r"widths \(\)"):
        resnet_cifar(widths=())
    with pytest.raises(ValueError, match="blocks 0"):
        resnet_cifar(blocks=0)
