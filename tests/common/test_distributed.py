"""Rows of all ranks with gradient: two processes against one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from common.distributed import gather_with_gradient

X = torch.arange(24, dtype=torch.float32).view(6, 2, 2).sin()
TARGET = torch.linspace(-1, 1, 24).view(6, 2, 2)


def whole(x):
    """A loss that couples every row with every other."""
    rows = x.flatten(1)
    return ((rows @ rows.T).tanh() + (rows - TARGET.flatten(1).to(x.dtype)).square().sum(1)).mean()


def of_rank(rank):
    found = {}
    for dtype in (torch.float32, torch.float64):
        x = X.to(dtype).tensor_split(2)[rank].clone().requires_grad_()
        gathered = gather_with_gradient(x)
        loss = whole(gathered)
        loss.backward()
        found[str(dtype)] = {"rows": gathered.detach(), "loss": loss.detach(), "gradient": x.grad}
    # Each rank weighs the rows in its own way: the gradient is the sum of what both ask for.
    x = X.tensor_split(2)[rank].clone().requires_grad_()
    (gather_with_gradient(x) * (10**rank)).sum().backward()
    found["sum"] = x.grad
    found["strided"] = gather_with_gradient(X.tensor_split(2)[rank].transpose(1, 2))
    for name, rows in (("int64", torch.arange(3) + 10 * rank), ("bool", torch.tensor([True, rank == 1]))):
        gathered = gather_with_gradient(rows)
        assert not gathered.requires_grad
        found[name] = gathered
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    path = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, __file__, str(folder)]
    started = [subprocess.Popen([*command, str(rank)], env=path, stderr=subprocess.PIPE) for rank in (0, 1)]
    for process in started:
        _, error = process.communicate(timeout=300)
        assert process.returncode == 0, error.decode()
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_two_ranks_give_rows_loss_and_gradient_of_one(ranks, dtype):
    x = X.to(dtype, copy=True).requires_grad_()
    loss = whole(x)
    loss.backward()
    assert x.grad is not None
    for rank, expected in enumerate(x.grad.tensor_split(2)):
        found = ranks[rank][str(dtype)]
        assert torch.equal(found["rows"], x.detach())
        torch.testing.assert_close(found["loss"], loss.detach())
        # Averaged over the ranks, as DistributedDataParallel does, it is the gradient of one process.
        torch.testing.assert_close(found["gradient"] / 2, expected)


def test_the_gradient_is_the_sum_of_what_all_ranks_ask_for(ranks):
    for found in ranks:
        assert torch.equal(found["sum"], torch.full((3, 2, 2), 11.0))


def test_whole_numbers_bools_and_strided_rows(ranks):
    for found in ranks:
        assert found["int64"].tolist() == [0, 1, 2, 10, 11, 12]
        assert found["bool"].tolist() == [True, False, True, True]
        assert torch.equal(found["strided"], X.transpose(1, 2))


def test_one_process_keeps_its_rows():
    x = X.clone().requires_grad_()
    assert gather_with_gradient(x) is x


if __name__ == "__main__":
    folder, number = Path(sys.argv[1]), int(sys.argv[2])
    dist.init_process_group("gloo", init_method=f"file://{folder}/group", rank=number, world_size=2)
    torch.save(of_rank(number), folder / f"{number}.pt")
    dist.destroy_process_group()
