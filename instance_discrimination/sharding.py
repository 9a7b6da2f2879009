"""The memory bank sharded by row over the ranks of torch.distributed, for a bank too large to copy to each.

Every rank holds about N / world rows and embeds b images of its own, the same number on each rank; the batch
is all B = world b of them, in order of rank. Embeddings travel to the rows, never rows to the embeddings:
each rank scores all B against its rows, and parts of a sum over the bank are added up over ranks.

    symbol   shape     meaning
    v        (b, D)    embeddings of this rank's images; index (b,), noise (b, m) likewise
    own      (n, D)    rows first .. first + n - 1 of the bank
    part     (B, ...)  what this rank's rows contribute to every image of the batch, 0 where they do not

A loss here is the mean over this rank's images, and its gradient that of the sum of all ranks' losses. So the
average over ranks, as DistributedDataParallel forms it, is the loss and the gradient of one rank with the
whole bank and the whole batch. In place of bank.rows the functions take the sharded bank:

    scores = noise_scores(v, bank, index, noise, temperature)
    bank.own.start_log_z(mean_log_z(estimated_log_z(scores, bank.size)))
    loss = nce_loss_of_scores(scores, bank.own.log_z, bank.size)
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from common.distributed import gather_with_gradient as gather
from instance_discrimination.losses import check_noise, check_number, check_rows, whole_product
from instance_discrimination.memory import MemoryBank, check_update


class ShardedMemoryBank(nn.Module):
    """This rank's rows of `bank`, which is equal on every rank: from one seed, or from one checkpoint.

    own: a MemoryBank of rows first .. first + n - 1, with the log_z that all ranks share; size: N, the rows
    of all ranks. Methods are collective: every rank calls them, in the same order. Raises ValueError without
    a process group or with fewer rows than ranks.
    """

    def __init__(self, bank: MemoryBank):
        super().__init__()
        if not dist.is_initialized():
            raise ValueError("a sharded bank needs a process group; start the command with torchrun")
        world, self.size = dist.get_world_size(), len(bank.rows)
        if self.size < world:
            raise ValueError(f"a bank of {self.size} rows cannot be shared by {world} ranks; use fewer ranks")
        self.first, stop = (r * self.size // world for r in (dist.get_rank(), dist.get_rank() + 1))
        self.most = math.ceil(self.size / world)  # rows of any rank
        self.own = MemoryBank(stop - self.first, bank.rows.shape[1], bank.momentum)
        self.own.rows, self.own.log_z = bank.rows[self.first : stop].clone(), bank.log_z.clone()

    @torch.no_grad()
    def whole(self) -> MemoryBank:
        """The bank in one piece, on the CPU of every rank: what a checkpoint holds, however many ranks."""
        rows = self.own.rows
        padded = torch.cat([rows, rows.new_zeros(self.most - len(rows), rows.shape[1])])
        count = torch.tensor([len(rows)], device=rows.device)
        pieces = gather(padded).cpu().split(self.most)
        bank = MemoryBank(1, rows.shape[1], self.own.momentum)
        bank.rows = torch.cat([piece[:n] for piece, n in zip(pieces, gather(count).tolist())])
        bank.log_z = self.own.log_z.cpu()
        return bank

    @torch.no_grad()
    def previous(self, index: Tensor) -> Tensor:
        """(b, D): the rows of this rank's images, for `proximal_term`."""
        row, mine = self.places(gather(index))
        return _scatter_sum(torch.where(mine[:, None], self.own.rows[row], 0))

    @torch.no_grad()
    def update(self, index: Tensor, v: Tensor) -> None:
        """As MemoryBank.update, for the images of all ranks; equal to it bit by bit."""
        check_update(index, v, self.size, self.own.rows)
        row, mine = self.places(gather(index))
        # How many rows are mine is not asked of a GPU: places of other ranks repeat one of mine, if any.
        chosen = torch.where(mine, torch.arange(len(row), device=row.device), mine.int().argmax())
        row, v = row[chosen], gather(v.detach())[chosen]
        old = self.own.rows[row]
        self.own.rows[row] = torch.where(mine.any(), self.own.mixed(old, v), old)

    def places(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Positions in `own` of images anywhere, clamped to those there are, and whether they are there."""
        row = index - self.first
        n = len(self.own.rows)
        return row.clamp(0, n - 1), (row >= 0) & (row < n)


def softmax_loss(v: Tensor, bank: ShardedMemoryBank, index: Tensor, temperature: float) -> Tensor:
    """As losses.softmax_loss, Eq. (2) and (3), mean over this rank's images.  -> ()"""
    check_rows(v, bank.own.rows, index, bank.size)
    check_number("temperature", temperature)
    with torch.autocast(v.device.type, enabled=False):
        logits = gather(v / temperature) @ bank.own.rows.T  # (B, n)
        row, mine = bank.places(gather(index))
        positive = torch.where(mine, logits.gather(1, row[:, None]).squeeze(1), 0)  # (B,)
        log_part = logits.logsumexp(1)  # (B,)
        top = log_part.detach().clone()
        dist.all_reduce(top, dist.ReduceOp.MAX)
        sums = _scatter_sum(torch.stack([(log_part - top).exp(), positive], 1))  # (B, 2) -> (b, 2)
        return (sums[:, 0].log() + _own(top) - sums[:, 1]).mean()


def noise_scores(
    v: Tensor,
    bank: ShardedMemoryBank,
    index: Tensor,
    noise: Tensor,
    temperature: float,
    *,
    product: bool | None = None,
) -> Tensor:
    """As losses.noise_scores, for this rank's images; `whole_product` looks at n.  -> (b, 1 + m)"""
    check_rows(v, bank.own.rows, index, bank.size)
    check_noise(noise, v, bank.size)
    check_number("temperature", temperature)
    rows = bank.own.rows
    if product is None:
        product = whole_product(len(rows), noise.shape[1], rows.shape[1])
    with torch.autocast(v.device.type, enabled=False):
        every = gather(v / temperature)  # (B, D)
        row, mine = bank.places(gather(torch.cat([index[:, None], noise], 1)))  # (B, 1 + m)
        if product:
            part = (every @ rows.T).gather(1, row)  # (B, n) -> (B, 1 + m)
        else:
            part = torch.einsum("bd,bmd->bm", every, rows[row])
        return _scatter_sum(torch.where(mine, part, 0))


def mean_log_z(estimate: Tensor) -> Tensor:
    """log of the mean of exp(estimate) over ranks: Eq. (8) over the whole batch.  -> ()"""
    return gather(estimate.detach().view(1)).logsumexp(0) - math.log(dist.get_world_size())


def _own(every: Tensor) -> Tensor:
    """This rank's b rows of (B, ...)."""
    return every.tensor_split(dist.get_world_size())[dist.get_rank()]


def _scatter_sum(part: Tensor) -> Tensor:
    """(B, ...) on every rank -> the sum over ranks of its own rows, (b, ...): the transpose of gathering."""
    return _ScatterSum.apply(part)  # type: ignore[no-any-return]


class _ScatterSum(torch.autograd.Function):
    """The gradient is that of the sum of all ranks' losses, as that of gather_with_gradient."""

    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        part = part.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(part)
        return _own(part)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gather(gradients[0])
