"""Wrong calls of every public function and wrong words for every command, and the sentence that each gives.

A row is: call | exception | what the sentence calls the argument | the value that was given | the remedy. All
three stand in the sentence; the first is a parameter of what is called or an option, the last an imperative.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import io
import math
import os
import re
import shutil
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, get_args, get_origin, get_type_hints

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from cgd_retrieval import backbones, descriptors, maps
from cgd_retrieval import evaluate as cgd_evaluate
from cgd_retrieval import losses as cgd_losses
from cgd_retrieval import model as cgd_model
from cgd_retrieval.presets import PRESETS, Config
from common import compute, config, metrics, networks
from common.data import embedded, samplers
from common.plan import Plan
from common.run import Run
from hierarchical_multilabel import evaluate as hierarchical_evaluate
from hierarchical_multilabel import losses as hierarchical_losses
from hierarchical_multilabel import measures, probe, splits
from hierarchical_multilabel import model as hierarchical_model
from hierarchical_multilabel import sampler as hierarchical_sampler
from hyperbolic_embeddings import layers, poincare, projection
from hyperbolic_embeddings.delta import extractors, hyperbolicity, spaces
from hyperbolic_embeddings.fewshot import backbones as fewshot_backbones
from hyperbolic_embeddings.fewshot import episodes, protonet
from hyperbolic_embeddings.presets import PRESETS as HYPERBOLIC_PRESETS
from hyperbolic_embeddings.reid import evaluate as reid_evaluate
from hyperbolic_embeddings.reid import model as reid_model
from hyperbolic_embeddings.uncertainty import model as uncertainty_model
from hyperbolic_embeddings.uncertainty import scores
from instance_discrimination import cost, finetune, memory, pictures, probes, sharding
from instance_discrimination import evaluate as instance_evaluate
from instance_discrimination import losses as instance_losses
from instance_discrimination import model as instance_model
from instance_discrimination.presets import PRESETS as INSTANCE_PRESETS

ROOT = Path(__file__).parents[1]
UNTRAINED = {
    "cgd_retrieval": ["smoke", "--steps", "0"],
    "hyperbolic_embeddings": ["smoke-uncertainty", "--epochs", "0"],
    "hierarchical_multilabel": ["smoke", "--steps", "0"],
    "instance_discrimination": ["smoke", "--epochs", "0"],
}
PAPERS = tuple(UNTRAINED)

# --- What the calls are made of -----------------------------------------------------------------------------

nan, inf = math.nan, math.inf
g = torch.Generator().manual_seed(0)
x = normalize(torch.randn(6, 4, generator=g), dim=1)  # unit rows
y = torch.tensor([0, 0, 1, 1, 2, 2])  # their classes
xd, yf, p, LIST = x.double(), y.float(), x / 2, x.tolist()
hole, far = x.clone(), x.clone()
hole[3, 1], far[2, 0] = nan, inf
one_way = torch.tensor([[0.0, 1.0], [2.0, 0.0]])  # no distances: there is another way back
d = torch.cdist(x, x)
t = torch.stack([y // 2, y, torch.arange(6)], 1)  # a tree: coarse, fine, the image
z = torch.stack([x, x], 1)  # two views
zh = torch.stack([hole, x], 1)
f = torch.rand(2, 4, 3, 3, generator=g)  # feature maps
logits, phi = torch.rand(6, 3, generator=g), torch.rand(2, 6, generator=g)
rows = episodes.draw(y, 3, 1, 1, 4, seed=0)
h = protonet.ProtoHead("hyperbolic")
bank = normalize(torch.randn(9, 4, generator=g), dim=1)
idx, noise = torch.arange(6), torch.randint(9, (6, 5), generator=g)
lz, sc = torch.tensor(1.0), torch.rand(6, 5, generator=g)
net = {"widths": (8,), "pools": 0, "frozen": 0, "dim": 3}
reid, instance = HYPERBOLIC_PRESETS["smoke-reid"][1], INSTANCE_PRESETS["smoke"][1]


class Given(nn.Module):
    """A backbone that passes on its input, or less of it than it promises."""

    def __init__(self, kept: int = 4) -> None:
        super().__init__()
        self.channels, self.kept = 4, kept

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, : self.kept]


cgd, wide = (cgd_model.CGD(Given(kept), "SM", 6, 3) for kept in (4, 2))


def pic(channels: int, side: int) -> torch.Tensor:
    return torch.zeros(2, channels, side, side)


def B() -> memory.MemoryBank:
    return memory.MemoryBank(9, 4, 0.5)


# --- The table of calls -------------------------------------------------------------------------------------


NETWORKS_CALLS = """
SmallCNN(()) | value | widths | () | give at least one stage, each of at least 1
SmallCNN(8) | type | widths | 8 | give a tuple of whole numbers, one per stage
SmallCNN((8, 8), pool_after=(3,)) | value | pool_after | (3,) | use those
SmallCNN((8, 8), channels=0) | value | channels | 0 | give a whole number of at least 1
SmallCNN((8, 8))(pic(1, 8)) | value | x | (2, 1, 8, 8) | give [B, 3, H, W]
SmallCNN((8, 8), channels=1)(pic(3, 8)) | value | x | (2, 3, 8, 8) | give [B, 1, H, W]
SmallCNN((8, 8))(pic(3, 2)) | value | x | (2, 3, 2, 2) | give [B, 3, H, W] with H and W of at least 4
first_stages(2, (8,)) | value | pools | 2 | give 0 to 1, the number of widths
first_stages("2", (8,)) | type | pools | '2' | give a whole number
"""

METRICS_CALLS = """
recall_at_k(LIST, y, (1,)) | type | query | a list | give a float32 or float64 tensor of shape (N
recall_at_k(x.long(), y, (1,)) | type | query | torch.int64 | convert it to torch.float32 or torch.float64
recall_at_k(x.half(), y, (1,)) | type | query | torch.float16 | convert it to torch.float32 or torch.float64
recall_at_k(x[0], y, (1,)) | value | query | (4,) | give (N, D) with at least one row and one
recall_at_k(x[:0], y[:0], (1,)) | value | query | (0, 4) | give (N, D) with at least one row and one
recall_at_k(x[:1], y[:1], (1,)) | value | query | 1 row | give at least 2, or a gallery
recall_at_k(hole, y, (1,)) | value | query | NaN | check the network that made it
recall_at_k(x, yf, (1,)) | type | query_labels | torch.float32 | convert it to torch.int64
recall_at_k(x, y.tolist(), (1,)) | type | query_labels | a list | give an int64 tensor, one label per row
recall_at_k(x, y[:5], (1,)) | value | query_labels | 5 | give one label per row
recall_at_k(x, y[:, None], (1,)) | value | query_labels | (6, 1) | give one label per row, shape (N,)
recall_at_k(x, y, (6,)) | value | K | 6 | give a K of at most 5
recall_at_k(x, y, (0,)) | value | K | 0 | give a whole number of at least 1
recall_at_k(x, y, (1.5,)) | type | K | 1.5 | give a whole number
recall_at_k(x, y, ()) | value | ks | empty | give at least one K
recall_at_k(x, y, 1) | type | ks | 1 | give a sequence of whole numbers, for example
recall_at_k(x, y, (1,), x) | value | gallery | is given | give both, or neither
recall_at_k(x, y, (1,), None, y) | value | gallery_labels | is given | give both, or neither
recall_at_k(x, y, (1,), x[:, :3], y) | value | gallery | 3 | use one model
recall_at_k(x, y, (1,), xd, y) | type | gallery | torch.float64 | convert one of them
recall_at_k(x, y, (1,), x, y, chunk=0) | value | chunk | 0 | give a whole number of at least 1
recall_at_k(x, y, (1,), x, y, chunk="a") | type | chunk | 'a' | give a whole number
map_at_r(x, y, x[:2], y) | value | gallery_labels | 6 | give one label per row
r_precision(x, y, far, y) | value | gallery | NaN | check the network that made it
map_and_r_precision(x, y, chunk=-1) | value | chunk | -1 | give a whole number of at least 1
reid_scores(x, y, y, x, y, y, (1,)) | value | query_ids | no query has a match | check both
reid_scores(x, y-5, y, x, y, y, (1,)) | value | query_ids | -5 | give -1 (junk), 0 (distractor) or a person
reid_scores(x, y, y[:3], x, y, y, (1,)) | value | query_cams | 3 | give one label per row
reid_scores(x, y, y, x, y, y+1, (7,)) | value | K | 7 | give a K of at most 6
reid_scores(x, y, y, x, y, y.float(), (1,)) | type | gallery_cams | torch.float32 | convert it to torch.int64
knn_predict(2*x, y, x, 1, 0.1, 3) | value | train | norm 2 | scale every row to unit length
knn_predict(x, y, x, 7, 0.1, 3) | value | k | 7 | give a k of at most 6
knn_predict(x, y, x, 0, 0.1, 3) | value | k | 0 | give a whole number of at least 1
knn_predict(x, y, x, 1, 0, 3) | value | temperature | 0.0 | give a positive finite number
knn_predict(x, y, x, 1, nan, 3) | value | temperature | nan | give a positive finite number
knn_predict(x, y, x, 1, 0.1, 2) | value | train_labels | 2 | check classes = 2
knn_predict(x, y-1, x, 1, 0.1, 3) | value | train_labels | -1 | check classes = 3
knn_predict(x, y, x, 1, 0.1, 3, engine="annoy") | value | engine | 'annoy' | choose 'torch' or 'faiss'
knn_predict(xd, y, xd, 1, 0.1, 3, engine="faiss") | value | engine | 'faiss' | use engine='torch'
knn_predict(x, y, hole, 1, 0.1, 3) | value | query | NaN | check the network that made it
nmi(y, y[:3]) | value | clusters | 3 | give one label per row
nmi(y[:0], y[:0]) | value | labels | empty | give at least one row
nmi(y, yf) | type | clusters | torch.float32 | convert it to torch.int64
nmi(y.tolist(), y) | type | labels | a list | give an int64 tensor, one label per row
gromov_delta() | value | points | None | give either points or distances
gromov_delta(distances=x) | value | distances | (6, 4) | give a square matrix (n, n)
gromov_delta(distances=-torch.ones(3, 3)) | value | distances | -1 | give a symmetric matrix
gromov_delta(hole) | value | points | NaN | check the network that made it
gromov_delta(x, base=6) | value | base | 6 | give a row from 0 to 5
gromov_delta(x, base=-1) | value | base | -1 | give a whole number of at least 0
gromov_delta(x, base=[]) | value | base | empty | give at least one row
gromov_delta(LIST) | type | points | a list | give a float32 or float64 tensor of shape (N
episode_interval([]) | value | accuracies | (0,) | give at least one episode, shape (n,)
episode_interval([0.5, nan]) | value | accuracies | nan | give finite numbers
episode_interval(["a"]) | type | accuracies | a list | give one real number per episode
"""

COMPUTE_CALLS = """
parse(PRESETS, []) | value | a preset | name a preset first | name a preset first
parse(PRESETS, ["smoke", "--seed", "-1"]) | value | --seed | -1 | give a number from 0 to 4294967295
parse(PRESETS, ["smoke", "--margin", "nan"]) | value | --margin | nan | give 0 or more
restore(Config, {"gone": 3}, "last.pt") | value | last.pt | unknown fields gone | train again
restore(Config, {"dim": "3"}, "last.pt") | value | dim | '3' | train again
load_state(torch.nn.Linear(2, 2), {}, "model", "last.pt") | value | last.pt | the model | train again
require_free("--export", Path("/dev/null/e.npz")) | value | --export | /dev/null/e.npz | give another place
require_free_folder("--npy", Path("/dev/null/e")) | value | --npy | /dev/null/e | give another place
pick_device("toaster") | value | --device | toaster | use auto, cpu, cuda
pick_device("cuda:99") | value | --device | cuda:99 | use auto or cpu
autocast(torch.device("cpu"), "float16") | value | --precision | float16 | use float32, tf32 or bfloat16
seed_everything(-1) | value | seed | -1 | give a whole number of at least 0
halving(len, 0, "pictures") | value | block | 0 | give a whole number of at least 1
"""

SAMPLERS_CALLS = """
PKSampler(y, 2, 2, seed=0, rank=2, ranks=2) | value | rank | 2 | give a rank from 0 to ranks - 1
PKSampler(LIST, 2, 2, seed=0) | type | labels | a list | give an int64 tensor [N]
PKSampler(yf, 2, 2, seed=0) | type | labels | torch.float32 | give an int64 tensor [N]
PKSampler(y, 0, 2, seed=0) | value | p | 0 | give whole numbers of at least 1
PKSampler(y, 2.5, 2, seed=0) | type | p | 2.5 | give a whole number
PKSampler(y, 4, 2, seed=0) | value | p | 4 | lower p
PKSampler(y, 2, 3, seed=0) | value | k | 3 | lower k, or pass short='repeat'
PKSampler(y, 2, 2, seed=0, steps=0) | value | steps | 0 | give whole numbers of at least 1
PKSampler(y, 3, 2, seed=0, ranks=2) | value | p | 3 | choose a multiple of 2
PKSampler(y, 3, 2, seed=0, short="skip") | value | short | 'skip' | choose 'error', 'repeat' or 'drop'
PKSampler(y, 3, 3, seed=0, short="drop") | value | p | 3 | lower p
PKSampler(y, 3, 2, seed=-1) | value | seed | -1 | give a whole number of at least 0
PKSampler(y, 3, 2, seed="a") | type | seed | 'a' | give a whole number
EpisodeSampler(y, 4, 1, 1, 5, seed=0) | value | way | 4 | lower way
EpisodeSampler(y, 3, 1, 2, 5, seed=0) | value | query | 3 | lower one of them
EpisodeSampler(y, 3, 0, 1, 5, seed=0) | value | shot | 0 | give whole numbers of at least 1
EpisodeSampler(y, 3, 1, 1, 5, seed=0, ranks=2) | value | episodes | 5 | choose a multiple of 2
EpisodeSampler(y, 3, 1, 1, 5.5, seed=0) | type | episodes | 5.5 | give a whole number
EpisodeSampler(yf, 3, 1, 1, 5, seed=0) | type | labels | torch.float32 | give an int64 tensor [N]
ShuffleSampler(0, 2, seed=0) | value | n | 0 | give whole numbers of at least 1
ShuffleSampler(3, 4, seed=0, drop_last=True) | value | batch | 4 | lower batch
ShuffleSampler(3, 3, seed=0, ranks=2) | value | batch | 3 | choose a multiple of 2
ShuffleSampler(3, "3", seed=0) | type | batch | '3' | give a whole number
ShuffleSampler(3, 3, seed=None) | type | seed | None | give a whole number
"""

POINCARE_CALLS = """
mobius_add(LIST, p, 1.0) | type | x | a list | give a float32 or float64 tensor (..., D)
mobius_add(x.long(), p, 1.0) | type | x | torch.int64 | convert it to float32 or float64
mobius_add(p, p[:, :3], 1.0) | value | y | (6, 3) | give rows of one D and shapes that broadcast
mobius_add(p, p[:4], 1.0) | value | y | (4, 4) | give rows of one D and shapes that broadcast
mobius_add(p, p.double(), 1.0) | type | y | torch.float64 | convert them to one
mobius_add(3*p, p, 1.0) | value | x | outside the ball | project it first (project, ToPoincare)
mobius_add(p, 3*p, 1.0) | value | y | outside the ball | project it first (project, ToPoincare)
mobius_add(p, p, 0) | value | c | 0 | give a finite number above 0, the curvature
mobius_add(p, p, -1) | value | c | -1 | give a finite number above 0, the curvature
mobius_add(p, p, torch.ones(2)) | value | c | (2,) | give a number or a tensor of shape ()
mobius_add(p, p, torch.tensor(1)) | type | c | torch.int64 | convert it to float32 or float64
mobius_add(p, p, 1.0, "approximate") | value | mode | 'approximate' | choose 'exact' or 'released'
mobius_add(p, p, 1.0, None) | value | mode | None | choose 'exact' or 'released'
expmap(p, far, 1.0) | value | u | not finite | lower the learning rate or check the input
expmap(3*p, p, 1.0) | value | x | outside the ball | project it first (project, ToPoincare)
expmap0(hole, 1.0) | value | u | not finite | lower the learning rate or check the input
expmap0(torch.ones(()), 1.0) | value | u | () | give (..., D) with D >= 1
expmap0(p, None) | value | c | None | give a finite number above 0, the curvature
logmap(p, 2*x, 1.0) | value | y | outside the ball | project it first (project, ToPoincare)
logmap0(2*x, 1.0) | value | y | outside the ball | project it first (project, ToPoincare)
distance(p, 2*x, 1.0) | value | y | outside the ball | project it first (project, ToPoincare)
distance0(2*x, 1.0) | value | x | outside the ball | project it first (project, ToPoincare)
distance0(x[:, :0], 1.0) | value | x | (6, 0) | give (..., D) with D >= 1
pairwise_distance(p, p[:, :2], 1.0) | value | y | (6, 2) | give rows of one D
pairwise_distance(p[0], p, 1.0) | value | x | (4,) | give a matrix with a row for each point
pairwise_distance(p, 2*x, 1.0) | value | y | outside the ball | project it first (project, ToPoincare)
mobius_matvec(torch.ones(3, 5), p, 1.0) | value | m | (3, 5) | give (out, in) and (..., in)
mobius_matvec(torch.ones(4), p, 1.0) | value | m | (4,) | give a matrix with a row for each point
mobius_matvec(nan * x, p, 1.0) | value | m | not finite | lower the learning rate or check the input
to_klein(2*x, 1.0) | value | x | outside the ball | project it first (project, ToPoincare)
from_klein(2*x, 1.0) | value | x | outside the ball | project it first (project, ToPoincare)
hyperbolic_mean(p, 1.0, dim=1) | value | dim | 1 | choose an axis of points, not the last one
hyperbolic_mean(p[:0], 1.0) | value | x | (0, 4) | give at least one
hyperbolic_mean(2*x, 1.0) | value | x | outside the ball | project it first (project, ToPoincare)
klein_mean(2*x, 1.0) | value | x | outside the ball | project it first (project, ToPoincare)
klein_mean(p, 1.0, dim=2) | value | dim | 2 | choose an axis of points, not the last one
project(x, 1.0, eps=0) | value | eps | 0 | give a number above 0 and below 1, such as
project(hole, 1.0) | value | x | not finite | lower the learning rate or check the input
require_points("x", LIST, 1.0) | type | x | a list | give a float32 or float64 tensor (..., D)
"""

LAYERS_CALLS = """
mlr_logits(p, p[:, :3], p, 1.0) | value | p | (6, 3) | give rows of one D
mlr_logits(p, p, p[:3], 1.0) | value | a | 3 | give a point and a normal for each class
mlr_logits(2*x, p, p, 1.0) | value | x | outside the ball | project it first (project, ToPoincare)
mlr_logits(p, 2*x, p, 1.0) | value | p | outside the ball | project it first (project, ToPoincare)
mlr_logits(p, p, hole, 1.0) | value | a | not finite | lower the learning rate or check the input
mlr_logits(p[0], p, p, 1.0) | value | x | (4,) | give a matrix with a row for each point
mlr_logits(p, p, p, 0.) | value | c | 0.0 | give a finite number above 0, the curvature
to_ball(hole, 1.0) | value | u | not finite | lower the learning rate or check the input
to_ball(x, 1.0, eps=2) | value | eps | 2 | give a number above 0 and below 1, such as
HyperbolicMLR(0, 3, 1.0) | value | dim | 0 | give a whole number of at least 1
HyperbolicMLR(4, 0, 1.0) | value | classes | 0 | give a whole number of at least 1
HyperbolicMLR("4", 3, 1.0) | type | dim | '4' | give a whole number
HyperbolicMLR(4, 3, 0) | value | c | 0 | give a finite number above 0, the curvature
HyperbolicMLR(4, 3, 1.0, eps=-1) | value | eps | -1 | give a number above 0 and below 1, such as
HyperbolicMLR(4, 3, 1, parametrisation="hnn") | value | parametrisation | 'hnn' | choose 'points' or 'hnn++'
HyperbolicMLR(4, 3, 1, parametrisation="hnn++", mode="released") | value | mode | 'hnn++' | choose mode
HyperbolicMLR(4, 3, 1.0, mode="fast") | value | mode | 'fast' | choose 'exact' or 'released'
HyperbolicMLR(4, 3, 1.0)(x[:, :2]) | value | x | (6, 2) | give (B, 4)
HyperbolicMLR(4, 3, 1.0)(2*x) | value | x | outside the ball | project it first (project, ToPoincare)
HyperbolicMLR(4, 3, 1.0)(LIST) | type | x | a list | give a float32 or float64 tensor (..., D)
HyperbolicMLR(4, 3, 1.0)(p, c=-1) | value | c | -1 | give a finite number above 0, the curvature
ToPoincare(torch.tensor(1.)) | type | c | a tensor | give a number, and learnable_c=True to learn
ToPoincare(0) | value | c | 0 | give a finite number above 0, the curvature
ToPoincare("1") | value | c | '1' | give a finite number above 0, the curvature
ToPoincare(1.0, clip=0) | value | clip | 0 | give a finite number above 0, the longest
ToPoincare(1.0, clip=-1) | value | clip | -1 | give a finite number above 0, the longest
ToPoincare(1.0, eps=1) | value | eps | 1 | give a number above 0 and below 1, such as
ToPoincare(1.0, mode="x") | value | mode | 'x' | choose 'exact' or 'released'
ToPoincare(1.0, parametrisation="square") | value | parametrisation | 'square' | choose 'softplus' or 'log'
ToPoincare(1.0)(hole) | value | u | not finite | lower the learning rate or check the input
ToPoincare(1.0)(x.long()) | type | u | torch.int64 | convert it to float32 or float64
ToPoincare(1.0)(LIST) | type | u | a list | give float32 or float64 tensors
HyperbolicLinear(4, 0, 1.0) | value | out_dim | 0 | give a whole number of at least 1
HyperbolicLinear(4.5, 2, 1.0) | type | in_dim | 4.5 | give a whole number
HyperbolicLinear(4, 2, -1) | value | c | -1 | give a finite number above 0, the curvature
HyperbolicLinear(4, 2, 1.0)(x[:, :3]/2) | value | x | (6, 3) | give (out, in) and (..., in)
HyperbolicLinear(4, 2, 1.0)(2*x) | value | x | outside the ball | project it first (project, ToPoincare)
HyperbolicConcat(4, 4, 0, 1.0) | value | out_dim | 0 | give a whole number of at least 1
HyperbolicConcat(4, 4, 2, 1.0)(p, p[:, :2]) | value | x2 | (6, 2) | give (..., 4)
HyperbolicConcat(4, 4, 2, 1.0)(p, p[:3]) | value | x1 | (6, 4) | give as many points of each
clip_norm(x, 0) | value | r | 0 | give a finite number above 0, the longest
clip_norm(LIST, 1) | type | u | a list | give float32 or float64 tensors
correct_gradient(2*x, 1.0) | value | x | outside the ball | project it first (project, ToPoincare)
correct_gradient(x, 0) | value | c | 0 | give a finite number above 0, the curvature
"""

PROJECTION_CALLS = """
tangent_pca(2*x, 1.0) | value | x | outside the ball | project it first (project, ToPoincare)
tangent_pca(x[:1]/2, 1.0) | value | x | 1 | give at least 2
tangent_pca(x/2, 0) | value | c | 0 | give a finite number above 0, the curvature
tangent_pca(LIST, 1.0) | type | x | a list | give a float32 or float64 tensor of shape (N
tangent_pca(hole, 1.0) | value | x | NaN | check the network that made it
tangent_pca(x[0], 1.0) | value | x | (4,) | give (N, D) with at least one row and one
to_ball(hole, 1.0) | value | rows | NaN | check the network that made it
to_ball(x, 0) | value | c | 0 | give a finite number above 0, the curvature
to_ball(LIST, 1) | type | rows | a list | give a float32 or float64 tensor of shape (N
fitting_curvature(hole) | value | rows | NaN | check the network that made it
fitting_curvature(LIST) | type | rows | a list | give a float32 or float64 tensor of shape (N
fitting_curvature(x[:0]) | value | rows | (0, 4) | give (N, D) with at least one row and one
"""

UNCERTAINTY_CALLS = """
Network(0, 10) | value | dim | 0 | give a whole number of at least 1
Network(2, 0) | value | classes | 0 | give a whole number of at least 1
Network(2, 10, c=0) | value | c | 0 | give a finite number above 0, the curvature
Network(2, 10, clip=-1) | value | clip | -1 | give a finite number above 0, the longest
Network(2, 10, mode="x") | value | mode | 'x' | choose 'exact' or 'released'
Network(2, 10)(pic(1, 20)) | value | x | (2, 1, 20, 20) | give [B, 1, H, W]
Network(2, 10)(pic(1, 28).byte()) | type | x | torch.uint8 | give normalised pictures
Network(2, 10)([1]) | type | x | a list | give a float32 tensor [B, 1, H, W]
Network(2, 10, hyperbolic=False).distance0(x) | value | u | (6, 4) | use |u|
Network(2, 10).distance0(x[:, :2]*nan) | value | u | not finite | lower the learning rate or check the input
Network(2, 10).distance0(LIST) | type | u | a list | give a float32 or float64 tensor (N, n)
standardise(pic(1, 28), 0.1, 1) | type | pixels | torch.float32 | convert it to uint8
standardise(LIST, 0.1, 1) | type | pixels | a list | give a uint8 tensor (B, 1, 28, 28)
log_p_max(x[0]) | value | logits | (4,) | give (N, D) with at least one row and one
log_p_max(hole) | value | logits | NaN | check the network that made it
log_p_max(LIST) | type | logits | a list | give a float32 or float64 tensor of shape (N
energy(hole) | value | logits | NaN | check the network that made it
energy(x[0]) | value | logits | (4,) | give (N, D) with at least one row and one
energy(LIST) | type | logits | a list | give a float32 or float64 tensor of shape (N
ks_distance(x[0], x[0][:0]) | value | outside | (0,) | give at least one score, (N,)
ks_distance(x[0], hole[3]) | value | outside | NaN | train again with a lower --lr
ks_distance(LIST, LIST) | type | inside | a list | give a tensor of scores, (N,)
ks_distance(x, x) | value | inside | (6, 4) | give at least one score, (N,)
auroc(x[0], x[0][:0]) | value | outside | (0,) | give at least one score, (N,)
auroc(hole[3], x[0]) | value | inside | NaN | train again with a lower --lr
auroc(x[0], None) | type | outside | None | give a tensor of scores, (N,)
"""

FEWSHOT_CALLS = """
draw(y, 4, 1, 1, 5, seed=0) | value | way | 4 | lower way
draw(y, 3, 2, 1, 5, seed=0) | value | shot | 2 | lower one of them
draw(y, 3, 1, 1, 0, seed=0) | value | episodes | 0 | give whole numbers of at least 1
draw(y.tolist(), 3, 1, 1, 5, seed=0) | type | labels | a list | give an int64 tensor [N], such as
draw(yf, 3, 1, 1, 5, seed=0) | type | labels | torch.float32 | give an int64 tensor [N]
draw(y, 3.5, 1, 1, 5, seed=0) | type | way | 3.5 | give a whole number
draw(y, 3, 1, 1, 5, seed="a") | type | seed | 'a' | give a whole number
accuracies(h, x, rows, 2) | value | shot | 2 | leave at least one query
accuracies(h, hole, rows, 1) | value | z | NaN | lower --lr
accuracies(h, x[:3], rows, 1) | value | rows | 0 to 5 | give the z of the data set
accuracies(h, x, rows[0], 1) | value | rows | (3, 2) | give (E, W, S + Q), each at least 1
accuracies(h, x, rows.float(), 1) | type | rows | torch.float32 | convert it to int64
accuracies(h, LIST, rows, 1) | type | z | a list | give a float32 or float64 tensor (N, D)
accuracies(h, x, rows, 1, chunk=0) | value | chunk | 0 | give a whole number of at least 1
accuracies(h, x, rows, "1") | type | shot | '1' | give a whole number
ProtoHead("spherical") | value | geometry | 'spherical' | use one of euclidean-squared, euclidean
ProtoHead("hyperbolic", c=0) | value | c | 0 | give a number above 0; for flat space choose
ProtoHead("hyperbolic", eps=0) | value | eps | 0 | give a number in (0, 1)
ProtoHead("hyperbolic", clip=-1) | value | clip | -1 | give a number above 0, or 0 for none
ProtoHead("hyperbolic", mode="x") | value | mode | 'x' | choose 'exact' or 'released'
ProtoHead("cosine", temperature=0) | value | temperature | 0 | give a number above 0
h.embed(hole) | value | z | NaN | lower the learning rate
h.embed(LIST) | type | z | a list | give a float32 or float64 tensor (..., D)
h.embed(x.long()) | type | z | torch.int64 | convert it to float32 or float64
h.capped(LIST) | type | z | a list | give a float32 or float64 tensor (..., D)
h.prototypes(2*x*100) | value | support | (6, 4) | give (..., W, S, D)
h.prototypes(LIST) | type | support | a list | give a float32 or float64 tensor (..., W, S
h.logits(x, x[:, :2]) | value | prototypes | (6, 2) | give rows of one D
h.logits(LIST, x) | type | query | a list | give a float32 or float64 tensor (..., Q, D)
ProtoHead("cosine").logits(x, x[:, :2]) | value | prototypes | (6, 2) | give rows of one D
episode_distances(x/2, x[:, :2]/2, 1.0) | value | x | (6, 4) | give rows of one D
episode_distances(x/2, x/2, 0) | value | c | 0 | give a finite number above 0, the curvature
episode_distances(x/2, x/2, 1.0, "quick") | value | mode | 'quick' | choose 'exact' or 'released'
squared_distance(x, x[:, :2]) | value | x | (6, 4) | give rows of one D
squared_distance(LIST, x) | type | x | a list | give a float32 or float64 tensor (..., N, D)
inner(x, x[:, :2]) | value | x | (6, 4) | give rows of one D
inner(LIST, x) | type | x | a list | give a float32 or float64 tensor (..., N, D)
Conv4(0) | value | dim | 0 | give whole numbers of at least 1
Conv4("64") | type | dim | '64' | give a whole number
Conv4(64, size=8) | value | size | 8 | give a larger size
Conv4(64, pool="mean") | value | pool | 'mean' | use max or flatten
Conv4(64, channels=0) | value | channels | 0 | give whole numbers of at least 1
Conv4(8)(pic(1, 84)) | value | x | (2, 1, 84, 84) | give [B, 3, H, W]
Conv4(8)(pic(3, 84).byte()) | type | x | torch.uint8 | give normalised pictures
ResNet12(channels=0) | value | channels | 0 | give a whole number of at least 1
ResNet12(rate=1.5) | value | rate | 1.5 | give a share from 0 up to, but not including
ResNet12(block_size=0) | value | block_size | 0 | give whole numbers of at least 1
ResNet18(channels=0) | value | channels | 0 | give a whole number of at least 1
ResNet18()(pic(1, 32)) | value | x | (2, 1, 32, 32) | give [B, 3, H, W]
DropBlock(1.0, 3, 10) | value | rate | 1.0 | give a share from 0 up to, but not including
DropBlock(0.1, 0, 10) | value | size | 0 | give whole numbers of at least 1
DropBlock(0.1, 3, 0) | value | ramp | 0 | give whole numbers of at least 1
DropBlock("a", 3, 1) | value | rate | 'a' | give a finite number
DropBlock(0.1, 5, 10)(pic(1, 3)) | value | x | 3 x 3 | use larger pictures
"""

DELTA_CALLS = """
relative_delta(d, 0) | value | bases | 0 | give a whole number of at least 1
relative_delta(d, 7) | value | bases | 7 | give at most 6
relative_delta(x) | value | distances | (6, 4) | give a square matrix (n, n)
relative_delta(torch.zeros(3, 3)) | value | distances | 3 | give points that differ
relative_delta(LIST) | type | distances | a list | give a float32 or float64 tensor (N, N)
euclidean(LIST) | type | points | a list | give a float32 or float64 tensor of shape (N
euclidean(hole) | value | points | NaN | check the network that made it
euclidean(x[:0]) | value | points | (0, 4) | give (N, D) with at least one row and one
curvature(0) | value | delta_rel | 0 | give that of points that form no tree
curvature("a") | type | delta_rel | 'a' | give a number
curvature(0.5, 0) | value | constant | 0 | give a finite number above 0
draw_rows(5, 6, 1, replacement=False, random=g) | value | points | 6 | lower it, or draw with --replacement
draw_rows(0, 3, 1, replacement=True, random=g) | value | total | 0 | give whole numbers of at least 1
draw_rows(5, 0, 1, replacement=True, random=g) | value | points | 0 | give whole numbers of at least 1
draw_rows(5, 3, 0, replacement=False, random=g) | value | tries | 0 | give whole numbers of at least 1
draw_rows(5, 3, 1, replacement=False, random=0) | type | random | 0 | give a torch.Generator
mean_and_spread([]) | value | values | empty | give at least one number
mean_and_spread(["a"]) | value | values | 'a' | give a finite number
isotropic(0, 3, g) | value | n | 0 | give a whole number of at least 1
isotropic(3, 2.5, g) | type | dim | 2.5 | give a whole number
isotropic(3, 2, 0) | type | random | 0 | give a torch.Generator
spectrum_matched(LIST, g) | type | points | a list | give a float32 or float64 tensor of shape (N
spectrum_matched(hole, g) | value | points | NaN | check the network that made it
spectrum_matched(x[0], g) | value | points | (4,) | give (N, D) with at least one row and one
sphere(3, 0, g) | value | dim | 0 | give a whole number of at least 1
tree_distances(0, g) | value | n | 0 | give a whole number of at least 1
disk_distances(3, 0, g) | value | radius | 0 | give a hyperbolic radius in (0, 300]
disk_distances(0, 3., g) | value | n | 0 | give a whole number of at least 1
polar_distances(x[0], x[0][:3]) | value | theta | (3,) | give one angle per radius, (4,)
polar_distances(LIST, x[0]) | type | r | a list | give a float32 or float64 tensor (n,)
network("resnet35", "none") | value | --network | resnet35 | choose one of torchvision.models.list_models
network("resnet18", "IMAGENET") | value | --weights | IMAGENET | choose one of them
"""

REID_CALLS = """
SmallNet(()) | value | widths | () | give at least one stage, each of at least 1
SmallNet((8, 8, 8))(pic(3, 4)) | value | x | (2, 3, 4, 4) | give [B, 3, H, W] with H and W of at least 8
FlatMLR(0, 3) | value | dim | 0 | give a whole number of at least 1
FlatMLR(4, 0) | value | classes | 0 | give a whole number of at least 1
FlatMLR(4, 3)(x[:, :2]) | value | z | (6, 2) | give (B, 4)
ReIDNet(reid, SmallNet((4,)), 4, 0) | value | classes | 0 | give a whole number of at least 1
ReIDNet(reid, SmallNet((4,)), 4, 3)(pic(1, 32)) | value | pictures | (2, 1, 32, 32) | give [B, 3, H, W]
ReIDNet(reid, SmallNet((4,)), 4, 3)(LIST) | type | pictures | a list | give a float32 tensor [B, 3, H, W]
build(reid, 0) | value | classes | 0 | give a whole number of at least 1
in_hyperbolic_order(x, x[:, :2], 1., 1e-3) | value | g | 2 | use one model
in_hyperbolic_order(x, x, 0., 1e-3) | value | c | 0.0 | give a finite number above 0
in_hyperbolic_order(x, x, 1., 1.) | value | eps | 1.0 | give a number above 0 and below 1, such as
in_hyperbolic_order(LIST, x, 1., 1e-3) | type | q | a list | give a float32 or float64 tensor of shape (N
in_hyperbolic_order(hole, x, 1., 1e-3) | value | q | NaN | check the network that made it
"""

CGD_CALLS = """
spoc(LIST) | type | x | a list | give a feature map, a float32 or float64
spoc(f[0]) | value | x | (4, 3, 3) | give [B, C, H, W] with C, H, W >= 1
spoc(f.long()) | type | x | torch.int64 | convert it to float32 or float64 first
mac(f[:, :, :, 0]) | value | x | (2, 4, 3) | give [B, C, H, W] with C, H, W >= 1
mac(f.byte()) | type | x | torch.uint8 | convert it to float32 or float64 first
gem(f, 0) | value | p | 0 | give a finite number above 0 (mac is the
gem(f, -1) | value | p | -1 | give a finite number above 0 (mac is the
gem(f, torch.ones(3)) | value | p | (3,) | give a floating-point scalar or one value per
gem(f, torch.tensor(3)) | value | p | () | give a floating-point scalar or one value per
gem(f, torch.tensor(-1.0)) | value | p | -1 to -1 | give finite numbers above 0
gem(f, 0 * p[0].abs()) | value | p | 0 to 0 | give finite numbers above 0
CGD(Given(), "XY", 6, 3) | value | config | 'XY' | choose S, M, G, SM, MS, SG, GS, MG, GM, SMG
CGD(Given(), ["S"], 6, 3) | value | config | ['S'] | choose S, M, G, SM, MS, SG, GS, MG, GM, SMG
CGD(Given(), "SM", 7, 3) | value | dim | 7 | choose a multiple of 2
CGD(Given(), "SM", 0, 3) | value | dim | 0 | give the size of the embedding, an int of at
CGD(Given(), "SM", 6.0, 3) | value | dim | 6.0 | give the size of the embedding, an int of at
CGD(Given(), "SM", 6, 0) | value | classes | 0 | give an int of at least 1
CGD(Given(), "SM", 6) | value | classes | None | give an int of at least 1
CGD(Given(), "SM", 6, 3, framework="C") | value | framework | 'C' | choose one of CGD, A, B (Figure 2)
CGD(Given(), "SM", 6, 3, fusion="mean") | value | fusion | 'mean' | choose one of concat, sum, sum-small
CGD(Given(), "SM", 6, 3, framework="A", fusion="sum") | value | fusion | 'sum' | choose 'concat'
CGD(Given(), "SM", 6, 3, learnable_p=True) | value | learnable_p | config SM | choose one that has
CGD(nn.Identity(), "SM", 6, 3) | type | backbone | None | give the channels C of its feature map, an int
wide(f) | value | backbone.channels | 4 | give the backbone the channels of its map
cgd(LIST) | type | x | a list | give pictures, a float32 tensor [B, 3, H, W]
cgd(f[0]) | value | x | (4, 3, 3) | give [B, C, H, W] with C, H, W >= 1
cgd(f.byte()) | type | x | torch.uint8 | convert it to float32 or float64 first
cgd(f[:1]) | value | x | 1 picture | give at least 2 in training, for the batch
cgd.ranked(x[:, :2]) | value | psi | (6, 2) | give what forward returns, [B, 6]
Branch(0, 3) | value | channels | 0 | give a whole number of at least 1
Branch(4, 3)(x[:, :3]) | value | f | (6, 3) | give a descriptor [B, 4]
batch_hard_triplet_loss(LIST, y, 0.1) | type | z | a list | give a tensor
batch_hard_triplet_loss(x, y.tolist(), 0.1) | type | labels | a list | give a tensor
batch_hard_triplet_loss(x, yf, 0.1) | type | labels | torch.float32 | convert them to int64
batch_hard_triplet_loss(x.long(), y, 0.1) | type | z | torch.int64 | convert them to float32 or float64
batch_hard_triplet_loss(x[0], y, 0.1) | value | z | (4,) | give z [B, D] with B, D >= 1 and labels [B]
batch_hard_triplet_loss(x, y[:3], 0.1) | value | labels | (3,) | give z [B, D] with B, D >= 1 and labels [B]
batch_hard_triplet_loss(x[:0], y[:0], 0.1) | value | z | (0, 4) | give z [B, D] with B, D >= 1
batch_hard_triplet_loss(hole, y, 0.1) | value | z | not finite | lower the learning rate or check the pictures
batch_hard_triplet_loss(x, y, -1) | value | margin | -1 | give a finite number at least 0
batch_hard_triplet_loss(x, y, nan) | value | margin | nan | give a finite number at least 0
semi_hard_triplet_loss(x, y, inf) | value | margin | inf | give a finite number at least 0
hap2s_loss(x, y, 0.1, "Q") | value | variant | 'Q' | choose 'P' (polynomial) or 'E' (exponential)
hap2s_loss(x, y, 0.1, alpha=-1) | value | alpha | -1 | give a finite number at least 0
hap2s_loss(x, y, 0.1, "E", sigma=0) | value | sigma | 0 | give a finite number above 0
margin_loss(x, y, generator=None) | type | generator | None | give a torch.Generator
margin_loss(x, y, -1, generator=g) | value | margin | -1 | give a finite number at least 0
margin_loss(x, y, beta=-1, generator=g) | value | beta | -1 | give a finite number at least 0
margin_loss(x, y, beta=x[0], generator=g) | value | beta | (4,) | give a number
margin_loss(x, y, generator=g, lower=0) | value | lower | 0 | give a finite number above 0 and at most 2
margin_loss(x, y, generator=g, upper=2) | value | upper | 2 | give a number from lower = 0.5 to below 2
margin_loss(x, y, generator=g, upper="a") | value | upper | 'a' | give a finite number
auxiliary_loss(logits, y, 0, 0.1) | value | temperature | 0 | give a finite number above 0
auxiliary_loss(logits, y, 0.5, 2) | value | smoothing | 2 | give a finite number at least 0 and at most 1
auxiliary_loss(logits, y+1, 0.5, 0.1) | value | labels | 1 .. 3 | relabel the training classes 0 .. M - 1
auxiliary_loss(logits, yf, 0.5, 0.1) | type | labels | torch.float32 | convert them to int64
auxiliary_loss(logits, y[:2], 0.5, 0.1) | value | logits | (6, 3) | give [B, M] with B, M >= 1 and [B]
auxiliary_loss(logits.tolist(), y, 0.5, 0.1) | type | logits | a list | give a tensor
auxiliary_loss(logits*nan, y, 0.5, 0.1) | value | logits | NaN | lower the learning rate or check the input
resnet50("IMAGENET") | value | weights | 'IMAGENET' | choose one of IMAGENET1K_V1, IMAGENET1K_V2
resnet50(stride="stage5") | value | stride | 'stage5' | choose one of stage4, stage3, none, both
shufflenet_v2("x") | value | weights | 'x' | choose one of IMAGENET1K_V1, DEFAULT
bn_inception("x") | value | stride | 'x' | choose one of stage4, stage3, none, both
build("resnet51") | value | backbone | 'resnet51' | choose one of small, resnet50
build("small", "IMAGENET1K_V1") | value | weights | 'IMAGENET1K_V1' | leave weights out
build("small", widths=()) | value | widths | () | give at least one stage, each of at least 1
build("small", stride="last") | value | stride | 'last' | choose one of stage4, stage3, none, both
bn_inception()(pic(3, 40)) | value | x | 5 x 5 | choose picture sides that are multiples of 32
contribution_map(f, "S", x, x[:2]) | value | x | (2, 4, 3, 3) | give (B, C, h, w), (k, C) and (B, k)
contribution_map(f, "X", x, phi) | value | descriptor | 'X' | choose S, M or G
contribution_map(LIST, "S", x, phi) | type | x | a list | give a float32 or float64 tensor
contribution_map(f, "S", xd, phi) | type | weight | torch.float64 | convert them to one of these types
contribution_map(f[0], "S", x, None) | type | phi | None | give a float32 or float64 tensor
spatial_entropy(f[0, 0, 0]) | value | contribution | (3,) | give (..., h, w), h w >= 2
spatial_entropy(LIST) | type | contribution | a list | give a tensor (..., h, w)
spatial_entropy(f*nan) | value | contribution | NaN | check the network that made the map
branch_maps(CGD(Given(), "SM", 6, 3, framework="B"), f, {}) | value | model | framework B | use CGD or A
branch_maps(cgd, f, {"S": phi}) | value | phi | S | give those of S, M
class_interval(y == 1, y[:2]) | value | right | (6,) | give bool, one per label, (2,)
class_interval(y == 1, y, draws=0) | value | draws | 0 | give a whole number of at least 1
load_model("nothing.pt") | file | checkpoint | nothing.pt | train first
"""

HIERARCHICAL_CALLS = """
simclr_loss(LIST, 0.1) | type | z | a list | give a float32 or float64 tensor [B, V, D]
simclr_loss(x, 0.1) | value | z | (6, 4) | give [B, V, D]: images, views, dimensions
simclr_loss(z[:, :1], 0.1) | value | z | (6, 1, 4) | give at least 2
simclr_loss(z.long(), 0.1) | type | z | torch.int64 | convert it to float32 or float64
simclr_loss(z.half(), 0.1) | type | z | torch.float16 | convert it to float32 or float64
simclr_loss(zh, 0.1) | value | z | not finite | lower the learning rate or check the pictures
simclr_loss(z[:0], 0.1) | value | z | (0, 2, 4) | give [B, V, D]: images, views, dimensions
simclr_loss(z, 0) | value | temperature | 0 | give a finite number above 0
simclr_loss(z, -1) | value | temperature | -1 | give a finite number above 0
supcon_loss(z, y[:3], 0.1) | value | labels | (3,) | give one id per image
supcon_loss(z, yf, 0.1) | type | labels | torch.float32 | convert them to int64
supcon_loss(z, y.tolist(), 0.1) | type | labels | a list | give an int64 tensor
supcon_loss(z, y, inf) | value | temperature | inf | give a finite number above 0
himulcon_loss(z, t[:, :1], 0.1) | value | labels | 1 | give K >= 2 columns
himulcon_loss(z, y, 0.1) | value | labels | (6,) | give [B, K], a row of ids per image
himulcon_loss(z, t[:3], 0.1) | value | labels | (3, 3) | give [B, K], a row of ids per image
himulcon_loss(z, t.float(), 0.1) | type | labels | torch.float32 | convert them to int64
himulcon_loss(z, t.tolist(), 0.1) | type | labels | a list | give an int64 tensor
himulcon_loss(z, t, 0.1, "printed") | value | form | 'printed' | choose 'paper' or 'released'
himulcon_loss(z, t, 0.1, penalty=lambda l: -1) | value | penalty | -1 | give a callable of l = 1, 2
himulcon_loss(z, t, 0.1, penalty=lambda l: nan) | value | penalty | nan | give a callable of l = 1, 2
himulcon_loss(z, t, 0.1, reduction="max") | value | reduction | 'max' | choose 'mean' or 'sum'
himulcon_loss(z, t, 0.1, positives="all") | value | positives | 'all' | choose 'inclusive' or 'lowest'
himulcon_loss(z, t, 0.1, "released", reduction="sum") | value | reduction | 'sum' | leave them out
hicone_loss(z, t, 0.1, threshold="free") | value | threshold | 'free' | choose 'attached' or 'detached'
hicone_loss(z, t, 0.1, ["paper"]) | value | form | ['paper'] | choose 'paper' or 'released'
himulcone_loss(zh, t, 0.1) | value | z | not finite | lower the learning rate or check the pictures
himulcone_loss(z, t, 0) | value | temperature | 0 | give a finite number above 0
level_statistics(z, t[:, :1], 0.1) | value | labels | 1 | give K >= 2 columns
level_statistics(z, t, 0.1, "x") | value | form | 'x' | choose 'paper' or 'released'
common_level(y) | value | labels | (6,) | give (B, K), each at least 1
common_level(t.tolist()) | type | labels | a list | give an int64 tensor (B, K)
common_level(t.float()) | type | labels | torch.float32 | convert it to int64
exponential(0) | value | l | 0 | give a whole number of at least 1
power_of_two(0) | value | l | 0 | give a whole number of at least 1
HierarchicalSampler(t, 0, seed=0) | value | batch | 0 | give whole numbers of at least 1
HierarchicalSampler(t, 7, seed=0) | value | batch | 7 | lower batch
HierarchicalSampler(t, 4, seed=0, rank=1) | value | rank | 1 | give a rank from 0 to ranks - 1
HierarchicalSampler(t, 3, seed=0, ranks=2) | value | batch | 3 | choose a multiple of 2
HierarchicalSampler(t[:, :1], 4, seed=0) | value | labels | 1 | give K >= 2 columns
HierarchicalSampler(y, 4, seed=0) | type | labels | (6,) | give one row of ids per image
HierarchicalSampler(t.float(), 4, seed=0) | type | labels | torch.float32 | give one row of ids per image
HierarchicalSampler(t.tolist(), 4, seed=0) | type | labels | a list | give an int64 tensor [N, K]
HierarchicalSampler(t, 4, seed=0, steps=0) | value | steps | 0 | give whole numbers of at least 1
HierarchicalSampler(t, "4", seed=0) | type | batch | '4' | give a whole number
HierarchicalSampler(t, 2.5, seed=0) | type | batch | 2.5 | give a whole number
HierarchicalSampler(t[:0], 1, seed=0) | value | batch | 1 | lower batch
HierarchicalSampler(t, 4, seed="a") | type | seed | 'a' | give a whole number
positives_per_level(y) | value | labels | (6,) | give [B, K], each at least 1
positives_per_level(t.tolist()) | type | labels | a list | give an int64 tensor [B, K]
ResNet("resnet18", frozen=5) | value | frozen | 5 | give 0 to 4
ResNet("resnet18", frozen=1, small_images=True) | value | frozen | 1 | give 0
ResNet("resnet19") | value | name | 'resnet19' | choose resnet18 or resnet50
ResNet("resnet18", "IMAGENET") | value | weights | 'IMAGENET' | choose one of IMAGENET1K_V1, DEFAULT
Encoder(torch.nn.Identity()) | type | backbone | None | give the size F of its features, an int
Encoder(SmallCNN((8,), (), average=True), 0) | value | dim | 0 | give a whole number of at least 1
Encoder(SmallCNN((8,), (), average=True), 3, -1) | value | classes | -1 | give a whole number of at least 0
Encoder(SmallCNN((8,), (), average=True), 3)(LIST) | type | x | a list | give pictures, a float32 tensor
Encoder(SmallCNN((8,), (), average=True), 3)(pic(1, 8)) | value | x | (2, 1, 8, 8) | give [B, 3, H, W]
build("resnet34", None, **net) | value | backbone | 'resnet34' | choose small, resnet18 or resnet50
build("small", "X", **net) | value | weights | 'X' | give none
build("small", None, **{**net, "frozen": 1}) | value | frozen | 1 | give 0
coarse_recall_at_k(x, t[:, :2], 1, (1,)) | value | level | 1 | give a level above the finest
coarse_recall_at_k(x, t[:, :2], 0, (7,)) | value | K | 7 | give a K of at most 6
coarse_recall_at_k(x, t[:, :2], "0", (1,)) | type | level | '0' | give a whole number
coarse_recall_at_k(x, y, 0, (1,)) | value | labels | (6,) | give (N, L), each at least 1
coarse_recall_at_k(LIST, t, 0, (1,)) | type | rows | a list | give a float32 or float64 tensor (N, D)
coarse_recall_at_k(x, t[:3], 0, (1,)) | value | labels | 3 | give one per embedding
coarse_recall_at_k(x, t, 0, (1,), x) | value | gallery | is given | give both, or neither
coarse_recall_at_k(x, t, 0, (1,), None, t) | value | gallery_labels | is given | give both, or neither
coarse_recall_at_k(x, t, 0, (1,), x, t[:, :1]) | value | gallery_labels | 1 | give both the same
coarse_knn_accuracy(x, t, 0, 7) | value | K | 7 | give a K of at most 6
coarse_knn_accuracy(x, t, 0, 0) | value | K | 0 | give a whole number of at least 1
coarse_knn_accuracy(x, t, 5, 1) | value | level | 5 | give a level above the finest
coarse_knn_accuracy(x, t.tolist(), 0, 1) | type | labels | a list | give an int64 tensor (N, L)
coarse_knn_accuracy(x, y, 0, 1) | value | labels | (6,) | give (N, L), each at least 1
violation_rate(LIST, t) | type | rows | a list | give a float32 or float64 tensor of shape (N
violation_rate(hole, t) | value | rows | NaN | check the network that made it
violation_rate(x, t[:3]) | value | labels | 3 | give one per embedding
violation_rate(x, y) | value | labels | (6,) | give (N, L), each at least 1
violation_rate(x, t.float()) | type | labels | torch.float32 | convert it to int64
fit(x, y[:3], 3) | value | features | (6, 4) | give one label per row
fit(x, y, 2) | value | labels | 0 to 2 | give ids
fit(LIST, y, 3) | type | features | a list | give a float32 or float64 tensor (N, F)
fit(hole, y, 3) | value | features | NaN | lower the learning rate or check the input
fit(x, y, 0) | value | classes | 0 | give a whole number of at least 1
fit(x[:0], y[:0], 3) | value | features | (0, 4) | give (N, F), each at least 1
fit(x, y, 3, decay=-1) | value | decay | -1 | give 0 or more
fit(x, y, 3, iterations=0) | value | iterations | 0 | give a whole number of at least 1
fit(x, yf, 3) | type | labels | torch.float32 | convert it to int64
predict(x, x[:, :2], x[:, 0]) | value | features | (6, 4) | give (N, F), [M, F] and [M]
predict(LIST, x, x[0]) | type | features | a list | give a float32 or float64 tensor (N, F)
predict(x, x, x[0]) | value | bias | (4,) | give (N, F), [M, F] and [M]
standardise(x[:0]) | value | train | (0, 4) | give (N, F), each at least 1
standardise(LIST) | type | train | a list | give a float32 or float64 tensor (N, F)
standardise(x, x[:, :2]) | value | others | (6, 2) | give features of one network
accuracy(x, y, x[:, :2], y) | value | test | (6, 2) | give features of one network
accuracy(x, y, x, y[:2]) | value | test_labels | 2 | give one label per row
accuracy(x, y[:2], x, y) | value | train_labels | 2 | give one label per row
accuracy(hole, y, x, y) | value | train | NaN | lower the learning rate or check the input
read("cub") | value | --hold-out | cub | use one of these
load("embedded", size=0) | value | size | 0 | give a number of pixels from 1 up
load("embedded", size=8, val_share=2.0) | value | val_share | 2.0 | give a share from 0
load("embedded", size=8, val_share=nan) | value | val_share | nan | give a finite number
training_set("embedded", size=8, val_share=2.0) | value | val_share | 2.0 | give a share from 0
drawn(["a"], 2) | value | count | 2 | give at most that
drawn(["a"], -1) | value | count | -1 | give a whole number of at least 0
joined([], "x") | value | parts | empty | give at least one data set
held_out(t, 5) | value | level | 5 | give a level from 0 to 2
held_out(t, 0, share=2) | value | share | 2 | give a number above 0 and below 1
held_out(y, 0) | value | labels | (6,) | give (N, L), each at least 1
clusters(x, 9) | value | k | 9 | give a k of at most 6
clusters(x, 0) | value | k | 0 | give a whole number of at least 1
clusters(hole, 2) | value | rows | NaN | check the network that made it
load_model("nothing.pt") | file | checkpoint | nothing.pt | train first
"""

INSTANCE_CALLS = """
Encoder({}, nn.Flatten(), nn.Linear(4, 2))(x) | value | x | (6, 4) | give [B, 3, H, W]
resnet50(0) | value | dim | 0 | give a whole number of at least 1
vgg16("8") | type | dim | '8' | give a whole number
softmax_loss(LIST, bank, idx, 0.1) | type | v | a list | give a float32 or float64 tensor [B, D]
softmax_loss(x[0], bank, idx, 0.1) | value | v | (4,) | give [B, D] with B, D >= 1
softmax_loss(x.long(), bank, idx, 0.1) | type | v | torch.int64 | normalise the embeddings in float32
softmax_loss(x.half(), bank, idx, 0.1) | type | v | torch.float16 | normalise the embeddings in float32
softmax_loss(hole, bank, idx, 0.1) | value | v | not finite | lower the learning rate or check the pictures
softmax_loss(x, bank[:, :3], idx, 0.1) | value | bank | (9, 3) | give [N, D] and [B, D] of one D
softmax_loss(x, bank.double(), idx, 0.1) | type | bank | torch.float64 | convert them to one type
softmax_loss(x, bank[:0], idx, 0.1) | value | bank | (0, 4) | give [N, D] and [B, D] of one D
softmax_loss(x, bank.tolist(), idx, 0.1) | type | bank | a list | give MemoryBank.rows, a tensor [N, D]
softmax_loss(x, bank*nan, idx, 0.1) | value | bank | NaN | lower the learning rate or check the input
softmax_loss(x, bank, idx[:3], 0.1) | value | index | (3,) | give one image per row of v, [6]
softmax_loss(x, bank, idx+4, 0.1) | value | index | 9 | give rows of this bank
softmax_loss(x, bank, idx-1, 0.1) | value | index | -1 | give rows of this bank
softmax_loss(x, bank, idx.float(), 0.1) | type | index | torch.float32 | convert it to int64
softmax_loss(x, bank, idx.tolist(), 0.1) | type | index | a list | give an int64 tensor [B]
softmax_loss(x, bank, idx, 0) | value | temperature | 0 | give a finite number above 0
softmax_loss(x, bank, idx, -1) | value | temperature | -1 | give a finite number above 0
softmax_loss(x[:0], bank, idx[:0], 0.1) | value | v | (0, 4) | give [B, D] with B, D >= 1
nce_loss(x, bank, idx, noise[:3], lz, 0.1) | value | noise | (3, 5) | give [6, m] with m >= 1
nce_loss(x, bank, idx, noise[:, :0], lz, 0.1) | value | noise | (6, 0) | give [6, m] with m >= 1
nce_loss(x, bank, idx, noise+5, lz, 0.1) | value | noise | 13 | give rows of this bank
nce_loss(x, bank, idx, noise.float(), lz, 0.1) | type | noise | torch.float32 | convert it to int64
nce_loss(x, bank, idx, noise.tolist(), lz, 0.1) | type | noise | a list | give an int64 tensor [B, m]
nce_loss(x, bank, idx, noise, torch.tensor(nan), 0.1) | value | log_z | nan | set it first, for example
nce_loss(x, bank, idx, noise, x[0], 0.1) | value | log_z | (4,) | give one number
nce_loss(x, bank, idx, noise, 1.0, 0.1) | type | log_z | 1.0 | give a tensor of shape (), such as
nce_loss(x, bank, idx, noise, lz, 0) | value | temperature | 0 | give a finite number above 0
nce_loss(x, bank, idx, noise, lz, 0.1, eps=-1) | value | eps | -1 | give a finite number from 0
noise_scores(x, bank, idx, noise, inf) | value | temperature | inf | give a finite number above 0
whole_product(0, 4, 4) | value | size | 0 | give whole numbers of at least 1
whole_product("a", 4, 4) | type | size | 'a' | give a whole number
nce_loss_of_scores(sc[:, :1], lz, 9) | value | scores | (6, 1) | give (B, 1 + m) with B, m >= 1
nce_loss_of_scores(sc, lz, 0) | value | size | 0 | give a whole number of at least 1
nce_loss_of_scores(LIST, lz, 9) | type | scores | a list | give a float32 or float64 tensor (B, 1 + m)
nce_loss_of_scores(sc*nan, lz, 9) | value | scores | NaN | lower the learning rate or check the input
nce_loss_of_scores(sc.long(), lz, 9) | type | scores | torch.int64 | convert it to float32 or float64
nce_loss_of_scores(sc, lz, 9, eps=nan) | value | eps | nan | give a finite number from 0
proximal_term(x, x[:3]) | value | previous | (3, 4) | give that of v, (6, 4)
proximal_term(x, LIST) | type | previous | a list | give a float32 or float64 tensor (B, D)
proximal_term(LIST, x) | type | v | a list | give a float32 or float64 tensor [B, D]
proximal_term(hole, x) | value | v | not finite | lower the learning rate or check the pictures
proximal_term(x, xd) | type | previous | torch.float64 | convert them to one type
estimated_log_z(sc[:0], 9) | value | scores | (0, 5) | give at least one score
estimated_log_z(sc, 0) | value | size | 0 | give a whole number of at least 1
estimated_log_z(LIST, 9) | type | scores | a list | give a float32 or float64 tensor
estimated_log_z(sc*nan, 9) | value | scores | NaN | lower the learning rate or check the input
expected_log_z(0, 4, 0.1) | value | size | 0 | give at least 1 and 1
expected_log_z(9, 0, 0.1) | value | dim | 0 | give at least 1 and 1
expected_log_z(9, 4, 0) | value | temperature | 0 | give a finite number above 0
expected_log_z("9", 4, 0.1) | type | size | '9' | give a whole number
draw_noise(idx, 0, 9, 0, 0) | value | m | 0 | give m >= 1 and a bank of 2 or more
draw_noise(idx, 3, 0, 0, 0) | value | size | 0 | give m >= 1 and a bank of 2 or more
draw_noise(idx.float(), 3, 9, 0, 0) | type | index | torch.float32 | convert it to int64
draw_noise(idx.tolist(), 3, 9, 0, 0) | type | index | a list | give an int64 tensor (B,)
draw_noise(idx, 2.5, 9, 0, 0) | type | m | 2.5 | give a whole number
draw_noise(idx, 3, 9, "a", 0) | type | seed | 'a' | give a whole number
MemoryBank(0, 4, 0.5) | value | size | 0 | give at least 1 and 1
MemoryBank(4, 0, 0.5) | value | dim | 0 | give at least 1 and 1
MemoryBank("4", 4, 0.5) | type | size | '4' | give a whole number
MemoryBank(4, 4, 1) | value | momentum | 1 | give the weight of the old row, from 0 to
MemoryBank(4, 4, -0.1) | value | momentum | -0.1 | give the weight of the old row, from 0 to
MemoryBank(4, 4, "0.5") | type | momentum | '0.5' | give a number from 0 to below 1
MemoryBank(4, 4, 0.5, init="zeros") | value | init | 'zeros' | choose 'paper' or 'released'
MemoryBank(4, 4, 0.5, generator=0) | type | generator | 0 | give a torch.Generator
B().update(idx, x[:3]) | value | index | (6,) | give [B] and [B, D]
B().update(idx+9, x) | value | index | 14 | give rows of this bank
B().update(idx, 2*x) | value | v | norm 2 | scale every row to unit length
B().update(idx.float(), x) | type | index | torch.float32 | convert it to int64
B().update(idx, x[:, :2]) | value | v | 2 | use one embedding size
B().update(idx, xd) | type | v | torch.float64 | normalise the embeddings in that type
B().update(idx.tolist(), x) | type | index | a list | give an int64 tensor [B]
B().update(idx, LIST) | type | v | a list | give a float32 tensor [B, D]
B().start_log_z(nan) | value | estimate | nan | give a finite number
B().start_log_z(torch.ones(2)) | value | estimate | (2,) | give one number, log Z
B().average_log_z(1., 1.) | value | decay | 1.0 | give a number between 0 and 1
sharding.ShardedMemoryBank(B()) | value | bank | one process | start the command with torchrun
sharding.softmax_loss(x, B(), idx, 0.1) | type | bank | a MemoryBank | give a ShardedMemoryBank, or use
sharding.noise_scores(x, bank, idx, noise, 0.1) | type | bank | a Tensor | give a ShardedMemoryBank
ParametricSoftmax(0, 4) | value | instances | 0 | give a whole number of at least 1
ParametricSoftmax(4, 0) | value | dim | 0 | give a whole number of at least 1
ParametricSoftmax(9, 4)(x[:, :2]) | value | v | (6, 2) | give a tensor (B, 4)
resnet_cifar(0) | value | dim | 0 | give 1 or more
resnet_cifar(8, ()) | value | widths | () | give 1 or more
resnet_cifar(8, (0,)) | value | widths | (0,) | give at least one stage, each of at least 1
resnet_cifar(8, blocks=0) | value | blocks | 0 | give 1 or more
resnet_cifar(8, stem_stride=0) | value | stem_stride | 0 | give 1 or more
resnet_cifar("8") | type | dim | '8' | give a whole number
resnet_cifar(8, (4,))(pic(1, 8)) | value | x | (2, 1, 8, 8) | give [B, 3, H, W]
resnet_cifar(8, (4,))(LIST) | type | x | a list | give a float32 tensor [B, 3, H, W]
resnet_cifar(8, (4,))(pic(3, 8).byte()) | type | x | torch.uint8 | give normalised pictures
small(0) | value | dim | 0 | give a whole number of at least 1
small(8, (4,)) | value | pools | 2 | give 0 to 1, the number of widths
small(8, (4,), 1)(pic(3, 1)) | value | x | (2, 3, 1, 1) | give [B, 3, H, W] with H and W of at least 2
resnet18(0) | value | dim | 0 | give a whole number of at least 1
alexnet(8)(pic(3, 16)) | value | x | (2, 3, 16, 16) | give [B, 3, H, W] with H and W of at least 63
pooled(x, 4) | value | map_ | (6, 4) | give (B, C, h, w), each at least 1
pooled(pic(4, 3), 0) | value | most | 0 | give a whole number of at least 1
Probes({}, 3) | value | widths | {} | give the F of at least one stage
Probes({"a": 4}, 0) | value | classes | 0 | give a whole number of at least 1
Probes({"a": 4}, 3)({"b": x}) | value | layers | b | give every stage of a
few_labels(None, 2.0) | value | --label-shares | 2.0 | choose shares between 0 and 1
split(replace(instance, images=-1)) | value | --images | -1 | give at most that
svm_predict(x, y, x, 0) | value | c | 0 | give a finite number above 0
svm_predict(hole, y, x, 1) | value | rows | NaN | check the network that made it
svm_predict(x, y*0, x, 1) | value | labels | 0 | give rows of at least two classes
accuracy(y[:0]==1) | value | right | empty | give at least one picture
instance_evaluate.load("nothing.pt") | file | checkpoint | nothing.pt | train first
slope((1,), [1.]) | value | x | (1,) | give as many numbers above 0 of each, x not
measure(instance, torch.device("cpu"), ()) | value | sizes | () | give at least two
"""

CALLS: dict[str, tuple[str, tuple[Any, ...]]] = {
    "networks": (NETWORKS_CALLS, (networks,)),
    "metrics": (METRICS_CALLS, (metrics,)),
    "compute": (COMPUTE_CALLS, (compute, config)),
    "samplers": (SAMPLERS_CALLS, (samplers,)),
    "poincare": (POINCARE_CALLS, (poincare,)),
    "layers": (LAYERS_CALLS, (layers,)),
    "projection": (PROJECTION_CALLS, (projection,)),
    "uncertainty": (UNCERTAINTY_CALLS, (uncertainty_model, scores)),
    "fewshot": (FEWSHOT_CALLS, (fewshot_backbones, episodes, protonet)),
    "delta": (DELTA_CALLS, (hyperbolicity, spaces, extractors)),
    "reid": (REID_CALLS, (reid_evaluate, reid_model)),
    "cgd": (CGD_CALLS, (cgd_evaluate, descriptors, cgd_losses, cgd_model, backbones, maps)),
    "hierarchical": (
        HIERARCHICAL_CALLS,
        (
            *(splits, hierarchical_evaluate, hierarchical_losses, hierarchical_sampler),
            *(hierarchical_model, measures, probe),
        ),
    ),
    "instance": (
        INSTANCE_CALLS,
        (instance_evaluate, pictures, finetune, probes, instance_losses, memory, instance_model, cost),
    ),
}
"""Table, and the modules whose names it uses; of a name that two of them have, the later one's counts."""
KINDS = {"type": TypeError, "value": ValueError, "file": FileNotFoundError}
IMPERATIVES = (
    "add", "change", "check", "choose", "convert", "get", "give", "keep", "leave", "lower", "measure", "name",
    "normalise", "pass", "project", "put", "relabel", "scale", "set", "start", "train", "use", "write",
)  # fmt: skip
ALSO_CALLED = {
    "K": ("ks", "k"),  # one of them
    "checkpoint": ("path",),
    "backbone": ("name",),
    "backbone.channels": ("x",),  # the backbone was given before
    "x": ("input",),  # nn.Sequential's name
}
"""Names in sentences -> the parameters that they stand for, where they differ."""
RAW = (
    "Traceback", "Errno", "assert", "object has no attribute", "unsupported operand", "not supported between",
    "mat1", "invalid literal", "must be tuple of ints", "index out of", "Expected ", "NoneType", "  ",
)  # fmt: skip
"""What a sentence of torch, numpy or Python looks like."""


def table(text: str) -> list[list[str]]:
    return [line.split(" | ") for line in text.strip().splitlines()]


def names(modules: tuple[Any, ...]) -> dict[str, Any]:
    """What a call of this table may use: the modules' names, then those of the head of this file."""
    found = dict(globals())
    for module in modules:
        found |= vars(module)
    head = {name: value for name, value in globals().items() if not isinstance(value, ModuleType | type)}
    return found | head | {"PRESETS": PRESETS, "Config": Config, "replace": replace, "sharding": sharding}


def one_sentence(text: str) -> None:
    """It reads as a sentence of ours, at a length that is read."""
    assert text == text.strip(), text
    assert "\n" not in text, text
    assert 15 <= len(text) <= 400, (len(text), text)
    assert not (found := [raw for raw in RAW if raw in text]), (found, text)


def says(text: str, name: str, value: str, remedy: str) -> None:
    """The sentence holds all three, as words of their own; the remedy is an imperative."""
    for part in (name, value, remedy):
        assert re.search(rf"(?<![\w.]){re.escape(part)}(?!\w)", text), f"{part!r} is not in: {text}"
    assert remedy.split()[0] in IMPERATIVES, remedy


def parameters_of(call: str, known: dict[str, Any]) -> set[str]:
    """Names of the parameters of what the outermost call calls."""
    node = ast.parse(call, mode="eval").body
    assert isinstance(node, ast.Call), call
    called = eval(compile(ast.Expression(node.func), call, "eval"), known)
    called = called.forward if isinstance(called, nn.Module) else called
    return set(inspect.signature(called).parameters)


COLUMNS = ("section", "call", "kind", "name", "value", "remedy")
ROWS = [(section, *row) for section, (text, _) in CALLS.items() for row in table(text)]


@pytest.mark.parametrize(COLUMNS, ROWS, ids=lambda v: v[:60])
def test_a_wrong_call_gives_one_sentence(section, call, kind, name, value, remedy):
    known = names(CALLS[section][1])
    with pytest.raises(KINDS[kind]) as caught:
        eval(call, known)
    text = str(caught.value)
    one_sentence(text)
    says(text, name, value, remedy)
    own = re.split(r"[.\[(]", name)[0]
    is_parameter = {own, *ALSO_CALLED.get(name, ())} & parameters_of(call, known)
    assert is_parameter or name.startswith("--") or section == "compute", own


# --- Nothing is missing -------------------------------------------------------------------------------------

WITHOUT_A_WRONG_CALL = {
    "commands, which have a table of their own": {"main"},
    "what a function returns": {"LevelStatistics", "PositivesPerLevel", "Trained", "Split", "Splits"},
    "needs an extra package": {"se_resnet50"},
    "parts that only this package puts together": {
        "Trunk", "ConvUnit", "Inception", "freeze_batch_norm", "branch_weight", "features",
        "branch_embeddings", "average_pool", "seen", "shuffled", "source", "step", "nce", "exact",
        "resolve", "base_name", "Crops",
        "some_grey", "augmentation", "loader", "batches", "PhotographLoader", "image_folder", "load", "who",
        "parameters", "fine_tune", "predict", "embed", "classify", "test_pictures", "logged", "finished_run",
        "predictions", "check_rows", "check_noise", "check_number", "check_update", "check_index",
        "check_tree", "activity", "export", "retrieval", "clustering", "probe_sets", "measured_split",
        "describe",
        "load_model", "evaluation_set", "measure", "entropies", "cores", "cpu_name", "device_name",
        "peak_memory_mb", "is_out_of_memory", "stored_part", "changes", "overrides", "overrides_hash",
        "other_weights", "flags", "command", "require_limits", "entropy_by_descriptor", "figure", "overlay",
        "capped_share", "picked_products",
    },
}  # fmt: skip
"""Public names of the modules above that need no row, by the reason."""


def public(module: ModuleType) -> set[str]:
    """Functions and classes that the module defines."""
    if module is metrics:
        return set(metrics.__all__)
    own = {k: v for k, v in vars(module).items() if getattr(v, "__module__", "") == module.__name__}
    return {name for name, value in own.items() if callable(value) and not name.startswith("_")}


@pytest.mark.parametrize("section", CALLS)
def test_every_public_name_has_a_wrong_call(section):
    text, modules = CALLS[section]
    used = set(re.findall(r"\w+", " ".join(call for call, *_ in table(text))))
    exempt = set().union(*WITHOUT_A_WRONG_CALL.values())
    missing = set().union(*map(public, modules)) - used - exempt
    assert not missing, missing


def test_the_table_is_as_large_as_it_claims():
    assert len(ROWS) >= 100
    assert len({row[:2] for row in ROWS}) == len(ROWS), "a call stands twice"


@pytest.mark.parametrize(
    ("text", "row"),
    [
        ("index 3 is out of bounds for dimension 0 with size 3", ("index", "3", "give less")),
        ("'list' object has no attribute 'ndim'", ("x", "list", "give a tensor")),
        ("k is 7; give a k of at most 6\nTraceback", ("k", "7", "give a k")),
        ("kind is 7; give a k of at most 6", ("k is", "7", "give a k")),
        ("k is 17; give a k of at most 6", ("k", "7", "give a k")),
        ("k is 7, and there are 6 rows", ("k", "7", "there are 6 rows")),
        ("k is 7; " + "long " * 90 + "give a k of at most 6", ("k", "7", "give a k")),
    ],
)
def test_the_checks_of_a_sentence_notice_a_bad_one(text, row):
    def check() -> None:
        one_sentence(text)
        says(text, *row)

    with pytest.raises(AssertionError):
        check()


# --- Every number of every configuration --------------------------------------------------------------------

ALL_PRESETS = {
    f"{paper}:{name}": (importlib.import_module(f"{paper}.presets").PRESETS, name)
    for paper in PAPERS
    for name in importlib.import_module(f"{paper}.presets").PRESETS
}


@pytest.mark.parametrize("preset", ALL_PRESETS)
def test_presets_lie_within_their_limits(preset):
    presets, name = ALL_PRESETS[preset]
    config.require_limits(presets[name][1])


ELSEWHERE = {"LIMITS", "flip", "c", "channels", "bank_momentum", "z_momentum"}
"""Refused later, by common.data.augment or by check() of the paper: see the table of commands."""


def bad_numbers() -> list[tuple[str, str, str]]:
    """(preset of each kind of configuration, option, value that no number of this kind may have)."""
    found, kinds = [], set()
    for key, (presets, name) in ALL_PRESETS.items():
        kind = type(presets[name][1])
        if kind in kinds:
            continue
        kinds.add(kind)
        for field, hint in get_type_hints(kind).items():
            one = get_args(hint)[0] if get_origin(hint) is tuple else hint
            if field not in ELSEWHERE and one in (int, float):
                found.append((key, field, "-1" if one is int else "nan"))
    return found


@pytest.mark.parametrize(("preset", "field", "value"), bad_numbers())
def test_every_number_has_limits(preset, field, value):
    """No number of any configuration may be NaN or negative, and the sentence names the option."""
    presets, name = ALL_PRESETS[preset]
    option = f"--{field.replace('_', '-')}"
    count = len(current) if isinstance(current := getattr(presets[name][1], field), tuple) else 1
    with pytest.raises(ValueError, match=rf"^{option} .*{value}.*: give ") as caught:
        config.parse(presets, [name, option, *[value] * max(count, 1)])
    one_sentence(str(caught.value))


# --- The table of commands ----------------------------------------------------------------------------------

COMMANDS = """
cgd_retrieval.train | a preset | name a preset first | name a preset first
cgd_retrieval.train smokee | preset | smokee | did you mean smoke? choose one of
cgd_retrieval.train --lr 1 | a preset | name a preset first | name a preset first
cgd_retrieval.train smoke --sed 1 | --sed | no such option | did you mean --seed? give
cgd_retrieval.train smoke --seed -1 | --seed | -1 | give a number from 0 to 4294967295
cgd_retrieval.train smoke --seed x | --seed | x | give a whole number
cgd_retrieval.train smoke --steps | --steps | --steps | give a whole number
cgd_retrieval.train smoke --steps 1.5 | --steps | 1.5 | give a whole number
cgd_retrieval.train smoke --lr fast | --lr | fast | give a number
cgd_retrieval.train smoke --lr=0 | --lr | 0.0 | give a number above 0
cgd_retrieval.train smoke --mean 1 2 | --mean | 1 2 | give 3 numbers
cgd_retrieval.train smoke --widths 8 x | --widths | 8 x | give any number of whole numbers
cgd_retrieval.train smoke --stride stage5 | --stride | stage5 | give one of stage4, stage3, none, both
cgd_retrieval.train smoke --auxiliary yes | --auxiliary | yes | give --auxiliary alone
cgd_retrieval.train smoke 3 | 3 | 3 | give options as --field value
cgd_retrieval.train smoke --sed 1 --seed -1 --lr fast | --sed | no such option | did you mean --seed? give
cgd_retrieval.train smoke --device toaster | --device | toaster | use auto, cpu, cuda or cuda:N
cgd_retrieval.train smoke --device cuda:99 | --device | cuda:99 | use auto or cpu
cgd_retrieval.train smoke --data nothing | data set | 'nothing' | choose one of mnist, omniglot
cgd_retrieval.train smoke --data folder:nowhere | folder:nowhere | no such folder | give a folder that holds
DATA=weird cgd_retrieval.train smoke | DATA | 'weird' | choose one of auto, real, synthetic
DATA=real cgd_retrieval.train cub | DATA MISSING | cub | Get it: make data-cub
cgd_retrieval.train smoke --dim 7 | dim | 7 | choose a multiple of 2
cgd_retrieval.train smoke --config XY | config | 'XY' | choose S, M, G
cgd_retrieval.train smoke --enlarged 8 | --enlarged | 8 | the random crop needs that size: give it
cgd_retrieval.train smoke --ranking none --no-auxiliary | --ranking | none | keep one of the two losses
cgd_retrieval.train smoke --backbone pixels | --backbone | pixels | use python -m cgd_retrieval.evaluate
cgd_retrieval.train smoke --classes-per-batch 5000 | p | 5000 | lower p
cgd_retrieval.train smoke --images-per-class 1 | --images-per-class | 1 | give at least 2
cgd_retrieval.train smoke --images-per-class 500 --short-classes error | k | 500 | lower k
cgd_retrieval.train smoke --flip 2 | flip | 2.0 | choose a number in [0, 1]
cgd_retrieval.train smoke --weights best | weights | 'best' | leave weights out
cgd_retrieval.train smoke --learnable-p --config SM | learnable_p | config SM | choose one that has
cgd_retrieval.evaluate | checkpoint | required | use --help
cgd_retrieval.evaluate nothing.pt | checkpoint | nothing.pt | train first
cgd_retrieval.evaluate junk.pt | junk.pt | not a readable checkpoint | train again
cgd_retrieval.evaluate folder | folder | folder | give the last.pt of a run folder
cgd_retrieval.evaluate instance.pt | instance.pt | instance_discrimination | use python -m
cgd_retrieval.evaluate hollow-cgd.pt | hollow-cgd.pt | the model | train again
cgd_retrieval.evaluate cgd.pt --recrod | --recrod | unknown argument | did you mean --record? use
cgd_retrieval.evaluate cgd.pt --lr 1 | --lr 1 | unknown argument | use --help
cgd_retrieval.evaluate cgd.pt --split nosuch | split | 'nosuch' | choose one of train, val, test
cgd_retrieval.evaluate cgd.pt --split val | --split | val | train with --val-share 0.2
cgd_retrieval.evaluate cgd.pt --export folder | --export | folder | give the name of a file in it
cgd_retrieval.evaluate cgd.pt --export junk.pt/e.npz | --export | junk.pt/e.npz | give another place
cgd_retrieval.evaluate cgd.pt --device toaster | --device | toaster | use auto, cpu, cuda or cuda:N
cgd_retrieval.evaluate pixels | a preset | name a preset first | name a preset first
cgd_retrieval.evaluate pixels smoek | preset | smoek | did you mean smoke? choose one of
cgd_retrieval.evaluate pixels smoke --seed -1 | --seed | -1 | give a number from 0
cgd_retrieval.maps nothing.pt | checkpoint | nothing.pt | train first
cgd_retrieval.maps cgd.pt --pairs 0 | --pairs | 0 | give at least 1
cgd_retrieval.maps cgd.pt --pairs x | --pairs | 'x' | give a whole number
cgd_retrieval.maps cgd.pt --seed -1 | --seed | -1 | give 0 or more
cgd_retrieval.maps cgd.pt --out folder | --out | folder | give the name of a file in it
cgd_retrieval.lesson --out | --out | expected one argument | use --help
cgd_retrieval.lesson --out folder | --out | folder | give the name of a file in it
cgd_retrieval.lesson all | all | unknown argument | use --help
cgd_retrieval.figures all | all | takes no argument | leave it out
hyperbolic_embeddings.train smoke-fewshto | preset | smoke-fewshto | did you mean smoke-fewshot? choose one of
hyperbolic_embeddings.train smoke-delta | preset | smoke-delta | use python -m hyperbolic_embeddings.evaluate
hyperbolic_embeddings.train smoke-uncertainty --c 0 | --c | 0.0 | give a finite number above 0
hyperbolic_embeddings.train smoke-uncertainty --c nan | --c | nan | give a finite number above 0
hyperbolic_embeddings.train smoke-uncertainty --data nothing | data set | 'nothing' | choose one of mnist
hyperbolic_embeddings.train smoke-fewshot --c -1 | --c | -1.0 | give a finite number above 0
hyperbolic_embeddings.train smoke-fewshot --way 500 | way | 500 | lower way
hyperbolic_embeddings.train smoke-fewshot --shot 30 | shot | 30 | lower one of them
hyperbolic_embeddings.train smoke-fewshot --stored 20 | --stored | 20 | give --stored 16
hyperbolic_embeddings.train smoke-fewshot --resize 12 | --resize | 12 | give it
hyperbolic_embeddings.train smoke-fewshot --channels 2 | --channels | 2 | give 1 (grey) or 3 (colour)
hyperbolic_embeddings.train smoke-fewshot --backbone pixels | --backbone | pixels | use python -m
hyperbolic_embeddings.train smoke-fewshot --geometry round | --geometry | round | give one of
hyperbolic_embeddings.train smoke-reid --batch 1 | --batch | 1 | give at least 2
hyperbolic_embeddings.train smoke-reid --size 33 --narrow 2 | --size | 33 | change one of them
hyperbolic_embeddings.train smoke-reid --c 0 | --c | 0.0 | give a number above 0
hyperbolic_embeddings.evaluate hyperbolic.pt --splot test | --splot | unknown argument | mean --split? use
hyperbolic_embeddings.evaluate hyperbolic.pt --export folder | --export | folder | give the name of a file in
hyperbolic_embeddings.evaluate hollow-hyperbolic.pt | the model | the model | train again
hyperbolic_embeddings.evaluate cgd.pt | cgd.pt | cgd_retrieval | use python -m cgd_retrieval.evaluate
hyperbolic_embeddings.evaluate delta smoke-fewshot | delta | smoke-fewshot | choose one of
hyperbolic_embeddings.evaluate delta smoke-delta --points 2 | --points | 2 | give at least 3
hyperbolic_embeddings.evaluate delta smoke-delta --points 99999 | --points | 99999 | lower it
hyperbolic_embeddings.evaluate delta smoke-delta --bases 999 | --bases | 999 | lower it
hyperbolic_embeddings.evaluate delta smoke-delta --network vgg99 | --network | vgg99 | choose one of
hyperbolic_embeddings.evaluate delta smoke-delta --network export:no.npz | file | no.npz | write one with
hyperbolic_embeddings.evaluate pixels smoke-fewshot | pixels | measures no network | add --backbone pixels
hyperbolic_embeddings.projection nothing.npz | file | nothing.npz | write one with python -m
hyperbolic_embeddings.projection junk.npz | junk.npz | not an .npz of plain arrays | write one with python -m
hyperbolic_embeddings.projection export.npz --c -1 | --c | -1.0 | give a finite number above 0
hyperbolic_embeddings.projection export.npz --points | --points | without --c | add --c of the ball
hyperbolic_embeddings.projection export.npz --level 9 | --level | 9 | choose from
hyperbolic_embeddings.projection export.npz --most 1 | --most | 1 | give at least 2 rows
hyperbolic_embeddings.projection export.npz --out folder | --out | folder | give the name of a file in it
hyperbolic_embeddings.lesson --uot f.png | --uot | unknown argument | did you mean --out? use
hyperbolic_embeddings.figures all | all | takes no argument | leave it out
hierarchical_multilabel.train smoke --method himulcom | --method | himulcom | give one of simclr,
hierarchical_multilabel.train smoke --method simclr --views 1 | --views | 1 | give 2
hierarchical_multilabel.train smoke --form released --positives lowest | --positives | lowest | use
hierarchical_multilabel.train smoke --stored 8 | --stored | 8 | give at least the input's size
hierarchical_multilabel.train smoke --method supcon --level 9 | --level | 9 | give 1 to 2
hierarchical_multilabel.train smoke --frozen 2 | frozen | 2 | give 0
hierarchical_multilabel.train smoke --pools 9 | pools | 9 | give 0 to 3
hierarchical_multilabel.train smoke --temperature 0 | --temperature | 0.0 | give a number above 0
hierarchical_multilabel.train smoke --crop 0 2 | --crop | 0.0 2.0 | give a number above 0 to 1
hierarchical_multilabel.train smoke --backbone pixels | --backbone | pixels | use python -m
hierarchical_multilabel.evaluate hollow-hierarchical.pt | hollow-hierarchical.pt | the model | train again
hierarchical_multilabel.evaluate cgd.pt | cgd.pt | cgd_retrieval | use python -m cgd_retrieval.evaluate
hierarchical_multilabel.evaluate hierarchical.pt --expotr e.npz | --expotr | unknown | mean --export? use
hierarchical_multilabel.evaluate hierarchical.pt --export folder | --export | folder | give the name of a file
hierarchical_multilabel.evaluate pixels smoke --split test | --split | no such option | give one that --help
hierarchical_multilabel.lesson --out folder | --out | folder | give the name of a file in it
hierarchical_multilabel.figures all | all | takes no argument | leave it out
instance_discrimination.train smoke --k 99999 | --k | 99999 | give a k of at most
instance_discrimination.train smoke --batch 1 | --batch | 1 | give at least 2
instance_discrimination.train smoke --val-every 3 | --val-every | 3 | give --held-out 2000 as well
instance_discrimination.train smoke --loss parametric --proximal 3 | --proximal | 3.0 | use --proximal 0
instance_discrimination.train smoke --bank-momentum 1 | --bank-momentum | 1.0 | give the weight of the old row
instance_discrimination.train smoke --z-momentum nan | --z-momentum | nan | give the weight of the old Z
instance_discrimination.train smoke --data imagenet | imagenet | imagenet/train | put the pictures there as
instance_discrimination.train smoke --label-shares 2 | --label-shares | 2.0 | give a number above 0 and below
instance_discrimination.train smoke --backbone pixels | --backbone | pixels | use python -m
instance_discrimination.evaluate hollow-instance.pt | hollow-instance.pt | the model | train again
instance_discrimination.evaluate hierarchical.pt | hierarchical.pt | hierarchical_multilabel | use python -m
instance_discrimination.evaluate instance.pt --split nosuch | --split | 'nosuch' | use --help
instance_discrimination.evaluate instance.pt --split val | --split | val | train with --held-out 2000
instance_discrimination.evaluate instance.pt --export folder | --export | folder | give the name of a file in
instance_discrimination.evaluate transfer smoke | checkpoint | smoke-s0/last.pt | train it first
instance_discrimination.evaluate voc07 smoke --dim 3 | checkpoint | last.pt | train it first
instance_discrimination.evaluate cost smoke --noise 0 | --noise | 0 | give at least 1
instance_discrimination.evaluate pixels smoke --k 99999 | k | 99999 | give a k of at most
instance_discrimination.lesson --out junk.pt/f.png | --out | junk.pt/f.png | give another place
instance_discrimination.figures all | all | takes no argument | leave it out
common.reproduce | paper | required | use --help
common.reproduce cgd | paper | cgd | give the folder of a paper, one of: cgd_retrieval
common.reproduce cgd_retreival | paper | cgd_retreival | did you mean cgd_retrieval? give
common.reproduce ../cgd_retrieval | paper | ../cgd_retrieval | give the folder of a paper
common.reproduce cgd_retrieval --table unknown | table | unknown | choose from combinations
common.reproduce cgd_retrieval --table | --table | expected at least one argument | use --help
common.reproduce cgd_retrieval --tabel x | --tabel | unknown argument | did you mean --table? use
common.reproduce cgd_retrieval --budget huge | --budget | 'huge' | choose from
common.reproduce cgd_retrieval --seeds x | --seeds | 'x' | give a whole number
common.reproduce cgd_retrieval --seeds 0 1.5 | --seeds | '1.5' | give a whole number
common.reproduce cgd_retrieval --seeds 0 -1 | --seeds | -1 | give numbers from 0 to 4294967295
common.reproduce cgd_retrieval --seeds 4294967296 | --seeds | 4294967296 | give numbers from 0
common.reproduce cgd_retrieval --jobs -1 | --jobs | -1 | give 0 or more
common.reproduce cgd_retrieval --jobs many | --jobs | 'many' | give a whole number
common.reproduce cgd_retrieval --data weird | --data | 'weird' | choose from
common.data | command | required | use --help
common.data fecth cub | command | 'fecth' | choose from
common.data fetch | NAME | required | use --help
common.data fetch cubs | NAME | 'cubs' | choose from
common.data fetch cub --roto data | --roto | unknown argument | did you mean --root? use
common.data verify cubs | NAME | 'cubs' | choose from
common.data.layouts cubs new | layout | 'cubs' | choose from
common.data.layouts cub | folder | required | use --help
common.data.layouts cub junk.pt | folder | junk.pt | give another place
common.data.layouts cub junk.pt/new | folder | junk.pt/new | give another place
common.data.layouts cub new --size x | --size | 'x' | give a whole number
common.data.layouts cub new --size 0 | size | 0 | give an integer of at least 8
common.data.layouts cub new --ambiguity much | --ambiguity | 'much' | give a number
common.gallery nothing.npz | file | nothing.npz | write one with python -m
common.gallery junk.npz | junk.npz | not an .npz of plain arrays | write one with python -m
common.gallery export.npz --queries 0 | --queries | 0 | give at least 1
common.gallery export.npz --queries x | --queries | 'x' | give a whole number
common.gallery export.npz --neighbours 0 | --neighbours | 0 | give at least 1
common.gallery export.npz --neighbours 9999 | k | 9999 | give at most
common.gallery export.npz --seed -1 | --seed | -1 | give at least 0
common.gallery junk.npz --out folder | --out | folder | give the name of a file in it
common.gallery junk.npz --out junk.pt/g.png | --out | junk.pt/g.png | give another place
common.gallery junk.npz --npy junk.pt | --npy | junk.pt | give another place
common.gallery export.npz --gallery junk.npz | junk.npz | not an .npz of plain arrays | write one with
common.gallery export.npz --gallry junk.npz | --gallry | unknown argument | did you mean --gallery? use
common.plots curves folder | --out | required | use --help
common.plots curves folder --out folder | --out | folder | give the name of a file in it
common.plots curves folder --out f.png --labls a | --labls | unknown argument | did you mean --labels? use
common.plots curves nothing --out f.png | file | nothing | give a run folder or its log.jsonl
common.plots curvse folder --out f.png | command | 'curvse' | choose from
common.report --uot f.html | --uot | unknown argument | did you mean --out? use
common.report --out folder | --out | folder | give the name of a file in it
common.report --out junk.pt/f.html | --out | junk.pt/f.html | give another place
common.results | command | required | use --help
common.results shwo | command | 'shwo' | choose from
common.results render --chekc | --chekc | unknown argument | did you mean --check? use
common.results show cgd_retrieval mini/unknown | table | mini/unknown | choose one of
common.results show cgd mini/tricks | paper | cgd | give the folder of a paper
benchmarks recal | topic | 'recal' | choose from recall
benchmarks --rounds 0 | --rounds | 0 | give a whole number of at least 1
benchmarks --threads x | --threads | 'x' | give a whole number
benchmarks --scale tiny | --scale | 'tiny' | choose from
benchmarks.scaling knm | subject | 'knm' | choose from
benchmarks.scaling --ranks 0 | --ranks | 0 | give a whole number of at least 1
benchmarks.scaling --ranks two | --ranks | 'two' | give a whole number
benchmarks.scaling --out junk.pt | --out | junk.pt | give another place
benchmarks.scaling --redraw --out folder | points.csv | folder/points.csv | measure first
book --oot site | --oot | unknown argument | did you mean --out? use
book --out junk.pt | --out | junk.pt | give another place
make reproduce-cgd TABLE=unknown | table | unknown | choose from combinations
make reproduce-cgd SEEDS=x | --seeds | 'x' | give a whole number
make reproduce-cgd SEEDS=-1 | --seeds | -1 | give numbers from 0
make reproduce-instance BUDGET=huge | --budget | 'huge' | choose from
make reproduce-hierarchical DATA=weird | DATA | 'weird' | choose one of auto, real, synthetic
make data-cubs | NAME | 'cubs' | choose from
make bench BENCH=recal | topic | 'recal' | choose from recall
make bench-scale BENCH=knm | subject | 'knm' | choose from
make maps-cgd CHECKPOINT=nothing.pt | checkpoint | nothing.pt | train first
"""

FRAMED = "DATA MISSING"
"""The one message of many lines: what is missing, where it was looked for and how to get it."""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A working folder with untrained checkpoints of each paper, and with what is none."""
    folder = tmp_path_factory.mktemp("place")
    with pytest.MonkeyPatch.context() as patch:
        small_data(patch, folder)
        for paper, preset in UNTRAINED.items():
            with redirect_stdout(io.StringIO()) as out:
                importlib.import_module(f"{paper}.train").main(preset)
            name = paper.split("_")[0]
            whole = torch.load(out.getvalue().split()[-1], weights_only=True)
            torch.save(whole, folder / f"{name}.pt")
            hollow = {part: {} for part in whole["state"]}
            torch.save({**whole, "state": hollow}, folder / f"hollow-{name}.pt")
        shutil.rmtree("runs")
        with redirect_stdout(io.StringIO()):
            cgd_evaluate.main(["cgd.pt", "--export", "export.npz"])
        Path("junk.pt").write_bytes(b"junk")
        Path("junk.npz").write_bytes(b"junk")
        Path("folder").mkdir()
    return folder


def small_data(patch: pytest.MonkeyPatch, folder: Path) -> None:
    """No data but a small embedded set: 4 families of 6 kinds."""
    patch.chdir(folder)
    for name, value in (("DATA_ROOT", "data"), ("DATA_CACHE", "cache"), ("DATA", "auto")):
        patch.setenv(name, value if name == "DATA" else str(folder.with_name(value)))
    patch.delenv("TRACEBACK", raising=False)
    load, few = embedded.load, {"families": 4, "kinds": 6, "instances": 8}
    patch.setattr(embedded, "load", lambda split, **how: load(split, **{**how, **few}))


def made(words: list[str]) -> list[str]:
    """The command that `make` would run, without running it."""
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    shown = subprocess.run(
        ["make", "--no-print-directory", "-n", "-o", ".venv/.installed", *words],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    first = next(line for line in shown.stdout.splitlines() if " -m " in line and "pip" not in line)
    return first.split(" -m ")[1].split()


def contents(folder: Path) -> dict[str, int]:
    """Every file with the time of its last change, and every folder."""
    return {str(p): p.stat().st_mtime_ns if p.is_file() else 0 for p in folder.rglob("*")}


@pytest.mark.parametrize(("words", "name", "value", "remedy"), table(COMMANDS), ids=lambda v: str(v)[:70])
def test_wrong_words_end_a_command_with_one_sentence(words, name, value, remedy, place, monkeypatch):
    small_data(monkeypatch, place)

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("work began")

    monkeypatch.setattr(Run, "claim", never)
    monkeypatch.setattr("common.reproduce.work", never)
    ask = Plan.of

    def plan(paper: str) -> Plan:  # without a process where there is a plan
        own = paper in PAPERS
        return (
            Plan.from_json(importlib.import_module(f"{paper}.tables").PLAN.to_json()) if own else ask(paper)
        )

    monkeypatch.setattr(Plan, "of", plan)
    module, *rest = words.split()
    while "=" in module:
        monkeypatch.setenv(*module.split("="))
        module, *rest = rest
    if module == "make":
        for word in rest[1:]:
            monkeypatch.setenv(*word.split("="))
        module, *rest = made(rest)
    package = (ROOT / module.replace(".", "/")).is_dir()
    main = importlib.import_module(f"{module}.__main__" if package else module).main
    monkeypatch.setattr(sys, "argv", [module, *rest])

    before = contents(place)
    err = io.StringIO()
    with redirect_stderr(err), redirect_stdout(io.StringIO()), pytest.raises(SystemExit) as stop:
        config.command(lambda argv: sys.exit(main(argv)))
    assert stop.value.code == 2
    assert contents(place) == before, "something is left behind"
    text = err.getvalue().strip()
    if FRAMED in text:
        assert text.count(FRAMED) == 1
        text = " ".join(text.split())
    else:
        assert text.startswith("error: ")
        one_sentence(text.removeprefix("error: "))
    for part in (name, value, remedy):
        assert part in text, f"{part!r} is not in: {text}"
    assert {*re.findall("[a-z]+", remedy.lower())} & {*IMPERATIVES}, remedy


def test_make_refuses_a_variable_that_it_does_not_know():
    """It would else go unread, and hours of the default tables would begin."""
    if shutil.which("make") is None:
        pytest.skip("there is no make here")
    outer = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL")}
    command = ["make", "-n", "-o", ".venv/.installed", "reproduce-cgd"]
    for words, told in ((["TABEL=mini"], "TABEL"), (["SEEDS=0", "SEED=1", "DEVICE=cpu"], "DEVICE SEED")):
        done = subprocess.run([*command, *words], cwd=ROOT, env=outer, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (2, "")
        assert f"no variable {told}; give BUDGET, TABLE, SEEDS," in done.stderr
    known = [*command, "TABLE=tricks fusion", "SEEDS=0 1"]
    subprocess.run(known, cwd=ROOT, env=outer, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("cgd_retrieval.train smoke --stepz 3", "error: --stepz: there is no such option; did you mean"),
    ],
)
def test_a_process_ends_the_same_way(words, told, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", *words.split()],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DATA_ROOT": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(told)
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
