"""Topics of instance_discrimination: the nearest-neighbour vote, and noise-contrastive estimation."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch.nn.functional import normalize

from benchmarks.measure import Case, Contender
from common.metrics import knn_predict
from instance_discrimination.losses import expected_log_z, nce_loss, softmax_loss

CLASSES = 10
ROWS = 512  # queries per block of those contenders that we had to write ourselves


def knn(scale: str) -> list[Case]:
    """Class of Q queries by their k nearest of N rows, D = 128, temperature 0.07: the paper's evaluation."""
    sizes = {"tiny": [(40, 500, 10)], "small": [(1000, 10000, 200)], "full": [(10000, 50000, 200)]}[scale]
    return [
        Case(
            title=f"kNN vote, {q} queries, {n} rows, D = 128, k = {k}, float32",
            build=lambda q=q, n=n, k=k: _knn(q, n, k),
            baseline="bare product",
            tolerance=2.5 / q,  # a tie for the k-th place may go either way
        )
        for q, n, k in sizes
    ]


def _knn(q: int, n: int, k: int) -> list[Contender]:
    g = torch.Generator().manual_seed(0)
    centre = 0.2 * torch.randn(CLASSES, 128, generator=g)
    labels = torch.randint(CLASSES, (n + q,), generator=g)
    rows = normalize(centre[labels] + torch.randn(n + q, 128, generator=g), dim=1)
    train, query, y, truth = rows[:n], rows[n:], labels[:n], labels[n:]

    def accuracy(predicted: torch.Tensor) -> float:
        return float((predicted == truth).double().mean())

    def vote(s: torch.Tensor, nearest: torch.Tensor) -> float:
        votes = s.new_zeros(q, CLASSES).scatter_add_(1, y[nearest], (s / 0.07).exp())
        return accuracy(votes.argmax(1))

    def bare() -> None:
        for x in query.split(ROWS):
            x @ train.T  # pyright: ignore[reportUnusedExpression]

    def top_k() -> float:
        found = [(x @ train.T).topk(k, 1) for x in query.split(ROWS)]
        return vote(torch.cat([f.values for f in found]), torch.cat([f.indices for f in found]))

    def faiss_flat() -> float:
        import faiss  # pyright: ignore[reportMissingImports]

        faiss.omp_set_num_threads(torch.get_num_threads())
        index = faiss.IndexFlatIP(128)
        index.add(train.numpy())  # pyright: ignore[reportCallIssue]
        s, nearest = index.search(query.numpy(), k)  # pyright: ignore[reportCallIssue]
        return vote(torch.from_numpy(s), torch.from_numpy(nearest))

    def lightly() -> float:
        from lightly.utils.benchmarking import knn_predict as peer  # pyright: ignore[reportMissingImports]

        bank = train.T.contiguous()
        found = [peer(x, bank, y, CLASSES, knn_k=k, knn_t=0.07)[:, 0] for x in query.split(ROWS)]
        return accuracy(torch.cat(found))

    def ours(engine: Literal["torch", "faiss"]) -> float:
        return accuracy(knn_predict(train, y, query, k, 0.07, CLASSES, engine=engine))

    return [
        Contender(name="ours", run=lambda: ours("torch")),
        Contender(name="ours, faiss engine", run=lambda: ours("faiss"), packages=("faiss",), pip="faiss-cpu"),
        Contender(name="bare product", run=bare),
        Contender(name="torch top-k in blocks", run=top_k),
        Contender(name="faiss IndexFlatIP", run=faiss_flat, packages=("faiss",), pip="faiss-cpu"),
        Contender(name="lightly knn_predict", run=lightly, packages=("lightly",), pip="lightly"),
    ]


def nce(scale: str) -> list[Case]:
    """Loss and gradient of a batch of B = 128, D = 128: a bank of N rows, m noise images each."""
    sizes = {
        "tiny": [(300, 50)],
        "small": [(5000, 512)],
        "full": [(50000, 4096), (50000, 512), (50000, 10), (500000, 4096)],
    }[scale]
    return [
        Case(title=f"NCE forward and backward, N = {n}, m = {m}", build=lambda n=n, m=m: _nce(n, m))
        for n, m in sizes
    ]


def _nce(n: int, m: int) -> list[Contender]:
    g = torch.Generator().manual_seed(0)
    bank = normalize(torch.randn(n, 128, generator=g), dim=1)
    rows = normalize(torch.randn(128, 128, generator=g), dim=1)
    index, noise = torch.randint(n, (128,), generator=g), torch.randint(n, (128, m), generator=g)
    log_z = torch.tensor(expected_log_z(n, 128, 0.1))

    def gathered(v: torch.Tensor) -> torch.Tensor:
        positive = (v * bank[index]).sum(1) / 0.1 - log_z
        negative = torch.einsum("bd,bmd->bm", v, bank[noise]) / 0.1 - log_z  # (B, m, D) is held
        bias = math.log(m / n)
        return -(F.logsigmoid(positive - bias) + F.logsigmoid(bias - negative).sum(1)).mean()

    def step(name: str) -> float | None:
        v = rows.clone().requires_grad_()
        if name == "exact softmax":
            loss = softmax_loss(v, bank, index, 0.1)
        elif name == "gathered rows":
            loss = gathered(v)
        else:
            product = {"ours": None, "ours, product": True, "ours, rows": False}[name]
            loss = nce_loss(v, bank, index, noise, log_z, 0.1, product=product)
        (gradient,) = torch.autograd.grad(loss, v)
        return None if name == "exact softmax" else float(gradient.norm())

    names = ("ours", "ours, product", "ours, rows", "gathered rows", "exact softmax")
    return [Contender(name=name, run=lambda name=name: step(name)) for name in names]
