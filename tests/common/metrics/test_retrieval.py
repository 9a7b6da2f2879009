"""recall_at_k, map_at_r, r_precision, reid_scores: definitions in loops, laws, an oracle, worked examples."""

import math

import pytest
import torch
from torch.nn.functional import normalize
from torch.utils._python_dispatch import TorchDispatchMode

from common.metrics import counting, map_at_r, r_precision, recall_at_k, reid_scores, retrieval

KS = (1, 2, 4, 8)


def neighbours(x, y, gallery=None, gallery_labels=None, keep_self=False):
    """Per query: is the 1st, 2nd, ... neighbour of its class; exact distances, ties against the query."""
    own = gallery is None
    g, z = (x, y) if gallery is None or gallery_labels is None else (gallery, gallery_labels)
    for i in range(len(x)):
        row = []
        for j in range(len(g)):
            if own and i == j and not keep_self:
                continue
            d = math.fsum((a - b) ** 2 for a, b in zip(x[i].tolist(), g[j].tolist()))  # exact to the last bit
            row.append((d, bool(y[i] == z[j])))
        yield [same for _, same in sorted(row)]


def naive_recall(x, y, ks, *gallery, **kw):
    rows = list(neighbours(x, y, *gallery, **kw))
    return {k: sum(any(row[:k]) for row in rows) / len(rows) for k in ks}


def naive_map_and_r_precision(x, y, *gallery):
    total = at_r = 0.0
    rows = list(neighbours(x, y, *gallery))
    for row in rows:
        if r := sum(row):
            total += sum(sum(row[: i + 1]) / (i + 1) for i in range(r) if row[i]) / r
            at_r += sum(row[:r]) / r
    return total / len(rows), at_r / len(rows)


def unit(g, *shape, dtype=torch.float64):
    return normalize(torch.randn(*shape, generator=g, dtype=dtype), dim=-1)


@pytest.fixture(params=[(s, t) for s in range(4) for t in (torch.float32, torch.float64)], ids=str)
def data(request):
    seed, dtype = request.param
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(40, 6, generator=g, dtype=dtype) * (1 + torch.rand(40, 1, generator=g, dtype=dtype))
    y = torch.randint(12, (40,), generator=g)
    y[y == y[0]], y[0] = 20, 21  # at least one lone query
    return x, y


@pytest.fixture
def lattice():
    """Whole-number rows: equal distances everywhere, between rows that differ and rows that do not."""
    g = torch.Generator().manual_seed(5)
    return torch.randint(-1, 2, (50, 3), generator=g).float(), torch.randint(6, (50,), generator=g)


@pytest.mark.parametrize("chunk", [1, 7, 40, 1000, None])
def test_recall_is_its_definition(data, chunk):
    x, y = data
    assert recall_at_k(x, y, KS, chunk=chunk) == naive_recall(x, y, KS)
    assert recall_at_k(x[:15], y[:15], KS, x[15:], y[15:], chunk=chunk) == naive_recall(
        x[:15], y[:15], KS, x[15:], y[15:]
    )


@pytest.mark.parametrize("chunk", [1, 7, None])
def test_map_and_r_precision_are_their_definitions(data, chunk):
    x, y = data
    got = map_at_r(x, y, chunk=chunk), r_precision(x, y, chunk=chunk)
    assert got == pytest.approx(naive_map_and_r_precision(x, y), rel=1e-12)
    pair = x[:15], y[:15], x[15:], y[15:]
    got = map_at_r(*pair, chunk=chunk), r_precision(*pair, chunk=chunk)
    assert got == pytest.approx(naive_map_and_r_precision(*pair), rel=1e-12)


@pytest.mark.parametrize("chunk", [3, None])
@pytest.mark.parametrize("scale", [1.0, 0.1, 1e-25, 1e25])
def test_equal_distances_count_against_the_query(lattice, scale, chunk):
    x, y = lattice
    small = x * scale  # 0.1 is no binary fraction; the extremes leave float32 when squared
    assert recall_at_k(small, y, (1, 2, 5, 20), chunk=chunk) == naive_recall(x, y, (1, 2, 5, 20))
    assert (map_at_r(small, y), r_precision(small, y)) == pytest.approx(naive_map_and_r_precision(x, y))
    assert naive_recall(x, y, (5,))[5] < 0.9  # the ties decide something


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [1, 3, 130, 512])
def test_a_collapsed_network_scores_zero(dtype, d):
    g = torch.Generator().manual_seed(d)
    x, y = unit(g, 1, d, dtype=dtype).repeat(300, 1), torch.arange(300) % 7
    assert recall_at_k(x, y, (1, 100), chunk=37) == {1: 0.0, 100: 0.0}
    assert map_at_r(x, y) == r_precision(x, y) == 0.0
    assert recall_at_k(x, y, (1,), x[:9], y[:9]) == {1: 0.0}


@pytest.mark.parametrize("chunk", [5, 64, None])
def test_copies_of_a_row_tie_wherever_they_stand(chunk):
    """Each row has one copy in its own class and one in another: nearest at distance 0, but never alone."""
    g = torch.Generator().manual_seed(0)
    x = unit(g, 60, 128, dtype=torch.float32).repeat(3, 1)
    y = torch.cat([torch.arange(60), torch.arange(60), (torch.arange(60) + 7) % 60])
    expected = {1: 0.0, 2: 120 / 180}  # in third place of y, no copy is of the row's class
    assert recall_at_k(x, y, (1, 2), chunk=chunk) == expected


CLOSE = torch.tensor([[0.0, 0], [1, 0], [1 + 2**-23, 0], [2**13, 3]]), torch.tensor([0, 0, 1, 2])


def test_close_distances_are_told_apart_in_float32():
    """Distances that differ by less than float32 products resolve are decided in float64."""
    x, y = CLOSE
    assert recall_at_k(x, y, (1,))[1] == 1 / 4  # row 0 finds row 1, nearer by one unit in 2^23
    assert recall_at_k(x, y[[0, 2, 1, 3]], (1,))[1] == 0.0


def test_one_far_row_spoils_nothing(data):
    x, y = data
    far = torch.full((1, 6), 1e5, dtype=x.dtype)
    x, y = torch.cat([x, far]), torch.cat([y, torch.tensor([99])])
    assert recall_at_k(x, y, KS) == naive_recall(x, y, KS)


def test_a_common_offset_changes_nothing():
    g = torch.Generator().manual_seed(1)
    x, y = torch.randint(-64, 64, (60, 8), generator=g).float() / 64, torch.randint(8, (60,), generator=g)
    for metric in (lambda x: recall_at_k(x, y, KS), lambda x: map_at_r(x, y)):
        assert metric(x + 4096.0) == metric(x)  # exact sums: only the arithmetic inside could tell


def test_laws_of_recall(data):
    x, y = data
    r = recall_at_k(x, y, KS)
    assert list(r.values()) == sorted(r.values())
    assert list(recall_at_k(x, y, (4, 1))) == [4, 1]
    p = torch.randperm(40, generator=torch.Generator().manual_seed(9))
    assert recall_at_k(x[p], y[p], KS) == r
    assert map_at_r(x[p], y[p]) == pytest.approx(map_at_r(x, y), rel=1e-12)
    q, _ = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(8), dtype=torch.float64))
    assert recall_at_k(x.double() @ q, y, KS) == r
    assert recall_at_k(x, y * -1000 + 3, KS) == r  # labels are names
    lone = (y[:, None] == y).sum(1) == 1
    assert lone.any()
    assert recall_at_k(x, y, (39,))[39] == pytest.approx(1 - lone.double().mean().item())
    assert r_precision(x, y) >= map_at_r(x, y)


def test_unit_rows_are_ordered_by_cosine():
    g = torch.Generator().manual_seed(2)
    x, y = unit(g, 50, 5), torch.randint(9, (50,), generator=g)
    s = (x @ x.T).fill_diagonal_(-2)
    expected = {k: (y[s.topk(k, 1).indices] == y[:, None]).any(1).double().mean().item() for k in KS}
    assert recall_at_k(x, y, KS) == pytest.approx(expected)


@pytest.mark.parametrize("classes", [1, 2, 3, 40])
def test_large_and_small_classes(classes):
    """Blocks of one class only are skipped; classes that span blocks are not."""
    g = torch.Generator().manual_seed(classes)
    x, y = torch.randn(90, 2, generator=g), torch.randint(classes, (90,), generator=g)
    for chunk in (8, 30, None):
        assert recall_at_k(x, y, (1, 2, 30), chunk=chunk) == naive_recall(x, y, (1, 2, 30))


def test_input_is_left_alone(data):
    x, y = data
    x0, y0 = x.clone().requires_grad_(), y.clone()
    recall_at_k(x0, y0, KS)
    map_at_r(x0, y0)
    assert torch.equal(x0, x)
    assert torch.equal(y0, y)
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision("medium")
        with torch.autocast("cpu", torch.bfloat16):
            assert recall_at_k(x, y, KS) == naive_recall(x, y, KS)
            assert map_at_r(x, y) == pytest.approx(naive_map_and_r_precision(x, y)[0])
            assert (x.float() @ x.float().T).dtype == torch.bfloat16
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.filterwarnings("ignore")
def test_agrees_with_pytorch_metric_learning(data):
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning.distances import LpDistance
    from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
    from pytorch_metric_learning.utils.inference import CustomKNN

    x, y = data
    keep = (y[:, None] == y).sum(1) > 1  # the library drops lone queries, here they are misses
    x, y = x[keep], y[keep]
    names = ("precision_at_1", "mean_average_precision_at_r", "r_precision")
    peer = AccuracyCalculator(
        include=names, knn_func=CustomKNN(LpDistance(normalize_embeddings=False)), device=torch.device("cpu")
    ).get_accuracy(x, y)
    ours = recall_at_k(x, y, (1,))[1], map_at_r(x, y), r_precision(x, y)
    assert ours == pytest.approx(tuple(peer[name] for name in names), abs=1e-6)


class Watch(TorchDispatchMode):
    """Notes the largest floating-point tensor that is made, and what is sorted."""

    def __init__(self):
        super().__init__()
        self.largest, self.sorted = 0, []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for made in out if isinstance(out, tuple | list) else (out,):
            if isinstance(made, torch.Tensor):
                self.largest = max(self.largest, made.numel())
        name = func.overloadpacket.__name__
        if name in ("sort", "argsort", "topk", "kthvalue", "cummax") and args[0].is_floating_point():
            self.sorted.append(name)
        return out


def test_recall_sorts_no_scores_and_holds_no_n_by_n():
    n, d = 6000, 16
    g = torch.Generator().manual_seed(0)
    y = torch.randint(1500, (n,), generator=g)
    x = torch.randn(1500, d, generator=g)[y] + torch.randn(n, d, generator=g)
    with Watch() as watch:
        recall_at_k(x, y, (1, 1000))
    assert watch.sorted == []
    assert watch.largest <= max(n * (d + 2), 2 * counting.CPU_BLOCK**2)  # 1.2 million; n * n is 36 million
    with Watch() as watch:
        torch.mm(x[:100], x.T)
        x[:100].topk(2)
    assert (watch.largest, watch.sorted) == (100 * n, ["topk"])  # the watch does see both
    with Watch() as watch:
        map_at_r(x[:2000], y[:2000])
    assert watch.largest <= retrieval.SORT_BLOCK


def test_self_retrieval_needs_about_half_of_the_products(monkeypatch):
    done = 0
    mm = torch.mm

    def counted(a, b, *, out):
        nonlocal done
        done += len(a) * b.shape[1]
        return mm(a, b, out=out)

    monkeypatch.setattr(torch, "mm", counted)
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(2000, 4, generator=g, dtype=torch.float64), torch.arange(2000) // 4
    recall_at_k(x, y, (1,), chunk=100)
    assert done == 210 * 100 * 100  # 20 blocks: 210 of 400 pairs


PLANTED = {
    "self-match kept": lambda x, y, ks: naive_recall(x, y, ks, keep_self=True),
    "cosine order": lambda x, y, ks: naive_recall(normalize(x, dim=1), y, ks),
    "K off by one": lambda x, y, ks: dict(zip(ks, naive_recall(x, y, [k + 1 for k in ks]).values())),
    "lone queries dropped": lambda x, y, ks: {
        k: v * len(y) / ((y[:, None] == y).sum(1) > 1).sum().item() for k, v in naive_recall(x, y, ks).items()
    },
}


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bugs_differ_from_the_reference(bug):
    g = torch.Generator().manual_seed(3)
    x = torch.randn(40, 3, generator=g) * (1 + 3 * torch.rand(40, 1, generator=g))
    y = torch.randint(12, (40,), generator=g)
    assert PLANTED[bug](x, y, KS) != recall_at_k(x, y, KS) == naive_recall(x, y, KS)


@pytest.mark.parametrize(
    ("place", "wrong", "right"),
    [
        ("wanted &= own", "wanted &= own[rows, None] != position[columns]", "pass"),
        ("band", "[best - slack]", "[best + slack]"),
        ("mirror", "if mirror and rows.start < columns.start:", "if mirror and rows.start > columns.start:"),
        ("mask", "e.masked_fill_(labels[rows, None] == other[columns], -math.inf)", "pass"),
        ("score", "block[:, -1] = x.square().sum(1) / -2", "block[:, -1] = 0"),
        ("again", "if len(again):", "if False:"),
    ],
)
def test_planted_bugs_in_the_counting_are_caught(place, wrong, right, lattice, monkeypatch):
    import types
    from pathlib import Path

    source = Path(counting.__file__).read_text()
    assert source.count(wrong) == 1
    broken = types.ModuleType("broken")
    exec(compile(source.replace(wrong, right), "broken", "exec"), broken.__dict__)
    monkeypatch.setattr(retrieval, "hits", broken.hits)
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 2, generator=g), torch.randint(10, (60,), generator=g)
    tasks = [(x, y, KS), (*lattice, KS), (*CLOSE, (1,))]
    assert not all(recall_at_k(*task, chunk=16) == naive_recall(*task) for task in tasks), place


# Worked by hand. Query at 0 (id 1, camera 1); the gallery on a line:
#   position   1   2   3   4   5   6
#   id         1  -1   0   1   2   1
#   camera     1   2   3   2   2   3
# Same id and camera (1) and junk (2) are ignored. Places: 3 distractor, 4 match, 5 other, 6 match.
# Precision at the matches 1/2 and 2/4: AP = 0.5; first match in place 2.
GALLERY = torch.tensor([[1.0], [2.0], [3.0], [4.0], [5.0], [6.0]])
IDS, CAMS = torch.tensor([1, -1, 0, 1, 2, 1]), torch.tensor([1, 2, 3, 2, 2, 3])


def scores(positions, ids, cams, ks=(1, 2, 3), **kw):
    q = torch.tensor(positions)[:, None]
    return reid_scores(q, torch.tensor(ids), torch.tensor(cams), GALLERY, IDS, CAMS, ks, **kw)


def test_reid_by_hand():
    assert scores([0.0], [1], [1]) == {"mAP": 0.5, "rank-1": 0.0, "rank-2": 1.0, "rank-3": 1.0}
    # At 5.1, id 2, camera 1: its match at 5 comes first. Mean over both queries.
    both = scores([0.0, 5.1], [1, 2], [1, 1], chunk=1)
    assert both == {"mAP": 0.75, "rank-1": 0.5, "rank-2": 1.0, "rank-3": 1.0}
    # No match left (same camera; unknown id; a distractor's or junk id): dropped, the mean is over the rest.
    assert scores([0.0, 5.0, 1.0, 3.0, 2.0], [1, 2, 7, 0, -1], [1, 2, 1, 1, 1]) == scores([0.0], [1], [1])


def test_reid_ties_count_against_the_query():
    gallery, ids, cams = torch.ones(6, 3), torch.tensor([1, 1, 2, 3, 4, 0]), torch.full((6,), 2)
    got = reid_scores(torch.rand(1, 3), torch.tensor([1]), torch.tensor([1]), gallery, ids, cams, (1, 4, 5))
    assert got == {"mAP": pytest.approx((1 / 5 + 2 / 6) / 2), "rank-1": 0.0, "rank-4": 0.0, "rank-5": 1.0}


@pytest.mark.parametrize("seed", range(3))
def test_reid_is_its_definition(seed):
    g = torch.Generator().manual_seed(seed)
    draw = lambda low, high, n: torch.randint(low, high, (n,), generator=g)  # noqa: E731
    q, x = torch.randn(12, 3, generator=g), torch.randn(50, 3, generator=g)
    qi, qc, xi, xc = draw(1, 7, 12), draw(0, 3, 12), draw(-1, 7, 50), draw(0, 3, 50)
    ap, first = [], []
    for i in range(12):
        kept = [j for j in range(50) if xi[j] != -1 and not (xi[j] == qi[i] and xc[j] == qc[i])]
        kept.sort(key=lambda j: float((q[i].double() - x[j].double()).norm()))
        places = [p for p, j in enumerate(kept, 1) if xi[j] == qi[i]]
        if places:
            ap.append(sum(n / p for n, p in enumerate(places, 1)) / len(places))
            first.append(places[0])
    expected = {"mAP": sum(ap) / len(ap)}
    expected |= {f"rank-{k}": sum(p <= k for p in first) / len(first) for k in (1, 3, 10)}
    assert reid_scores(q, qi, qc, x, xi, xc, (1, 3, 10), chunk=5) == pytest.approx(expected)


def test_reid_without_any_match_is_refused():
    with pytest.raises(ValueError, match="no query has a match"):
        scores([0.0], [9], [1])
    with pytest.raises(ValueError, match=r"K = 7 .* 6 rows"):
        scores([0.0], [1], [1], ks=(7,))
    with pytest.raises(ValueError, match="query_ids holds -5"):
        scores([0.0], [-5], [1])


def test_an_impossible_k_is_refused(data):
    x, y = data
    with pytest.raises(ValueError, match=r"K = 40 .* 39 rows"):
        recall_at_k(x, y, (1, 40))
    with pytest.raises(ValueError, match=r"K = 4 .* 3 rows"):
        recall_at_k(x, y, (4,), x[:3], y[:3])
    assert recall_at_k(x, y, (39,), chunk=3)[39] <= 1
    with pytest.raises(ValueError, match="K is 0"):
        recall_at_k(x, y, (0,))
    with pytest.raises(TypeError, match=r"K is 1\.5"):
        recall_at_k(x, y, (1.5,))  # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="ks is 1"):
        recall_at_k(x, y, 1)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="ks is empty"):
        recall_at_k(x, y, ())


@pytest.mark.parametrize(
    "metric", [lambda x, y, *pair: recall_at_k(x, y, (1,), *pair), map_at_r, r_precision]
)
def test_bad_input_is_named(metric):
    x, y = torch.randn(6, 3), torch.tensor([0, 0, 1, 1, 2, 2])
    nan, inf = x.clone(), x.clone()
    nan[4, 1], inf[2, 0] = math.nan, math.inf
    for error, text, args in (
        (ValueError, "row 4 of query", (nan, y)),
        (ValueError, "row 2 of gallery", (x, y, inf, y)),
        (TypeError, r"query is torch\.float16", (x.half(), y)),
        (TypeError, "query is a list", (x.tolist(), y)),
        (TypeError, r"query_labels is torch\.int32", (x, y.int())),
        (TypeError, "gallery is torch.float64", (x, y, x.double(), y)),
        (ValueError, "query has shape", (x[0], y)),
        (ValueError, "query has shape", (x[:0], y[:0])),
        (ValueError, "query_labels has 5 labels for 6 rows", (x, y[:5])),
        (ValueError, "query_labels has shape", (x, y[:, None])),
        (ValueError, "gallery has 2 columns", (x, y, x[:, :2], y)),
        (ValueError, "gallery_labels is not", (x, y, x)),
        (ValueError, "gallery is not", (x, y, None, y)),
    ):
        with pytest.raises(error, match=text):
            metric(*args)
