"""Stored episodes of Tables 3 and 4: which pictures each one holds, and the accuracies on them.

    symbol   shape                 meaning
    E        ()                    episodes
    W, S, Q  ()                    way, shot, queries per class
    rows     (E, W, S + Q) int64   rows of the data set: one class per line, its first S pictures the support
    z        (N, D)                embeddings of all pictures, computed once

A list of episodes is a pure function of (labels, way, shot, query, number, seed), by whole-number arithmetic
that no version of a library changes. So every row of a table is measured on the same episodes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from common.arguments import require_tensor, whole_number
from common.data.counter import uniform
from common.data.samplers import EpisodeSampler
from hyperbolic_embeddings.fewshot.protonet import ProtoHead

TEST_SEED = 20_190_404
"""Of every list of test episodes, whatever the seed of the run."""
VAL_SEED = 20_190_405
"""Of every list of validation episodes."""

_CLASSES, _PICTURES = 0, 1  # streams of random numbers; never renumber


def draw(labels: Tensor, way: int, shot: int, query: int, episodes: int, *, seed: int) -> Tensor:
    """rows (E, W, S + Q): distinct classes, distinct pictures, each set equally likely.

    labels: (N,) int64. ValueError: more way than classes, shot + query larger than a class, a number below 1.
    """
    checked = EpisodeSampler(labels, way, shot, query, episodes, seed=seed)
    members, most = checked.members, max(len(rows) for rows in checked.members)
    table = torch.tensor([rows + [-1] * (most - len(rows)) for rows in members])  # (classes, most)
    key = uniform(seed, 0, torch.arange(episodes), _CLASSES, len(members))  # (E, classes)
    chosen = key.argsort(dim=1, stable=True)[:, :way]  # (E, W)
    out = []
    for part in torch.arange(episodes * way).split(max(1, 2**22 // most)):
        which = table[chosen.reshape(-1)[part]]  # (P, most)
        # Places that a smaller class leaves empty come last: 2 is above every key.
        key = uniform(seed, 0, part, _PICTURES, most).masked_fill(which < 0, 2.0)
        out.append(which.gather(1, key.argsort(dim=1, stable=True)[:, : shot + query]))
    return torch.cat(out).view(episodes, way, shot + query)


@torch.no_grad()
def accuracies(head: ProtoHead, z: Tensor, rows: Tensor, shot: int, *, chunk: int = 2**24) -> Tensor:
    """(E,) float64: share of queries in each episode whose own class has the largest logit.

    head: in evaluation mode. z: (N, D). rows: as `draw` gives it. chunk: numbers of z gathered at a time, to
    bound the memory. Among equal logits the first class of the episode wins: right by chance, 1 in W.
    ValueError: NaN or infinity in z.
    """
    require_tensor("z", z, "(N, D)")
    require_tensor("rows", rows, "(E, W, S + Q)", torch.int64)
    least, most = (int(end) for end in rows.aminmax())
    if least < 0 or most >= len(z):
        raise ValueError(
            f"rows reach from {least} to {most} but z has {len(z)} rows; give the z of the data set that the "
            "episodes were drawn from"
        )
    whole_number("chunk", chunk)
    _, way, pictures = rows.shape
    if not 1 <= whole_number("shot", shot, least=-math.inf) < pictures:
        raise ValueError(f"shot = {shot} of {pictures} pictures per class: leave at least one query")
    if not bool(z.isfinite().all()):
        bad = int((~z.isfinite().all(1)).nonzero()[0])
        raise ValueError(f"z: embedding {bad} is NaN or infinite; the network diverged: lower --lr")
    points = head.embed(z)
    truth = torch.arange(way, device=z.device).repeat_interleave(pictures - shot)  # (W Q,)
    out = []
    for part in rows.to(z.device).split(max(1, chunk // (way * pictures * z.shape[1]))):
        x = points[part]  # (e, W, S + Q, D)
        query = x[:, :, shot:].flatten(1, 2)  # (e, W Q, D)
        logits = head.logits(query, head.prototypes(x[:, :, :shot]))  # (e, W Q, W)
        out.append((logits.argmax(2) == truth).double().mean(1))
    return torch.cat(out).cpu()
