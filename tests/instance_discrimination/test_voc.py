"""Detection: VOC 2007's average precision by definition, and the command on a tiny set in its layout."""

import dataclasses
import math
from pathlib import Path

import pytest
import torch
from PIL import Image, ImageDraw

from common.data.catalogue import DataMissing
from instance_discrimination import evaluate, train, voc
from instance_discrimination.presets import PRESETS

BOX = [10.0, 10.0, 20.0, 20.0]


def naive(found, truth) -> float:
    """The 11 points one by one, greedy matching by loops."""

    def overlap(a, b):
        w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        inner = max(w, 0) * max(h, 0)
        sizes = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
        return inner / (sum(sizes) - inner)

    objects = sum(1 for _, difficult in truth for d in difficult.tolist() if not d)
    entries = sorted(
        ((float(s), p, b.tolist()) for p, (boxes, scores) in enumerate(found) for b, s in zip(boxes, scores)),
        key=lambda e: -e[0],
    )
    taken, points, right, seen = set(), [], 0, 0
    for _, picture, box in entries:
        gts = truth[picture][0].tolist()
        best = max(range(len(gts)), key=lambda j: overlap(box, gts[j]), default=None)
        good = best is not None and overlap(box, gts[best]) >= 0.5
        if good and bool(truth[picture][1][best]):
            continue
        seen += 1
        if good and (picture, best) not in taken:
            taken.add((picture, best))
            right += 1
        points.append((right / objects, right / seen))
    return sum(max((p for r, p in points if r >= t / 10), default=0.0) for t in range(11)) / 11


def test_average_precision_equals_the_definition():
    draw = torch.Generator().manual_seed(0)
    found, truth = [], []
    for _ in range(12):
        corner = torch.randint(0, 30, (3, 2), generator=draw).float()
        true = torch.cat([corner, corner + 12], 1)
        moved = true + torch.randint(-2, 3, (3, 4), generator=draw).float()
        found.append((torch.cat([moved, moved[:1]]), torch.rand(4, generator=draw)))  # one found twice
        truth.append((true, torch.rand(3, generator=draw) < 0.3))
    value = voc.average_precision(found, truth)
    assert 0.2 < value < 0.95
    assert value == pytest.approx(naive(found, truth), abs=1e-9)


def test_average_precision_by_hand():
    box, none = torch.tensor([BOX]), torch.zeros(0, 4)
    right, away = (box, torch.tensor([0.9])), (box + 100, torch.tensor([0.95]))
    one = [(box, torch.tensor([False]))]
    assert voc.average_precision([right], one) == 1.0
    assert voc.average_precision([(none, torch.zeros(0))], one) == 0.0
    both = (torch.cat([right[0], away[0]]), torch.cat([right[1], away[1]]))
    assert voc.average_precision([both], one) == 0.5, "a wrong box before the right one"
    assert math.isnan(voc.average_precision([right], [(box, torch.tensor([True]))])), (
        "difficult ones are no objects"
    )
    twice = (torch.cat([box, box]), torch.tensor([0.9, 0.8]))
    two = [(torch.cat([box, box + 50]), torch.tensor([False, False]))]
    assert voc.average_precision([twice], two) == pytest.approx(6 / 11), "recall stays at one half"


def layout(root: Path) -> None:
    """VOCdevkit/VOC2007 with two pictures per part: a car each, one of them marked difficult beside."""
    top = root / "VOCdevkit" / "VOC2007"
    for folder in ("Annotations", "ImageSets/Main", "JPEGImages"):
        (top / folder).mkdir(parents=True)
    (root / "VOCdevkit" / "EMBEDDED.txt").write_text("drawings\n")
    for part, names in (("trainval", ("000001", "000002")), ("test", ("000003", "000004"))):
        (top / "ImageSets/Main" / f"{part}.txt").write_text("\n".join(names) + "\n")
        for name in names:
            image = Image.new("RGB", (96, 64), (40, 90, 40))
            ImageDraw.Draw(image).rectangle([20, 15, 59, 44], fill=(200, 30, 30))
            image.save(top / "JPEGImages" / f"{name}.jpg")
            thing = (
                "<object><name>{}</name><difficult>{}</difficult><bndbox><xmin>{}</xmin><ymin>16</ymin>"
                "<xmax>{}</xmax><ymax>45</ymax></bndbox></object>"
            )
            body = thing.format("car", 0, 21, 60) + thing.format("dog", 1, 70, 90)
            (top / "Annotations" / f"{name}.xml").write_text(
                f"<annotation><filename>{name}.jpg</filename>{body}</annotation>"
            )


def test_boxes_count_from_zero_and_difficult_ones_are_marked(tmp_path, monkeypatch):
    layout(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    box, label, difficult = voc.boxes(voc.pictures("trainval")[0][1])
    assert box.tolist() == [[20, 15, 60, 45], [69, 15, 90, 45]]
    assert [voc.CLASSES[i - 1] for i in label.tolist()] == ["car", "dog"]
    assert difficult.tolist() == [False, True]


def test_detection_end_to_end(tmp_path, monkeypatch, capsys):
    layout(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setattr(voc, "measure", lambda *a, whole=voc.measure: whole(*a, epochs=1, sides=(64, 96)))
    cfg = dataclasses.replace(PRESETS["imagenet-resnet18"][1], dim=8)
    model = train.build(cfg)
    monkeypatch.setattr(
        evaluate,
        "finished_run",
        lambda preset, cfg, device: evaluate.Trained(model, None, cfg, {}, Path("none")),
    )
    evaluate.main(["voc07", "imagenet-resnet18", "--data", "voc07", "--dim", "8"])
    told = capsys.readouterr().out
    assert [line.split()[0] for line in told.splitlines()] == ["map", "ap_car"], (
        "no dog: only a difficult one"
    )


@pytest.mark.parametrize("backbone", ["resnet18", "alexnet"])
def test_frozen_layers_and_batch_norm_stay_frozen(backbone):
    cfg = dataclasses.replace(PRESETS["imagenet-resnet18"][1], backbone=backbone, dim=8)
    detector = voc.build(train.build(cfg), cfg, (64, 96)).train()
    voc.freeze_batch_norm(detector)
    trained = {name.split(".")[0] for name, p in detector.backbone.named_parameters() if p.requires_grad}
    assert trained == ({"conv4"} if backbone == "resnet18" else {"conv2", "conv3", "conv4", "conv5"})
    norms = [m for m in detector.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert not any(m.training or m.weight.requires_grad for m in norms)
    images = [torch.rand(3, 64, 96)]
    objects = [{"boxes": torch.tensor([BOX]), "labels": torch.tensor([7])}]
    sum(detector(images, objects).values()).backward()
    assert all(torch.isfinite(p.grad).all() for p in detector.parameters() if p.grad is not None)


def test_missing_pictures_and_networks_without_five_stages_are_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("DATA_ROOT", str(tmp_path))
    with pytest.raises(DataMissing, match="VOCtrainval_06-Nov-2007"):
        voc.pictures("trainval")
    cfg = PRESETS["smoke"][1]
    with pytest.raises(ValueError, match="conv1 to conv5"):
        voc.build(train.build(cfg), cfg, (64, 96))
