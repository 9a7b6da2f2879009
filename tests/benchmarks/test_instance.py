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


@pytest.mark.parametrize(
    ("name", "gathered"),
    [
        ("ours", []),
        ("ours, product", []),
        ("ours, rows", [(128, 51, 128)]),  # the image itself among them
        ("gathered rows", [(128, 50, 128)]),
    ],
)
def test_only_the_named_path_gathers_rows(monkeypatch, name, gathered):
    """Rows of the bank, (B, m, D), enter the scores exactly where the contender says so."""
    contender, shapes, einsum, bmm = contenders(instance.nce)[name], [], torch.einsum, torch.bmm

    def watched_einsum(equation, v, rows):
        shapes.append(tuple(rows.shape))
        return einsum(equation, v, rows)

    def watched_bmm(rows, v):
        shapes.append(tuple(rows.shape))
        return bmm(rows, v)

    monkeypatch.setattr(torch, "einsum", watched_einsum)
    monkeypatch.setattr(torch, "bmm", watched_bmm)
    contender.run()
    assert shapes == gathered


def test_accuracy_is_worth_comparing():
    """Well inside 0 .. 1: a contender that finds other neighbours gives another value."""
    assert 0.3 < contenders(instance.knn)["ours"].run() < 0.98
