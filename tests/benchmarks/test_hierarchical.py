"""The topic of hierarchical_multilabel: what it compares is the same work, by the paths that it names."""

import pytest
import torch

from benchmarks import hierarchical

CASES = hierarchical.levels("tiny")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_inputs_are_the_same_every_time(case):
    one, two = case.build()[0], case.build()[0]
    assert one.run() == two.run()


def test_every_scale_builds_titles_and_the_size_that_is_promised_is_there():
    for scale in ("small", "full"):
        titles = [case.title for case in hierarchical.levels(scale)]
        assert len(set(titles)) == len(titles) > 0
    assert any("B = 512, V = 2, L = 4" in case.title for case in hierarchical.levels("full"))
    assert "pytorch-metric-learning, each level" in {c.name for c in CASES[0].build()}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("case", "name", "passes"),
    [(0, "ours", 1), (0, "a pass for each level", 4), (1, "ours", 1), (1, "a pass for each level", 4)],
)
def test_ours_takes_one_softmax_for_all_levels(monkeypatch, case, name, passes):
    (contender,) = [c for c in CASES[case].build() if c.name == name]
    log_softmax, shapes = torch.Tensor.log_softmax, []

    def watched(x, dim):
        shapes.append(tuple(x.shape))
        return log_softmax(x, dim)

    monkeypatch.setattr(torch.Tensor, "log_softmax", watched)
    contender.run()
    assert shapes == [(48, 48)] * passes


def test_the_tree_has_four_levels_with_company():
    _, labels = hierarchical._inputs(512)
    assert labels.shape == (512, 5)
    for l in range(1, 5):
        _, counts = labels[:, : 5 - l].unique(dim=0, return_counts=True)
        assert (counts > 1).any()
