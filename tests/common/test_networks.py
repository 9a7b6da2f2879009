"""networks.py: the trunk is its definition, in either memory format, and every paper's net is made of it."""

import pytest
import torch
from torch import nn

from cgd_retrieval import backbones
from common.networks import SmallCNN, first_stages
from hierarchical_multilabel import model as hierarchical
from hyperbolic_embeddings.fewshot import train as fewshot
from hyperbolic_embeddings.fewshot.presets import FewShot
from instance_discrimination import model as instance


def pictures(channels=3, size=8):
    return torch.randn(2, channels, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [1, 3])
def test_it_is_conv_norm_relu_pool(channels):
    """Pooling before the ReLU gives the values of the usual order, in either memory format."""
    net, x = SmallCNN((4, 5), (1,), channels=channels).eval(), pictures(channels)
    one, two = (list(stage.children()) for stage in net.stages)
    usual = nn.functional.max_pool2d(one[1](one[0](x)).relu(), 2)
    usual = two[1](two[0](usual)).relu()
    torch.testing.assert_close(net(x), usual)
    torch.testing.assert_close(net(x.contiguous(memory_format=torch.channels_last)), usual)
    assert net(x).shape == (2, net.channels, 4, 4)
    assert net.channels == 5


def test_average_is_the_mean_over_positions():
    net, mean = SmallCNN((4, 5), (1,)).eval(), SmallCNN((4, 5), (1,), average=True).eval()
    mean.load_state_dict(net.state_dict())
    torch.testing.assert_close(mean(pictures()), net(pictures()).flatten(2).mean(2))


def test_it_survives_a_checkpoint():
    net, other = SmallCNN((4, 5), (1,)).eval(), SmallCNN((4, 5), (1,)).eval()
    other.load_state_dict(net.state_dict())
    assert torch.equal(net(pictures()), other(pictures()))


def test_the_first_stages_pool():
    assert first_stages(0, (4, 4)) == ()
    assert first_stages(2, (4, 4, 4)) == (1, 2)
    assert SmallCNN((4, 4, 4), first_stages(2, (4, 4, 4)))(pictures()).shape == (2, 4, 2, 2)


@pytest.mark.parametrize(("pools", "stride", "size"), [(2, "stage4", 32), (3, "none", 64)])
def test_every_method_has_the_same_trunk(pools, stride, size):
    """As the comparison sets them: widths 16, 32, 64, 128; the same weights give the same map or mean."""
    widths = (16, 32, 64, 128)
    trunk = SmallCNN(widths, first_stages(pools, widths)).eval()
    x, weights = pictures(size=size), trunk.state_dict()
    wanted = trunk(x)

    cgd = backbones.build("small", stride=stride, widths=widths).eval()
    cgd.load_state_dict(weights)
    assert torch.equal(cgd(x), wanted)

    encoder = hierarchical.build("small", None, widths=widths, pools=pools, frozen=0, dim=128).eval()
    encoder.backbone.load_state_dict(weights)
    torch.testing.assert_close(encoder(x)[0], wanted.mean((2, 3)))

    npid = instance.small(128, widths, pools).eval()
    for stage, own in zip(npid.stages.values(), trunk.stages):
        stage.load_state_dict(own.state_dict())
    torch.testing.assert_close(npid.neck(list(npid.maps(x).values())[-1]), wanted.mean((2, 3)))

    protonet, _ = fewshot.build(FewShot(backbone="small", widths=widths, pools=pools, size=size))
    protonet.eval().load_state_dict(weights)
    torch.testing.assert_close(protonet(x), wanted.mean((2, 3)))
