"""The memory bank sharded by row over the ranks of torch.distributed, for a bank too large to copy to each.

Every rank holds about N / world rows and has the embeddings of the whole batch (common.distributed.gather).
Embeddings travel to the rows, never rows to the embeddings: each rank scores the batch against its own rows,
and parts of a sum over the bank are added up over ranks.

    symbol   shape     meaning
    v        (B, D)    embeddings of the images of all ranks; index (B,), noise (B, m) likewise
    own      (n, D)    rows first .. first + n - 1 of the bank
    part     (B, ...)  what this rank's rows contribute to every image of the batch, 0 where they do not

The losses are those of losses.py with the sharded bank in place of bank.rows: the same number on every rank.
After common.distributed.average_gradients their gradient is that of one process with the whole bank.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from common.arguments import described
from common.distributed import share, sum_over_ranks, total, world
from instance_discrimination.losses import (
    check_noise,
    check_number,
    check_rows,
    picked_products,
    whole_product,
)
from instance_discrimination.memory import MemoryBank, check_update


class ShardedMemoryBank(nn.Module):
    """This rank's rows of `bank`, which is equal on every rank: from one seed, or from one checkpoint.

    own: a MemoryBank of rows first .. first + n - 1, with the log_z that all ranks share; size: N, the rows
    of all ranks. Methods are collective: every rank calls them, in the same order. The state_dict is that of
    the whole bank, so a checkpoint does not know how many ranks wrote it. Raises ValueError without a process
    group or with fewer rows than ranks.
    """

    def __init__(self, bank: MemoryBank):
        super().__init__()
        if world() == 1:
            raise ValueError(
                "bank: this is one process, a sharded bank needs a process group; start the command with "
                "torchrun"
            )
        self.size = len(bank.rows)
        if self.size < world():
            raise ValueError(
                f"bank: a bank of {self.size} rows cannot be shared by {world()} ranks; use fewer ranks"
            )
        self.own = MemoryBank(1, bank.rows.shape[1], bank.momentum)
        self._take(bank)

    def _take(self, bank: MemoryBank) -> None:
        """This rank's rows of the whole bank, and log Z."""
        places = share(torch.arange(self.size))
        self.first = int(places[0])
        self.own.rows, self.own.log_z = bank.rows[places].clone(), bank.log_z.clone()

    @property
    def log_z(self) -> Tensor:
        """(), the same on every rank."""
        return self.own.log_z

    @torch.no_grad()
    def whole(self) -> MemoryBank:
        """The bank in one piece, on the CPU of every rank."""
        rows = torch.zeros(self.size, self.own.rows.shape[1], device=self.own.rows.device)
        rows[self.first : self.first + len(self.own.rows)] = self.own.rows
        bank = MemoryBank(1, rows.shape[1], self.own.momentum)
        bank.rows, bank.log_z = total(rows).cpu(), self.own.log_z.cpu()
        return bank

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return self.whole().state_dict(*args, **kwargs)

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        bank = MemoryBank(self.size, self.own.rows.shape[1], self.own.momentum)
        told = bank.load_state_dict(state_dict, *args, **kwargs)
        self._take(bank.to(self.own.rows.device))
        return told

    @torch.no_grad()
    def rows_of(self, index: Tensor) -> Tensor:
        """(B, D): the rows of these images."""
        row, mine = self.places(index)
        return total(torch.where(mine[:, None], self.own.rows[row], 0))

    @torch.no_grad()
    def update(self, index: Tensor, v: Tensor) -> None:
        """As MemoryBank.update; equal to it bit by bit."""
        check_update(index, v, self.size, self.own.rows)
        row, mine = self.places(index)
        # How many rows are mine is not asked of a GPU: places of other ranks repeat one of mine, if any.
        chosen = torch.where(mine, torch.arange(len(row), device=row.device), mine.int().argmax())
        row, v = row[chosen], v[chosen]
        old = self.own.rows[row]
        self.own.rows[row] = torch.where(mine.any(), self.own.mixed(old, v), old)

    def places(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Positions in `own` of images anywhere, clamped to those there are, and whether they are there."""
        row = index - self.first
        n = len(self.own.rows)
        return row.clamp(0, n - 1), (row >= 0) & (row < n)


def softmax_loss(v: Tensor, bank: ShardedMemoryBank, index: Tensor, temperature: float) -> Tensor:
    """As losses.softmax_loss, Eq. (2) and (3).  -> ()"""
    _require_sharded(bank)
    check_rows(v, bank.own.rows, index, bank.size)
    check_number("temperature", temperature)
    with torch.autocast(v.device.type, enabled=False):
        logits = v / temperature @ bank.own.rows.T  # (B, n)
        row, mine = bank.places(index)
        positive = torch.where(mine, logits.gather(1, row[:, None]).squeeze(1), 0)  # (B,)
        log_part = logits.logsumexp(1)  # (B,)
        top = log_part.detach().clone()
        total(top, largest=True)
        sums = sum_over_ranks(torch.stack([(log_part - top).exp(), positive], 1))  # (B, 2)
        return (sums[:, 0].log() + top - sums[:, 1]).mean()


def noise_scores(
    v: Tensor,
    bank: ShardedMemoryBank,
    index: Tensor,
    noise: Tensor,
    temperature: float,
    *,
    product: bool | None = None,
) -> Tensor:
    """As losses.noise_scores; `whole_product` looks at n.  -> (B, 1 + m)"""
    _require_sharded(bank)
    check_rows(v, bank.own.rows, index, bank.size)
    check_noise(noise, v, bank.size)
    check_number("temperature", temperature)
    rows = bank.own.rows
    if product is None:
        product = whole_product(len(rows), noise.shape[1], rows.shape[1])
    with torch.autocast(v.device.type, enabled=False):
        row, mine = bank.places(torch.cat([index[:, None], noise], 1))  # (B, 1 + m)
        part = picked_products(v / temperature, rows, row, product)
        return sum_over_ranks(torch.where(mine, part, 0))


def _require_sharded(bank: object) -> None:
    if not isinstance(bank, ShardedMemoryBank):
        raise TypeError(
            f"bank is {described(bank)}; give a ShardedMemoryBank, or use losses.py with bank.rows"
        )
