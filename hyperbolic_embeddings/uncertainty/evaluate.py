"""Measure a checkpoint of the uncertainty experiment (Figures 1 and 5, Table 2).

Protocol. In-domain: the 10,000 test pictures of MNIST. Out-of-domain: all 32,460 drawings of Omniglot
(background and evaluation), ink bright on dark as in MNIST, resized to 28 x 28 (bilinear, antialiased) and
standardised with MNIST's mean and deviation (note U1). On the embedded set, in-domain are fresh drawings of
the kinds that were trained on, out-of-domain drawings of other families.

Every picture gets each score, high where the network is certain:

    distance   d(0, z), the paper's; hyperbolic head only
    norm       |u|, of the features before the head: the control of finding F1
    p_max      the largest class probability, the paper's for the Euclidean head
    energy     log sum_k exp(l_k)

and for each score stand `ks_*`, the two-sample Kolmogorov-Smirnov distance between in-domain and
out-of-domain (Table 2), `auroc_*`, the share of pairs that it orders rightly, and `errors_auroc_*`, the same
between the in-domain pictures that are classified rightly and wrongly. `capped_inside` and `capped_outside`
are the shares of pictures whose features are at least as long as the projection (or the clip) lets through:
all of these have one distance. `accuracy` is that of the last epoch, `accuracy_last3` the mean of the last
three. Features and logits are float32, scores and statistics float64.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Tensor

from common import config, data, distributed, gallery, run
from common.data.dataset import Dataset
from common.results import Figure, Measured
from common.results.tables import is_embedded
from hyperbolic_embeddings.uncertainty.model import SIDE, Network, standardise
from hyperbolic_embeddings.uncertainty.presets import Uncertainty
from hyperbolic_embeddings.uncertainty.scores import auroc, energy, ks_distance, log_p_max
from hyperbolic_embeddings.uncertainty.train import build, load


def measure(
    cfg: Uncertainty,
    checkpoint: dict[str, Any],
    device: torch.device,
    *,
    split: str | None = None,
    export: Path | None = None,
) -> tuple[dict[str, Figure], Measured]:
    """(metric -> figure, what it is about) of a checkpoint as run.load_checkpoint gives it.

    split: of the in-domain set, default 'test'. export: file for the in-domain embeddings z.
    """
    split = split or "test"
    inside, outside = load(cfg, split), out_of_domain(cfg)
    model = network(cfg, checkpoint, inside.classes, device)
    accuracies = []
    for weights in config.stored_part(checkpoint["state"], "last").get("weights", [])[:-1]:
        config.load_state(model, {"model": weights}, "model", "the checkpoint")
        accuracies.append(accuracy(describe(model, cfg, inside)[1], inside))
    config.load_state(model, checkpoint["state"], "model", "the checkpoint")

    u, logits = describe(model, cfg, inside)
    far_u, far_logits = describe(model, cfg, outside)
    accuracies.append(accuracy(logits, inside))
    figures = {
        "accuracy": Figure(accuracies[-1]),
        "accuracy_last3": Figure(sum(accuracies) / len(accuracies)),
    }
    right = logits.argmax(1) == inside.label
    near, far = scores(model, u, logits), scores(model, far_u, far_logits)
    for name, certain in near.items():
        figures[f"ks_{name}"] = Figure(ks_distance(certain, far[name]))
        figures[f"auroc_{name}"] = Figure(auroc(certain, far[name]))
        if right.any() and not right.all():
            figures[f"errors_auroc_{name}"] = Figure(auroc(certain[right], certain[~right]))
        if "ambiguity" in inside.extra:  # known for generated drawings alone
            follows = rank_correlation(-certain, inside.extra["ambiguity"])
            figures[f"ambiguity_{name}"] = Figure(follows, unit="rank correlation")
    if model.to_ball is not None:
        for name, features in (("inside", u), ("outside", far_u)):
            figures[f"capped_{name}"] = Figure(float((features.norm(dim=1) >= model.cap).double().mean()))
    figures["parameters"] = Figure(float(sum(p.numel() for p in model.parameters())), unit="count")

    if export is not None:
        z, c = (u, None) if model.to_ball is None else (model.to_ball(u), float(model.to_ball.c))
        gallery.export(export, embedding=z, dataset=inside, protocol="classification", c=c)
    generated = is_embedded(outside.name) and not is_embedded(inside.name)
    return figures, Measured(inside.name + "-embedded" * generated, split)


def network(cfg: Uncertainty, checkpoint: dict[str, Any], classes: int, device: torch.device) -> Network:
    """The network of a checkpoint with the weights of its last epoch, in evaluation mode on `device`."""
    state = checkpoint["state"]
    model = run.load_network(lambda: build(cfg, classes), state, "the checkpoint", "model")
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval()


def out_of_domain(cfg: Uncertainty) -> Dataset:
    """All pictures of the out-of-domain set, 28 x 28 grey; of the embedded set: its test families."""
    if cfg.data == "embedded":
        return data.load("embedded", "test", size=SIDE, channels=1)
    parts = [data.load(cfg.outside, split, size=SIDE, channels=1) for split in ("train", "test")]
    assert all(part.pixels is not None for part in parts)
    # The classes are of no interest here; ids of the two splits would collide.
    return Dataset(
        name=parts[0].name,
        split="all",
        labels=torch.zeros(sum(map(len, parts)), 1, dtype=torch.int64),
        levels=("set",),
        names=((parts[0].name,),),
        size=SIDE,
        channels=1,
        pixels=torch.cat([part.pixels for part in parts if part.pixels is not None]),
    )


@torch.no_grad()
def describe(model: Network, cfg: Uncertainty, dataset: Dataset) -> tuple[Tensor, Tensor]:
    """Features u (N, n) and logits (N, K) of every picture, float32 on the CPU."""
    assert dataset.pixels is not None
    device = next(model.parameters()).device
    parts = []
    for pixels in distributed.share(dataset.pixels).split(1000):  # the authors' test batch
        u, _, logits = model(standardise(pixels.to(device), cfg.mean, cfg.std))
        parts.append((u.cpu(), logits.cpu()))
    features, logits = (distributed.gather(torch.cat(part), len(dataset)) for part in zip(*parts))
    return features, logits


def scores(model: Network, u: Tensor, logits: Tensor) -> dict[str, Tensor]:
    """The scores of certainty of every picture, (N,) float64 each, by the names of the module's docstring."""
    found = {
        "norm": u.double().norm(dim=1),
        "p_max": log_p_max(logits),
        "energy": energy(logits),
    }
    return found if model.to_ball is None else {"distance": model.distance0(u), **found}


def rank_correlation(x: Tensor, y: Tensor) -> float:
    """Spearman's, of (N,) and (N,); 0 if either is constant: it follows nothing."""
    if x.min() == x.max() or y.min() == y.max():
        return 0.0
    return float(spearmanr(x, y).statistic)  # type: ignore[attr-defined]


def accuracy(logits: Tensor, dataset: Dataset) -> float:
    """Share of pictures whose largest logit is that of their class."""
    return float((logits.argmax(1) == dataset.label).double().mean())
