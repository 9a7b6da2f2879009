"""knn_predict against its definition in loops, and its rule for equal votes."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from common.metrics import knn_predict, neighbours


def naive(train, labels, query, k, temperature, classes) -> torch.Tensor:
    out = []
    for q in query.double():
        s = sorted(((float(q @ t), int(c)) for t, c in zip(train.double(), labels)), reverse=True)[:k]
        votes = [math.fsum(math.exp(v / temperature) for v, c in s if c == want) for want in range(classes)]
        out.append(max(range(classes), key=lambda c: (votes[c], -c)))
    return torch.tensor(out)


@pytest.fixture(params=[(s, t) for s in range(3) for t in (torch.float32, torch.float64)], ids=str)
def data(request):
    g = torch.Generator().manual_seed(request.param[0])
    rows = normalize(torch.randn(140, 8, generator=g, dtype=request.param[1]), dim=1)
    return rows[:100], torch.randint(7, (100,), generator=g), rows[100:]


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (5, 0.07), (20, 0.5), (100, 1.0)])
@pytest.mark.parametrize("chunk", [1, 13, None])
def test_is_its_definition(data, k, temperature, chunk):
    train, labels, query = data
    got = knn_predict(train, labels, query, k, temperature, 9, chunk=chunk)
    assert got.dtype == torch.int64
    assert torch.equal(got, naive(train, labels, query, k, temperature, 9))


@pytest.mark.parametrize(("k", "rows"), [(1, 9), (5, 33), (20, 50), (60, 50), (100, 7)])
def test_blocks_of_rows_do_not_matter(data, monkeypatch, k, rows):
    """The k nearest are merged over blocks of training rows, also blocks of fewer than k."""
    train, labels, query = data
    monkeypatch.setattr(neighbours, "ROWS_BLOCK", rows)
    monkeypatch.setattr(neighbours, "VOTE_BLOCK", 11)
    expected = naive(train, labels, query, k, 0.2, 7)
    assert torch.equal(knn_predict(train, labels, query, k, 0.2, 7, chunk=4), expected)


@pytest.mark.parametrize("k", [1, 3, 40])
@pytest.mark.parametrize("n", [40, 639, 640, 641, 5003])
@pytest.mark.parametrize("ties", [False, True])
def test_the_largest_are_found_by_groups(k, n, ties):
    """Several levels of groups of 8, columns in no group, and equal values: the same values as a sort."""
    g = torch.Generator().manual_seed(n + k)
    s = torch.randint(9, (20, n), generator=g).double() if ties else torch.randn(20, n, generator=g)
    for rows in (s, s.sort(1).values, s.sort(1, descending=True).values):
        values, columns = neighbours._largest(rows, k)
        assert torch.equal(
            values.sort(1, descending=True).values, rows.sort(1, descending=True).values[:, :k]
        )
        assert torch.equal(rows.gather(1, columns), values)
        assert (columns.sort(1).values.diff(dim=1) > 0).all()


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (20, 0.5), (100, 1.0)])
def test_the_engine_does_not_matter(data, k, temperature):
    """faiss finds the same neighbours, and its own settings are as before afterwards."""
    faiss = pytest.importorskip("faiss")
    train, labels, query = data
    if train.dtype == torch.float64:
        with pytest.raises(ValueError, match=r"searches float32 rows on the CPU, these are torch\.float64"):
            knn_predict(train, labels, query, k, temperature, 9, engine="faiss")
        return
    cvar = faiss.cvar
    before = cvar.distance_compute_blas_query_bs, cvar.distance_compute_blas_database_bs
    got = knn_predict(train, labels, query, k, temperature, 9, engine="faiss")
    assert torch.equal(got, naive(train, labels, query, k, temperature, 9))
    assert before == (cvar.distance_compute_blas_query_bs, cvar.distance_compute_blas_database_bs)


def test_an_engine_that_is_not_there_is_named(data, monkeypatch):
    train, labels, query = (x.float() if x.is_floating_point() else x for x in data)
    monkeypatch.setattr(neighbours.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install faiss-cpu, or use 'torch'"):
        knn_predict(train, labels, query, 3, 0.1, 7, engine="faiss")
    with pytest.raises(ValueError, match="engine is 'flat'; choose 'torch' or 'faiss'"):
        knn_predict(train, labels, query, 3, 0.1, 7, engine="flat")


def test_the_reference_has_teeth(data):
    """Unweighted votes, and a weight of s instead of exp(s / temperature), are told apart."""
    train, labels, query = data
    expected = naive(train, labels, query, 20, 0.05, 7)
    s, near = (query @ train.T).topk(20, 1)
    for weight in (torch.ones_like(s), s, (s / 0.5).exp()):
        votes = torch.zeros(len(query), 7, dtype=s.dtype).scatter_add_(1, labels[near], weight)
        assert not torch.equal(votes.argmax(1), expected)
    assert torch.equal(knn_predict(train, labels, query, 20, 0.05, 7), expected)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_votes_go_to_the_smallest_class(dtype):
    """Every class holds a copy of every row, so all votes are equal; the order of rows must not matter."""
    g = torch.Generator().manual_seed(0)
    rows = normalize(torch.randn(33, 300, generator=g, dtype=dtype), dim=1)
    train, labels = rows.repeat(5, 1), torch.tensor([4, 2, 6, 3, 5]).repeat_interleave(33)
    p = torch.randperm(len(train), generator=g)
    query = normalize(torch.randn(50, 300, generator=g, dtype=dtype), dim=1)
    assert torch.equal(knn_predict(train[p], labels[p], query, 165, 0.07, 8), torch.full((50,), 2))
    assert torch.equal(knn_predict(train[p], labels[p], rows, 5, 0.07, 8), torch.full((33,), 2))


def test_a_small_temperature_neither_overflows_nor_loses_the_nearest(data):
    train, labels, query = data
    nearest = labels[(query @ train.T).argmax(1)]
    assert torch.equal(knn_predict(train, labels, query, 100, 1e-4, 7), nearest)


def test_bad_input_is_named(data):
    train, labels, query = data
    good = {"train": train, "train_labels": labels, "query": query, "k": 5, "temperature": 0.07, "classes": 7}
    off = train.clone()
    off[3] *= 1.01
    for error, text, change in (
        (ValueError, "row 3 of train has norm 1.01", {"train": off}),
        (ValueError, r"row \d+ of query has norm 2", {"query": query * 2}),
        (ValueError, "k = 101 but train has 100 rows", {"k": 101}),
        (ValueError, "k is 0", {"k": 0}),
        (ValueError, "train_labels holds 6, outside 0 .. 5", {"classes": 6}),
        (ValueError, "train_labels holds -1", {"train_labels": labels - 1}),
        (ValueError, "temperature is 0", {"temperature": 0.0}),
        (ValueError, "temperature is nan", {"temperature": math.nan}),
        (TypeError, "temperature is '0.07'", {"temperature": "0.07"}),
        (TypeError, "k is True", {"k": True}),
        (TypeError, "query is torch.bfloat16", {"query": query.bfloat16()}),
        (ValueError, "train_labels has 99 labels", {"train_labels": labels[1:]}),
    ):
        with pytest.raises(error, match=text):
            knn_predict(**{**good, **change})
    assert len(knn_predict(train * 1.0005, labels, query, 5, 1, 7)) == 40  # rounding of a norm is no error
