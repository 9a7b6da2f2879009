"""model.py: shapes, frozen parts, unit rows, torchvision as oracle."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from common.networks import SmallCNN
from hierarchical_multilabel import model
from hierarchical_multilabel.model import Encoder, ResNet, build

SMALL = {"widths": (4, 6), "pools": 1, "frozen": 0, "dim": 5}


def pictures(n=3, size=16):
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_resnet_is_torchvisions_without_the_classifier(name):
    torch.manual_seed(0)
    oracle = getattr(torchvision.models, name)().eval()
    torch.manual_seed(0)
    ours = ResNet(name).eval()
    oracle.fc = nn.Identity()
    x = pictures(2, 64)
    torch.testing.assert_close(ours(x), oracle(x))
    assert ours.channels == {"resnet18": 512, "resnet50": 2048}[name]


def test_stem_for_small_images_keeps_the_resolution():
    net = ResNet("resnet18", small_images=True).eval()
    assert net.stages[0](pictures(1, 32)).shape == (1, 64, 32, 32)
    assert net(pictures(1, 32)).shape == (1, 512)


def test_frozen_stages_never_change():
    """Neither weights nor statistics of stem, layer1 and layer2; the released code lets the latter move."""
    net = Encoder(ResNet("resnet18", frozen=2), 8)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.train()
    optimiser = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    _, z, _ = net(pictures(4, 32))
    z.sum().backward()
    optimiser.step()
    moved = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    frozen = {
        name
        for name in before
        if name.startswith(("backbone.stages.0", "backbone.stages.1", "backbone.stages.2"))
    }
    assert frozen
    assert not moved & frozen
    assert any(name.startswith("backbone.stages.3") and "running_mean" in name for name in moved)
    assert any(name.startswith("head") for name in moved)
    net.eval()
    net.train()
    assert not net.backbone.stages[0].training  # type: ignore[index]
    assert net.backbone.stages[3].training  # type: ignore[index]


def test_embedding_has_unit_rows_and_two_layers_before_it():
    net = build("small", None, **SMALL).eval()
    h, z, logits = net(pictures())
    assert logits is None
    torch.testing.assert_close(z.norm(dim=1), torch.ones(3))
    head = net.head
    assert isinstance(head, nn.Sequential)
    (first, _, second) = head
    torch.testing.assert_close(z, F.normalize(second(first(h).relu()), dim=1))
    assert first.weight.shape == (6, 6)
    assert second.weight.shape == (5, 6)


def test_a_classifier_takes_the_place_of_the_head():
    net = build("small", None, **SMALL, classes=7).eval()
    h, z, logits = net(pictures())
    assert net.head is None
    assert net.classifier is not None
    assert logits is not None
    torch.testing.assert_close(logits, net.classifier(h))
    torch.testing.assert_close(z, F.normalize(h, dim=1))


def test_behind_the_backbone_all_is_float32_in_autocast():
    net = build("small", None, **SMALL).eval()
    with torch.autocast("cpu", torch.bfloat16):
        h, z, _ = net(pictures())
        assert net.backbone(pictures()).dtype == torch.bfloat16
    assert h.dtype == z.dtype == torch.float32
    torch.testing.assert_close(z.norm(dim=1), torch.ones(3))


def test_published_sizes():
    net = build("resnet50", None, widths=(), pools=0, frozen=2, dim=128)
    trained = {
        name.split(".")[2] for name, p in net.named_parameters() if p.requires_grad and "stages" in name
    }
    assert trained == {"3", "4"}  # layer3 and layer4
    assert net.head is not None
    assert [tuple(p.shape) for p in net.head.parameters()] == [(2048, 2048), (2048,), (128, 2048), (128,)]


def test_published_weights(monkeypatch, tmp_path):
    given = torchvision.models.resnet50().state_dict()
    asked = []

    def download(url, **options):
        asked.append((url, options))
        return given

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", download)
    net = ResNet("resnet50", "IMAGENET1K_V1")
    assert torch.equal(net.stages[0][0].weight, given["conv1.weight"])  # type: ignore[index]
    assert asked[0][0].endswith("resnet50-0676ba61.pth")
    assert asked[0][1]["check_hash"] is True
    assert asked[0][1]["weights_only"] is True

    def offline(url, **options):
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    with pytest.raises(FileNotFoundError, match=r"could not be downloaded \(no route\); put the file into"):
        ResNet("resnet50", "IMAGENET1K_V1")
    with pytest.raises(ValueError, match="weights 'best' are unknown; choose one of IMAGENET1K_V1"):
        model._published("resnet50", "best")


def test_bad_settings_are_one_clear_sentence():
    for wrong, told in (
        (lambda: build("small", None, **{**SMALL, "pools": 3}), "pools is 3; give 0 to 2"),
        (lambda: ResNet("resnet18", frozen=5), "frozen is 5; a ResNet has 4 stages"),
        (lambda: ResNet("resnet18", small_images=True, frozen=1), "frozen parts keep published weights"),
        (lambda: Encoder(SmallCNN((4,), (), average=True), dim=0), "dim is 0"),
        (lambda: build("small", "IMAGENET1K_V1", **SMALL), "there are none for the small network"),
        (lambda: build("small", None, **{**SMALL, "frozen": 1}), "frozen is 1: the small network"),
        (lambda: build("resnet18", "IMAGENET1K_V1", **SMALL), "the small-image stem of resnet18 has none"),
        (
            lambda: build("vit", None, **SMALL),
            "backbone 'vit' is unknown; choose small, resnet18 or resnet50",
        ),
    ):
        with pytest.raises(ValueError, match=told):
            wrong()
    with pytest.raises(TypeError, match=r"backbone\.channels is None"):
        Encoder(nn.Identity())
