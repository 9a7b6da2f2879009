"""Measure a CGD checkpoint: `python -m cgd_retrieval.evaluate runs/.../last.pt [--record] [--export FILE]`.

Protocol. Test classes are disjoint from training classes. Each test picture is resized straight to the input
size (aspect ratio not kept, as the authors' evaluation script does), without flips or crops in training's
sense. Every picture is a query against all others of the split, itself excluded; In-shop queries search the
gallery only. Euclidean order, which for unit rows is the cosine's; exact search in float32; a query without a
partner is a miss; ties count against the query. Reported for the embedding Psi, each branch Phi and each raw
descriptor f: the raw ones are l2-normalised first. `raw_first` is the descriptor that feeds the auxiliary
head.

Instead of a checkpoint, `pixels PRESET [--field value ...]` measures raw pixels (l2-normalised) of the
preset's data.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from cgd_retrieval import maps
from cgd_retrieval.model import CGD
from cgd_retrieval.presets import PRESETS, Config
from cgd_retrieval.train import build, validation_set
from common import config, data, distributed, gallery, results, run, typos
from common.arguments import whole_number
from common.data.augment import Augment
from common.data.dataset import Dataset
from common.data.loading import Loader, embed
from common.metrics import map_and_r_precision, recall_at_k
from common.metrics.contract import require_labels
from common.results import Figure, Measured

KS = {"sop": (1, 10, 100, 1000), "inshop": (1, 10, 20, 30, 40, 50)}
"""K of the published tables; (1, 2, 4, 8) for every other data set."""


def main(argv: list[str]) -> None:
    parser = typos.Parser(prog="python -m cgd_retrieval.evaluate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", help="last.pt of a run folder, or the word pixels followed by a preset")
    parser.add_argument("--split", help="test, val, train or query; default: the one of the published tables")
    parser.add_argument(
        "--record", action="store_true", help="append the figures to results/runs/cgd_retrieval.csv"
    )
    parser.add_argument(
        "--export", type=Path, metavar="FILE.npz", help="write the embeddings for other tools"
    )
    parser.add_argument("--device", default="auto")
    args, rest = parser.parse_known_args(argv)
    device = distributed.join(args.device)
    config.require_free("--export", args.export)
    if args.checkpoint == "pixels":
        preset, cfg = config.parse(PRESETS, rest, prog="python -m cgd_retrieval.evaluate pixels")
        cfg = dataclasses.replace(cfg, data=data.resolve(cfg.data), backbone="pixels")
        model, checkpoint = None, None
    elif rest:
        raise ValueError(parser.unknown(rest, "a checkpoint carries its own configuration; "))
    else:
        model, cfg, checkpoint = load_model(Path(args.checkpoint), device)
        preset = checkpoint["preset"]

    split = args.split or (
        "query" if cfg.data.startswith("inshop") else "val" if cfg.val_share > 0 else "test"
    )
    queries = evaluation_set(cfg, split)
    galleries = evaluation_set(cfg, "gallery") if split == "query" else None
    embedded = describe(model, cfg, queries, device)
    searched = None if galleries is None else describe(model, cfg, galleries, device)
    figures, match = measure(cfg, embedded, queries, searched, galleries)
    if model is not None:
        figures["parameters"] = Figure(float(sum(p.numel() for p in model.parameters())), unit="count")
        if cfg.framework != "B" and galleries is None:
            figures |= entropies(model, cfg, queries, embedded, match, device)

    results.show_figures(figures)
    if args.export:
        gallery.export(
            args.export, embedding=embedded["embedding"], dataset=queries, protocol="retrieval", crop=cfg.crop
        )
        print(args.export)
    if args.record:
        results.record(
            "cgd_retrieval",
            figures,
            preset=preset,
            changed=config.overrides(PRESETS, preset, cfg),
            target=cfg.target,
            seed=cfg.seed,
            measured=Measured(queries.name, split),
            argv=argv,
            device=device,
            checkpoint=checkpoint,
            path=None if checkpoint is None else Path(args.checkpoint),
        )


def load_model(path: Path, device: torch.device | str = "cpu") -> tuple[CGD, Config, dict[str, Any]]:
    """(network in evaluation mode, its configuration, the checkpoint's facts)."""
    path = Path(path)
    checkpoint = run.load_checkpoint(path, device, paper="cgd_retrieval")
    cfg = config.restore(Config, checkpoint["config"], path)
    bias = config.stored_part(checkpoint["state"], "model").get("classifier.1.bias")
    fresh, classes = dataclasses.replace(cfg, weights="none"), 1 if bias is None else len(bias)
    model = run.load_network(lambda: build(fresh, classes), checkpoint["state"], path, "model")
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return model.eval(), cfg, checkpoint


def evaluation_set(cfg: Config, split: str) -> Dataset:
    """The split at the network's input size. 'val': the training classes that `--val-share` held out."""
    if split != "val":
        return data.load(cfg.data, split, size=cfg.size, crop=cfg.crop)
    if not cfg.val_share > 0:
        raise ValueError("--split val: this run held out no classes; train with --val-share 0.2")
    return validation_set(cfg)


@torch.no_grad()
def describe(model: CGD | None, cfg: Config, dataset: Dataset, device: torch.device) -> dict[str, Tensor]:
    """Unit rows (N, d) float32 on the CPU: 'embedding', 'branch_S', ..., 'raw_S', ...; no model: pixels as
    'embedding'.
    """
    loader = Loader(
        dataset, Augment(size=cfg.size, mean=cfg.mean, std=cfg.std), device=device, workers=cfg.workers
    )

    def network(images: Tensor) -> dict[str, Tensor]:
        if model is None:
            found = {"embedding": images[:, : dataset.channels].flatten(1)}
        else:
            found = model.parts(images.contiguous(memory_format=torch.channels_last))
        return {name: normalize(value.float(), dim=1).cpu() for name, value in found.items()}

    return embed(loader, network)


def measure(
    cfg: Config,
    query: dict[str, Tensor],
    queries: Dataset,
    searched: dict[str, Tensor] | None,
    galleries: Dataset | None,
) -> tuple[dict[str, Figure], Tensor]:
    """(metric -> figure, top match of every query (N,)).

    Recalls for every part, MAP@R and R-precision for the embedding; how often the branches disagree: share of
    queries that some, but not all, of them get right with their nearest neighbour.
    """
    y, gallery_y = queries.label, None if galleries is None else galleries.label
    everyone = torch.arange(len(queries))
    figures: dict[str, Figure] = {}
    best: dict[str, tuple[Tensor, Tensor]] = {}  # nearest row (N, 1), whether it is of the same class (N, 1)
    for name, rows in query.items():
        base = None if searched is None else searched[name]
        ks = KS.get(cfg.data.removesuffix("-embedded"), (1, 2, 4, 8))
        ks = tuple(k for k in ks if k < len(rows if base is None else base))
        recalls = recall_at_k(rows, y, ks, base, gallery_y)
        prefix = {"embedding": "", f"raw_{cfg.config[0]}": "raw_first/"}.get(name, f"{name}/")
        figures |= {f"{prefix}recall@{k}": Figure(value) for k, value in recalls.items()}
        if name == "embedding" or name.startswith("branch_"):
            best[name] = gallery.neighbours(rows, y, everyone, 1, base, gallery_y)
    match, right = best.pop("embedding")
    figures["recall@1"] = Figure(figures["recall@1"].value, class_interval(right[:, 0], y))
    base = None if searched is None else searched["embedding"]
    average, share = map_and_r_precision(query["embedding"], y, base, gallery_y)
    figures |= {"map@r": Figure(average), "r-precision": Figure(share)}
    if len(best) > 1:
        rights = torch.cat([right for _, right in best.values()], 1)  # (N, n)
        figures["branch_disagreement"] = Figure(float((rights.any(1) & ~rights.all(1)).float().mean()))
    return figures, match[:, 0]


def class_interval(right: Tensor, labels: Tensor, draws: int = 1000) -> float:
    """Half width of the 95 % interval of recall@1 from a bootstrap over test classes, whose queries depend on
    each other. right (N,) bool: which queries are hits; labels (N,).
    """
    whole_number("draws", draws)
    require_labels("labels", labels)
    if right.shape != labels.shape or right.dtype != torch.bool:
        raise ValueError(
            f"right is {right.dtype} {tuple(right.shape)}; give bool, one per label, {tuple(labels.shape)}"
        )
    classes, index = labels.unique(return_inverse=True)
    hit = torch.zeros(len(classes), dtype=torch.float64).index_add_(0, index, right.double())
    total = index.bincount(minlength=len(classes)).double()
    picks = torch.randint(len(classes), (draws, len(classes)), generator=torch.Generator().manual_seed(0))
    ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = (hit[picks].sum(1) / total[picks].sum(1)).quantile(ends)
    return float(high - low) / 2


def entropies(
    model: CGD,
    cfg: Config,
    dataset: Dataset,
    embedded: dict[str, Tensor],
    match: Tensor,
    device: torch.device,
) -> dict[str, Figure]:
    """'entropy_S', ...: mean spatial entropy of each branch's map over every query and its top match
    (maps.py, the paper's Figure 4), in shares of log(h w).
    """
    phi = {
        name.removeprefix("branch_"): rows for name, rows in embedded.items() if name.startswith("branch_")
    }
    found = maps.entropy_by_descriptor(
        model,
        dataset,
        phi,
        torch.stack([torch.arange(len(dataset)), match], 1),
        mean=cfg.mean,
        std=cfg.std,
        device=device,
        workers=cfg.workers,
    )
    return {f"entropy_{name}": Figure(float(values.mean())) for name, values in found.items()}


if __name__ == "__main__":
    config.command(main)
