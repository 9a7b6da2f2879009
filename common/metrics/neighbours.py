"""The weighted nearest-neighbour classifier of Wu et al., CVPR 2018 (arXiv:1805.01978), Section 3.4."""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

from common.metrics.contract import (
    full_precision,
    in_double,
    require_embeddings,
    require_labels,
    whole_number,
)

VOTE_BLOCK = 1 << 24  # similarities held at a time: 64 MB in float32


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
) -> Tensor:
    """Class of each query by the weighted vote of its k nearest training rows.

        w_c = sum over the k nearest of exp(s_i / temperature) [c_i = c],   s_i: cosine similarity

    train (N, D), train_labels (N,) in 0 .. classes - 1, query (Q, D), unit rows. Equal votes, up to the
    rounding of s, go to the smallest class. When several rows tie for the k-th place, which of them votes is
    left open. A query that is also in `train` meets itself: leave it out there. TF32 and autocast are off.
    chunk: queries per block.

    Returns int64 (Q,) on the device of `query`. Raises ValueError when a row is off unit norm by more than
    1e-3, k > N, a label is out of range or the temperature is not a positive number; TypeError for other
    types and dtypes.
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

    step = whole_number("chunk", chunk) if chunk is not None else max(1, VOTE_BLOCK // len(train))
    # Copies of one row can come out of the product a few roundings apart: votes that close are equal.
    rounding = (4 + math.sqrt(train.shape[1])) * torch.finfo(train.dtype).eps / temperature
    predicted = []
    with full_precision(query.device):
        for x in query.split(step):
            s, nearest = (x @ train.T).topk(k, 1)  # (q, k)
            # Relative to the nearest row: the same order of votes, and no overflow at any temperature.
            weight = ((in_double(s) - in_double(s[:, :1])) / temperature).exp()
            votes = weight.new_zeros(len(x), classes)
            labels = train_labels[nearest].to(votes.device)  # (q, k)
            # One place at a time: a query adds to a single cell, in one order on every device.
            everyone = torch.arange(len(x), device=votes.device)
            for place in range(k):
                votes[everyone, labels[:, place]] += weight[:, place]
            enough = votes.amax(1, keepdim=True) * (1 - min(rounding, 0.5))
            predicted.append((votes >= enough).long().argmax(1))  # the first, hence smallest, such class
    return torch.cat(predicted).to(query.device)
