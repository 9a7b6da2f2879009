"""Which pictures form a batch. Every sampler is a pure function of (seed, epoch, rank) and stands as the
sampler of common.data.loading.Loader or as the batch_sampler of torch.utils.data.DataLoader.

A batch size is that of all ranks together: rank r of `ranks` gets its part of each global batch, so the union
over the ranks does not depend on how many there are.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from common.arguments import described, whole_number, whole_numbers
from common.data.counter import generator

_CLASSES, _EPISODES, _ROWS = range(3)  # purposes of a generator; never renumber


class PKSampler:
    """P classes with K images each: batches for losses that need positives and negatives in one batch.

    Classes are dealt like cards: shuffled, taken without replacement, shuffled anew when they run out;
    likewise the images of each class. The P classes of a batch are distinct, and so are the K images of a
    class.
    """

    def __init__(
        self,
        labels: Tensor,
        p: int,
        k: int,
        *,
        seed: int,
        steps: int | None = None,
        rank: int = 0,
        ranks: int = 1,
        short: Literal["error", "repeat", "drop"] = "error",
    ) -> None:
        """labels: [N] int64. steps: batches per epoch, default N // (p k), at least 1, N without dropped
        classes.

        short: what to do with a class of fewer than k images: 'error' raises ValueError, 'repeat' draws its
        images with replacement (a picture that stands twice in a batch is augmented twice alike), 'drop'
        leaves it out. ValueError: fewer than p classes, or p not divisible by ranks.
        """
        _check_ranks(seed, rank, ranks)
        whole_numbers(p=p, k=k, **({} if steps is None else {"steps": steps}))
        if p % ranks:
            raise ValueError(
                f"p = {p} classes cannot be split over {ranks} ranks; choose a multiple of {ranks}"
            )
        if short not in ("error", "repeat", "drop"):
            raise ValueError(f"short = {short!r}: choose 'error', 'repeat' or 'drop'")
        ids, members = _by_class(labels)
        self.short_classes = [c for c, rows in zip(ids, members) if len(rows) < k]
        if self.short_classes and short == "error":
            first = self.short_classes[0]
            more = len(self.short_classes) - 1
            raise ValueError(
                f"class {first} has {len(members[ids.index(first)])} images but k = {k}"
                + (f" (and {more} more classes have fewer than {k})" if more else "")
                + "; lower k, or pass short='repeat' or short='drop'"
            )
        if short == "drop":
            kept = [rows for rows in members if len(rows) >= k]
        else:
            kept = members
        if len(kept) < p:
            raise ValueError(f"p = {p} classes per batch but only {len(kept)} classes to draw from; lower p")
        images = sum(len(rows) for rows in kept)
        self.members, self.p, self.k, self.short = kept, p, k, short
        self.seed, self.rank, self.ranks, self.epoch = seed, rank, ranks, 0
        self.steps = max(1, images // (p * k)) if steps is None else steps
        self.images = images

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator[list[int]]:
        """This rank's p / ranks classes of each batch, K rows each, class after class."""
        random = generator(self.seed, self.epoch, _CLASSES)
        classes = _Deck(range(len(self.members)), random)
        decks: dict[int, _Deck] = {}
        share = self.p // self.ranks
        for _ in range(self.steps):
            batch = []
            for c in classes.deal(self.p):  # every rank deals the whole batch: that keeps the decks equal
                rows = self.members[c]
                if len(rows) < self.k:
                    drawn = torch.randint(len(rows), (self.k,), generator=random).tolist()
                    batch.append([rows[i] for i in drawn])
                else:
                    if c not in decks:
                        decks[c] = _Deck(rows, random)
                    batch.append(decks[c].deal(self.k))
            mine = batch[self.rank * share : (self.rank + 1) * share]
            yield [row for rows in mine for row in rows]

    def describe(self) -> str:
        """One sentence: the shape of a batch, what is drawn from, and what became of short classes."""
        text = (
            f"{self.steps} batches of {self.p} classes x {self.k} images "
            f"from {len(self.members)} classes with {self.images} images"
        )
        if self.short_classes:
            n = len(self.short_classes)
            some = ", ".join(str(c) for c in self.short_classes[:5]) + (", ..." if n > 5 else "")
            fate = "left out" if self.short == "drop" else "drawn with replacement"
            text += (
                f"; {n} {'class' if n == 1 else 'classes'} of fewer than {self.k} images {fate} (ids {some})"
            )
        return text


class EpisodeSampler:
    """Few-shot episodes: way classes, shot + query images each, all distinct; drawn anew for each episode."""

    def __init__(
        self,
        labels: Tensor,
        way: int,
        shot: int,
        query: int,
        episodes: int,
        *,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
    ) -> None:
        """labels: [N] int64. episodes: per epoch, over all ranks; episode e goes to rank e mod ranks.

        ValueError: more way than classes, a class of fewer than shot + query images, episodes not divisible
        by ranks.
        """
        _check_ranks(seed, rank, ranks)
        whole_numbers(way=way, shot=shot, query=query, episodes=episodes)
        if episodes % ranks:
            raise ValueError(
                f"episodes: {episodes} episodes cannot be split over {ranks} ranks; "
                f"choose a multiple of {ranks}"
            )
        ids, self.members = _by_class(labels)
        if way > len(ids):
            raise ValueError(
                f"way = {way} classes per episode but only {len(ids)} classes to draw from; lower way"
            )
        need = shot + query
        for c, rows in zip(ids, self.members):
            if len(rows) < need:
                raise ValueError(
                    f"class {c} has {len(rows)} images but shot + query = {shot} + {query} = {need}; "
                    "lower one of them"
                )
        self.way, self.shot, self.query, self.episodes = way, shot, query, episodes
        self.seed, self.rank, self.ranks, self.epoch = seed, rank, ranks, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.episodes // self.ranks

    def __iter__(self) -> Iterator[Tensor]:
        """int64 (way, shot + query): one class per row, the first `shot` columns are its support."""
        for episode in range(self.rank, self.episodes, self.ranks):
            random = generator(self.seed, self.epoch, _EPISODES, episode)
            rows = []
            for c in torch.randperm(len(self.members), generator=random)[: self.way].tolist():
                members = self.members[c]
                drawn = torch.randperm(len(members), generator=random)[: self.shot + self.query].tolist()
                rows.append([members[i] for i in drawn])
            yield torch.tensor(rows)


class ShuffleSampler:
    """Every row once per epoch, in random order."""

    def __init__(
        self, n: int, batch: int, *, seed: int, drop_last: bool = False, rank: int = 0, ranks: int = 1
    ) -> None:
        """n: rows. batch: rows per batch over all ranks, divisible by ranks.

        drop_last: leave out the last batch when it is not full. Otherwise a last batch that `ranks` does not
        divide is filled up with the first rows of the epoch, as torch's DistributedSampler does; one rank
        repeats nothing.
        """
        _check_ranks(seed, rank, ranks)
        whole_numbers(n=n, batch=batch)
        if batch % ranks:
            raise ValueError(
                f"batch = {batch} cannot be split over {ranks} ranks; choose a multiple of {ranks}"
            )
        if drop_last and n < batch:
            raise ValueError(
                f"batch = {batch} is larger than the {n} rows and drop_last leaves nothing; lower batch"
            )
        self.n, self.batch, self.drop_last = n, batch, drop_last
        self.seed, self.rank, self.ranks, self.epoch = seed, rank, ranks, 0

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def __len__(self) -> int:
        return self.n // self.batch if self.drop_last else -(-self.n // self.batch)

    def __iter__(self) -> Iterator[list[int]]:
        order = torch.randperm(self.n, generator=generator(self.seed, self.epoch, _ROWS)).tolist()
        for step in range(len(self)):
            rows = order[step * self.batch : (step + 1) * self.batch]
            rows += [order[i % self.n] for i in range(-len(rows) % self.ranks)]
            share = len(rows) // self.ranks
            yield rows[self.rank * share : (self.rank + 1) * share]


class _Deck:
    """Cards dealt without replacement; shuffled anew when they run out. One deal never repeats a card."""

    def __init__(self, cards: Sequence[int], random: torch.Generator) -> None:
        self.cards, self.random = cards, random
        self.shuffled: list[int] = []
        self.at = 0

    def deal(self, n: int) -> list[int]:
        """n <= number of cards, distinct. Time in proportion to n, plus one shuffle per pass."""
        hand = self.shuffled[self.at : self.at + n]
        self.at += len(hand)
        if len(hand) < n:
            # The pass ends inside this hand: fill up from a new shuffle, holding back cards that are in the
            # hand.
            order = torch.randperm(len(self.cards), generator=self.random).tolist()
            held, last = set(hand), []
            self.shuffled, self.at = [], 0
            for i in order:
                card = self.cards[i]
                if len(hand) < n and card not in held:
                    hand.append(card)
                elif len(hand) < n:
                    last.append(card)
                else:
                    self.shuffled.append(card)
            self.shuffled = last + self.shuffled
        return hand


def _by_class(labels: Tensor) -> tuple[list[int], list[list[int]]]:
    """Class ids in rising order, and the rows of each, by one stable sort."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels is {described(labels)}; give an int64 tensor [N], such as dataset.label")
    if labels.ndim != 1 or labels.dtype != torch.int64:
        raise TypeError(
            f"labels is {labels.dtype} {tuple(labels.shape)}; give an int64 tensor [N], such as dataset.label"
        )
    order = torch.argsort(labels, stable=True)
    ids, counts = labels.unique(return_counts=True)
    return ids.tolist(), [rows.tolist() for rows in order.split(counts.tolist())]


def _check_ranks(seed: int, rank: int, ranks: int) -> None:
    whole_number("seed", seed, least=0)
    if not 0 <= whole_number("rank", rank, least=-math.inf) < whole_number("ranks", ranks):
        raise ValueError(f"rank = {rank} of ranks = {ranks}: give a rank from 0 to ranks - 1")
