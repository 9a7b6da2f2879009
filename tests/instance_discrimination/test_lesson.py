"""What the lesson prints is what it is for: neighbours by augmentation, and NCE beside the softmax."""

import re

import torch

from instance_discrimination import lesson


def test_augmentation_keeps_the_direction_and_changes_the_length():
    x, _ = lesson.pictures(0)
    x = x[x.norm(dim=1) > 1]
    other = lesson.augment(x, torch.Generator().manual_seed(0))
    assert torch.cosine_similarity(x, other).min() > 0.9
    ratio = other.norm(dim=1) / x.norm(dim=1)
    assert ratio.min() < 0.5
    assert ratio.max() > 2


def test_what_the_augmentation_changes_is_lost():
    (x, _), (queries, _) = lesson.pictures(0), lesson.pictures(1)
    y, wanted = ((points.norm(dim=1) > 1.5).long() for points in (x, queries))
    net, _, _ = lesson.train(x, 0, 0.1)
    with torch.no_grad():
        assert lesson.vote(net(x), y, net(queries), wanted) < 0.6
    assert lesson.vote_in_the_plane(x, y, queries, wanted) > 0.9


def test_the_circle_beats_the_plane_and_more_noise_agrees_better(tmp_path, capsys):
    lesson.main(["--out", str(tmp_path / "lesson.png")])
    said = capsys.readouterr().out
    (plane,) = (int(x) for x in re.findall(r"in the plane: (\d+) %", said))
    circle = [int(x) for x in re.findall(r"(\d+) % on the circle", said)]
    assert len(circle) == 5
    assert min(circle) > plane
    inside = [float(x) for x in re.findall(r"inside a class ([\d.]+)", said)]
    assert inside[0] < inside[1]  # a lower temperature spreads the points
    constant, own = (
        [float(x) for x in re.findall(r"(-?[\d.]+) at m", line)]
        for line in said.splitlines()
        if "at m" in line
    )
    assert constant == sorted(constant)
    assert own == sorted(own)
    assert own[-1] > 0.9  # what is left at m = 10,000 with one constant is that constant
    assert constant[-1] < own[-1]
    assert (tmp_path / "lesson.png").stat().st_size > 10_000
