"""Penultimate layers of torchvision networks, without their weights: random ones, and shapes on no device."""

from urllib.error import URLError

import pytest
import torch
import torchvision
from torch import nn

from common.data import load
from hyperbolic_embeddings.delta import extractors


@pytest.mark.parametrize(
    ("name", "side", "dim"),
    [("resnet34", 224, 512), ("vgg19", 224, 4096), ("vgg16", 224, 4096), ("inception_v3", 299, 2048)],
)
def test_penultimate_layers(name, side, dim):
    """On the meta device: shapes without numbers."""
    with torch.device("meta"):
        net = extractors.network(name, "none")
        assert net(torch.empty(2, 3, side, side)).shape == (2, dim)
    assert not net.training
    if name.startswith("vgg"):
        kinds = [type(part) for part in net.get_submodule("classifier").children()]
        assert kinds[-3:] == [nn.ReLU, nn.Dropout, nn.Identity], "the ReLU is kept"


def test_the_last_layer_would_give_the_logits():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        whole = torchvision.models.resnet18().eval()
    before = torch.get_rng_state()
    net = extractors.network("resnet18", "none", seed=5)
    assert torch.equal(torch.get_rng_state(), before), "the global random state is left alone"
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(whole.fc(net(x)), whole(x))
        assert not torch.equal(extractors.network("resnet18", "none", seed=6)(x), net(x))


def test_what_cannot_be_had_is_one_sentence(monkeypatch):
    with pytest.raises(ValueError, match="--network resnet35: torchvision has no such"):
        extractors.network("resnet35", "none")
    with pytest.raises(ValueError, match="--weights V7: resnet34 has IMAGENET1K_V1, DEFAULT and none"):
        extractors.network("resnet34", "V7")
    with torch.device("meta"), pytest.raises(ValueError, match="does not end in a linear layer"):
        extractors.network("squeezenet1_0", "none")

    def offline(*_, **__):
        raise URLError("no route to host")

    monkeypatch.setattr(torchvision.models.ResNet18_Weights, "get_state_dict", offline)
    with pytest.raises(FileNotFoundError, match=r"resnet18.* cannot be loaded .*no route.*--weights none"):
        extractors.network("resnet18", "DEFAULT")


class Sums(nn.Module):
    def forward(self, x):
        assert x.shape[1:] == (3, 24, 24)
        return x.mean((2, 3))


def test_features_come_in_the_order_of_the_pictures():
    pictures = load("embedded", "test", size=12).subset(torch.arange(0, 90, 2))
    assert pictures.pixels is not None
    how = {"mean": 0.0, "std": 1.0, "device": torch.device("cpu"), "batch": 7}
    means = extractors.features(Sums(), pictures, size=24, **how)
    torch.testing.assert_close(means, pictures.pixels.float().mean((2, 3)) / 255, rtol=0, atol=4e-3)
    flat = extractors.features(None, pictures, size=24, **how)
    assert torch.equal(flat, pictures.pixels.flatten(1).float() / 255)
    grey = load("embedded", "test", size=12, channels=1).subset(torch.arange(4))
    assert extractors.features(None, grey, size=24, **how).shape == (4, 144)
