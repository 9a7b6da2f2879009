"""Which places of two pictures make them similar: `python -m cgd_retrieval.maps CHECKPOINT [--out FILE.png]`.

The paper shows such maps for S, M and SM (Figure 4 of arXiv:1903.10663v4, seen only as quoted in reviews) and
claims that SPoC looks at wide regions, MAC at small ones, and that the combination inherits both (claim C13).
How it computed them was not seen, so this is our definition. It adds up: the map of a branch sums to the
branch cosine.

    symbol   shape       meaning
    X        (C, h, w)   feature map of the picture that is looked at
    f        (C,)        its raw descriptor: spoc, mac or gem of X (descriptors.py)
    r        (C, h, w)   share of place x in channel c; sums to 1 over the places of a channel
    W        (k, C)      FC of the branch
    Phi_q    (k,)        unit-norm branch embedding of the other picture
    map      (h, w)      contribution of each place to the branch cosine <Phi_q, W f / |W f|>

Our definition. Place x owns the share r_c(x) of channel c, so

    map(x) = Phi_q . W (f * r(x)) / |W f|,        sum over x of map(x) = Phi_q . W f / |W f| = cosine

    S:  r_c(x) = X_c(x) / sum of X_c, so f_c r_c(x) = X_c(x) / (h w), the terms of the mean that f_c is
    M:  r_c(x) = 1 / (number of maxima) at the maxima of channel c, where f_c comes from; 0 elsewhere
    G:  r_c(x) = X_c(x)^p / sum of X_c^p; p = 1 is S, and M is the limit of large p

The map of the whole network is the mean of its branch maps, and sums to the similarity <Psi_q, Psi> (note
D19). Contributions may be negative. Spatial entropy: of |map|, scaled to sum 1, divided by log(h w); 1 is
uniform, 0 is one place.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor
from torch.nn.functional import interpolate, normalize

from cgd_retrieval.descriptors import GEM_FLOOR, gem, mac, spoc
from cgd_retrieval.model import CGD, Branch
from common import compute, config, gallery, typos
from common.arguments import described
from common.data.augment import Augment
from common.data.dataset import Dataset
from common.data.loading import Loader

Statistics = tuple[float, float, float]


def contribution_map(
    x: Tensor, descriptor: str, weight: Tensor, phi: Tensor, p: float | Tensor = 3.0
) -> Tensor:
    """(..., h, w): what each place of the feature map adds to the branch cosine; sums to it exactly.

    x (C, h, w) with phi (k,), or a batch, x (B, C, h, w) with phi (B, k), the unit-norm Phi of the other
    pictures. descriptor: 'S', 'M' or 'G', the latter with exponent p, () or (C,). weight: W (k, C).
    """
    for name, given in (("x", x), ("weight", weight), ("phi", phi)):
        if not isinstance(given, Tensor):
            raise TypeError(f"{name} is {described(given)}; give a float32 or float64 tensor")
    if not x.dtype == weight.dtype == phi.dtype:
        raise TypeError(
            f"x is {x.dtype}, weight {weight.dtype} and phi {phi.dtype}; convert them to one of these types"
        )
    if x.ndim == 3:
        return contribution_map(x[None], descriptor, weight, phi[None], p)[0]
    if x.ndim != 4 or weight.ndim != 2 or phi.shape != (len(x), len(weight)) or weight.shape[1] != x.shape[1]:
        raise ValueError(
            f"x {tuple(x.shape)}, weight {tuple(weight.shape)} and phi {tuple(phi.shape)} do not fit; give "
            "(B, C, h, w), (k, C) and (B, k)"
        )
    if descriptor == "S":
        f = spoc(x)  # (B, C)
        owned = x / (x.shape[2] * x.shape[3])  # (B, C, h, w) f * r
    elif descriptor == "M":
        f = mac(x)
        top = (x == f[:, :, None, None]).to(x.dtype)
        owned = top * (f / top.sum((2, 3)))[:, :, None, None]
    elif descriptor == "G":
        f = gem(x, p)
        x = x.clamp(min=GEM_FLOOR)
        exponent = p.reshape(-1, 1, 1) if isinstance(p, Tensor) else p
        power = (x / x.amax((2, 3), keepdim=True)).pow(exponent)
        owned = power * (f / power.sum((2, 3)))[:, :, None, None]
    else:
        raise ValueError(f"descriptor is {descriptor!r}; choose S, M or G")
    length = (f @ weight.T).norm(dim=1).clamp_min(1e-12)  # (B,) |W f|; the bound is that of normalize
    return torch.einsum("bc,bchw->bhw", phi @ weight / length[:, None], owned)


def spatial_entropy(contribution: Tensor) -> Tensor:
    """(..., h, w) -> (...): entropy of |contribution|, scaled to sum 1, in units of log(h w): in [0, 1].

    1: every place counts alike; 0: one place alone. A map of zeros prefers no place: 1.
    ValueError for a single place, where the unit is 0.
    """
    if not isinstance(contribution, Tensor):
        raise TypeError(f"contribution is {described(contribution)}; give a tensor (..., h, w)")
    if contribution.ndim < 2 or contribution.shape[-1] * contribution.shape[-2] < 2:
        raise ValueError(
            f"contribution, of shape {tuple(contribution.shape)}, has no spatial entropy; give (..., h, w), "
            "h w >= 2"
        )
    if not bool(contribution.isfinite().all()):
        raise ValueError("contribution holds NaN or infinity; check the network that made the map")
    weight = contribution.abs().flatten(-2)  # (..., h w)
    total = weight.sum(-1, keepdim=True)
    share = torch.where(total > 0, weight / total, 1 / weight.shape[-1])
    return -torch.special.xlogy(share, share).sum(-1) / math.log(weight.shape[-1])


def branch_maps(model: CGD, x: Tensor, phi: dict[str, Tensor]) -> dict[str, Tensor]:
    """Descriptor -> (B, h, w): the map of each branch and, when the network joins several, of all together.

    x: (B, C, h, w) feature maps. phi: letter -> (B, k) of the other pictures. The joint map is named by the
    configuration, e.g. 'SM', and is left out where branches are added up (fusion 'sum'), as the similarity is
    then no mean of branch cosines. ValueError for framework B, which has no branches.
    """
    if model.framework == "B":
        raise ValueError(
            "model has framework B, which reduces all descriptors by one FC and has no branches to draw "
            "maps of; use CGD or A"
        )
    if not set(model.config) <= phi.keys():
        raise ValueError(
            f"phi has rows for {', '.join(phi) or 'no branch'}; give those of {', '.join(model.config)}"
        )
    maps = {
        letter: contribution_map(x, letter, branch_weight(model, letter), phi[letter], model.p)
        for letter in model.config
    }
    if len(maps) > 1 and model.fusion == "concat":
        maps[model.config] = torch.stack(list(maps.values())).mean(0)
    return maps


@torch.no_grad()
def entropy_by_descriptor(
    model: CGD,
    dataset: Dataset,
    phi: dict[str, Tensor],
    pairs: Tensor,
    *,
    mean: Statistics | float = 0.0,
    std: Statistics | float = 1.0,
    device: torch.device | str = "cpu",
    workers: int = 0,
    batch: int = 128,
) -> dict[str, Tensor]:
    """Descriptor -> (P,) float32: spatial entropy of the map of each pair, on the CPU; names as in
    `branch_maps`.

    pairs (P, 2) int64: row of the query in `phi`, row of its match in `dataset`. phi: letter -> (N, k), unit
    rows: the branch embeddings of the queries. Each picture that is a match is embedded once, however many
    queries it serves. mean, std: normalisation of pictures. The network is used as it stands: call
    model.eval() first.
    """
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype != torch.int64:
        raise ValueError(f"pairs has shape {tuple(pairs.shape)} and type {pairs.dtype}; give (P, 2) int64")
    rows, which = pairs[:, 1].unique(return_inverse=True)  # (U,) matches, (P,)
    loader = Loader(
        dataset.subset(rows), Augment(size=dataset.size, mean=mean, std=std), device=device, workers=workers
    )
    found: dict[str, Tensor] = {}
    start = 0
    for images, _, _ in loader.all(batch):
        x = features(model, images)  # (B, C, h, w)
        own = ((which >= start) & (which < start + len(x))).nonzero()[:, 0]
        for part in own.split(batch):  # a picture may be the match of very many queries
            query = {
                letter: value[pairs[part, 0]].to(x) for letter, value in phi.items() if letter in model.config
            }
            for name, value in branch_maps(model, x[(which[part] - start).to(x.device)], query).items():
                entropy = spatial_entropy(value).cpu()
                found.setdefault(name, torch.empty(len(pairs), dtype=entropy.dtype))[part] = entropy
        start += len(x)
    return found


def branch_weight(model: CGD, letter: str) -> Tensor:
    """W (k, C) of a branch."""
    branch = model.branches[letter]
    assert isinstance(branch, Branch)
    return branch.fc.weight


def features(model: CGD, images: Tensor) -> Tensor:
    """(B, C, h, w) feature maps in float32 or float64."""
    x = model.backbone(images.contiguous(memory_format=torch.channels_last))
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def branch_embeddings(model: CGD, x: Tensor) -> dict[str, Tensor]:
    """Letter -> (B, k): Phi of each branch, Eq. (2), from feature maps (B, C, h, w)."""
    raw = {"S": spoc, "M": mac, "G": lambda x: gem(x, model.p)}
    return {
        letter: normalize(raw[letter](x) @ branch_weight(model, letter).T, dim=1) for letter in model.config
    }


# --- The picture --------------------------------------------------------------------------------------------


@torch.no_grad()
def figure(
    model: CGD,
    dataset: Dataset,
    pairs: Tensor,
    path: Path,
    *,
    matches: Dataset | None = None,
    mean: Statistics | float = 0.0,
    std: Statistics | float = 1.0,
    device: torch.device | str = "cpu",
    title: str = "",
    note: str = "",
) -> None:
    """One line per pair: query and its maps, match and its maps; below each map its sum and its entropy.

    pairs (P, 2) int64: rows of queries in `dataset` and of their matches in `matches` (by default `dataset`).
    On the left the query's places are weighed for its match, on the right the match's for its query. Colour:
    the contribution relative to the map's largest, orange for and blue against the similarity. Writes a PNG,
    the same bytes each time.
    """
    shown = matches or dataset
    sides = [(dataset, pairs[:, 0]), (shown, pairs[:, 1])]
    pictures, maps = [], []
    for source, rows in sides:
        loader = Loader(source.subset(rows), Augment(size=source.size, mean=mean, std=std), device=device)
        pictures.append(torch.cat([features(model, images) for images, _, _ in loader.all(64)]))
    phi = [branch_embeddings(model, x) for x in pictures]
    for x, other in zip(pictures, reversed(phi)):
        maps.append({name: value.cpu() for name, value in branch_maps(model, x, other).items()})

    names = list(maps[0])
    side = gallery.tile_side(dataset.size)
    across, down = side + 14, side + 66
    block = across * (1 + len(names)) + 26  # width of a query or a match with its maps, and a gap
    sheet, top = gallery.page(2 * gallery.MARGIN + 2 * block - 40, len(pairs) * down + 66, title, note)
    top += 32
    pen, small = ImageDraw.Draw(sheet), gallery.font(14)

    def write(
        x: int, y: int, said: str, also: str, said_colour: gallery.Colour, also_colour: gallery.Colour
    ) -> None:
        for n, (text, colour) in enumerate(((said, said_colour), (also, also_colour))):
            pen.text((x, y + side + 5 + 18 * n), gallery.fit(text, small, side + 8)[0], colour, small)

    for number, (source, rows) in enumerate(sides):
        left = gallery.MARGIN + number * block
        for n, word in enumerate([("query", "top match")[number], *names]):
            pen.text((left + n * across, top - 30), word, gallery.INK, gallery.font(16))
        for line, row in enumerate(rows.tolist()):
            y, picture = top + line * down, source.picture(row)
            sheet.paste(gallery.tile(picture), (left, y))
            write(left, y, *gallery.class_name(source, row), gallery.INK, gallery.GREY)
            if number:
                query = dataset.names[-1][dataset.label[pairs[line, 0]]]
                gallery.badge(sheet, left + side - 4, y + 4, source.names[-1][source.label[row]] == query)
            for n, name in enumerate(names, start=1):
                value = maps[number][name][line]  # (h, w)
                total, entropy = (
                    f"sum {float(value.sum()):.3f}",
                    f"entropy {float(spatial_entropy(value)):.2f}",
                )
                sheet.paste(overlay(picture, value, side), (left + n * across, y))
                write(left + n * across, y, total, entropy, gallery.GREY, gallery.INK)
    _scale(sheet, gallery.MARGIN, top + len(pairs) * down + 4)
    gallery.save_png(sheet, path)


def overlay(picture: Tensor, contribution: Tensor, side: int) -> Image.Image:
    """The picture (C, s, s) uint8 in pale grey, under the map (h, w) in colour, `side` pixels wide."""
    grey = np.asarray(gallery.tile(picture, side).convert("L").resize((side, side)), dtype=np.float64) / 255
    top = float(contribution.abs().max())
    scaled = (contribution / top if top > 0 else contribution).double()
    fine = interpolate(scaled[None, None], (side, side), mode="bilinear", align_corners=False)[0, 0].numpy()
    colour, opacity = _colours(fine)
    base = np.repeat((0.45 + 0.5 * grey)[..., None], 3, axis=2)
    return Image.fromarray(np.round(255 * ((1 - opacity) * base + opacity * colour)).astype(np.uint8))


def _colours(value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(colour (..., 3), opacity (..., 1)) of contributions relative to the largest, -1 to 1."""
    warm, cold = matplotlib.colormaps["YlOrRd"], matplotlib.colormaps["Blues"]
    size = np.abs(value).clip(0, 1)
    colour = np.where(
        (value >= 0)[..., None], warm(0.25 + 0.7 * size)[..., :3], cold(0.4 + 0.6 * size)[..., :3]
    )
    return colour, (0.9 * size)[..., None]


def _scale(sheet: Image.Image, x: int, y: int) -> None:
    """Legend of the colours."""
    pen, small = ImageDraw.Draw(sheet), gallery.font(14)
    length, height = 180, 12
    colour, opacity = _colours(np.linspace(-1, 1, length)[None].repeat(height, 0))
    bar = Image.fromarray(np.round(255 * ((1 - opacity) * 0.75 + opacity * colour)).astype(np.uint8))
    pen.text((x, y - 2), "against", gallery.GREY, small)
    x += int(small.getlength("against")) + 8
    sheet.paste(bar, (x, y))
    text = "for the similarity, relative to the largest contribution of each map; "
    text += "sum: the cosine that a map explains; entropy: 1 is uniform"
    pen.text((x + length + 8, y - 2), text, gallery.GREY, small)


# --- Command ------------------------------------------------------------------------------------------------


def main(argv: Sequence[str]) -> None:
    # Here and not above: evaluate.py measures the entropies of this module.
    from cgd_retrieval.evaluate import describe, evaluation_set, load_model

    parser = typos.Parser(
        prog="python -m cgd_retrieval.maps", description="Similarity maps of queries and their top matches."
    )
    parser.add_argument("checkpoint", type=Path, help="last.pt of a run folder")
    parser.add_argument(
        "--split", help="test, val, train or query; default: test, for In-shop query in gallery"
    )
    parser.add_argument("--pairs", type=int, default=6, help="lines of the picture (default 6)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw of queries (default 0)")
    parser.add_argument(
        "--out", type=Path, metavar="FILE.png", help="default: maps.png beside the checkpoint"
    )
    parser.add_argument("--device", default="auto")
    args = parser.parse_args(argv)
    device = compute.pick_device(args.device)
    if args.pairs < 1:
        raise ValueError(f"--pairs {args.pairs}: give at least 1")
    if args.seed < 0:
        raise ValueError(f"--seed {args.seed}: give 0 or more")
    config.require_free("--out", args.out)
    model, cfg, _ = load_model(args.checkpoint, device)
    if cfg.framework == "B":
        raise ValueError(
            f"{args.checkpoint} is framework B, which has no branches to draw maps of; use CGD or A"
        )

    split = args.split or ("query" if cfg.data.startswith("inshop") else "test")
    queries = evaluation_set(cfg, split)
    others = evaluation_set(cfg, "gallery") if split == "query" else None
    psi = describe(model, cfg, queries, device)["embedding"]
    base = None if others is None else describe(model, cfg, others, device)["embedding"]
    everyone = torch.arange(len(queries))
    label = None if others is None else others.label
    match, right = gallery.neighbours(psi, queries.label, everyone, 1, base, label)
    chosen = gallery.choose_queries(right[:, 0], args.pairs, args.seed)
    out = args.out or args.checkpoint.parent / "maps.png"
    figure(
        model, queries, torch.stack([chosen, match[chosen, 0]], 1), out, matches=others, mean=cfg.mean,
        std=cfg.std, device=device, title=f"Where {cfg.config} looks: {queries.name}, {split}",
        note=gallery.caption(right[:, 0], chosen, args.seed),
    )  # fmt: skip
    print(out)


if __name__ == "__main__":
    config.command(main)
