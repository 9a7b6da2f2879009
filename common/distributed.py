"""Many processes as one: what a command needs to run unchanged under torchrun.

Every rank runs the same script with the same seed on the same batches, and does a share of the work that is
done picture by picture. So a train script has three lines more than one for a single process:

    images are this rank's share of the batch, labels and index are whole    (common.data.loading does it)
    z = gather(encoder(images), len(labels))     rows of all ranks, with gradient
    average_gradients(parameters)                between backward() and the optimiser's step

and its loss, written for the whole batch, is the same number on every rank. Batch norm sees the whole batch
after `synchronise_batch_norm`. Measuring is alike: a share of the pictures is embedded, all rows are
gathered, and metrics share out the queries. Only rank 0 writes. With one process all of this does nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

from common import compute

T = TypeVar("T")


def join(choice: str = "auto") -> torch.device:
    """The device of this process, see compute.pick_device; under torchrun it joins the other ranks.

    On CUDA a rank takes the GPU of its number on this machine. Raises ValueError for more ranks than GPUs.
    """
    device = compute.pick_device(choice)
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return device
    if device.type == "cuda":
        number, there = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
        if device.index is not None:
            raise ValueError(f"--device {choice}: under torchrun each rank takes a GPU of its own; give cuda")
        if number >= there:
            raise ValueError(
                f"rank {number} of this machine has no GPU: it has {there}; start torchrun with "
                f"--nproc-per-node {there}, or with --device cpu"
            )
        device = torch.device("cuda", number)
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        # Embeddings are measured on the CPU as well: a backend for each kind of tensor.
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    return device


def leave() -> None:
    """Leave the other ranks, at the end of a command that went well."""
    if dist.is_available() and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def world() -> int:
    """Processes that work together; 1 without torchrun."""
    joined = not _alone and dist.is_available() and dist.is_initialized()
    return dist.get_world_size() if joined else 1


def rank() -> int:
    """Number of this process among them; 0 is the one that writes."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def device_name(device: torch.device) -> str:
    """As compute.device_name, with the number of ranks."""
    return (f"{world()} x " if world() > 1 else "") + compute.device_name(device)


def wait() -> None:
    """Until every rank has come here."""
    if world() > 1:
        dist.barrier()


def share(rows: Tensor) -> Tensor:
    """This rank's part of rows, cut along the first axis: parts differ by one row at most, rank 0 first.

    Raises ValueError when there are fewer rows than ranks.
    """
    if world() == 1:
        return rows
    if len(rows) < world():
        raise ValueError(
            f"{len(rows)} pictures cannot be shared by {world()} ranks; use larger batches or fewer ranks"
        )
    return rows[_places(len(rows))]


def dealt(jobs: Sequence[T]) -> Sequence[T]:
    """This rank's part of jobs, dealt out one by one."""
    return jobs[rank() :: world()] if world() > 1 else jobs


def total(x: Tensor, *, largest: bool = False) -> Tensor:
    """Sum of what each rank has found in its part, or the largest of it; in place and without gradient."""
    if world() > 1:
        dist.all_reduce(x, dist.ReduceOp.MAX if largest else dist.ReduceOp.SUM)
    return x


_alone = False


@contextmanager
def alone() -> Iterator[None]:
    """Inside, a rank works as the only one: what all do alike, or what cannot be shared out."""
    global _alone
    before, _alone = _alone, True
    try:
        yield
    finally:
        _alone = before


def gather(x: Tensor, rows: int) -> Tensor:
    """What every rank has computed of its `share` of `rows`, one after the other along the first axis.

    (share, ...) -> (rows, ...), the same on every rank; x itself with one process. Whole numbers and bools
    are gathered too, without gradient.

    The gradient of this rank's x is the sum of what all ranks ask for it. So when each rank computes a loss
    of the gathered rows and the gradients of the parameters are averaged over the ranks, as
    `average_gradients` and DistributedDataParallel do, the outcome is the gradient of the mean of the ranks'
    losses. With the same loss on every rank that is the gradient of one process with the whole batch: no
    further factor. Raises ValueError when x is not this rank's share of `rows`.
    """
    if world() == 1:
        return x
    if len(x) != len(range(rows)[_places(rows)]):
        raise ValueError(f"{len(x)} rows are not the share of rank {rank()} in {rows}; cut with share()")
    return _Gather.apply(x, rows)  # type: ignore[no-any-return]


def _places(rows: int, of: int | None = None) -> slice:
    """Where the share of a rank lies: as torch.tensor_split cuts, the first ones get one row more."""
    of, ranks = rank() if of is None else of, world()
    least, more = divmod(rows, ranks)
    first = of * least + min(of, more)
    return slice(first, first + least + (of < more))


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: int) -> Tensor:
        most = -(-rows // world())  # of any rank: the others send a row too many
        padded = x.new_zeros(most, *x.shape[1:])
        padded[: len(x)] = x
        parts = [torch.empty_like(padded) for _ in range(world())]
        dist.all_gather(parts, padded)
        whole = [range(rows)[_places(rows, r)] for r in range(world())]
        gathered = torch.cat([part[: len(own)] for part, own in zip(parts, whole)])
        ctx.places = _places(rows)
        if not x.is_floating_point():
            ctx.mark_non_differentiable(gathered)
        return gathered

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        # All-reduce and cut instead of reduce-scatter, which not every backend has; embeddings are small.
        summed = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(summed)
        return summed[ctx.places], None


def sum_over_ranks(x: Tensor) -> Tensor:
    """Sum over ranks with gradient; the gradient, too, is the sum of what all ranks ask for."""
    return x if world() == 1 else _Sum.apply(x)  # type: ignore[no-any-return]


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return total(x.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return total(gradients[0].clone(memory_format=torch.contiguous_format))


@torch.no_grad()
def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Mean of the gradients over ranks, as one message; between backward() and the optimiser's step.

    A parameter that the loss did not reach must be without gradient on every rank.
    """
    if world() == 1:
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    mean = total(torch.cat([g.reshape(-1) for g in gradients])) / world()
    for g, part in zip(gradients, mean.split([g.numel() for g in gradients])):
        g.copy_(part.view(g.shape))


def synchronise_batch_norm(model: nn.Module) -> nn.Module:
    """Let every batch norm of the model see the pictures of all ranks; the model itself with one process.

    Mean, variance and running statistics are then those of one process with the whole batch. Names in the
    state_dict stay. On the GPU it is torch's SyncBatchNorm, which refuses the CPU.
    """
    if world() == 1:
        return model
    if next(model.parameters()).is_cuda:
        return nn.SyncBatchNorm.convert_sync_batchnorm(model)
    for part in model.modules():
        if type(part) in _OF_ALL_RANKS:
            part.__class__ = _OF_ALL_RANKS[type(part)]  # parameters, buffers, hooks and names stay
    return model


class _OfAllRanks(nn.BatchNorm2d):
    """Batch norm over the rows of all ranks, on any device."""

    def forward(self, x: Tensor) -> Tensor:
        """x (B, C) or (B, C, H, W), this rank's rows -> the same shape."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        axes, shape = [0, *range(2, x.ndim)], [1, -1] + [1] * (x.ndim - 2)
        n = total(torch.tensor(x.numel() / x.shape[1], dtype=torch.float64, device=x.device)).to(x.dtype)
        # Two passes: the mean first, so that the squares do not cancel.
        mean = sum_over_ranks(x.sum(axes)) / n  # (C,)
        centred = x - mean.view(shape)
        variance = sum_over_ranks(centred.square().sum(axes)) / n  # (C,)
        with torch.no_grad():
            assert self.num_batches_tracked is not None
            assert self.momentum is not None
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * n / (n - 1), self.momentum)
        y = centred * (variance + self.eps).rsqrt().view(shape)
        return y * self.weight.view(shape) + self.bias.view(shape) if self.affine else y


class _Rows(_OfAllRanks, nn.BatchNorm1d):
    """Of rows (B, C)."""

    def _check_input_dim(self, input: Tensor) -> None:
        nn.BatchNorm1d._check_input_dim(self, input)


_OF_ALL_RANKS: dict[type, type] = {nn.BatchNorm2d: _OfAllRanks, nn.BatchNorm1d: _Rows}
