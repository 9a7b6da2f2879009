"""backbones.py: parameter counts, map sizes and multiply-adds, most on the meta device (no arithmetic)."""

import math
import sys
from typing import Any

import pytest
import torch
from torch import nn

from cgd_retrieval.backbones import STRIDES, bn_inception, build, freeze_batch_norm, resnet50
from common.networks import SmallCNN


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def multiply_adds(module, size):
    """(multiply-adds of convolutions and FC layers for one picture, shape of the output)."""
    total = 0

    def count(part, _, out):
        nonlocal total
        total += part.weight.numel() * math.prod(out.shape[2:])

    hooks = [
        part.register_forward_hook(count)
        for part in module.modules()
        if isinstance(part, nn.Conv2d | nn.Linear)
    ]
    shape = tuple(module.eval()(torch.empty(1, 3, size, size, device="meta")).shape)
    for hook in hooks:
        hook.remove()
    return total, shape


@pytest.mark.parametrize(
    ("name", "channels", "with_classifier"),
    [
        ("resnet50", 2048, 25_557_032),  # torchvision's documentation
        ("se_resnet50", 2048, 28_088_024),  # timm and Cadene's pretrainedmodels
        ("shufflenet_v2", 1024, 2_278_604),  # torchvision's documentation
        ("bn_inception", 1024, 11_295_240),  # Cadene's pretrainedmodels, as remembered
    ],
)
def test_parameters_and_maps(name, channels, with_classifier):
    if name == "se_resnet50":
        pytest.importorskip("timm")
    with torch.device("meta"):
        nets: dict[str, Any] = {stride: build(name, stride=stride) for stride in STRIDES}
    work = {}
    side = {"none": 7, "stage4": 14, "stage3": 14, "both": 28}
    for stride, net in nets.items():
        assert net.channels == channels
        assert parameters(net) + (channels + 1) * 1000 == with_classifier  # a stride has no parameters
        work[stride], shape = multiply_adds(net, 224)
        assert shape == (1, channels, side[stride], side[stride])
        assert not any(m.dilation != (1, 1) for m in net.modules() if isinstance(m, nn.Conv2d))  # note D2
    assert work["none"] < work["stage4"] < work["stage3"] < work["both"]


@pytest.mark.parametrize(
    ("stride", "gmac"), [("none", 4.09), ("stage4", 6.21), ("stage3", 10.60), ("both", 19.08)]
)
def test_multiply_adds_of_resnet50(stride, gmac):
    """Convolutions, branch FC and classifier for 98 classes, at 224 pixels."""
    with torch.device("meta"):
        work, _ = multiply_adds(resnet50(stride=stride), 224)
    assert round((work + 2048 * 1536 + 2048 * 98) / 1e9, 2) == gmac


def test_stage4_keeps_stage3_as_it_is():
    """The literal reading (note D1): stage 3 still halves its input, only stage 4 does not."""
    with torch.device("meta"):
        net = resnet50(stride="stage4")
        sides = []
        x = torch.empty(1, 3, 224, 224)
        for name, stage in net.named_children():
            x = stage(x)
            if name.startswith("layer"):
                sides.append(x.shape[-1])
    assert sides == [56, 28, 14, 14]


def test_removing_a_stride_only_samples_more_densely():
    """Every second place of the stride-free block's map is the old map."""
    net, dense = (resnet50(stride=stride).get_submodule("layer4.0").eval() for stride in ("none", "stage4"))
    dense.load_state_dict(net.state_dict())
    x = torch.randn(1, 1024, 6, 6, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(dense(x)[:, :, ::2, ::2], net(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("widths", "stride", "size", "side"),
    [
        ((32, 64, 128, 128), "stage4", 28, 7),
        ((32, 64, 128, 128), "stage3", 28, 7),
        ((32, 64, 128, 128), "none", 28, 3),
        ((32, 64, 128, 128), "both", 28, 14),
        ((8, 16, 16, 32, 32), "stage4", 56, 7),
        ((8, 16, 16, 32, 32), "stage4", 64, 8),
        ((8,), "stage4", 28, 28),
    ],
)
def test_small_map_sizes(widths, stride, size, side):
    net = build("small", stride=stride, widths=widths)
    assert net(torch.rand(2, 3, size, size)).shape == (2, widths[-1], side, side)
    assert net.channels == widths[-1]


def test_bn_inception_halves_by_strides():
    with torch.device("meta"):
        net = bn_inception("none")
        x, sides = torch.empty(1, 3, 224, 224), {}
        for name, stage in net.named_children():
            x = stage(x)
            sides[name] = (x.shape[1], x.shape[-1])
    # Ioffe and Szegedy, Figure 5; 4c with 608 channels as in the Caffe layout
    assert sides["pool1"] == (64, 56)
    assert sides["pool2"] == (192, 28)
    assert sides["inception_3a"] == (256, 28)
    assert sides["inception_3b"] == (320, 28)
    assert sides["inception_3c"] == (576, 14)
    assert sides["inception_4c"] == sides["inception_4d"] == (608, 14)
    assert sides["inception_4e"] == (1056, 7)
    assert sides["inception_5b"] == (1024, 7)


def test_bn_inception_runs_and_refuses_odd_maps():
    with torch.no_grad():
        assert bn_inception().eval()(torch.rand(1, 3, 64, 64)).shape == (1, 1024, 4, 4)
        with pytest.raises(ValueError, match=r"cannot halve a 3 x 3 feature map; choose .* multiples of 32"):
            bn_inception("none").eval()(torch.rand(1, 3, 48, 48))


def test_freeze_batch_norm_stops_statistics_only():
    net = SmallCNN((4, 5), (1,)).train()
    freeze_batch_norm(net)
    norm: Any = net.get_submodule("stages.0.1")
    before = norm.running_mean.clone()
    net(torch.rand(2, 3, 8, 8)).sum().backward()
    assert torch.equal(norm.running_mean, before)
    assert norm.weight.grad is not None
    net.train()
    net(torch.rand(2, 3, 8, 8))
    assert not torch.equal(norm.running_mean, before)


def test_bad_requests_are_one_clear_sentence():
    with pytest.raises(ValueError, match=r"'vgg' is unknown; choose one of small, resnet50"):
        build("vgg")
    with pytest.raises(ValueError, match=r"stride 'last' is unknown; choose one of stage4"):
        build("small", stride="last")
    with pytest.raises(ValueError, match=r"none can be loaded for backbone 'small'"):
        build("small", weights="IMAGENET1K_V1")
    with (
        pytest.raises(ValueError, match=r"'V9' are unknown; choose one of IMAGENET1K_V1"),
        torch.device("meta"),
    ):
        build("resnet50", weights="V9")


def test_a_failed_download_says_what_to_put_where(monkeypatch, tmp_path):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", offline)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(FileNotFoundError) as error, torch.device("meta"):
        build("shufflenet_v2", weights="IMAGENET1K_V1")
    assert "no route to host" in str(error.value)
    assert "https://download.pytorch.org/models/shufflenetv2_x1-" in str(error.value)
    assert str(tmp_path / "checkpoints" / "shufflenetv2_x1-") in str(error.value)


def test_weights_are_loaded_before_the_head_is_cut(monkeypatch):
    timm = pytest.importorskip("timm")
    known = timm.create_model("legacy_seresnet50").state_dict()
    asked = []
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda url, **_: asked.append(url) or known)
    net = build("se_resnet50", weights="in1k")
    assert asked[0].endswith("se_resnet50-ce0d4300.pth")
    for name, value in net.state_dict().items():
        assert torch.equal(value, known[name]), name
    with pytest.raises(ValueError, match="choose one of in1k"):
        build("se_resnet50", weights="IMAGENET1K_V1")


def test_missing_timm_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"pip install -e \.\[backbones\]"):
        build("se_resnet50")
