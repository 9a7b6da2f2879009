"""What is scaled up: metrics against the size of a data set, losses and training steps against a batch.

Every subject is the code that training or measuring runs, on random inputs from a fixed seed, cut over the
ranks as the train scripts cut it: pictures or embeddings are shared out, gathered with gradient, and the loss
sees the whole batch. Steps have everything of a train script but pictures, augmentation and logs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.functional import normalize

import cgd_retrieval.presets
import cgd_retrieval.train
import hierarchical_multilabel.presets
import hierarchical_multilabel.train
import hyperbolic_embeddings.fewshot.presets
import hyperbolic_embeddings.fewshot.train
import instance_discrimination.presets
import instance_discrimination.train
from benchmarks.scaling.ranks import Build
from cgd_retrieval.losses import auxiliary_loss
from common import distributed
from common.metrics import gromov_delta, knn_predict, recall_at_k
from hierarchical_multilabel.losses import Form, himulcone_loss
from hyperbolic_embeddings.fewshot.protonet import ProtoHead
from hyperbolic_embeddings.layers import HyperbolicMLR, ToPoincare
from instance_discrimination.losses import expected_log_z
from instance_discrimination.memory import MemoryBank
from instance_discrimination.sharding import ShardedMemoryBank

CGD = cgd_retrieval.presets.OMNIGLOT
FEWSHOT = hyperbolic_embeddings.fewshot.presets.OMNIGLOT
HIERARCHICAL = hierarchical_multilabel.presets.OMNIGLOT
INSTANCE = instance_discrimination.presets.MINI
CLASSES = 964
"""Training characters of Omniglot."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One curve of time and one of memory, and what they must not exceed."""

    name: str
    """On the command line."""
    title: str
    symbol: str
    """Of the size that grows."""
    counts: Literal["data", "batch", "matrix"]
    """What the size is: rows of a data set, gallery or bank; pictures of a batch; side of a given matrix."""
    build: Build
    sizes: dict[str, tuple[int, ...]]
    """Per scale, ascending."""
    time: int
    """Time must not grow faster than size to this power."""
    memory: int
    """Nor extra memory than size to this power; at most 1 where the size counts data."""
    why: str
    """Where the two powers come from."""
    ranks: str
    """What more ranks save."""


# --- Metrics ------------------------------------------------------------------------------------------------


def recall(n: int) -> Callable[[], float]:
    """N rows of 256 numbers among themselves, five rows per class."""
    y = torch.arange(n) // 5
    centre = _normal(n // 5 + 1, 256)
    x = normalize(centre[y] + 2.5 * _normal(n, 256, seed=1), dim=1)
    return lambda: recall_at_k(x, y, (1, 2, 4, 8))[1]


def knn(n: int) -> Callable[[], float]:
    """512 queries and N rows of 128 numbers, k = 200: the evaluation of instance_discrimination."""
    rows, query = normalize(_normal(n, 128), dim=1), normalize(_normal(512, 128, seed=1), dim=1)
    y = torch.arange(n) % 10
    return lambda: float(knn_predict(rows, y, query, 200, 0.1, 10).double().mean())


def delta(n: int) -> Callable[[], float]:
    """Distances of n points in 64 dimensions, float32."""
    x = _normal(n, 64)
    d = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist")
    return lambda: gromov_delta(distances=d)[0]


# --- Losses, forward and backward; against a bank with its update -------------------------------------------


def cgd_loss(b: int) -> Callable[[], float]:
    """Batch-hard triplets and the auxiliary cross-entropy; classes of four pictures."""
    y = torch.arange(b) // 4
    psi, logits = _leaf(normalize(_normal(b, CGD.dim), dim=1)), _leaf(_normal(b, CLASSES, seed=1))

    def run() -> float:
        return _backward(
            _cgd_objective(distributed.gather(psi, b), distributed.gather(logits, b), y), psi, logits
        )

    return run


def _cgd_objective(psi: Tensor, logits: Tensor, y: Tensor) -> Tensor:
    ranked = cgd_retrieval.train.ranking_loss(CGD, psi, y, torch.Generator())
    return ranked + auxiliary_loss(logits, y % CLASSES, CGD.temperature, CGD.smoothing)


def protonet_loss(b: int) -> Callable[[], float]:
    """An episode in the ball: b / 6 classes of one support picture and five queries."""
    head = hyperbolic_embeddings.fewshot.train.build(FEWSHOT)[1]
    z = _leaf(_normal(b, FEWSHOT.dim))
    return lambda: _backward(_episode_loss(head, distributed.gather(z, b)), z)


def _episode_loss(head: ProtoHead, z: Tensor) -> Tensor:
    shot, query = FEWSHOT.shot, FEWSHOT.query
    x = head.embed(z.view(-1, shot + query, z.shape[1]))  # (W, S + Q, D)
    logits = head.logits(x[:, shot:].flatten(0, 1), head.prototypes(x[:, :shot]))  # (W Q, W)
    return F.cross_entropy(logits, torch.arange(len(x)).repeat_interleave(query))


def mlr_loss(b: int) -> Callable[[], float]:
    """B points in 128 dimensions, the exponential map and hyperplanes of 500 classes; released constants."""
    torch.manual_seed(0)
    to_ball, head = ToPoincare(0.05, mode="released"), HyperbolicMLR(128, 500, 0.05, mode="released")
    u, y = _leaf(_normal(b, 128)), torch.arange(b) % 500

    def run() -> float:
        logits = distributed.gather(head(to_ball(u)), b)
        return _backward(F.cross_entropy(logits, y), u, *head.parameters())

    return run


def hierarchical_loss(b: int, form: Form) -> Callable[[], float]:
    """B pictures with two views, four levels with four children to a node."""
    y = torch.arange(b)
    tree = torch.stack([y // 4**up for up in (4, 3, 2, 1, 0)], 1)
    z = _leaf(normalize(_normal(b, 2, 128), dim=2))
    return lambda: _backward(himulcone_loss(distributed.gather(z, b), tree, 0.1, form), z)


def bank_loss(n: int, loss: Literal["softmax", "nce"]) -> Callable[[], float]:
    """64 pictures of 128 numbers against N rows of the bank; NCE: 512 noise pictures each."""
    cfg = replace(INSTANCE, loss=loss, noise=512, batch=64, z="closed-form")
    bank = _bank(n, cfg)
    index = torch.arange(0, n, n // cfg.batch)[: cfg.batch]
    v = _leaf(normalize(_normal(cfg.batch, cfg.dim), dim=1))

    def run() -> float:
        whole = distributed.gather(v, cfg.batch)
        value = instance_discrimination.train.instance_loss(cfg, whole, index, bank, None, 0)[0]
        found = _backward(value, v)
        bank.update(index, whole.detach())
        return found

    return run


def _bank(n: int, cfg: instance_discrimination.presets.Config) -> MemoryBank | ShardedMemoryBank:
    draw = torch.Generator().manual_seed(0)
    bank = MemoryBank(n, cfg.dim, cfg.bank_momentum, init=cfg.bank_init, generator=draw)
    bank.start_log_z(expected_log_z(n, cfg.dim, cfg.temperature))
    return ShardedMemoryBank(bank) if distributed.world() > 1 else bank


# --- Training steps of the small networks of budget mini ----------------------------------------------------


def cgd_step(b: int) -> Callable[[], float]:
    model, images = _network(cgd_retrieval.train.build, CGD, CLASSES), _pictures(b, 3, CGD.size)
    optimiser = torch.optim.Adam(model.parameters(), lr=CGD.lr)
    y = torch.arange(b) // CGD.images_per_class

    def run() -> float:
        psi, logits = model(images)
        loss = _cgd_objective(distributed.gather(psi, b), distributed.gather(logits, b), y)
        return _step(loss, optimiser, model.parameters())

    return run


def fewshot_step(b: int) -> Callable[[], float]:
    torch.manual_seed(0)
    encoder, head = hyperbolic_embeddings.fewshot.train.build(FEWSHOT)
    encoder, images = _placed(encoder), _pictures(b, FEWSHOT.channels, FEWSHOT.size)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=FEWSHOT.lr)

    def run() -> float:
        loss = _episode_loss(head, distributed.gather(encoder(images).float(), b))
        return _step(loss, optimiser, encoder.parameters())

    return run


def hierarchical_step(b: int) -> Callable[[], float]:
    cfg = HIERARCHICAL
    encoder, images = _network(hierarchical_multilabel.train.build, cfg, 0), _pictures(b, 3, cfg.size, 2)
    optimiser = torch.optim.Adam(encoder.parameters(), lr=cfg.lr)
    y = torch.arange(b)
    tree = torch.stack([y // 24, y // 4, y], 1)  # as Omniglot: alphabets, characters, pictures

    def run() -> float:
        z = encoder(images)[1].unflatten(0, (-1, 2))
        loss = hierarchical_multilabel.train.objective(cfg, distributed.gather(z, b), None, tree)
        return _step(loss, optimiser, encoder.parameters())

    return run


def instance_step(b: int) -> Callable[[], float]:
    cfg = INSTANCE
    model, images = _network(instance_discrimination.train.build, cfg), _pictures(b, 3, cfg.size)
    bank, index = _bank(cfg.images, cfg), torch.arange(b)
    optimiser = torch.optim.SGD(
        model.parameters(), lr=cfg.lr, momentum=cfg.momentum, weight_decay=cfg.weight_decay
    )

    def run() -> float:
        v = distributed.gather(model(images), b)
        loss = instance_discrimination.train.instance_loss(cfg, v, index, bank, None, 0)[0]
        value = _step(loss, optimiser, model.parameters())
        bank.update(index, v.detach())
        return value

    return run


# --- What they share ----------------------------------------------------------------------------------------


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _leaf(rows: Tensor) -> Tensor:
    """This rank's share of rows, as what the network would hand over: the gradient ends here."""
    return distributed.share(rows).clone().requires_grad_()


def _pictures(b: int, channels: int, size: int, views: int = 1) -> Tensor:
    """This rank's share of B pictures with their views in a row."""
    images = distributed.share(_normal(b, views, channels, size, size)).flatten(0, 1)
    return images.contiguous(memory_format=torch.channels_last)


def _network(build: Callable[..., nn.Module], *arguments: object) -> nn.Module:
    torch.manual_seed(0)
    return _placed(build(*arguments))


def _placed(model: nn.Module) -> nn.Module:
    model = model.to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    return distributed.synchronise_batch_norm(model)


def _backward(loss: Tensor, *inputs: Tensor) -> float:
    torch.autograd.grad(loss, inputs)
    return float(loss.detach())


def _step(loss: Tensor, optimiser: torch.optim.Optimizer, parameters: Iterable[nn.Parameter]) -> float:
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    distributed.average_gradients(parameters)
    optimiser.step()
    return float(loss.detach())


# --- The list -----------------------------------------------------------------------------------------------


def _doubled(tiny: int, small: int, full: int, points: int = 5) -> dict[str, tuple[int, ...]]:
    """Per scale sizes that double, from the first one given."""
    firsts = {"tiny": (tiny, 2), "small": (small, 4), "full": (full, points)}
    return {scale: tuple(first * 2**i for i in range(n)) for scale, (first, n) in firsts.items()}


HALF = "at best half the time: products are dealt out"
SAME = "nothing: every rank computes the loss of the whole batch"
NETWORK = "at best half of both: a rank has its share of the pictures"
STEP = "the network, picture by picture; the loss is small beside it"
PAIRS = "matrices of all pairs in the batch, by the nature of the loss"

SUBJECTS: tuple[Subject, ...] = (
    Subject(
        name="recall",
        title="recall_at_k, self-retrieval, D = 256",
        symbol="N",
        counts="data",
        build=recall,
        sizes=_doubled(200, 1000, 2000),
        time=2,
        memory=1,
        why="every row meets every other one; of the products one block is held, of the rows one copy",
        ranks=HALF,
    ),
    Subject(
        name="knn",
        title="knn_predict, 512 queries, D = 128, k = 200",
        symbol="N",
        counts="data",
        build=knn,
        sizes=_doubled(1000, 8000, 16000),
        time=1,
        memory=1,
        why="queries meet every row; similarities to at most 65,536 rows are held",
        ranks=HALF,
    ),
    Subject(
        name="delta",
        title="gromov_delta of n x n distances",
        symbol="n",
        counts="matrix",
        build=delta,
        sizes=_doubled(40, 200, 250),
        time=3,
        memory=2,
        why="all triples at worst, far fewer in practice; a few matrices as large as the input",
        ranks=HALF,
    ),
    Subject(
        name="cgd-loss",
        title="CGD: batch-hard triplets and auxiliary loss",
        symbol="B",
        counts="batch",
        build=cgd_loss,
        sizes=_doubled(16, 128, 256),
        time=2,
        memory=2,
        why=PAIRS,
        ranks=SAME,
    ),
    Subject(
        name="protonet-loss",
        title="Hyperbolic ProtoNet: an episode of B / 6 classes",
        symbol="B",
        counts="batch",
        build=protonet_loss,
        sizes=_doubled(24, 192, 384),
        time=2,
        memory=2,
        why="distances of 5 B / 6 queries to B / 6 prototypes",
        ranks=SAME,
    ),
    Subject(
        name="mlr-loss",
        title="Hyperbolic MLR: 500 classes, D = 128",
        symbol="B",
        counts="batch",
        build=mlr_loss,
        sizes=_doubled(16, 256, 512),
        time=1,
        memory=1,
        why="B x K logits from one product, never B x K x D Möbius sums",
        ranks="at best half the time: a rank has its share of the points, and the logits of all",
    ),
    Subject(
        name="himulcone-paper",
        title="HiMulConE as printed, V = 2, four levels",
        symbol="B",
        counts="batch",
        build=partial(hierarchical_loss, form="paper"),
        sizes=_doubled(16, 64, 128),
        time=2,
        memory=2,
        why=PAIRS + ", once for all levels",
        ranks=SAME,
    ),
    Subject(
        name="himulcone-released",
        title="HiMulConE as released, V = 2, four levels",
        symbol="B",
        counts="batch",
        build=partial(hierarchical_loss, form="released"),
        sizes=_doubled(16, 64, 128),
        time=2,
        memory=2,
        why=PAIRS + ", smaller from level to level",
        ranks=SAME,
    ),
    Subject(
        name="softmax-bank",
        title="Exact softmax over the bank, B = 64, D = 128",
        symbol="N",
        counts="data",
        build=partial(bank_loss, loss="softmax"),
        sizes=_doubled(1000, 16000, 32000),
        time=1,
        memory=1,
        why="B x N logits",
        ranks="at best half of both: a rank has half of the bank",
    ),
    Subject(
        name="nce-bank",
        title="NCE with 512 noise pictures, B = 64, D = 128",
        symbol="N",
        counts="data",
        build=partial(bank_loss, loss="nce"),
        sizes=_doubled(1000, 80000, 80000, 4),
        time=0,
        memory=0,
        why="above N = 64 m, m rows of the bank are gathered per picture, whatever N is",
        ranks="nothing: every rank scores the whole batch",
    ),
    Subject(
        name="cgd-step",
        title="Training step of CGD (preset omniglot)",
        symbol="B",
        counts="batch",
        build=cgd_step,
        sizes=_doubled(8, 32, 32),
        time=1,
        memory=1,
        why=STEP,
        ranks=NETWORK,
    ),
    Subject(
        name="protonet-step",
        title="Training step of ProtoNet (omniglot-protonet)",
        symbol="B",
        counts="batch",
        build=fewshot_step,
        sizes=_doubled(12, 48, 48),
        time=1,
        memory=1,
        why=STEP,
        ranks=NETWORK,
    ),
    Subject(
        name="hierarchical-step",
        title="Training step of HiMulConE (preset omniglot)",
        symbol="B",
        counts="batch",
        build=hierarchical_step,
        sizes=_doubled(8, 32, 32),
        time=1,
        memory=1,
        why=STEP,
        ranks=NETWORK,
    ),
    Subject(
        name="instance-step",
        title="Training step with a bank (cifar10-mini)",
        symbol="B",
        counts="batch",
        build=instance_step,
        sizes=_doubled(8, 32, 32),
        time=1,
        memory=1,
        why=STEP,
        ranks=NETWORK,
    ),
)
