"""Measure a re-identification checkpoint: `python -m hyperbolic_embeddings.evaluate runs/.../last.pt
[--record]`.

Protocol of Market-1501, single query: each picture of `query` is searched in `gallery`. Gallery pictures of
the same person before the same camera and junk (person -1) are left out, distractors (person 0) stay and
match nobody; no re-ranking. Pictures are resized to the input, without crop or flip. rank-k: share of
queries with a match among the first k; map: mean over queries of the mean precision at their matches. Ties
count against the query (common.metrics.reid_scores). Queries without a match before another camera are
dropped.

The order is by Euclidean distance of the embeddings z (rank-1, map), since the paper does not say which
distance it searches with (note R4); besides by cosine (cosine/...), and for the hyperbolic head by
hyperbolic distance of exp_0(z) (hyperbolic/...).

The embedded set has no cameras: its queries count as taken before camera 1 and its gallery before camera 2.
"""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from common import config, data, gallery, run
from common.arguments import finite_number
from common.data.augment import Augment
from common.data.dataset import Dataset
from common.data.loading import Loader, embed
from common.metrics import reid_scores
from common.metrics.contract import require_embeddings
from common.results import Figure, Measured
from hyperbolic_embeddings.arithmetic import require_margin
from hyperbolic_embeddings.reid.model import ReIDNet, build
from hyperbolic_embeddings.reid.presets import ReID

KS = (1, 5, 10, 20)


def measure(
    cfg: ReID,
    checkpoint: dict[str, Any] | None,
    device: torch.device,
    *,
    split: str | None = None,
    export: Path | None = None,
) -> tuple[dict[str, Figure], Measured]:
    """(metric -> figure, what was measured). export: FILE.npz gets the queries, FILE-gallery.npz the
    gallery: z, tangent vectors at the origin and no points of a ball, so without c.
    """
    if split not in (None, "query"):
        raise ValueError(f"--split {split}: re-identification searches query in gallery; leave --split out")
    if checkpoint is None:
        raise ValueError("evaluate pixels: re-identification measures a checkpoint; train one first")
    model = load_model(cfg, checkpoint).to(device)
    queries, searched = (data.load(cfg.data, name, size=cfg.size) for name in ("query", "gallery"))
    q, g = (describe(model, cfg, dataset, device) for dataset in (queries, searched))

    orders = {"": (q, g), "cosine/": (normalize(q, dim=1), normalize(g, dim=1))}
    if cfg.head == "hyperbolic":
        orders["hyperbolic/"] = in_hyperbolic_order(q, g, cfg.c, cfg.eps)
    ks = [k for k in KS if k <= len(g)]
    figures: dict[str, Figure] = {}
    for prefix, (query, base) in orders.items():
        scores = reid_scores(query, *who(queries, 1), base, *who(searched, 2), ks)
        figures |= {f"{prefix}{name.lower()}": Figure(value) for name, value in scores.items()}
    figures["norm"] = Figure(float(g.norm(dim=1).mean()), unit="length")
    figures["parameters"] = Figure(float(sum(p.numel() for p in model.parameters())), unit="count")
    if export:
        gallery.export(export, embedding=q, dataset=queries)
        gallery.export(export.with_name(f"{export.stem}-gallery.npz"), embedding=g, dataset=searched)
    # The queries and the gallery of the embedded set share out its test drawings.
    return figures, Measured(queries.name, "test" if queries.name == "embedded" else "query")


def load_model(cfg: ReID, checkpoint: dict[str, Any]) -> ReIDNet:
    """The network in evaluation mode."""
    weights = config.stored_part(checkpoint["state"], "model")
    persons = next((len(value) for name, value in weights.items() if name.startswith("head.")), 1)
    fresh = dataclasses.replace(cfg, weights="none")
    model = run.load_network(lambda: build(fresh, persons), checkpoint["state"], "the checkpoint", "model")
    return model.eval()


@torch.no_grad()
def describe(model: ReIDNet, cfg: ReID, dataset: Dataset, device: torch.device) -> Tensor:
    """z (N, D) float32 on the CPU."""
    augment = Augment(size=cfg.size, mean=cfg.mean, std=cfg.std)
    loader = Loader(dataset, augment, device=device, workers=cfg.workers)
    return embed(loader, lambda images: {"z": model.embed(images).cpu()})["z"]


def who(dataset: Dataset, camera: int) -> tuple[Tensor, Tensor]:
    """Persons and cameras (N,) int64 each. camera: of all pictures of the embedded set, which knows none."""
    if "person" in dataset.extra:
        return dataset.extra["person"], dataset.extra["camera"]
    if dataset.name != "embedded":
        raise ValueError(f"{dataset.name} has no persons and cameras; use market1501, dukemtmc or embedded")
    return dataset.label + 1, torch.full_like(dataset.label, camera)


def in_hyperbolic_order(q: Tensor, g: Tensor, c: float, eps: float) -> tuple[Tensor, Tensor]:
    """Rows (Q, D + 2), (G, D + 2) float64 whose Euclidean order is that of d_c(exp_0(q), exp_0(g)).

    On the hyperboloid exp_0(u) is (X0, X) = (cosh t, sinh(t) u / |u|), t = 2 sqrt(c) |u|, where
    cosh(sqrt(c) d) = X0 Y0 - <X, Y>. A last coordinate gives all gallery rows one norm M; then
    |(X, -X0, 0) - (Y, Y0, .)|^2 is |X|^2 + X0^2 + M^2 + 2 cosh(sqrt(c) d). Points beyond the projection
    radius are pulled back to it first.
    """
    require_embeddings("q", q)
    require_embeddings("g", g, q)
    finite_number("c", c, above=0)
    require_margin(eps)
    top = math.atanh(1 - eps)

    def lift(u: Tensor) -> tuple[Tensor, Tensor]:
        u = u.double()
        length = u.norm(dim=1, keepdim=True)
        t = 2 * (math.sqrt(c) * length).clamp(max=top)
        return torch.cosh(t), torch.sinh(t) * u / length.clamp_min(torch.finfo(u.dtype).tiny)

    (x0, x), (y0, y) = lift(q), lift(g)
    rows = torch.cat([y, y0], 1)  # (G, D + 1)
    square = rows.square().sum(1, keepdim=True)
    filler = (square.max() - square).clamp_min(0).sqrt()
    return torch.cat([x, -x0, torch.zeros_like(x0)], 1), torch.cat([rows, filler], 1)
