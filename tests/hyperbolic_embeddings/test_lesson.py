"""What the lesson prints is what it is for: the tree, and certainty in both spaces."""

import re

import torch

from common.metrics import gromov_delta
from hyperbolic_embeddings import lesson


def test_the_tree_is_one():
    tree = lesson.tree_distances(3)
    assert torch.equal(tree[0], torch.tensor([0, 1, 1, 2, 2, 2, 2], dtype=torch.float64))
    assert tree[3, 4] == 2  # sisters
    assert tree[3, 6] == 4  # across the root
    assert gromov_delta(distances=tree)[0] == 0


def test_a_perfect_placement_has_no_distortion():
    tree = lesson.tree_distances(3)
    assert lesson.distortion(tree, tree) == (0, 1)
    mean, worst = lesson.distortion(tree * torch.tensor(1.5), tree)
    assert mean == 0.5
    assert worst == 1


def test_the_disk_holds_the_tree_better_and_the_centre_tells_doubt_in_both(tmp_path, capsys):
    lesson.main(["--out", str(tmp_path / "lesson.png")])
    said = capsys.readouterr().out
    off = dict(re.findall(r"in the (\w+): distances off by (\d+) %", said))
    delta = dict(re.findall(r"in the (\w+): .* delta_rel ([\d.]+)", said))
    assert int(off["disk"]) < int(off["plane"]) / 3
    assert float(delta["disk"]) < float(delta["plane"]) / 3
    means = {}
    scores = r"(\w+): AUROC of (?:\|z\||d\(0, z\)) ([\d., ]+); of p_max ([\d., ]+);"
    for space, centre, p_max in re.findall(scores, said):
        told, better = ([float(x) for x in text.split(", ")] for text in (centre, p_max))
        means[space] = sum(told) / len(told)
        assert min(told) > 0.6, space  # the Euclidean norm carries certainty, too
        assert all(a < b for a, b in zip(told, better)), space  # and the softmax carries more
    assert means["disk"] > means["plane"]
    assert (tmp_path / "lesson.png").stat().st_size > 10_000
