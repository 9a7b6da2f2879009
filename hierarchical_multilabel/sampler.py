"""The batch sampler of Zhang et al., "Use All The Labels" (arXiv:2204.13207v1), Section 3 (recalled): each
anchor comes with one partner per level of the tree, so that no level of a batch is left without positives.

    symbol   shape     meaning
    labels   (N, K)    ids of each image from coarse to fine; the last column is the image (see losses.py)
    l        1 .. K    level, 1 is the finest; K is the root, of which every image is a part

A group is an anchor, and for l = 1 .. K an image that shares level l with it but not level l - 1: for
DeepFashion another picture of the same variation, another variation of the same product, another product of
the same category, another category. The released sampler (data_processing/hierarchical_dataset.py at f075235)
builds the same groups, in the order anchor, K, .., 1, but draws some images twice and some anchors too,
replaces partners by random images (of the finest partners 30 % on one rank and 86 % on eight, in a
simulation), and takes time that grows with N^2 (note O7). The control for this sampler is
common.data.samplers.ShuffleSampler(N, batch, drop_last=True).
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from common.arguments import described, require_tensor, whole_number, whole_numbers
from common.data.counter import key
from hierarchical_multilabel.losses import common_level

_TREE = 3  # purpose of a generator; 0 .. 2 are those of common.data.samplers


class HierarchicalSampler:
    """Batches of groups: an anchor and one partner per level.

    Anchors are taken without replacement from the images that were not drawn yet in the epoch. A partner is
    drawn node by node: a child of the common node other than the anchor's, then a child of that one, and so
    on down to an image; every child is as likely as its siblings, however many images it has. Nodes with
    images that were not drawn yet go first; when none is left, an image is drawn again, but never twice in a
    batch. Where the tree has no partner at a level that is not in the batch already, the next coarser level
    stands in.

    A pure function of (seed, epoch, rank), in time proportional to N. Stands as the sampler of
    common.data.loading.Loader or as the batch_sampler of torch.utils.data.DataLoader.
    """

    def __init__(
        self,
        labels: Tensor,
        batch: int,
        *,
        seed: int,
        steps: int | None = None,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """labels: [N, K] int64, torch.column_stack([dataset.labels, torch.arange(N)]) for a data set of
        common.data. batch: images per batch over all ranks, divisible by ranks; steps: batches per epoch,
        default N // batch.

        All ranks deal the same batch and take their part of it, so the union over the ranks does not depend
        on their number. A group that the end of a batch cuts short loses its coarsest partners. A group that
        ends one rank's part and begins the next one's is whole again when the ranks gather their embeddings;
        where they do not, let batch / ranks be a multiple of `group`.
        """
        if not 0 <= whole_number("rank", rank, least=-math.inf) < whole_number("ranks", ranks):
            raise ValueError(f"rank = {rank} of ranks = {ranks}: give a rank from 0 to ranks - 1")
        whole_number("seed", seed, least=0)
        if not isinstance(labels, Tensor):
            raise TypeError(f"labels is {described(labels)}; give an int64 tensor [N, K]")
        if labels.ndim != 2 or labels.dtype != torch.int64:
            raise TypeError(
                f"labels must be int64 [N, K], got {labels.dtype} {tuple(labels.shape)}; give one row of ids "
                "per image"
            )
        n, columns = labels.shape
        if columns < 2:
            raise ValueError(
                f"labels have {columns} column; the last one is the image itself, so give K >= 2 columns "
                "(torch.column_stack([classes, index]))"
            )
        whole_numbers(batch=batch, **({} if steps is None else {"steps": steps}))
        if batch > n:
            raise ValueError(f"batch = {batch} is larger than the {n} images; lower batch")
        if batch % ranks:
            raise ValueError(
                f"batch = {batch} cannot be split over {ranks} ranks; choose a multiple of {ranks}"
            )
        self.parent, self.children = _tree(labels)
        self.n, self.batch, self.group = n, batch, columns + 1
        self.steps = n // batch if steps is None else steps
        self.seed, self.rank, self.ranks, self.epoch = seed, rank, ranks, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        """This rank's part of each batch: group after group, in a group the anchor, then l = 1, 2, .."""
        draw = random.Random(key(self.seed, self.epoch, _TREE))
        share = self.batch // self.ranks
        fresh, anchors = self._new_pass(draw)
        for _ in range(self.steps):
            batch: dict[int, None] = {}  # a set that keeps the order
            while len(batch) < self.batch:
                anchor = next((i for i in anchors if i in fresh and i not in batch), None)
                if anchor is None:
                    fresh, anchors = self._new_pass(draw)
                    continue
                batch[anchor] = None
                fresh.discard(anchor)
                for l in range(1, min(self.group, self.batch - len(batch) + 1)):
                    partner = self._partner(anchor, l, fresh, batch, draw)
                    batch[partner] = None
                    fresh.discard(partner)
            yield list(batch)[self.rank * share : (self.rank + 1) * share]

    def _new_pass(self, draw: random.Random) -> tuple[_Fresh, Iterator[int]]:
        order = list(range(self.n))
        draw.shuffle(order)
        return _Fresh(self.parent, self.children), iter(order)

    def _partner(
        self, anchor: int, l: int, fresh: _Fresh, batch: dict[int, None], draw: random.Random
    ) -> int:
        """An image outside the batch that shares level l with the anchor but not l - 1, or the next best."""
        child, node = anchor, self.parent[anchor]
        for level in range(1, self.group):
            if level >= l:
                for pool in (fresh.children, self.children):
                    found = self._descend(pool, node, child, batch, draw)
                    if found is not None:
                        return found
            child, node = node, self.parent[node]
        for pool in (fresh.children, self.children):  # nothing but the anchor's own finer relatives is left
            found = self._descend(pool, len(self.parent) - 1, None, batch, draw)
            if found is not None:
                return found
        raise AssertionError("a batch holds every image before it is full")

    def _descend(
        self,
        pool: list[list[int]],
        node: int,
        avoid: int | None,
        batch: dict[int, None],
        draw: random.Random,
    ) -> int | None:
        """A random image of `node` outside its child `avoid` and outside the batch; None if there is none."""
        if node < self.n:
            return None if node in batch else node
        members = pool[node]
        start = int(draw.random() * len(members))
        if len(members) > 1 and members[start] == avoid:
            start += 1 + int(draw.random() * (len(members) - 1))  # each of the others alike
        for k in range(start, start + len(members)):  # the first one will do, unless the batch has it all
            child = members[k % len(members)]
            found = None if child == avoid else self._descend(pool, child, None, batch, draw)
            if found is not None:
                return found
        return None

    def describe(self) -> str:
        """One sentence: the shape of a batch and what it is drawn from."""
        whole, rest = divmod(self.batch, self.group)
        cut = f" and one group of {rest}" if rest else ""
        return (
            f"{self.steps} batches of {whole} groups of {self.group} (an anchor and one partner for each of "
            f"{self.group - 1} levels){cut} from {self.n} images"
        )


class PositivesPerLevel(NamedTuple):
    """What a batch offers at each level, finest first; float64 (L,), L = K - 1."""

    share: Tensor
    """Share of the images for which another image has this as its finest common level."""
    mean: Tensor
    """Mean number of such images."""


def positives_per_level(labels: Tensor) -> PositivesPerLevel:
    """How many images of a batch are positives at each level and at no finer one. labels: [B, K] int64.

    Inclusive positives, all images that share level l, are the sums over levels 1 .. l.
    """
    require_tensor("labels", labels, "[B, K]", torch.int64)
    level = common_level(labels).fill_diagonal_(labels.shape[1])  # not with itself
    counts = torch.stack([(level == l).sum(1) for l in range(1, labels.shape[1])])  # (L, B)
    return PositivesPerLevel((counts > 0).double().mean(1), counts.double().mean(1))


class _Fresh:
    """The part of the tree that holds images not drawn yet."""

    def __init__(self, parent: list[int], children: list[list[int]]) -> None:
        self.parent = parent
        self.children = [list(some) for some in children]
        self.place = [0] * len(self.children)
        for siblings in self.children:
            for at, child in enumerate(siblings):
                self.place[child] = at

    def __contains__(self, image: int) -> bool:
        return self.place[image] >= 0

    def discard(self, node: int) -> None:
        """Take a node out, and those above it that are left empty."""
        at = self.place[node]
        if at < 0:
            return
        self.place[node] = -1
        parent = self.parent[node]
        siblings = self.children[parent]
        last = siblings.pop()
        if last != node:
            siblings[at] = last
            self.place[last] = at
        if not siblings and self.parent[parent] != parent:
            self.discard(parent)


def _tree(labels: Tensor) -> tuple[list[int], list[list[int]]]:
    """Parent and children of each node. Images are 0 .. N - 1, then nodes from fine to coarse; the root is
    last and its own parent.
    """
    n, columns = labels.shape
    parent: list[int] = []
    below = torch.arange(n)  # node of each image on the level below
    first = n  # number of the next node
    for depth in range(columns - 1, -1, -1):
        if depth:
            of_image = torch.unique(labels[:, :depth].cpu(), dim=0, return_inverse=True)[1] + first
        else:
            of_image = torch.full((n,), first)
        of_node = torch.empty(int(below.max()) + 1 - len(parent), dtype=torch.int64)
        of_node[below - len(parent)] = of_image
        parent += of_node.tolist()
        below, first = of_image, int(of_image.max()) + 1
    parent.append(len(parent))
    children: list[list[int]] = [[] for _ in parent]
    for node, above in enumerate(parent[:-1]):
        children[above].append(node)
    return parent, children
