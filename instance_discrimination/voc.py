"""Detection on PASCAL VOC 2007 with a pre-trained encoder, Table 6 of Wu et al., CVPR 2018
(arXiv:1805.01978).

torchvision's Faster R-CNN around our stages. ResNets: maps of conv4, and conv5 as the head of each region;
the layers under the third residual group are frozen, and so is all batch norm, as in the paper. AlexNet and
VGG-16: maps of conv5, fully connected layers as the head, conv1 frozen; the paper has Fast R-CNN with
selective search there, which is no longer built (note O5). Trained on trainval, measured on test by the
11-point mean average precision of VOC 2007 at overlap 0.5; objects marked difficult count neither way.
Pictures: data root/VOCdevkit/VOC2007, as published.

Cost: about 3 hours on one current data-centre GPU by estimate; nothing of it has been run on the published
pictures.
"""

from __future__ import annotations

import copy
import math
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign, box_iou
from torchvision.transforms.functional import hflip, pil_to_tensor

from common.data import counter
from common.data.catalogue import DataMissing, data_root
from common.data.samplers import ShuffleSampler
from common.results import Figure
from instance_discrimination.model import Encoder
from instance_discrimination.presets import Config

CLASSES = (
    "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable",
    "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor",
)  # fmt: skip
EPOCHS, BATCH, LR, WEIGHT_DECAY = 16, 2, 0.001, 5e-4
"""About 40,000 steps; learning rate of the paper, a tenth of it for the last quarter [ours]."""
OVERLAP = 0.5
REGION = {"resnet18": 14, "resnet50": 14, "alexnet": 6, "vgg16": 7}
"""Side of the map that is cut out for a region: what the layers after it have as input."""
_FLIP = 74  # purpose of a generator; never renumber


def measure(
    model: Encoder,
    cfg: Config,
    device: torch.device,
    *,
    epochs: int = EPOCHS,
    sides: tuple[int, int] = (600, 1000),
) -> tuple[dict[str, Figure], str]:
    """Table 6: ({"map": Figure, "ap_CLASS": ...}, name of the data set), trained on trainval."""
    train, test = pictures("trainval"), pictures("test")
    detector = build(copy.deepcopy(model).cpu(), cfg, sides).to(device)
    chosen = [p for p in detector.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(chosen, lr=LR, momentum=0.9, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [max(1, round(epochs * 3 / 4))])
    sampler = ShuffleSampler(len(train), BATCH, seed=cfg.seed)
    for epoch in range(epochs):
        detector.train()
        freeze_batch_norm(detector)
        for images, objects in batches(train, sampler, cfg.seed, epoch, device):
            loss = torch.stack(list(detector(images, objects).values())).sum()
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
        schedule.step()
    precisions = average_precisions(detector.eval(), test, device)
    figures = {f"ap_{name}": Figure(value) for name, value in precisions.items()}
    name = "voc07" + "-embedded" * (data_root() / "VOCdevkit" / "EMBEDDED.txt").exists()
    return {"map": Figure(sum(precisions.values()) / len(precisions)), **figures}, name


def pictures(part: str) -> torchvision.datasets.VOCDetection:
    """'trainval' or 'test' below data root/VOCdevkit/VOC2007."""
    root = data_root()
    try:
        return torchvision.datasets.VOCDetection(str(root), year="2007", image_set=part)
    except (RuntimeError, FileNotFoundError) as error:
        raise DataMissing(
            f"voc07: {root}/VOCdevkit/VOC2007 does not hold the {part} pictures ({error}); unpack "
            "VOCtrainval_06-Nov-2007.tar and VOCtest_06-Nov-2007.tar of host.robots.ox.ac.uk there, or set "
            "DATA_ROOT"
        ) from error


def build(model: Encoder, cfg: Config, sides: tuple[int, int]) -> FasterRCNN:
    """Faster R-CNN for 20 classes and background around the encoder's own layers."""
    stages = dict(model.stages)
    if "res1" in stages or "conv5" not in stages:
        raise ValueError(
            f"--backbone {cfg.backbone}: detection needs conv1 to conv5, as resnet18 and resnet50 have"
        )
    resnet = cfg.backbone.startswith("resnet")
    for name in ("conv1", "conv2", "conv3") if resnet else ("conv1",):
        stages[name].requires_grad_(False)
    if resnet:
        head = nn.Sequential(stages.pop("conv5"), model.neck)
    else:
        _, pool, *hidden = model.neck.children()  # the pooling after conv5 is left to the regions
        head = nn.Sequential(pool, *hidden)
    body = nn.Sequential(OrderedDict(stages))
    with torch.no_grad():
        channels = body.eval()(torch.zeros(1, 3, 64, 64)).shape[1]
    body.out_channels = channels  # type: ignore[assignment]
    return FasterRCNN(
        body,
        min_size=sides[0],
        max_size=sides[1],
        image_mean=list(cfg.mean),
        image_std=list(cfg.std),
        rpn_anchor_generator=AnchorGenerator(((64, 128, 256, 512),), ((0.5, 1.0, 2.0),)),
        box_roi_pool=MultiScaleRoIAlign(["0"], output_size=REGION[cfg.backbone], sampling_ratio=2),
        box_head=head,
        box_predictor=FastRCNNPredictor(model.fc.in_features, len(CLASSES) + 1),
    )


def freeze_batch_norm(detector: nn.Module) -> None:
    """Running statistics and scales stay those of the encoder."""
    for module in detector.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
            module.requires_grad_(False)


def batches(
    dataset: torchvision.datasets.VOCDetection,
    sampler: ShuffleSampler,
    seed: int,
    epoch: int,
    device: torch.device,
) -> Iterator[tuple[list[Tensor], list[dict[str, Tensor]]]]:
    """(pictures, objects) of one epoch, half of them flipped; objects marked difficult are left out."""
    sampler.set_epoch(epoch)
    for rows in sampler:
        images, objects = [], []
        flips = counter.uniform(seed, epoch, torch.tensor(rows), _FLIP, 1)[:, 0] < 0.5
        for row, flip in zip(rows, flips.tolist()):
            image, annotation = dataset[row]
            pixels = pil_to_tensor(image).float() / 255
            box, label, difficult = boxes(annotation)
            box, label = box[~difficult], label[~difficult]
            if flip:
                pixels = hflip(pixels)
                box[:, [0, 2]] = pixels.shape[2] - box[:, [2, 0]]
            images.append(pixels.to(device))
            objects.append({"boxes": box.to(device), "labels": label.to(device)})
        yield images, objects


def boxes(annotation: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """(corners (n, 4) from 0 on, class 1 .. 20 (n,), difficult (n,) bool) of one annotation."""
    rows, labels, difficult = [], [], []
    for thing in annotation["annotation"]["object"]:
        corner = thing["bndbox"]
        rows.append([float(corner[name]) - 1 for name in ("xmin", "ymin", "xmax", "ymax")])
        labels.append(CLASSES.index(thing["name"]) + 1)
        difficult.append(thing.get("difficult") == "1")
    return (
        torch.tensor(rows).reshape(-1, 4) + torch.tensor([0.0, 0.0, 1.0, 1.0]),
        torch.tensor(labels, dtype=torch.int64),
        torch.tensor(difficult, dtype=torch.bool),
    )


@torch.no_grad()
def average_precisions(
    detector: FasterRCNN, dataset: torchvision.datasets.VOCDetection, device: torch.device
) -> dict[str, float]:
    """Class -> average precision, of the classes that occur."""
    found: list[tuple[Tensor, Tensor, Tensor]] = []
    truth: list[tuple[Tensor, Tensor, Tensor]] = []
    for row in range(len(dataset)):
        image, annotation = dataset[row]
        out = detector([(pil_to_tensor(image).float() / 255).to(device)])[0]
        found.append((out["boxes"].cpu(), out["labels"].cpu(), out["scores"].cpu()))
        truth.append(boxes(annotation))
    out = {}
    for number, name in enumerate(CLASSES, start=1):
        value = average_precision(
            [(b[y == number], s[y == number]) for b, y, s in found],
            [(b[y == number], d[y == number]) for b, y, d in truth],
        )
        if not math.isnan(value):
            out[name] = value
    return out


def average_precision(found: list[tuple[Tensor, Tensor]], truth: list[tuple[Tensor, Tensor]]) -> float:
    """The 11-point average precision of VOC 2007 for one class; NaN when it does not occur.

    found: per picture (boxes (p, 4), scores (p,)). truth: per picture (boxes (q, 4), difficult (q,) bool).
    By falling score, a box is right if its best overlap is at least 0.5 and that object is not taken yet,
    ignored if that object is difficult, else wrong. Mean over recalls 0, 0.1, ..., 1 of the highest
    precision at that recall or more.
    """
    objects = sum(int((~difficult).sum()) for _, difficult in truth)
    if not objects:
        return math.nan
    order = sorted(
        (
            (float(score), picture, row)
            for picture, (_, scores) in enumerate(found)
            for row, score in enumerate(scores)
        ),
        key=lambda entry: -entry[0],
    )
    taken = [torch.zeros(len(difficult), dtype=torch.bool) for _, difficult in truth]
    hits: list[int] = []
    for _, picture, row in order:
        true, difficult = truth[picture]
        best, overlap = -1, -1.0
        if len(true):
            overlaps = box_iou(found[picture][0][row : row + 1], true)[0]
            best, overlap = int(overlaps.argmax()), float(overlaps.max())
        if overlap >= OVERLAP and difficult[best]:
            continue
        right = overlap >= OVERLAP and not taken[picture][best]
        if right:
            taken[picture][best] = True
        hits.append(int(right))
    right = np.cumsum(hits)
    recall, precision = right / objects, right / np.arange(1, len(hits) + 1)
    return float(np.mean([precision[recall >= at].max(initial=0.0) for at in np.arange(11) / 10]))
