"""memory.py: the laws of the bank's update, and where Z comes from."""

import copy
import math
import sys
import types
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from torch.nn.functional import normalize

from instance_discrimination import memory
from instance_discrimination.losses import estimated_log_z, expected_log_z, nce_loss, noise_scores
from instance_discrimination.memory import MemoryBank


def unit(*shape, seed=0):
    return normalize(torch.randn(*shape, generator=torch.Generator().manual_seed(seed)), dim=-1)


def bank_of(size=6, dim=4, momentum=0.5, **options):
    return MemoryBank(size, dim, momentum, generator=torch.Generator().manual_seed(1), **options)


def naive_update(rows, index, v, momentum):
    """One image after another, in float64."""
    rows = [[float(x) for x in row] for row in rows]
    for i, row in zip(index.tolist(), v.tolist()):
        mixed = [momentum * old + (1 - momentum) * new for old, new in zip(rows[i], row)]
        norm = math.sqrt(math.fsum(x * x for x in mixed))
        rows[i] = [x / norm for x in mixed]
    return torch.tensor(rows)


@pytest.mark.parametrize("momentum", [0.0, 0.25, 0.5, 0.9])
def test_update_is_its_definition(momentum):
    bank = bank_of(momentum=momentum)
    old, index, v = bank.rows.clone(), torch.tensor([3, 1, 5]), unit(3, 4)
    bank.update(index, v)
    torch.testing.assert_close(bank.rows, naive_update(old, index, v, momentum), rtol=1e-6, atol=1e-7)
    assert torch.equal(bank.rows[[0, 2, 4]], old[[0, 2, 4]])
    torch.testing.assert_close(bank.rows.norm(dim=1), torch.ones(6))
    if momentum not in (0.0, 0.5):  # the momentum weighs the old row, not the new one
        other = naive_update(old, index, v, 1 - momentum)
        assert (bank.rows - other)[index].abs().max() > 0.01


def test_momentum_0_is_the_overwrite_of_the_paper():
    bank, v = bank_of(momentum=0.0), unit(2, 4)
    bank.update(torch.tensor([4, 0]), v)
    torch.testing.assert_close(bank.rows[[4, 0]], v, rtol=1e-6, atol=1e-7)
    with torch.no_grad():
        before = bank.rows.clone()
    bank.update(torch.tensor([4, 0]), v)
    torch.testing.assert_close(bank.rows, before, rtol=1e-6, atol=1e-7)


def test_repeated_updates_approach_the_embedding():
    """Each visit halves the distance, about, at momentum 0.5; a row that is already v stays."""
    bank, v = bank_of(momentum=0.5), unit(1, 4)
    index = torch.tensor([2])
    bank.rows[2] = normalize(v[0] + 0.1 * unit(1, 4, seed=5)[0], dim=0)
    gaps = []
    for _ in range(6):
        gaps.append(float((bank.rows[2] - v[0]).norm()))
        bank.update(index, v)
    assert all(0.45 < b / a < 0.55 for a, b in pairwise(gaps))


def test_order_of_the_batch_does_not_matter():
    a, b = bank_of(), bank_of()
    index, v, order = torch.tensor([5, 0, 3]), unit(3, 4), torch.tensor([2, 0, 1])
    a.update(index, v)
    b.update(index[order], v[order])
    assert torch.equal(a.rows, b.rows)


def test_update_carries_no_gradient_and_leaves_v_alone():
    bank, v = bank_of(), unit(2, 4).requires_grad_()
    kept = v.detach().clone()
    index, log_z = torch.tensor([1, 2]), torch.tensor(1.0)
    loss = nce_loss(v, bank.rows, index, torch.tensor([[0], [1]]), log_z, 0.1)
    loss.backward()
    bank.update(index, v)
    assert not bank.rows.requires_grad
    assert torch.equal(v.detach(), kept)
    bank.update(torch.tensor([], dtype=torch.int64), unit(0, 4))  # nothing is nothing
    bank.rows[1] = -kept[0]  # exactly opposite at momentum 0.5: no direction is left, and no NaN either
    bank.update(index, v.detach())
    assert bank.rows.isfinite().all()


def test_first_rows():
    a, b = bank_of(500, 128), bank_of(500, 128)
    assert torch.equal(a.rows, b.rows)
    torch.testing.assert_close(a.rows.norm(dim=1), torch.ones(500))
    assert float(a.rows.mean(0).norm()) < 0.1  # no direction is preferred
    released = bank_of(500, 128, init="released").rows
    most = math.sqrt(3 / 128)
    assert most * 0.999 < float(released.abs().max()) <= most
    norm = released.norm(dim=1)
    assert float(norm.mean()) == pytest.approx(0.999, abs=0.006)
    assert float(norm.std()) == pytest.approx(0.040, abs=0.006)


# Z


def test_first_batch_sets_z_and_later_ones_do_not():
    bank = bank_of()
    assert bank.log_z.isnan()
    bank.start_log_z(torch.tensor(3.0, requires_grad=True))
    bank.start_log_z(torch.tensor(4.0))
    assert bank.log_z.item() == 3.0
    assert not bank.log_z.requires_grad
    closed = bank_of(50_000, 2)
    closed.start_log_z(expected_log_z(50_000, 2, 0.1))
    assert closed.log_z.item() == pytest.approx(expected_log_z(50_000, 2, 0.1))


@pytest.mark.parametrize("init", ["paper", "released"])
def test_first_batch_of_a_random_bank_gives_the_closed_form(init):
    """All 1 + m columns, as the released code: within 2 % at D = 128, tau = 0.07, of the bank's own Z."""
    bank = bank_of(4000, 128, init=init)
    g = torch.Generator().manual_seed(2)
    index, noise = torch.arange(128), torch.randint(4000, (128, 1000), generator=g)
    scores = noise_scores(unit(128, 128, seed=3), bank.rows, index, noise, 0.07)
    bank.start_log_z(estimated_log_z(scores, 4000))
    assert bank.log_z.item() == pytest.approx(expected_log_z(4000, 128, 0.07), abs=0.02)


def test_moving_average_of_z():
    """Z itself is averaged, not its logarithm."""
    bank = bank_of()
    bank.average_log_z(torch.tensor(math.log(100.0)), decay=0.9)  # nothing to average with
    assert bank.log_z.exp().item() == pytest.approx(100.0, rel=1e-5)
    bank.average_log_z(torch.tensor(math.log(300.0)), decay=0.9)
    assert bank.log_z.exp().item() == pytest.approx(0.9 * 100 + 0.1 * 300, rel=1e-5)
    for _ in range(200):
        bank.average_log_z(math.log(7.0), decay=0.9)
    assert bank.log_z.exp().item() == pytest.approx(7.0, rel=1e-4)
    for estimate in (200.0, -200.0):  # exp overflows float32
        bank.average_log_z(estimate)
        assert bank.log_z.isfinite()


def check_update(m):
    for momentum in (0.0, 0.25):
        g = torch.Generator().manual_seed(1)
        bank = m.MemoryBank(6, 4, momentum, generator=g)
        old, index, v = bank.rows.clone(), torch.tensor([3, 1]), unit(2, 4)
        bank.update(index, v)
        assert torch.allclose(bank.rows, naive_update(old, index, v, momentum), atol=1e-6)


def check_z(m):
    bank = m.MemoryBank(6, 4, 0.5)
    for value in (100.0, 300.0):
        bank.start_log_z(math.log(value))
        assert bank.log_z.exp().item() == pytest.approx(100.0, rel=1e-5)
    bank.average_log_z(math.log(300.0), 0.9)
    assert bank.log_z.exp().item() == pytest.approx(120.0, rel=1e-5)


def check_first_rows(m):
    for init in ("paper", "released"):
        norm = m.MemoryBank(300, 128, 0.5, init=init).rows.norm(dim=1)
        assert float(norm.mean()) == pytest.approx(1, abs=0.01)
        assert (float(norm.std()) < 1e-5) == (init == "paper")


MIXED = "normalize(self.momentum * old + (1 - self.momentum) * v, dim=1)"
PLANTED = [
    (MIXED, "normalize((1 - self.momentum) * old + self.momentum * v, dim=1)", check_update),
    (MIXED, "self.momentum * old + (1 - self.momentum) * v", check_update),
    (MIXED, "normalize(old + (1 - self.momentum) * v, dim=1)", check_update),
    ("self.mixed(self.rows[index], v)", "self.mixed(self.rows[: len(v)], v)", check_update),
    ("torch.where(self.log_z.isnan(), self._of(estimate), self.log_z)", "self._of(estimate)", check_z),
    ("self.log_z + math.log(decay), new + math.log1p(-decay)", "self.log_z, new", check_z),
    ("self.log_z + math.log(decay)", "self.log_z + math.log1p(-decay)", check_z),
    ("math.sqrt(3 / dim)", "math.sqrt(1 / dim)", check_first_rows),
    (
        "normalize(torch.randn(size, dim, generator=generator), dim=1)",
        "torch.randn(size, dim)",
        check_first_rows,
    ),
]


@pytest.mark.parametrize(("right", "wrong", "check"), PLANTED, ids=[w for _, w, _ in PLANTED])
def test_a_planted_bug_is_caught(right, wrong, check, monkeypatch):
    check(memory)
    source = Path(memory.__file__).read_text()
    assert right in source, f"{right!r} is no longer in memory.py"
    module = types.ModuleType("planted_memory")
    monkeypatch.setitem(sys.modules, "planted_memory", module)
    exec(compile(source.replace(right, wrong), "planted_memory", "exec"), module.__dict__)
    with pytest.raises(AssertionError):
        check(module)


# Checkpoints and bad input


def test_a_checkpoint_carries_rows_and_z():
    bank, other = bank_of(), MemoryBank(6, 4, 0.5)
    bank.start_log_z(2.5)
    other.load_state_dict(copy.deepcopy(bank.state_dict()))
    assert torch.equal(bank.rows, other.rows)
    assert other.log_z.item() == 2.5
    assert list(bank.parameters()) == []
    assert set(bank.state_dict()) == {"rows", "log_z"}


def test_a_bank_of_another_data_set_is_refused():
    bank = bank_of()
    holder = torch.nn.ModuleDict({"bank": bank})
    for size, dim, text in (
        (5, 4, "has 5 rows of 4 numbers, this run's has 6 of 4"),
        (6, 3, "6 rows of 3 numbers"),
    ):
        state = MemoryBank(size, dim, 0.5).state_dict()
        with pytest.raises(ValueError, match=text):
            bank.load_state_dict(state)
        with pytest.raises(ValueError, match=text):
            holder.load_state_dict({f"bank.{k}": x for k, x in state.items()})


def test_bad_input_is_one_clear_sentence():
    bank, v = bank_of(), unit(2, 4)
    good, nan = torch.tensor([0, 5]), v.clone()
    nan[1, 0] = math.nan
    kept = bank.rows.clone()
    for error, text, index, rows in (
        (ValueError, r"index holds 6, outside 0 \.\. 5", torch.tensor([0, 6]), v),
        (ValueError, "index holds -1", torch.tensor([-1, 2]), v),
        (ValueError, "row 0 of v has norm 2; scale every row", good, v * 2),
        (ValueError, "row 1 of v has norm nan", good, nan),
        (ValueError, r"index \(1,\) and v \(2, 4\) do not fit", good[:1], v),
        (ValueError, r"v has 3 columns, the bank 4", good, unit(2, 3)),
        (TypeError, r"index is torch\.int32", good.int(), v),
        (TypeError, r"v is torch\.float16, the bank torch\.float32", good, v.half()),
    ):
        with pytest.raises(error, match=text):
            bank.update(index, rows)
    assert torch.equal(bank.rows, kept)
    with pytest.raises(ValueError, match="0 rows of 4 numbers"):
        MemoryBank(0, 4, 0.5)
    for momentum in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match="momentum is"):
            MemoryBank(6, 4, momentum)
    with pytest.raises(ValueError, match="init is 'sphere'; choose 'paper' or 'released'"):
        MemoryBank(6, 4, 0.5, init="sphere")
    for decay in (0.0, 1.0, -1.0):
        with pytest.raises(ValueError, match="decay is"):
            bank.average_log_z(1.0, decay=decay)
