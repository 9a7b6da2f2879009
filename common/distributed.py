"""Rows of all ranks, with gradient: for losses that compare every row of a batch with every other."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather_with_gradient(x: Tensor) -> Tensor:
    """x of every rank, one after the other along the first axis; x itself without a process group.

    (B, ...) -> (ranks B, ...), the same on every rank. x must have one shape and type on all ranks; whole
    numbers and bools are gathered too, without gradient.

    The gradient of this rank's x is the sum of what all ranks ask for it. So when each rank computes a loss
    of the gathered rows and the gradients of the parameters are averaged over the ranks, as
    DistributedDataParallel does, the outcome is the gradient of the mean of the ranks' losses. With the same
    loss on every rank that is the gradient of one process with the whole batch: no further factor.
    """
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return x
    return _Gather.apply(x)  # type: ignore[no-any-return]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        parts = [
            torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(dist.get_world_size())
        ]
        dist.all_gather(parts, x.contiguous())
        ctx.rows = len(x)
        gathered = torch.cat(parts)
        if not x.is_floating_point():
            ctx.mark_non_differentiable(gathered)
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        # All-reduce and cut instead of reduce-scatter, which not every backend has; embeddings are small.
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total.narrow(0, dist.get_rank() * ctx.rows, ctx.rows)
