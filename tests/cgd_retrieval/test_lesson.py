"""What the lesson prints is what it is for: where each descriptor fails, and that together they do not."""

import re

import torch

from cgd_retrieval import lesson
from cgd_retrieval.descriptors import mac, spoc


def test_two_strong_things_weigh_as_much_as_four_weak_ones():
    x, y = lesson.maps(400, seed=3)
    mean = torch.stack([spoc(x)[y == label, 0].mean() for label in range(4)])
    top = torch.stack([mac(x)[y == label, 0].mean() for label in range(4)])
    torch.testing.assert_close(mean[1], mean[2], rtol=0.1, atol=0)
    torch.testing.assert_close(top[0], top[2], rtol=0.1, atol=0)
    assert mean[3] > 1.5 * mean[1]
    assert top[1] > 1.5 * top[2]


def test_pairs_separate_what_single_descriptors_confuse(tmp_path, capsys):
    lesson.main(["--out", str(tmp_path / "lesson.png")])
    said = capsys.readouterr().out
    found = {
        letters: [int(x) for x in clean.split(", ")]
        for letters, clean in re.findall(r"embedding ([SMG]+) +([\d, ]+?), spiked", said)
    }
    assert list(found) == ["S", "M", "G", "SM", "SG", "MG", "SMG"]
    assert max(found["S"]) < 90
    assert max(found["M"]) < 70
    assert min(found["G"]) > 90  # GeM alone nearly does
    for pair in ("SM", "SG", "MG", "SMG"):
        assert min(found[pair]) >= max(found["G"])
    spiked = {
        letters: [int(x) for x in stray.split(", ")]
        for letters, stray in re.findall(r"embedding ([SMG]+) .* spiked ([\d, ]+) ", said)
    }
    assert sum(spiked["S"]) >= sum(found["S"])
    for letters in ("M", "G", "SM"):
        assert sum(spiked[letters]) < sum(found[letters])
    assert (tmp_path / "lesson.png").stat().st_size > 10_000
