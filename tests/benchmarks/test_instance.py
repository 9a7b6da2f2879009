"""The topics of instance_discrimination: what they compare is the same work, by the paths that they name."""

import pytest
import torch

from benchmarks import instance


def contenders(topic):
    return {c.name: c for c in topic("tiny")[0].build()}


def test_inputs_are_the_same_every_time():
    for topic in (instance.knn, instance.nce):
        assert contenders(topic)["ours"].run() == contenders(topic)["ours"].run()


def test_every_scale_builds_titles_and_names_a_peer():
    for topic, peers in ((instance.knn, {"faiss IndexFlatIP", "lightly knn_predict"}), (instance.nce, set())):
        assert peers <= set(contenders(topic))
        for scale in ("small", "full"):
            titles = [case.title for case in topic(scale)]
            assert len(set(titles)) == len(titles) > 0
    assert "10000 queries, 50000 rows, D = 128, k = 200" in instance.knn("full")[0].title
    assert "N = 50000, m = 4096" in instance.nce("full")[0].title


@pytest.mark.parametrize("name", ["ours", "ours, product", "ours, rows", "gathered rows"])
def test_only_the_named_path_gathers_rows(monkeypatch, name):
    """(B, m, D) numbers are held exactly by the contenders that gather rows."""
    contender, shapes, einsum = contenders(instance.nce)[name], [], torch.einsum

    def watched(equation, *operands):
        shapes.append(tuple(operands[1].shape))
        return einsum(equation, *operands)

    monkeypatch.setattr(torch, "einsum", watched)
    contender.run()
    assert shapes == ([(128, 50, 128)] if "rows" in name else [])


def test_accuracy_is_worth_comparing():
    """Well inside 0 .. 1: a contender that finds other neighbours gives another value."""
    assert 0.3 < contenders(instance.knn)["ours"].run() < 0.98
