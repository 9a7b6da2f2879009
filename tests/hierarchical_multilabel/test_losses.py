"""losses.py: the worked numbers, float64 loops written from the equations, gradients, laws, extremes, two
ranks, planted bugs."""

import math
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from common.distributed import average_gradients, gather, share
from hierarchical_multilabel import losses as module
from hierarchical_multilabel.losses import (
    common_level,
    exponential,
    hicone_loss,
    himulcon_loss,
    himulcone_loss,
    level_statistics,
    power_of_two,
    simclr_loss,
    supcon_loss,
)
from tests import two_ranks

ROOT = Path(__file__).parents[2]
HIERARCHICAL: dict[str, Any] = {"HiMulCon": himulcon_loss, "HiConE": hicone_loss, "HiMulConE": himulcone_loss}
every_loss = pytest.mark.parametrize("name", HIERARCHICAL)
every_form = pytest.mark.parametrize("form", ["paper", "released"])


def batch(seed=0, images=7, views=2, columns=3, dim=4, dtype=torch.float64):
    """Unit rows (B, V, D) and a tree with lonely images: ids of children begin anew under each parent."""
    g = torch.Generator().manual_seed(seed)
    z = normalize(torch.randn(images, views, dim, generator=g, dtype=torch.float64), dim=2).to(dtype)
    labels = torch.randint(2, (images, columns), generator=g)
    labels[:, -1] = torch.arange(images)
    labels[-1, 0] = 9  # an image that shares nothing
    return z, labels


# The worked examples of the released code: views alike, angles in the plane


def plane(degrees, labels, dtype=torch.float64):
    a = torch.tensor(degrees, dtype=dtype).deg2rad()
    return torch.stack([a.cos(), a.sin()], 1)[:, None].repeat(1, 2, 1), torch.tensor(labels)


FOUR = plane([0, 30, 90, 180], [(0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 2, 3)])
SIX = plane(
    [0, 20, 50, 90, 130, 180],
    [(0, 1, 3, 0), (0, 0, 1, 1), (0, 0, 0, 2), (1, 2, 4, 3), (1, 3, 5, 4), (0, 1, 2, 5)],
)


def test_worked_example_in_the_printed_form():
    for tau, simclr, fine, coarse, lowest, three in (
        (1.0, 1.229811, 1.274469, 1.556606, 2.109815, (3.015388, 1.532215, 3.207757)),
        (0.1, 0.216242, 0.662824, 3.484191, 7.788292, (3.773100, 2.406266, 4.321727)),
    ):
        z, labels = FOUR
        assert simclr_loss(z, tau).item() == pytest.approx(simclr, abs=1e-6)
        found = level_statistics(z, labels, tau)
        assert found.losses.tolist() == pytest.approx([fine, coarse], abs=1e-6)
        for l, expected in ((1, fine), (2, coarse)):
            node = labels[:, : 3 - l].unique(dim=0, return_inverse=True)[1]
            assert supcon_loss(z, node, tau).item() == pytest.approx(expected, abs=1e-6)
        only = level_statistics(z, labels, tau, positives="lowest")
        assert only.losses.tolist() == pytest.approx([fine, lowest], abs=1e-6)
        assert only.skipped.tolist() == [0, 2]
        for loss, expected in zip(HIERARCHICAL.values(), three):
            assert loss(z, labels, tau).item() == pytest.approx(expected, abs=1e-6)
            assert loss(z, labels, tau, reduction="sum").item() == pytest.approx(8 * expected, rel=1e-6)


def test_worked_example_in_the_released_form():
    z, labels = FOUR
    for tau, three in ((1.0, (1.819934, 0.849646, 1.855204)), (0.1, (3.043197, 1.702463, 3.043197))):
        for loss, expected in zip(HIERARCHICAL.values(), three):  # given at a base temperature of tau
            got = loss(z, labels, tau, "released").item()
            assert got * 0.07 / tau == pytest.approx(expected, abs=1e-6)
    for loss, expected in zip(HIERARCHICAL.values(), (4.347424, 2.432090, 4.347424)):
        assert loss(z, labels, 0.1, "released").item() == pytest.approx(expected, abs=1e-6)
    found = level_statistics(z, labels, 1.0, "released")
    assert found.losses.tolist() == pytest.approx([1.274469, 1.210293], abs=1e-6)


def test_second_worked_example_fixes_the_order_of_survivors():
    z, labels = SIX
    for tau, three in (
        (1.0, (40.676411, 22.326275, 41.535397)),
        (0.1, (6.763480, 4.343668, 6.763480)),
    ):
        for loss, expected in zip(HIERARCHICAL.values(), three):  # of a float32 program
            assert loss(z, labels, tau, "released").item() == pytest.approx(expected, rel=2e-7, abs=1e-6)


# Naive references: lists, loops, exponentials. A view is (image, number).


def pair_losses(z, tau):
    """{(i, p): l_ip} over all ordered pairs of different views."""
    rows = {(i, v): z[i, v].tolist() for i in range(z.shape[0]) for v in range(z.shape[1])}
    s = {(a, b): sum(x * y for x, y in zip(rows[a], rows[b])) / tau for a in rows for b in rows}
    log_sum = {
        a: math.log(sum(math.exp(s[a, b]) for b in rows if b != a)) if len(rows) > 1 else 0 for a in rows
    }
    return {(a, b): log_sum[a] - s[a, b] for a in rows for b in rows if a != b}


def mean_over_anchors(ell, same, reduction="mean"):
    """Mean over anchors with positives of the mean over positives; same(i, j): images of one class."""
    terms = {}
    for (a, p), value in ell.items():
        if same(a[0], p[0]):
            terms.setdefault(a, []).append(value)
    means = [sum(values) / len(values) for values in terms.values()]
    return sum(means) / (1 if reduction == "sum" else max(len(means), 1))


def naive_simclr(z, tau):
    return mean_over_anchors(pair_losses(z, tau), lambda i, j: i == j)


def naive_supcon(z, labels, tau):
    return mean_over_anchors(pair_losses(z, tau), lambda i, j: labels[i] == labels[j])


def naive_paper(name, z, labels, tau, penalty=exponential, reduction="mean", positives="inclusive"):
    """Eq. (4), (6) and (7) with the erratum and positive pair losses, l = 1 the finest."""
    ell, y = pair_losses(z, tau), labels.tolist()
    columns = labels.shape[1]

    def share(l, i, j):
        return l > 0 and y[i][: columns - l] == y[j][: columns - l]

    total, worst = 0.0, 0.0
    for l in range(1, columns):

        def same(i, j, l=l):
            return share(l, i, j) and not (positives == "lowest" and share(l - 1, i, j))

        raised = {pair: max(value, worst) if name != "HiMulCon" else value for pair, value in ell.items()}
        weight = penalty(l) if name != "HiConE" else 1
        total += weight * mean_over_anchors(raised, same, reduction)
        worst = max([worst] + [value for (a, p), value in ell.items() if share(l, a[0], p[0])])
    return total / (columns - 1)


def naive_released(name, z, labels, tau, penalty=exponential):
    """The released code, step by step: the batch is thinned to one image per prefix, in their order."""
    columns, alive = labels.shape[1], list(range(len(labels)))
    y, total, worst = labels.tolist(), 0.0, -math.inf
    for l in range(1, columns):
        prefix = {i: tuple(y[i][: columns - l]) for i in alive}
        ell = pair_losses(z[alive], tau)
        mean = mean_over_anchors(ell, lambda i, j: prefix[alive[i]] == prefix[alive[j]])  # noqa: B023
        worst = max(worst, mean)
        total += (penalty(l) if name != "HiConE" else 1) * (mean if name == "HiMulCon" else worst)
        first = {}
        for i in alive:
            first.setdefault(prefix[i], i)
        alive = [first[key] for key in sorted(first)]
    return total / columns * tau / 0.07


@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("seed", range(3))
def test_flat_losses_equal_the_loops(views, seed):
    z, labels = batch(seed, views=views)
    if views > 1:
        assert simclr_loss(z, 0.3).item() == pytest.approx(naive_simclr(z, 0.3), rel=1e-10)
    assert supcon_loss(z, labels[:, 0], 0.3).item() == pytest.approx(
        naive_supcon(z, labels[:, 0], 0.3), rel=1e-10
    )


@every_loss
@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("columns", [2, 3, 4, 5])
def test_printed_form_equals_the_loops(name, views, columns):
    for seed in range(3):
        z, labels = batch(seed, views=views, columns=columns)
        for tau in (0.1, 1.0):
            for reduction in ("mean", "sum"):
                for positives in ("inclusive", "lowest"):
                    options = {"reduction": reduction, "positives": positives}
                    got = HIERARCHICAL[name](z, labels, tau, "paper", power_of_two, **options)
                    expected = naive_paper(name, z, labels, tau, power_of_two, **options)
                    assert got.item() == pytest.approx(expected, rel=1e-10), options


@every_loss
@pytest.mark.parametrize("views", [1, 2, 3])
@pytest.mark.parametrize("columns", [2, 3, 4, 5])
def test_released_form_equals_the_loops(name, views, columns):
    for seed in range(5):
        z, labels = batch(seed, views=views, columns=columns, images=9)
        for tau in (0.1, 1.0):
            got = HIERARCHICAL[name](z, labels, tau, "released", power_of_two)
            expected = naive_released(name, z, labels, tau, power_of_two)
            assert got.item() == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("columns", [3, 5])
def test_statistics_are_the_parts_of_the_losses(columns):
    z, labels = batch(4, columns=columns, images=9)
    weights = torch.tensor([exponential(l) for l in range(1, columns)], dtype=z.dtype)
    for positives in ("inclusive", "lowest"):
        for reduction in ("mean", "sum"):
            options = {"reduction": reduction, "positives": positives}
            found = level_statistics(z, labels, 0.2, **options)
            for loss, parts in ((himulcon_loss, found.losses), (himulcone_loss, found.constrained)):
                expected = loss(z, labels, 0.2, **options)
                torch.testing.assert_close((weights * parts).mean(), expected, rtol=1e-10, atol=0)
    found = level_statistics(z, labels, 0.2, "released")
    for loss, parts in ((himulcon_loss, found.losses), (himulcone_loss, found.constrained)):
        torch.testing.assert_close(
            (weights * parts).sum() / columns * (0.2 / 0.07), loss(z, labels, 0.2, "released")
        )


@pytest.mark.parametrize("views", [1, 2])
def test_active_terms_are_counted_as_the_loops_count_them(views):
    z, labels = batch(2, views=views, columns=4, images=9)
    ell, y, worst = pair_losses(z, 0.2), labels.tolist(), 0.0
    active, terms, skipped = [], [], []
    for l in (1, 2, 3):
        at = {pair: x for pair, x in ell.items() if y[pair[0][0]][: 4 - l] == y[pair[1][0]][: 4 - l]}
        own = {pair: x for pair, x in at.items() if y[pair[0][0]][: 5 - l] != y[pair[1][0]][: 5 - l]}
        terms.append(len(own) if l > 1 else 0)
        active.append(sum(x < worst for x in own.values()) if l > 1 else 0)
        skipped.append(9 * views - len({a for a, _ in at}))
        worst = max([worst, *at.values()])
    found = level_statistics(z, labels, 0.2)
    assert (found.active.tolist(), found.terms.tolist(), found.skipped.tolist()) == (active, terms, skipped)
    assert sum(active) > 0
    assert found.active_share.item() == pytest.approx(sum(active) / sum(terms))


# Gradients


@every_loss
@every_form
def test_gradient(name, form):
    for seed, views in ((0, 1), (1, 2)):
        z, labels = batch(seed, images=5, views=views, columns=4, dim=2)
        z.requires_grad_()
        assert torch.autograd.gradcheck(lambda x: HIERARCHICAL[name](x, labels, 0.5, form), (z,))  # noqa: B023


def test_gradient_with_the_lowest_positives_and_of_the_flat_losses():
    z, labels = batch(3, images=5, columns=4, dim=2)
    z.requires_grad_()
    for loss in HIERARCHICAL.values():
        assert torch.autograd.gradcheck(lambda x: loss(x, labels, 0.5, positives="lowest"), (z,))  # noqa: B023
    assert torch.autograd.gradcheck(lambda x: simclr_loss(x, 0.5), (z,))
    assert torch.autograd.gradcheck(lambda x: supcon_loss(x, labels[:, 0], 0.5), (z,))


@pytest.mark.parametrize("name", ["HiConE", "HiMulConE"])
@pytest.mark.parametrize("positives", ["inclusive", "lowest"])
@pytest.mark.parametrize("threshold", ["attached", "detached"])
def test_value_and_gradient_are_those_of_the_maximum(name, positives, threshold):
    """A pass per level, which autograd differentiates itself; detached: with the threshold a constant."""
    for seed, views in ((0, 1), (1, 2), (3, 3)):
        z, labels = batch(seed, images=9, views=views, columns=4)
        z.requires_grad_()
        options = {"positives": positives, "threshold": threshold}
        value = HIERARCHICAL[name](z, labels, 0.2, **options)
        own = torch.eye(9 * views, dtype=torch.bool)
        rows = z.transpose(0, 1).flatten(0, 1)
        ell = -(rows @ rows.T / 0.2).masked_fill(own, -torch.inf).log_softmax(1)
        shared = common_level(labels).repeat(views, views).masked_fill(own, 9)
        total, worst = z.new_zeros(()), z.new_zeros(())
        for l in (1, 2, 3):
            at = shared <= l if positives == "inclusive" else shared == l
            raised = torch.where(ell > worst, ell, worst if threshold == "attached" else worst.detach())
            means = torch.where(at, raised, 0).sum(1)[at.any(1)] / at.sum(1)[at.any(1)]
            total = total + (exponential(l) if name == "HiMulConE" else 1) * means.mean() / 3
            worst = torch.maximum(worst, torch.where(shared <= l, ell, 0).max())
        torch.testing.assert_close(value, total)
        ours, expected = (torch.autograd.grad(loss, z)[0] for loss in (value, total))
        torch.testing.assert_close(ours, expected)


def test_raised_pairs_pull_only_the_worst_finer_pair():
    """Eq. (6): where every coarse pair is raised, the gradient is that of a sum of finer losses."""
    z, labels = plane([0, 91, 44, 46], [(0, 0, 0), (0, 0, 1), (0, 1, 2), (0, 1, 3)])  # 0, 1: the worst pair
    z = z[:, :1].clone().requires_grad_()
    found = level_statistics(z.detach(), labels, 0.1, positives="lowest")
    assert found.active.tolist() == [0, 8]
    got = torch.autograd.grad(hicone_loss(z, labels, 0.1, positives="lowest"), z)[0]
    s = (z[:, 0] @ z[:, 0].T / 0.1).masked_fill(torch.eye(4, dtype=torch.bool), -torch.inf)
    ell = -s.log_softmax(1)
    fine = torch.stack([ell[0, 1], ell[1, 0], ell[2, 3], ell[3, 2]])
    torch.testing.assert_close(got, torch.autograd.grad((fine.mean() + fine.max()) / 2, z)[0])


# Laws


@every_loss
def test_order_of_the_batch_does_not_matter_in_the_printed_form(name):
    z, labels = batch(5, images=9, columns=4)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    loss = HIERARCHICAL[name]
    torch.testing.assert_close(loss(z[order], labels[order], 0.1), loss(z, labels, 0.1))


@every_loss
def test_order_of_the_batch_matters_in_the_released_form(name):
    """Which image survives depends on it (deviation D15)."""
    z, labels = FOUR
    loss = HIERARCHICAL[name]
    there, back = loss(z, labels, 0.1, "released"), loss(z.flip(0), labels.flip(0), 0.1, "released")
    assert abs(there.item() - back.item()) > 1e-3


@every_loss
@every_form
def test_order_of_the_views_rotation_and_unit_do_not_matter(name, form):
    z, labels = batch(6, images=9, views=3, columns=4)
    loss = HIERARCHICAL[name]
    rotation = torch.linalg.qr(torch.randn(4, 4, dtype=z.dtype, generator=torch.Generator().manual_seed(1))).Q
    value = loss(z, labels, 0.2, form)
    torch.testing.assert_close(loss(z.flip(1), labels, 0.2, form), value)
    torch.testing.assert_close(loss(z @ rotation, labels, 0.2, form), value)
    factor = 9.0 if form == "released" else 1.0  # its factor tau / 0.07 knows the unit of tau
    torch.testing.assert_close(loss(3 * z, labels, 9 * 0.2, form), factor * value)


@every_loss
@every_form
@pytest.mark.parametrize(
    "ids",
    [
        [0, 1, 9],
        [2**24, 2**24 + 1, 2**24 + 2],  # one number in float32 (deviation D16)
        [2**53, 2**53 + 1, 2**53 + 2],  # one number in float64
        [-(2**62), 0, 2**62],
    ],
)
def test_ids_are_names(name, form, ids):
    z, labels = batch(7, images=9, columns=4)
    renamed = labels.clone()
    for old, new in zip((0, 1, 9), ids):
        renamed[:, :-1][labels[:, :-1] == old] = new
    loss = HIERARCHICAL[name]
    assert torch.equal(loss(z, renamed, 0.1, form), loss(z, labels, 0.1, form))


@every_loss
@every_form
def test_children_may_be_numbered_anew_under_each_parent(name, form):
    z, labels = batch(8, images=12, columns=4)
    globally = labels.clone()
    for depth in (1, 2, 3):
        globally[:, depth - 1] = labels[:, :depth].unique(dim=0, return_inverse=True)[1]
    assert not torch.equal(globally[:, 1], labels[:, 1])
    loss = HIERARCHICAL[name]
    torch.testing.assert_close(loss(z, globally, 0.1, form), loss(z, labels, 0.1, form))


def test_common_level():
    labels = torch.tensor([(0, 0, 0, 0), (0, 0, 0, 1), (0, 0, 1, 2), (0, 1, 0, 3), (1, 0, 0, 4)])
    expected = [[1, 1, 2, 3, 4], [1, 1, 2, 3, 4], [2, 2, 1, 3, 4], [3, 3, 3, 1, 4], [4, 4, 4, 4, 1]]
    assert torch.equal(common_level(labels), torch.tensor(expected))


@every_form
def test_a_single_level_is_supcon(form):
    """With the image as last column the class above it counts (D12); released: lambda_1 / 2 times SupCon."""
    z, labels = batch(9, columns=2)
    factor = 1 if form == "paper" else 0.5 * 0.2 / 0.07
    flat = supcon_loss(z, labels[:, 0], 0.2) * factor
    torch.testing.assert_close(himulcon_loss(z, labels, 0.2, form), math.e * flat)
    torch.testing.assert_close(himulcone_loss(z, labels, 0.2, form), math.e * flat)
    torch.testing.assert_close(hicone_loss(z, labels, 0.2, form), flat)


@every_form
def test_the_constraint_only_raises(form):
    for seed in range(5):
        z, labels = batch(seed, columns=5)
        plain = himulcon_loss(z, labels, 0.1, form, lambda l: 1.0)
        for penalty in (exponential, power_of_two):
            assert himulcone_loss(z, labels, 0.1, form, penalty) >= himulcon_loss(
                z, labels, 0.1, form, penalty
            )
        assert hicone_loss(z, labels, 0.1, form) >= plain
        assert torch.equal(
            hicone_loss(z, labels, 0.1, form), himulcone_loss(z, labels, 0.1, form, lambda l: 1.0)
        )


def test_a_tree_that_is_kept_needs_no_constraint():
    """Finer partners nearer than coarser ones, every pair: nothing is raised."""
    z, labels = plane([0, 1, 10, 11], [(0, 0, 0), (0, 0, 1), (0, 1, 2), (0, 1, 3)])
    found = level_statistics(z, labels, 0.01, positives="lowest")
    assert found.active.tolist() == [0, 0]
    assert torch.equal(found.losses, found.constrained)


def test_released_himulcone_starts_as_supcon_of_the_finest_level():
    """Random embeddings, groups with a partner for each level: the gradient is that of level 1 alone."""
    g = torch.Generator().manual_seed(0)
    z = normalize(torch.randn(65, 2, 128, generator=g, dtype=torch.float64), dim=2).requires_grad_()
    group = torch.tensor([(0, 0, 0), (0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)])
    labels = torch.cat([group + torch.tensor([2 * (i % 8), 2 * i, 0]) for i in range(13)])
    labels = torch.column_stack([labels, torch.arange(65)])
    node = labels[:, :3].unique(dim=0, return_inverse=True)[1]
    found = level_statistics(z.detach(), labels, 0.1, "released")
    assert found.losses.argmax() == 0
    assert found.active.tolist() == [0, 1, 1]
    weight = sum(exponential(l) for l in (1, 2, 3)) / 4 * 0.1 / 0.07
    ours = torch.autograd.grad(himulcone_loss(z, labels, 0.1, "released"), z)[0]
    flat = torch.autograd.grad(weight * supcon_loss(z, node, 0.1), z)[0]
    torch.testing.assert_close(ours, flat)


def test_penalties():
    assert [exponential(l) for l in (1, 2, 3)] == pytest.approx([2.718282, 1.648721, 1.395612], abs=1e-6)
    assert [power_of_two(l) for l in (1, 2, 3)] == pytest.approx([2.0, 1.414214, 1.259921], abs=1e-6)
    z, labels = batch(columns=4)
    asked = []
    himulcon_loss(z, labels, 0.1, penalty=lambda l: asked.append(l) or 1)
    assert asked == [1, 2, 3]
    zero = himulcone_loss(z, labels, 0.1, penalty=lambda l: 0)
    assert zero == 0


# Anchors without positives, extremes, precision


@every_loss
@every_form
def test_one_view_and_no_positive_at_all(name, form):
    z = batch(views=1)[0].requires_grad_()
    labels = torch.arange(7)[:, None].repeat(1, 3)
    loss = HIERARCHICAL[name](z, labels, 0.1, form)
    loss.backward()
    assert loss == 0
    assert z.grad is not None
    assert torch.equal(z.grad, torch.zeros_like(z))
    assert level_statistics(z.detach(), labels, 0.1, form).skipped.tolist()[0] == 7


@every_loss
@every_form
@pytest.mark.parametrize("views", [1, 2])
def test_a_single_image(name, form, views):
    z = batch(images=2, views=views)[0][:1].requires_grad_()
    loss = HIERARCHICAL[name](z, torch.zeros(1, 4, dtype=torch.int64), 0.1, form)
    loss.backward()
    assert loss == 0  # a view among two has nothing but its positive


@every_loss
@every_form
@pytest.mark.parametrize("scale", [1e-30, 1e-5, 1.0, 1e5, 1e17])
@pytest.mark.parametrize("tau", [1e-3, 1.0, 1e3])
def test_extreme_float32(name, form, scale, tau):
    z, labels = batch(columns=4, images=9, dtype=torch.float32)
    z = (z * scale).requires_grad_()
    loss = HIERARCHICAL[name](z, labels, tau, form)
    loss.backward()
    exact = HIERARCHICAL[name](z.detach().double(), labels, tau, form)
    assert loss.isfinite()
    assert loss.item() == pytest.approx(exact.item(), rel=1e-5)
    assert z.grad is not None
    assert z.grad.isfinite().all()


@every_loss
def test_finest_losses_of_exactly_zero(name):
    """Images at right angles, views alike: the finest pair losses round to 0, and no view is its own pair."""
    z = torch.eye(4)[:, None].repeat(1, 2, 1).requires_grad_()
    labels = torch.tensor([(0, 0, 0), (0, 1, 1), (1, 2, 2), (1, 3, 3)])
    loss = HIERARCHICAL[name](z, labels, 0.005)
    assert level_statistics(z.detach(), labels, 0.005).losses[0] == 0
    exact = HIERARCHICAL[name](z.detach().double(), labels, 0.005)
    assert loss.item() == pytest.approx(exact.item(), rel=1e-6)
    assert torch.autograd.grad(loss, z)[0].isfinite().all()


@every_loss
@every_form
def test_collapsed_and_opposite_rows(name, form):
    _, labels = batch(columns=4)
    for z in (torch.ones(7, 2, 4) / 2, torch.tensor([1.0, -1.0]).view(1, 2, 1).repeat(7, 1, 4) / 2):
        z.requires_grad_()
        loss = HIERARCHICAL[name](z, labels, 0.07, form)
        loss.backward()
        assert loss.isfinite()
        assert z.grad is not None
        assert z.grad.isfinite().all()


@every_loss
@every_form
def test_autocast_changes_nothing(name, form):
    z, labels = batch(columns=4, images=12, dim=64, dtype=torch.float32)
    z.requires_grad_()
    plain = HIERARCHICAL[name](z, labels, 0.1, form)
    with torch.autocast("cpu", torch.bfloat16):
        inside = HIERARCHICAL[name](z, labels, 0.1, form)
        flat = supcon_loss(z, labels[:, 0], 0.1)
    assert inside.dtype == torch.float32
    assert torch.equal(inside, plain)
    assert torch.equal(torch.autograd.grad(inside, z)[0], torch.autograd.grad(plain, z)[0])
    assert torch.equal(flat, supcon_loss(z, labels[:, 0], 0.1))


def test_masking_is_cutting():
    """What a GPU does instead of taking the kept images out."""
    for seed, views in ((0, 1), (1, 2), (2, 3)):
        z, labels = batch(seed, images=12, views=views, columns=4)
        z.requires_grad_()
        found = []
        for cut in (True, False):
            means, skipped = module._released_levels(z, labels, common_level(labels) - 1, 0.1, cut=cut)
            found.append((means, skipped, torch.autograd.grad(means.sum(), z)[0]))
        for a, b in zip(*found):
            torch.testing.assert_close(a, b)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every_loss
@every_form
def test_gpu_and_cpu_agree(name, form):
    z, labels = batch(columns=4, images=32, dim=16)
    here, there = z.clone().requires_grad_(), z.cuda().requires_grad_()
    a = HIERARCHICAL[name](here, labels, 0.1, form)
    b = HIERARCHICAL[name](there, labels.cuda(), 0.1, form)
    torch.testing.assert_close(a, b.cpu())
    torch.testing.assert_close(torch.autograd.grad(a, here)[0], torch.autograd.grad(b, there)[0].cpu())


# An oracle


@pytest.mark.filterwarnings("ignore")
def test_agrees_with_pytorch_metric_learning():
    pytest.importorskip("pytorch_metric_learning")
    from pytorch_metric_learning.losses import SupConLoss
    from pytorch_metric_learning.reducers import MeanReducer

    z, labels = batch(1, images=12, columns=4, dim=8)
    oracle, expected = SupConLoss(temperature=0.1, reducer=MeanReducer()), 0.0
    for l in (1, 2, 3):
        node = labels[:, : 4 - l].unique(dim=0, return_inverse=True)[1]
        level = oracle(z.transpose(0, 1).flatten(0, 1), node.repeat(2))
        torch.testing.assert_close(supcon_loss(z, node, 0.1), level, rtol=1e-7, atol=0)
        expected += exponential(l) * level / 3
    torch.testing.assert_close(himulcon_loss(z, labels, 0.1), expected, rtol=1e-7, atol=0)


# Two ranks


def step(name, form):
    """Loss and gradient of a linear encoder that sees this rank's half of the batch."""
    g = torch.Generator().manual_seed(0)
    weight = torch.randn(5, 4, generator=g, dtype=torch.float64).requires_grad_()
    x = torch.randn(8, 2, 5, generator=g, dtype=torch.float64)
    labels = torch.randint(2, (8, 4), generator=g)
    z = gather(normalize(share(x) @ weight, dim=2), 8)
    loss = HIERARCHICAL[name](z, labels, 0.2, form)
    loss.backward()
    average_gradients([weight])
    assert weight.grad is not None
    return torch.cat([loss.detach().view(1), weight.grad.flatten()])


ALL = [(name, form) for name in HIERARCHICAL for form in ("paper", "released")]


def test_two_ranks_give_the_gradient_of_one(tmp_path):
    ranks = two_ranks.found(__file__, tmp_path)
    for name, form in ALL:
        one = step(name, form)
        for found in ranks:
            torch.testing.assert_close(found[f"{name} {form}"], one)


# Planted bugs: text of losses.py, and what it is replaced by

MEANS = "means if threshold is None else means.cummax(0).values"
THRESHOLDS = "torch.cat([worst.new_zeros(1), worst[:-1], worst.new_zeros(1)])"
PLANTED = {
    "sign": ("return constant - (pair_weight * log_p).sum()", "return (pair_weight * log_p).sum()"),
    "self in the denominator": ("s.diagonal().copy_(_unseen(z, temperature))", "pass"),
    "no temperature": ("(rows / temperature) @ rows.T", "rows @ rows.T"),
    "erratum ignored: the coarser level": (THRESHOLDS, "torch.cat([worst[1:], worst.new_zeros(2)])"),
    "worst pair of this level too": (THRESHOLDS, "torch.cat([worst, worst.new_zeros(1)])"),
    "smallest instead of largest": ("(ell >= _thresholds", "(ell <= _thresholds"),
    "only the next finer level": (
        "torch.stack([value for value, _ in largest]).cummax(0)",
        "(torch.stack([value for value, _ in largest]), torch.arange(levels))",
    ),
    "finer pairs of a coarse level forgotten": ("handed += views * (counts - new)", "handed += 0"),
    "weight of a raised pair dropped": ("(weight * handed).sum(0)[1:]", "(0 * handed).sum(0)[1:]"),
    "inclusive positives at their finest level only": (
        'elif positives == "inclusive":\n            # A',
        "elif False:\n            # A",
    ),
    "K instead of L": ("* penalties / levels", "* penalties / (levels + 1)"),
    "penalty by the coarse end": ("l in range(1, levels + 1)], dtype", "l in range(levels, 0, -1)], dtype"),
    "sum over anchors": ("views * has.sum(0) if", "1 + 0 * has.sum(0) if"),
    "all anchors in the mean": ("views * has.sum(0) if", "views * len(has) + 0 * has.sum(0) if"),
    "own view no positive": ("images *= views\n", "images *= views\n    images[:, 0] -= views - 1\n"),
    "sum over positives": ("1 / (counts * anchors)", "1 / (counts.clamp(max=1) * anchors)"),
    "columns compared alone, not as prefixes": ("shared &= column", "shared = column"),
    "the last column compared too": (
        "labels.T[:-1].contiguous():\n        shared",
        "labels.T.contiguous():\n        shared",
    ),
    "released: survivors in the order of the batch": ("labels.T[:-1].flip(0):", "labels.T[:0]:"),
    "released: the largest prefix survives": (
        ".argsort(stable=True)",
        ".argsort(stable=True, descending=True)",
    ),
    "released: the last of the batch survives": (
        "order = torch.arange(len(labels), device=labels.device)\n    for",
        "order = torch.arange(len(labels), device=labels.device).flip(0)\n    for",
    ),
    "released: nothing thinned": ("kept[1:, order] = first.T.flip(0)[:-1]", "pass"),
    "released: thinned by the same level": ("first.T.flip(0)[:-1]", "first.T.flip(0)[1:]"),
    "released: divided by L": ("/ labels.shape[1] * (temperature", "/ levels * (temperature"),
    "released: no factor tau / 0.07": ("* (temperature / RELEASED_BASE_TEMPERATURE)", ""),
    "released: smallest finer mean": (MEANS, MEANS.replace("cummax", "cummin")),
    "released: HiMulCon constrained": (MEANS, "means.cummax(0).values"),
}


def disagrees(losses) -> bool:
    """Whether one of a few small comparisons with the loops fails."""
    for seed, views in ((0, 1), (2, 2), (11, 2)):
        z, labels = batch(seed, images=8, views=views, columns=4)
        for name in HIERARCHICAL:
            loss = getattr(losses, f"{name.lower()}_loss")
            for options in ({}, {"positives": "lowest"}):
                if (
                    abs(loss(z, labels, 0.2, **options).item() - naive_paper(name, z, labels, 0.2, **options))
                    > 1e-6
                ):
                    return True
            for case in ((z, labels), SIX):
                if abs(loss(*case, 0.2, "released").item() - naive_released(name, *case, 0.2)) > 1e-6:
                    return True
    return False


@pytest.mark.parametrize("bug", PLANTED)
def test_planted_bugs_are_noticed(bug):
    source = Path(module.__file__).read_text()
    right, wrong = PLANTED[bug]
    assert source.count(right) == 1
    broken = types.ModuleType("broken")
    exec(compile(source.replace(right, wrong), "broken", "exec"), broken.__dict__)
    try:
        assert disagrees(broken)
    except RuntimeError:
        pass  # an index that does not exist is noticed too


def test_the_right_losses_agree():
    assert not disagrees(module)


# Bad input


@every_loss
@every_form
def test_one_column_is_an_error(name, form):
    z, labels = batch()
    with pytest.raises(ValueError, match=r"labels have 1 column; .* give K >= 2 columns"):
        HIERARCHICAL[name](z, labels[:, :1], 0.1, form)


@every_loss
def test_bad_batches_are_one_clear_sentence(name):
    loss = HIERARCHICAL[name]
    z, labels = batch()
    for wrong, told in (
        (lambda: loss(z[:, 0], labels, 0.1), r"z has shape \(7, 4\); give \[B, V, D\]"),
        (lambda: loss(z[:0], labels[:0], 0.1), "each >= 1"),
        (lambda: loss(z, labels[1:], 0.1), r"labels \(6, 3\) do not fit z \(7, 2, 4\)"),
        (lambda: loss(z, labels[:, 0], 0.1), r"labels \(7,\) do not fit"),
        (lambda: loss(z, labels, 0.1, "printed"), "form is 'printed'; choose 'paper' or 'released'"),
        (lambda: loss(z, labels, 0.1, reduction="max"), "reduction is 'max'; choose 'mean' or 'sum'"),
        (lambda: loss(z, labels, 0.1, positives="all"), "positives is 'all'; choose 'inclusive' or 'lowest'"),
        (lambda: loss(z, labels, 0.1, "released", reduction="sum"), "the released form has only 'mean'"),
        (lambda: loss(z, labels, 0.1, "released", positives="lowest"), "choose form='paper'"),
        *(
            (lambda: loss(z, labels, 0.1, threshold=""), "threshold is ''; choose 'attached' or 'detached'"),
            (lambda: loss(z, labels, 0.1, "released", threshold="detached"), "inclusive' and 'attached'"),
        )[: 0 if name == "HiMulCon" else 2],
    ):
        with pytest.raises(ValueError, match=told):
            wrong()
    for temperature in (0, -1, math.inf, math.nan, "0.1", True):
        with pytest.raises(ValueError, match="temperature is"):
            loss(z, labels, temperature)
    with pytest.raises(TypeError, match=r"z has type torch\.bfloat16; convert it to float32"):
        loss(z.bfloat16(), labels, 0.1)
    with pytest.raises(TypeError, match=r"labels have type torch\.float64; convert them to int64"):
        loss(z, labels.double(), 0.1)
    z[3, 1, 0] = math.nan
    with pytest.raises(ValueError, match="z: image 3 holds a value that is not finite"):
        loss(z, labels, 0.1)


def test_bad_penalties_and_flat_batches_are_one_clear_sentence():
    z, labels = batch()
    for value in (-1, math.inf, math.nan, "1", None, True):
        with pytest.raises(ValueError, match=r"penalty\(1\) is .*; give a callable of l = 1, 2"):
            himulcon_loss(z, labels, 0.1, penalty=lambda l: value)  # noqa: B023
    with pytest.raises(ValueError, match="one view per image; give at least 2"):
        simclr_loss(z[:, :1], 0.1)
    with pytest.raises(ValueError, match=r"labels \(7, 3\) do not fit z .* give one id per image"):
        supcon_loss(z, labels, 0.1)


if __name__ == "__main__":
    two_ranks.serve(lambda rank: {f"{n} {f}": step(n, f) for n, f in ALL})
