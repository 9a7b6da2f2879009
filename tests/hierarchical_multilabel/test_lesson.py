"""What the lesson prints is what it is for: the order of the tree under flat and hierarchical losses."""

import re

import torch

from hierarchical_multilabel import lesson


def test_violations_of_a_perfect_and_of_a_reversed_tree():
    family, kind, picture = lesson.LABELS.T
    angle = family * 3.0 + (kind - 3 * family) * 0.4 + picture % 8 * 0.001  # kinds of a family are near
    z = torch.stack([angle.cos(), angle.sin()], 1)[:, None]
    assert lesson.violations(z) == (0, 0)
    angle = picture % 8 * 0.7 + kind * 0.001  # the number inside the kind decides: the tree says nothing
    fine, coarse = lesson.violations(torch.stack([angle.cos(), angle.sin()], 1)[:, None])
    assert fine > 0.3
    assert coarse > 0.3


def test_flat_losses_get_one_order_right_and_hierarchical_ones_both(tmp_path, capsys):
    lesson.main(["--out", str(tmp_path / "lesson.png")])
    said = capsys.readouterr().out
    found = {
        name.strip(): (float(fine), float(coarse))
        for name, fine, coarse in re.findall(r"^  (\w[\w ,]+?) +([\d.]+) % +([\d.]+) %$", said, re.MULTILINE)
    }
    assert list(found) == list(lesson.LOSSES)
    assert found["SupCon of kinds"][0] < 1
    assert found["SupCon of kinds"][1] > 25
    assert found["SupCon of families"][0] > 25
    assert found["SupCon of families"][1] < 1
    for name in ("HiMulCon", "HiMulConE"):
        assert max(found[name]) < 1
    assert found["HiMulConE, released"][1] > 25  # as SupCon of kinds: note D1
    assert (tmp_path / "lesson.png").stat().st_size > 10_000
