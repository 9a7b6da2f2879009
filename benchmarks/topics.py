"""What is compared: one function per topic, from a scale to its cases. New ones are listed in TOPICS.

A topic is called again in fresh processes (for the memory), so it must be a function of this module, and its
inputs must follow from fixed seeds. The scale 'tiny' serves for warming up and for tests.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn.functional import normalize

from benchmarks import hierarchical, hyperbolic, instance
from benchmarks.measure import Case, Contender
from common.metrics import gromov_delta, recall_at_k

KS = (1, 2, 4, 8)
ROWS = 1024  # rows per block of those contenders that we had to write ourselves


def recall(scale: str) -> list[Case]:
    """Recall@1, 2, 4, 8 of N rows of dimension D among themselves; five rows per class: no lone query."""
    sizes = {"tiny": [(300, 16)], "small": [(6000, 256)], "full": [(20000, 512), (20000, 1536)]}[scale]
    return [
        Case(
            title=f"Recall@K, self-retrieval, N = {n}, D = {d}, float32",
            build=lambda n=n, d=d: _recall(n, d),
            baseline="bare product",
            tolerance=2.5 / n,  # float32 rounding may turn a near tie or two
        )
        for n, d in sizes
    ]


def _recall(n: int, d: int) -> list[Contender]:
    g = torch.Generator().manual_seed(0)
    y = torch.arange(n // 5).repeat(5)  # (N,)
    centre = torch.randn(n // 5, d, generator=g)
    x = normalize(centre[y] + 2.5 * torch.randn(n, d, generator=g), dim=1)  # (N, D)

    def bare() -> None:
        for i in range(0, n, ROWS):
            x[i : i + ROWS] @ x.T  # pyright: ignore[reportUnusedExpression]

    def top_k() -> float:
        hit = dict.fromkeys(KS, 0)
        for i in range(0, n, ROWS):
            s = x[i : i + ROWS] @ x.T
            s.diagonal(i).fill_(-2)  # not the query itself
            same = y[s.topk(max(KS), 1).indices] == y[i : i + ROWS, None]
            for k in KS:
                hit[k] += int(same[:, :k].any(1).sum())
        return hit[1] / n

    def faiss_flat() -> float:
        import faiss  # pyright: ignore[reportMissingImports]

        faiss.omp_set_num_threads(torch.get_num_threads())
        index = faiss.IndexFlatIP(d)
        index.add(x.numpy())  # pyright: ignore[reportCallIssue]
        _, found = index.search(x.numpy(), max(KS) + 1)  # pyright: ignore[reportCallIssue]
        nearest = torch.from_numpy(found)  # (N, K + 1), the query itself among them
        place = (nearest == torch.arange(n)[:, None]).long().argmax(1)
        kept = torch.arange(max(KS)).repeat(n, 1)
        kept += kept >= place[:, None]
        same = y[nearest.gather(1, kept)] == y[:, None]
        return {k: float(same[:, :k].any(1).double().mean()) for k in KS}[1]

    def metric_learning() -> float:
        from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator

        calculator = AccuracyCalculator(include=("precision_at_1",), k=max(KS), device=torch.device("cpu"))
        return float(calculator.get_accuracy(x, y)["precision_at_1"])

    return [
        Contender(name="ours", run=lambda: recall_at_k(x, y, KS)[1]),
        Contender(name="bare product", run=bare),
        Contender(name="torch top-k in blocks", run=top_k),
        Contender(name="faiss IndexFlatIP", run=faiss_flat, packages=("faiss",), pip="faiss-cpu"),
        Contender(
            name="pytorch-metric-learning, R@1 only",
            run=metric_learning,
            packages=("pytorch_metric_learning", "faiss"),
            pip="pytorch-metric-learning faiss-cpu",
        ),
    ]


def delta(scale: str) -> list[Case]:
    """Gromov's delta of n points in 64 dimensions, from their distances; the cube is cut to fit in memory."""
    sizes = {"tiny": [40], "small": [400], "full": [1500]}[scale]
    return [
        Case(title=f"Gromov delta, n = {n}", build=lambda n=n: _delta(n), tolerance=1e-5)  # float32 rounding
        for n in sizes
    ]


def _delta(n: int) -> list[Contender]:
    x = torch.randn(n, 64, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    exact = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")  # (n, n)
    single = exact.float()

    def cube(d: torch.Tensor) -> float:
        a = (d[0][:, None] + d[0] - d) / 2
        rows = 16  # 16 n^2 minima at a time
        return max(
            float((torch.minimum(a[i : i + rows, :, None], a).amax(1) - a[i : i + rows]).max())
            for i in range(0, n, rows)
        )

    return [
        Contender(name="ours, float64", run=lambda: gromov_delta(distances=exact)[0]),
        Contender(name="ours, float32", run=lambda: gromov_delta(distances=single)[0]),
        Contender(name="cube in chunks, float64", run=lambda: cube(exact)),
        Contender(name="cube in chunks, float32", run=lambda: cube(single)),
    ]


def delta_scaling(scale: str) -> list[Case]:
    """Ours alone, at sizes whose cube no machine holds: time grows as n^3, memory as n^2."""
    sizes = {"tiny": [40], "small": [300, 600], "full": [1250, 2500, 5000]}[scale]
    return [
        Case(title=f"Gromov delta, ours, n = {n}", build=lambda n=n: _delta(n)[:2], tolerance=1e-5)
        for n in sizes
    ]


TOPICS: dict[str, Callable[[str], list[Case]]] = {
    "recall": recall,
    "delta": delta,
    "delta-scaling": delta_scaling,
    "knn": instance.knn,
    "nce": instance.nce,
    "hierarchical": hierarchical.levels,
    "poincare": hyperbolic.distance,
    "poincare-mlr": hyperbolic.mlr,
}
