"""Backbones of Section 4 (arXiv:1903.10663v4), and the small one of common.networks for small pictures.

Each maps pictures [B, 3, H, W] to the last feature map X [B, C, h, w] and carries `channels` = C. Section 3.1
takes the last down-sampling away, which doubles h and w: 14x14 instead of 7x7 from 224 pixels.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch
import torchvision
from torch import Tensor, nn

from common.arguments import require_widths
from common.networks import SmallCNN

STRIDES = ("stage4", "stage3", "none", "both")
"""Which down-sampling is taken away, by plain stride 1 without dilation (note D2): 'stage4', before the last
stage (the paper's wording); 'stage3', before the one above it (unofficial code, note D1); 'none'; 'both'."""
NAMES = ("small", "resnet50", "se_resnet50", "shufflenet_v2", "bn_inception")


class Trunk(nn.Sequential):
    """Stages of a classification network without pooling and classifier.  [B, 3, H, W] -> [B, C, h, w]"""

    def __init__(self, stages: dict[str, nn.Module], channels: int) -> None:
        super().__init__(OrderedDict(stages))
        self.channels = channels


class ConvUnit(nn.Sequential):
    """Convolution with bias, BN, ReLU: the unit of BN-Inception.  [B, fan_in, H, W] -> [B, fan_out, h, w]

    The bias is redundant before BN; the Caffe layout has it, and it is part of the usual parameter count.
    """

    def __init__(self, fan_in: int, fan_out: int, kernel: int, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(fan_in, fan_out, kernel, stride, padding=kernel // 2),
            nn.BatchNorm2d(fan_out),
            nn.ReLU(inplace=True),
        )


class Inception(nn.Module):
    """Block of BN-Inception: parallel columns, joined.  [B, fan_in, H, W] -> [B, channels, h, w]

    one: width of the 1x1 column, 0 for none. three, double: (reduction, width) of the columns with one and
    with two 3x3 convolutions. pool: 'avg' or 'max', 3x3. project: width of the 1x1 after it, 0 to pass the
    pooled input through. stride 2 needs even H and W, where convolution and Caffe's pooling agree in size.
    """

    def __init__(
        self,
        fan_in: int,
        one: int,
        three: tuple[int, int],
        double: tuple[int, int],
        pool: str,
        project: int,
        stride: int = 1,
    ) -> None:
        super().__init__()
        pooling: nn.Module
        if pool == "avg":
            pooling = nn.AvgPool2d(3, stride, padding=1)
        elif stride == 1:
            pooling = nn.MaxPool2d(3, 1, padding=1)
        else:
            pooling = nn.MaxPool2d(3, 2, ceil_mode=True)
        columns = [ConvUnit(fan_in, one, 1)] if one else []
        columns += [
            nn.Sequential(ConvUnit(fan_in, three[0], 1), ConvUnit(three[0], three[1], 3, stride)),
            nn.Sequential(
                ConvUnit(fan_in, double[0], 1),
                ConvUnit(double[0], double[1], 3),
                ConvUnit(double[1], double[1], 3, stride),
            ),
            nn.Sequential(pooling, ConvUnit(fan_in, project, 1)) if project else pooling,
        ]
        self.columns = nn.ModuleList(columns)
        self.channels = one + three[1] + double[1] + (project or fan_in)
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        if self.stride == 2 and (height % 2 or width % 2):
            raise ValueError(
                f"x: BN-Inception cannot halve a {height} x {width} feature map; choose picture sides that "
                "are multiples of 32"
            )
        return torch.cat([column(x) for column in self.columns], 1)


def resnet50(weights: str | None = None, stride: str = "stage4") -> Trunk:
    """ResNet-50 of torchvision, C = 2048.

    weights: None or a name of its ResNet50_Weights, as 'IMAGENET1K_V1'. Which ImageNet weights the paper
    started from is not known, beyond that they were MXNet's (note D6).
    """
    _check_stride(stride)
    net = torchvision.models.resnet50()
    if weights is not None:
        _load(net, _torchvision_url("ResNet-50", torchvision.models.ResNet50_Weights, weights))
    _remove_strides(stride, stage3=net.layer3, stage4=net.layer4)
    return _cut(net, 2048)


def se_resnet50(weights: str | None = None, stride: str = "stage4") -> Trunk:
    """SE-ResNet-50 of timm ('legacy_seresnet50'), C = 2048.

    weights: None or its timm tag 'in1k': Cadene's conversion of the SENet authors' Caffe weights, the ones
    that the field had in 2019 (note D6). Raises ImportError when timm is missing.
    """
    _check_stride(stride)
    try:
        import timm  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ImportError("se_resnet50 needs timm; run: pip install -e .[backbones]") from error
    net = timm.create_model("legacy_seresnet50", pretrained=False)
    if weights is not None:
        known = sorted(name.split(".")[1] for name in timm.list_pretrained("legacy_seresnet50.*"))
        config = timm.get_pretrained_cfg(f"legacy_seresnet50.{weights}") if weights in known else None
        if config is None or not isinstance(config.url, str):
            raise ValueError(
                f"SE-ResNet-50: weights {weights!r} are unknown; choose one of {', '.join(known)}"
            )
        _load(net, config.url)
    _remove_strides(stride, stage3=net.get_submodule("layer3"), stage4=net.get_submodule("layer4"))
    return _cut(net, 2048)


def shufflenet_v2(weights: str | None = None, stride: str = "stage4") -> Trunk:
    """ShuffleNet-v2 of torchvision, C = 1024.

    weights: None or a name of its ShuffleNet_V2_X1_0_Weights. Width 1.0 is our choice, the paper's unknown.
    """
    _check_stride(stride)
    net = torchvision.models.shufflenet_v2_x1_0()
    if weights is not None:
        _load(net, _torchvision_url("ShuffleNet-v2", torchvision.models.ShuffleNet_V2_X1_0_Weights, weights))
    _remove_strides(stride, stage3=net.stage3, stage4=net.stage4)
    return _cut(net, 1024)


def bn_inception(stride: str = "stage4") -> Trunk:
    """BN-Inception, C = 1024, from random weights; picture sides must be multiples of 32.

    Ioffe and Szegedy, "Batch Normalization", 2015 (arXiv:1502.03167), Figure 5, in the Caffe-derived layout
    that metric learning uses, recalled. With a classifier for 1000 classes it has 11,295,240 parameters, the
    number commonly cited (recalled, too) for that layout.
    """
    _check_stride(stride)
    before_last, before_third = (1 if stride in (s, "both") else 2 for s in ("stage4", "stage3"))
    rows: list[tuple[str, int, tuple[int, int], tuple[int, int], str, int, int]] = [
        # name, 1x1, 3x3, double 3x3, pooling, projection, stride
        ("3a", 64, (64, 64), (64, 96), "avg", 32, 1),
        ("3b", 64, (64, 96), (64, 96), "avg", 64, 1),
        ("3c", 0, (128, 160), (64, 96), "max", 0, before_third),
        ("4a", 224, (64, 96), (96, 128), "avg", 128, 1),
        ("4b", 192, (96, 128), (96, 128), "avg", 128, 1),
        ("4c", 160, (128, 160), (128, 160), "avg", 128, 1),
        ("4d", 96, (128, 192), (160, 192), "avg", 128, 1),
        ("4e", 0, (128, 192), (192, 256), "max", 0, before_last),
        ("5a", 352, (192, 320), (160, 224), "avg", 128, 1),
        ("5b", 352, (192, 320), (192, 224), "max", 128, 1),
    ]
    stages: dict[str, nn.Module] = {
        "conv1": ConvUnit(3, 64, 7, stride=2),
        "pool1": nn.MaxPool2d(3, 2, ceil_mode=True),
        "conv2_reduce": ConvUnit(64, 64, 1),
        "conv2": ConvUnit(64, 192, 3),
        "pool2": nn.MaxPool2d(3, 2, ceil_mode=True),
    }
    channels = 192
    for name, one, three, double, pool, project, step in rows:
        block = Inception(channels, one, three, double, pool, project, step)
        stages[f"inception_{name}"], channels = block, block.channels
    return Trunk(stages, channels)


def build(
    name: str,
    weights: str | None = None,
    stride: str = "stage4",
    *,
    widths: tuple[int, ...] = (32, 64, 128, 128),
) -> nn.Module:
    """The backbone called `name`: one of NAMES.

    weights: name of ImageNet weights (see each function), None for random ones. They are downloaded once into
    the folder of torch.hub; a FileNotFoundError says what to put where when that fails. stride: one of
    STRIDES. widths: stages of 'small' only; it pools 2x2 between stages, except where `stride` takes that
    away: 28 pixels to 7x7 with four widths and 'stage4', 56 to 7x7 with five.
    """
    if name not in NAMES:
        raise ValueError(f"backbone {name!r} is unknown; choose one of {', '.join(NAMES)}")
    _check_stride(stride)
    if weights is not None and name in ("small", "bn_inception"):
        raise ValueError(f"weights {weights!r}: none can be loaded for backbone {name!r}; leave weights out")
    if name == "small":
        require_widths(widths)
        last = len(widths)
        taken = {last - 1} if stride == "stage4" else {last - 2} if stride == "stage3" else set()
        taken = {last - 1, last - 2} if stride == "both" else taken
        return SmallCNN(widths, tuple(i for i in range(1, last) if i not in taken))
    if name == "resnet50":
        return resnet50(weights, stride)
    if name == "se_resnet50":
        return se_resnet50(weights, stride)
    if name == "shufflenet_v2":
        return shufflenet_v2(weights, stride)
    return bn_inception(stride)


def freeze_batch_norm(module: nn.Module) -> None:
    """Put every BatchNorm2d inside into evaluation mode: its statistics stop, scale and shift still train.

    The paper's authors did not freeze them, the unofficial code did (note D3). `train()` undoes it, so call
    it after.
    """
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.SyncBatchNorm):
            part.eval()


def _check_stride(stride: str) -> None:
    if stride not in STRIDES:
        raise ValueError(f"stride {stride!r} is unknown; choose one of {', '.join(STRIDES)}")


def _remove_strides(stride: str, stage3: nn.Module, stage4: nn.Module) -> None:
    """Stride 1, without dilation, for every stride-2 convolution of the chosen stages, shortcuts included."""
    for name, stage in (("stage3", stage3), ("stage4", stage4)):
        if stride in (name, "both"):
            for part in stage.modules():
                if isinstance(part, nn.Conv2d) and part.stride == (2, 2):
                    part.stride = (1, 1)


def _cut(net: nn.Module, channels: int) -> Trunk:
    heads = ("avgpool", "global_pool", "fc", "last_linear")
    return Trunk({name: part for name, part in net.named_children() if name not in heads}, channels)


def _torchvision_url(net: str, weights: Any, name: str) -> str:
    if name not in weights.__members__:
        raise ValueError(
            f"{net}: weights {name!r} are unknown; choose one of {', '.join(weights.__members__)}"
        )
    return weights[name].url


def _load(net: nn.Module, url: str) -> None:
    """Load the ImageNet weights behind `url`, downloaded and checked once, kept in torch.hub's folder."""
    file = Path(torch.hub.get_dir()) / "checkpoints" / url.rsplit("/", 1)[1]
    try:
        state = torch.hub.load_state_dict_from_url(
            url, map_location="cpu", check_hash=True, weights_only=True
        )
    except Exception as error:  # no network, no space, a wrong hash, a damaged file: the cure is the same
        raise FileNotFoundError(
            f"ImageNet weights {url} cannot be loaded ({error}); fetch that file on a machine with "
            f"network and put it at {file}"
        ) from error
    net.load_state_dict(state)
