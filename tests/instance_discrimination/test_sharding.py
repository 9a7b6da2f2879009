"""Two processes with half the bank and half the batch each give loss, gradient and bank of one process."""

import types
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from common.distributed import average_gradients, gather, share
from instance_discrimination import losses, sharding
from instance_discrimination.memory import MemoryBank
from tests import two_ranks

SIZE, DIM, BATCH, TAU, LAMBDA, RATE = 13, 4, 6, 0.2, 3.0, 0.1
STEPS = torch.tensor([[0, 12, 4, 5, 7, 2], [1, 3, 6, 5, 9, 8], [9, 8, 12, 10, 7, 11]])
"""Images of each step. Rank 0 holds rows 0 .. 6: in the last step none is its own."""
FORMS = ("softmax", "product", "rows", "proximal")
PLANTED = [
    ("softmax", "v / temperature @", "v @"),
    ("softmax", "+ top -", "-"),
    ("softmax", "total(top, largest=True)", "pass"),
    ("softmax", "row = index - self.first", "row = index"),
    ("product", "torch.where(mine, part, 0)", "part"),
    ("product", "return sum_over_ranks(", "return total("),
    ("rows", "torch.where(mine, torch.arange(len(row)", "torch.where(mine | True, torch.arange(len(row)"),
    ("rows", "torch.where(mine.any(), self.own.mixed(old, v), old)", "self.own.mixed(old, v)"),
    ("proximal", "torch.where(mine[:, None], self.own.rows[row], 0)", "self.own.rows[row]"),
]
"""(form that must notice it, what stands in sharding.py, a bug in its place)"""


def train(form, world, sharding=sharding):
    """SGD steps of a linear encoder on this rank's part of each batch; what must not depend on `world`."""
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(5, DIM, generator=g).requires_grad_()
    bank = MemoryBank(SIZE, DIM, 0.5, generator=g)
    shard = sharding.ShardedMemoryBank(bank) if world > 1 else None
    found = {"loss": [], "gradient": []}
    for step, index in enumerate(STEPS):
        x = torch.randn(BATCH, 5, generator=g)
        v = gather(F.normalize(share(x) @ weight, dim=1), BATCH)
        loss = loss_of(form, v, shard or bank, index, step, sharding)
        weight.grad = None
        loss.backward()
        average_gradients([weight])
        found["loss"].append(loss.detach().clone())
        found["gradient"].append(weight.grad.clone())
        weight.data -= RATE * weight.grad
        (shard or bank).update(index, v.detach())
    whole = shard.whole() if shard else bank
    return {name: torch.stack(x) for name, x in found.items()} | {"rows": whole.rows, "log_z": whole.log_z}


def loss_of(form, v, bank, index, step, sharding):
    method, rows, z = (
        (losses, bank.rows, bank) if isinstance(bank, MemoryBank) else (sharding, bank, bank.own)
    )
    if form == "softmax":
        return method.softmax_loss(v, rows, index, TAU)
    noise = losses.draw_noise(index, 7, SIZE, 0, step)
    scores = method.noise_scores(v, rows, index, noise, TAU, product=form != "rows")
    z.average_log_z(losses.estimated_log_z(scores[:, 1:], SIZE), 0.9)
    loss = losses.nce_loss_of_scores(scores, z.log_z, SIZE)
    return loss + LAMBDA * losses.proximal_term(v, bank.rows_of(index)) if form == "proximal" else loss


def planted(right, wrong):
    """The module sharding with a bug."""
    source = Path(sharding.__file__).read_text()
    assert right in source, f"{right!r} is no longer in sharding.py"
    module = types.ModuleType("planted_sharding")
    exec(compile(source.replace(right, wrong), "planted_sharding", "exec"), module.__dict__)
    return module


def close(a, b):
    return all(torch.allclose(a[k], b[k], rtol=1e-5, atol=1e-6, equal_nan=True) for k in a)


def of_rank(rank):
    found = {form: train(form, 2) for form in FORMS}
    return found | {wrong: train(form, 2, planted(right, wrong)) for form, right, wrong in PLANTED}


def test_two_ranks_equal_one_and_planted_bugs_are_caught(tmp_path):
    ranks = two_ranks.found(__file__, tmp_path)
    for form in FORMS:
        one = train(form, 1)
        assert one["loss"].std() > 0.01
        for two in ranks:
            for name, expected in one.items():
                torch.testing.assert_close(two[form][name], expected, rtol=1e-5, atol=1e-6, equal_nan=True)
            for which, _, wrong in PLANTED:
                if which == form and close(one, two[wrong]):
                    pytest.fail(f"not noticed: {wrong}")


def test_needs_a_process_group():
    with pytest.raises(ValueError, match="needs a process group; start the command with torchrun"):
        sharding.ShardedMemoryBank(MemoryBank(4, 2, 0.5))


if __name__ == "__main__":
    two_ranks.serve(of_rank)
