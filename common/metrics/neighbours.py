"""The weighted nearest-neighbour classifier of Wu et al., CVPR 2018 (arXiv:1805.01978), Section 3.4.

The k nearest of N rows, without a selection among N numbers per query: columns fall into groups of 8, and the
k groups with the largest maxima hold the k nearest rows, since each of them has a row at least as near as any
row elsewhere. So one pass takes the maxima, the k largest of these N / 8 are found in the same way, and what
is selected from is the 8 k rows of the chosen groups.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable
from functools import partial
from numbers import Real
from typing import Literal

import torch
from torch import Tensor

from common import distributed
from common.arguments import whole_number
from common.metrics.contract import (
    full_precision,
    in_double,
    require_embeddings,
    require_labels,
)

GROUP = 8
CPU_BLOCK = 512  # queries per product, 128 MB: with fewer, the product itself takes longer
GPU_BLOCK = 1024  # large products keep a GPU busy; 256 MB
ROWS_BLOCK = 1 << 16  # training rows per product
VOTE_BLOCK = 4096  # queries whose neighbours are kept until they vote
FAISS_BLOCKS = 512, 2048  # queries and rows per product of faiss: 4 MB, where its own default takes 16


@torch.no_grad()
def knn_predict(
    train: Tensor,
    train_labels: Tensor,
    query: Tensor,
    k: int,
    temperature: float,
    classes: int,
    *,
    chunk: int | None = None,
    engine: Literal["torch", "faiss"] = "torch",
) -> Tensor:
    """Class of each query by the weighted vote of its k nearest training rows.

        w_c = sum over the k nearest of exp(s_i / temperature) [c_i = c],   s_i: cosine similarity

    train (N, D), train_labels (N,) in 0 .. classes - 1, query (Q, D), unit rows. Equal votes, up to the
    rounding of s, go to the smallest class. When several rows tie for the k-th place, which of them votes is
    left open. A query that is also in `train` meets itself: leave it out there. TF32 and autocast are off.
    chunk: queries per product. Extra memory: chunk x min(N, 65,536) similarities and 4,096 x (k + classes)
    numbers, whatever N and Q are. engine='faiss' searches by the package faiss, exhaustively too: the same
    neighbours up to ties, in about four fifths of the time; for float32 on a CPU, chunk is not used.

    Returns int64 (Q,) on the device of `query`. Raises ValueError when a row is off unit norm by more than
    1e-3, k > N, a label is out of range, the temperature is not a positive number or the engine is unknown
    or for other tensors; ImportError when faiss is not installed; TypeError for other types and dtypes.
    """
    require_embeddings("train", train)
    require_embeddings("query", query, train)
    require_labels("train_labels", train_labels, len(train), train)
    k, classes = whole_number("k", k), whole_number("classes", classes)
    if k > len(train):
        raise ValueError(f"k = {k} but train has {len(train)} rows; give a k of at most {len(train)}")
    if isinstance(temperature, bool) or not isinstance(temperature, Real):
        raise TypeError(f"temperature is {temperature!r}; give a positive number")
    temperature = float(temperature)
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature}; give a positive finite number")
    if int(train_labels.min()) < 0 or int(train_labels.max()) >= classes:
        bad = int(train_labels.min()) if int(train_labels.min()) < 0 else int(train_labels.max())
        raise ValueError(f"train_labels holds {bad}, outside 0 .. {classes - 1}; check classes = {classes}")
    for name, rows in (("train", train), ("query", query)):
        off = (torch.linalg.vector_norm(rows, dim=1) - 1).abs()
        if float(off.max()) > 1e-3:
            bad = int(off.argmax())
            raise ValueError(
                f"row {bad} of {name} has norm {float(rows[bad].norm()):.4g}; scale every row to unit length"
            )

    search = _engine(engine, query, chunk)
    # Copies of one row can come out of the product a few roundings apart: votes that close are equal.
    rounding = (4 + math.sqrt(train.shape[1])) * torch.finfo(train.dtype).eps / temperature
    predicted = []
    with full_precision(query.device):
        for voters in distributed.share(query).split(VOTE_BLOCK):
            s, nearest = search(voters, train, k)  # (q, k)
            # Relative to the nearest row: the same order of votes, and no overflow at any temperature.
            weight = ((in_double(s) - in_double(s.amax(1, keepdim=True))) / temperature).exp()
            voted = train_labels[nearest].to(weight.device)  # (q, k)
            votes = weight.new_zeros(len(voters), classes)
            if votes.device.type == "cpu":
                votes.scatter_add_(1, voted, weight)
            else:  # one place at a time: a query adds to a single cell, in the same order every time
                first = torch.arange(len(voters), device=votes.device) * classes  # (q,)
                for cell, vote in zip((voted + first[:, None]).T, weight.T):
                    votes.view(-1).index_add_(0, cell, vote)
            enough = votes.amax(1, keepdim=True) * (1 - min(rounding, 0.5))
            predicted.append((votes >= enough).long().argmax(1))  # the first, hence smallest, such class
    return distributed.gather(torch.cat(predicted).to(query.device), len(query))


Search = Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor]]


def _engine(engine: str, query: Tensor, chunk: int | None) -> Search:
    """(query, train, k) -> similarities (Q, k) of the k nearest rows and their positions."""
    default = CPU_BLOCK if query.device.type == "cpu" else GPU_BLOCK
    step = whole_number("chunk", chunk) if chunk is not None else default
    if engine == "torch":
        return partial(_nearest, step=step)
    if engine != "faiss":
        raise ValueError(f"engine is {engine!r}; choose 'torch' or 'faiss'")
    if query.dtype != torch.float32 or query.device.type != "cpu":
        raise ValueError(
            f"engine='faiss' searches float32 rows on the CPU, these are {query.dtype} on {query.device}; "
            "use engine='torch'"
        )
    if importlib.util.find_spec("faiss") is None:
        raise ImportError("engine='faiss' needs the package faiss: pip install faiss-cpu, or use 'torch'")
    return _nearest_by_faiss


def _nearest_by_faiss(query: Tensor, train: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """(Q, k) similarities of the k nearest training rows and their positions, by faiss."""
    import faiss  # pyright: ignore[reportMissingImports]

    def settle(threads: int, queries: int, rows: int) -> None:
        faiss.omp_set_num_threads(threads)
        faiss.cvar.distance_compute_blas_query_bs = queries
        faiss.cvar.distance_compute_blas_database_bs = rows

    blocks = faiss.cvar.distance_compute_blas_query_bs, faiss.cvar.distance_compute_blas_database_bs
    before = faiss.omp_get_max_threads(), *blocks
    settle(torch.get_num_threads(), *FAISS_BLOCKS)
    try:
        both = query.detach().numpy(), train.detach().numpy()
        s, nearest = faiss.knn(*both, k, metric=faiss.METRIC_INNER_PRODUCT)
    finally:
        settle(*before)
    return torch.from_numpy(s), torch.from_numpy(nearest)


def _nearest(query: Tensor, train: Tensor, k: int, step: int) -> tuple[Tensor, Tensor]:
    """(Q, k) similarities of the k nearest training rows, in no order, and (Q, k) their positions."""
    blocks = train.tensor_split(math.ceil(len(train) / ROWS_BLOCK))
    memory = query.new_empty(min(step, len(query)) * len(blocks[0]))  # of one product at a time
    found = []
    for x in query.split(step):
        values, rows, first = [], [], 0
        for block in blocks:
            s = torch.mm(x, block.T, out=memory[: len(x) * len(block)].view(len(x), -1))
            largest, column = _largest(s, min(k, len(block)))
            values, rows = [*values, largest], [*rows, column + first]
            first += len(block)
            if len(values) == 2:  # the best of the blocks so far, and of this one
                both = torch.cat(values, 1)
                largest, place = both.topk(min(k, both.shape[1]), 1, sorted=False)
                values, rows = [largest], [torch.cat(rows, 1).gather(1, place)]
        found.append((values[0], rows[0]))
    values, rows = zip(*found)
    return torch.cat(values), torch.cat(rows)


def _largest(s: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k largest entries of each row of (q, n), in no order, and their columns; (q, k) each."""
    groups = s.shape[1] // GROUP
    if groups < 2 * k:
        return s.topk(k, 1, sorted=False)
    whole = groups * GROUP
    # Group j is columns j, j + groups, ...: maxima over the middle axis are the fast kind.
    maxima = s[:, :whole].unflatten(1, (GROUP, groups)).amax(1)  # (q, groups)
    _, chosen = _largest(maxima, k)  # (q, k)
    members = torch.arange(0, whole, groups, device=s.device)[:, None] + chosen[:, None]  # (q, 8, k)
    rest = torch.arange(whole, s.shape[1], device=s.device).expand(len(s), -1)  # (q, n % 8) in no group
    column = torch.cat([members.flatten(1), rest], 1)
    values, place = s.gather(1, column).topk(k, 1, sorted=False)
    return values, column.gather(1, place)
