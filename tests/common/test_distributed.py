"""Many processes as one: two ranks against one process."""

import pytest
import torch
from torch import nn

from common import distributed
from tests import two_ranks

ROWS = 7  # rank 0 has four of them, rank 1 three
X = torch.arange(28, dtype=torch.float32).view(ROWS, 2, 2).sin()
TARGET = torch.linspace(-1, 1, 28).view(ROWS, 4)


def whole(x):
    """A loss that couples every row with every other."""
    rows = x.flatten(1)
    return ((rows @ rows.T).tanh() + (rows - TARGET.to(x.dtype)).square().sum(1)).mean()


def network():
    """Batch norm of pictures and of rows, with more than one step so that running statistics move."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.BatchNorm1d(16, affine=False),
        nn.Linear(16, 4), nn.Linear(4, 4, bias=False),
    ).double()  # fmt: skip
    net[6].requires_grad_(False)  # a frozen part has no gradient to average
    return net


def trained(net):
    """Losses, gradients and state of three steps on this rank's share of each batch."""
    distributed.synchronise_batch_norm(net)
    optimiser, found = torch.optim.SGD(net.parameters(), 0.1), {}
    draw = torch.Generator().manual_seed(1)
    for step in range(3):
        images = torch.randn(ROWS, 3, 4, 4, generator=draw, dtype=torch.float64) * (1 + step)
        z = distributed.gather(net(distributed.share(images)), ROWS)
        loss = whole(z)
        optimiser.zero_grad()
        loss.backward()
        distributed.average_gradients(net.parameters())
        optimiser.step()
        found[f"loss {step}"] = loss.detach()
        gradients = ((n, p.grad) for n, p in net.named_parameters() if p.grad is not None)
        found |= {f"gradient {step} {name}": g.clone() for name, g in gradients}
    net.eval()
    return found | {f"state {n}": v for n, v in net.state_dict().items()} | {"eval": net(images).detach()}


def of_rank(rank):
    found = {"trained": trained(network())}
    for dtype in (torch.float32, torch.float64):
        x = distributed.share(X.to(dtype)).clone().requires_grad_()
        gathered = distributed.gather(x, ROWS)
        loss = whole(gathered)
        loss.backward()
        found[str(dtype)] = {"rows": gathered.detach(), "loss": loss.detach(), "gradient": x.grad}
    # Each rank weighs the rows in its own way: the gradient is the sum of what both ask for.
    x = distributed.share(X).clone().requires_grad_()
    (distributed.gather(x, ROWS) * (10**rank)).sum().backward()
    y = torch.full((3,), 2.0 + rank, requires_grad=True)
    summed = distributed.sum_over_ranks(y)
    (summed * (10**rank)).sum().backward()
    found |= {"asked": x.grad, "summed": summed.detach(), "asked of the sum": y.grad}
    found["strided"] = distributed.gather(distributed.share(X).transpose(1, 2), ROWS)
    for name, rows in (("int64", torch.arange(2) + 10 * rank), ("bool", torch.tensor([True, rank == 1]))):
        gathered = distributed.gather(rows, 4)
        assert not gathered.requires_grad
        found[name] = gathered
    found["dealt"] = list(distributed.dealt("abcde"))
    found["total"] = distributed.total(torch.tensor([1.0, rank]))
    found["largest"] = distributed.total(torch.tensor([1.0, -rank]), largest=True)
    with distributed.alone():
        found["alone"] = distributed.world(), distributed.share(X), list(distributed.dealt("abcde"))
    found["numbers"] = distributed.world(), distributed.rank()
    for rows, x, match in ((1, None, "1 pictures cannot be shared by 2 ranks"), (7, X[:2], "share of rank")):
        with pytest.raises(ValueError, match=match):
            distributed.share(X[:rows]) if x is None else distributed.gather(x, rows)
    return found


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return two_ranks.found(__file__, tmp_path_factory.mktemp("ranks"))


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


def test_two_ranks_train_a_network_with_batch_norm_as_one_process(ranks):
    one = trained(network())
    assert {name.split()[0] for name in one} == {"loss", "gradient", "state", "eval"}
    assert len({float(one[f"loss {step}"]) for step in range(3)}) == 3
    for found in ranks:
        assert found["trained"].keys() == one.keys(), "names of parameters and buffers stay"
        for name, expected in one.items():
            torch.testing.assert_close(found["trained"][name], expected, rtol=1e-10, atol=1e-12, msg=name)


def test_the_gradient_is_the_sum_of_what_all_ranks_ask_for(ranks):
    for rank, found in enumerate(ranks):
        assert torch.equal(found["asked"], torch.full((4 - rank, 2, 2), 11.0))
        assert found["summed"].tolist() == [5.0] * 3
        assert found["asked of the sum"].tolist() == [11.0] * 3


def test_whole_numbers_bools_and_strided_rows(ranks):
    for found in ranks:
        assert found["int64"].tolist() == [0, 1, 10, 11]
        assert found["bool"].tolist() == [True, False, True, True]
        assert torch.equal(found["strided"], X.transpose(1, 2))


def test_jobs_are_dealt_and_their_outcome_put_together(ranks):
    assert [found["dealt"] for found in ranks] == [["a", "c", "e"], ["b", "d"]]
    for rank, found in enumerate(ranks):
        assert found["numbers"] == (2, rank)
        assert found["total"].tolist() == [2.0, 1.0]
        assert found["largest"].tolist() == [1.0, 0.0]


def test_alone_a_rank_does_everything(ranks):
    for found in ranks:
        number, rows, jobs = found["alone"]
        assert (number, jobs) == (1, list("abcde"))
        assert torch.equal(rows, X)


def test_one_process_keeps_its_rows():
    x = X.clone().requires_grad_()
    net = network()
    assert distributed.gather(x, ROWS) is x
    assert distributed.share(x) is x
    assert distributed.sum_over_ranks(x) is x
    assert distributed.synchronise_batch_norm(net) is net
    assert type(net[1]) is nn.BatchNorm2d


def test_more_ranks_than_gpus_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "9")
    monkeypatch.setenv("LOCAL_RANK", "8")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 8)
    with pytest.raises(ValueError, match=r"rank 8 of this machine has no GPU: it has 8; .*"):
        distributed.join("auto")
    with pytest.raises(ValueError, match="--device cuda:1: under torchrun each rank takes a GPU of its own"):
        distributed.join("cuda:1")


if __name__ == "__main__":
    two_ranks.serve(of_rank)
