"""Losses of Zhang, Xu, Xiong and Ramaiah, "Use All The Labels: A Hierarchical Multi-Label Contrastive
Learning Framework", CVPR 2022 (arXiv:2204.13207v1), Section 3: SimCLR, SupCon, HiMulCon, HiConE, HiMulConE.

    symbol    shape       meaning
    z         (B, V, D)   embeddings of V views of B images, rows of any norm (the model's are unit rows)
    labels    (B, K)      ids of each image from coarse to fine; the last column is the image itself
    l         1 .. L      level, L = K - 1; 1 is the finest. Two images share level l iff their first K - l
                          columns agree: equal ids under different parents are different nodes
    tau       ()          temperature
    P_l(i)                positives of view i at level l: all other views of images that share level l with it
    l_ip      (VB, VB)    pair loss  log sum_{a != i} exp(z_i.z_a / tau) - z_i.z_p / tau  >= 0, minus Eq. (3)
    lambda_l  ()          penalty of level l
    M_l       ()          largest pair loss of levels 1 .. l

The levels are numbered as in the released code (salesforce/hierarchicalContrastiveLearning at f075235, file
losses/losses.py), from the fine end; the printed equations count from the coarse end (note D4). The numbers
of equations were read in a review and in the issues of that repository, not in the PDF.

`form` chooses between two losses that share little but the name:

    'paper'     each pair is raised to the worst pair of all finer levels (note D1); every other view stands
                in the denominator; with the authors' erratum (note D4), and the maximum taken over positive
                pair losses (note D5)
    'released'  each level mean is raised to the largest finer level mean; before each coarser level the batch
                is thinned to one image per node (notes D2, D3, D15); times tau / 0.07 (note D8), divided by K
                instead of L (note D7)

Every level is a comparison with one matrix of common prefixes, in the paper form on one similarity matrix and
one log-softmax. Which pairs are raised is decided by comparisons that have no gradient; apart from them
nothing is detached, unless threshold 'detached' asks for it: then what is raised to M_l does not pull at the
worst pair (note O13). On several ranks the losses need the whole batch: z gathered by
common.distributed.gather. Matrix products and logarithms are float32 or float64 inside autocast
as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from common.arguments import described, require_tensor, whole_number

Form = Literal["paper", "released"]
Positives = Literal["inclusive", "lowest"]
Reduction = Literal["mean", "sum"]
Threshold = Literal["attached", "detached"]

RELEASED_BASE_TEMPERATURE = 0.07
"""The released code multiplies by tau / 0.07, whatever base temperature it is given (notes D8, D9)."""


def exponential(l: int) -> float:
    """exp(1 / l): 2.718, 1.649, 1.396 from the finest level on; of the released training command."""
    return math.exp(1 / whole_number("l", l))


def power_of_two(l: int) -> float:
    """2^(1 / l): 2, 1.414, 1.260 from the finest level on; default of the released loss."""
    return 2 ** (1 / whole_number("l", l))


def simclr_loss(z: Tensor, temperature: float) -> Tensor:
    """Each view against the other views of its image, Eq. (1).  -> ()

    L = mean_i mean_{p: other views of i's image} l_ip      the paper prints the sum over i, and V = 2

    ValueError when z has a single view.
    """
    _check_embeddings(z)
    _check_temperature(temperature)
    if z.shape[1] < 2:
        raise ValueError(f"simclr_loss: z {tuple(z.shape)} has one view per image; give at least 2")
    image = torch.arange(len(z), device=z.device)
    return _one_level(z, (image[:, None] != image).long(), temperature)


def supcon_loss(z: Tensor, labels: Tensor, temperature: float) -> Tensor:
    """Each view against all other views of its class, Eq. (2), the form with the mean outside the log.  -> ()

    L = mean_i 1/|P(i)| sum_{p in P(i)} l_ip                the paper prints the sum over i

    labels: (B,). Anchors without a positive are skipped; no positive at all: 0. For SupCon at level l of a
    tree give ids of the nodes of that level.
    """
    _check_embeddings(z)
    _check_temperature(temperature)
    _check_ids(labels, z)
    if labels.shape != z.shape[:1]:
        raise ValueError(
            f"supcon_loss: labels {tuple(labels.shape)} do not fit z {tuple(z.shape)}; give one id per image"
        )
    return _one_level(z, (labels[:, None] != labels).long(), temperature)


def himulcon_loss(
    z: Tensor,
    labels: Tensor,
    temperature: float,
    form: Form = "paper",
    penalty: Callable[[int], float] = exponential,
    *,
    reduction: Reduction = "mean",
    positives: Positives = "inclusive",
) -> Tensor:
    """HiMulCon, "HMC": SupCon of every level, weighted by the level's penalty, Eq. (4).  -> ()

    paper:     L = 1/L sum_l lambda_l mean_i 1/|P_l(i)| sum_{p in P_l(i)} l_ip
    released:  L = tau / 0.07 / K sum_l lambda_l L_l,   L_l as in `level_statistics`

    The paper writes |P(i)| without its level (note D11). penalty: called with l, gives lambda_l >= 0 (note
    D10). reduction 'sum' is the printed sum over i (note D6). positives 'lowest' leaves a pair to its finest
    common level only (note D3). Anchors without positives at a level are skipped there (note D17), see
    `level_statistics`; a level without any adds 0.
    """
    return _hierarchical(z, labels, temperature, form, penalty, reduction, positives, None)


def hicone_loss(
    z: Tensor,
    labels: Tensor,
    temperature: float,
    form: Form = "paper",
    penalty: Callable[[int], float] = exponential,
    *,
    reduction: Reduction = "mean",
    positives: Positives = "inclusive",
    threshold: Threshold = "attached",
) -> Tensor:
    """HiConE, "HCE": no coarse pair may cost less than the worst finer pair, Eq. (5) and (6).  -> ()

    paper:     L = 1/L sum_l mean_i 1/|P_l(i)| sum_{p in P_l(i)} max(l_ip, M_{l-1})
    released:  L = tau / 0.07 / K sum_l C_l,   C_l = max(C_{l-1}, L_l)

    As `himulcon_loss`, whose options it shares, with all lambda_l = 1: penalty is ignored. Eq. (6) prints the
    maximum of the coarser level and of log-probabilities; the authors' erratum (README) puts the finer level
    (note D4), and their code takes positive losses (note D5). M_{l-1} is that of all finer levels, as in
    their code (note D13).

    threshold 'attached': the gradient of every raised pair falls on the one pair whose loss is M_{l-1}, which
    is the derivative of what is printed. 'detached', in the paper form: the same value, but M_{l-1} counts as
    a constant, and pairs that are not above it have no gradient.
    """
    one = lambda l: 1.0  # noqa: E731
    return _hierarchical(z, labels, temperature, form, one, reduction, positives, threshold)


def himulcone_loss(
    z: Tensor,
    labels: Tensor,
    temperature: float,
    form: Form = "paper",
    penalty: Callable[[int], float] = exponential,
    *,
    reduction: Reduction = "mean",
    positives: Positives = "inclusive",
    threshold: Threshold = "attached",
) -> Tensor:
    """HiMulConE, "HMCE": the penalties of HiMulCon and the constraint of HiConE, Eq. (7).  -> ()

    paper:     L = 1/L sum_l lambda_l mean_i 1/|P_l(i)| sum_{p in P_l(i)} max(l_ip, M_{l-1})
    released:  L = tau / 0.07 / K sum_l lambda_l C_l,   C_l = max(C_{l-1}, L_l)

    Arguments as `hicone_loss`. The released form starts as rescaled SupCon of the finest level: as long as
    the finest L_1 is the largest level mean, every C_l is L_1.
    """
    return _hierarchical(z, labels, temperature, form, penalty, reduction, positives, threshold)


class LevelStatistics(NamedTuple):
    """What happens at each level, finest first; tensors of shape (L,) without gradient."""

    losses: Tensor
    """Level losses without constraint and penalty, as HiMulCon adds them up."""
    constrained: Tensor
    """The same after the constraint, as HiConE adds them up."""
    active: Tensor
    """int64: how many terms of `terms` the constraint raises."""
    terms: Tensor
    """int64: terms that a finer level may raise. Paper: (anchor, positive) pairs whose finest common level is
    this one, 0 at the finest level; released: the level mean, 1, and 0 at the finest level."""
    skipped: Tensor
    """int64: anchors (views) without a positive at this level; in the released form among those kept."""

    @property
    def active_share(self) -> Tensor:
        """(): active / terms over all levels; 0 where no term could be raised."""
        return self.active.sum() / self.terms.sum().clamp(min=1)


@torch.no_grad()
def level_statistics(
    z: Tensor,
    labels: Tensor,
    temperature: float,
    form: Form = "paper",
    *,
    reduction: Reduction = "mean",
    positives: Positives = "inclusive",
) -> LevelStatistics:
    """Level losses, activity of the constraint and skipped anchors of one batch, for curves and logs.

    paper:     losses_l = mean_i 1/|P_l(i)| sum_{p in P_l(i)} l_ip
    released:  losses_l = L_l, the same over the images kept at level l, in sums and in denominators

    Kept are all images at l = 1; then of the images of each node of level l - 1 one: the first of the batch
    at l = 2, from there on the one whose prefix is the smallest, column by column.

    HiMulCon is sum_l lambda_l losses_l / L, HiConE and HiMulConE likewise with `constrained`; the released
    form times tau / 0.07 and divided by K instead of L. Arguments as there.
    """
    _check(z, labels, temperature, form, reduction, positives, "attached")
    shell, views = common_level(labels) - 1, z.shape[1]
    levels = labels.shape[1] - 1
    if form == "released":
        losses, skipped = _released_levels(z, labels, shell, temperature)
        constrained = losses.cummax(0).values
        terms = torch.ones_like(skipped)
        terms[0] = 0
        return LevelStatistics(losses, constrained, (constrained > losses).long(), terms, skipped)
    new = _new_positives(shell, views, levels)  # (B, L)
    counts = new.cumsum(1) if positives == "inclusive" else new
    weight = _anchor_weights(counts, views, reduction, z)  # (B, L)
    ell = _pair_losses(_similarities(z, temperature).log_softmax(1), views)  # (V, B, V, B)
    worst, _ = _worst_pairs(ell, shell, levels)  # (L,)
    threshold = _thresholds(worst, shell)[:, None]  # (B, 1, B)
    plain = _sum_by_shell(ell.clamp(min=0).sum(2).sum(0), shell, levels)  # (B, L)
    raised = _sum_by_shell(torch.maximum(ell, threshold).sum(2).sum(0), shell, levels)
    active = _sum_by_shell((ell < threshold).sum(2).sum(0), shell, levels).sum(0)
    active[0] = 0  # there is nothing finer
    if positives == "inclusive":
        plain = plain.cumsum(1)
        raised[:, 1:] += views * (counts - new)[:, 1:] * worst[:-1]
    terms = views * new.sum(0)
    terms[0] = 0
    return LevelStatistics(
        (weight * plain).sum(0),
        (weight * raised).sum(0),
        active,
        terms,
        views * (counts == 0).sum(0),
    )


def common_level(labels: Tensor) -> Tensor:
    """(B, B) int64: finest common level 1 .. L of two images; K where they share nothing, 1 on the diagonal.

    labels: (B, K). Compared column by column, so ids may have any size (note D16) and children be numbered
    anew under each parent.
    """
    require_tensor("labels", labels, "(B, K)", torch.int64)
    shared = torch.ones(len(labels), len(labels), dtype=torch.bool, device=labels.device)
    depth = torch.zeros_like(shared, dtype=torch.int64)  # columns of the common prefix, without the last
    for column in labels.T[:-1].contiguous():
        shared &= column[:, None] == column
        depth += shared
    return labels.shape[1] - depth


def _hierarchical(
    z: Tensor,
    labels: Tensor,
    temperature: float,
    form: Form,
    penalty: Callable[[int], float],
    reduction: Reduction,
    positives: Positives,
    threshold: Threshold | None,
) -> Tensor:
    """threshold: None for HiMulCon, which has none."""
    given = "attached" if threshold is None else threshold
    _check(z, labels, temperature, form, reduction, positives, given)
    levels = labels.shape[1] - 1
    penalties = torch.tensor([_penalty(penalty, l) for l in range(1, levels + 1)], dtype=z.dtype)
    penalties = penalties.to(z.device, non_blocking=True)  # (L,)
    shell = common_level(labels) - 1
    if form == "released":
        means, _ = _released_levels(z, labels, shell, temperature)  # (L,)
        means = means if threshold is None else means.cummax(0).values
        return (penalties * means).sum() / labels.shape[1] * (temperature / RELEASED_BASE_TEMPERATURE)
    log_p = _similarities(z, temperature).log_softmax(1)  # (VB, VB)
    constant: Tensor | float = 0.0
    with torch.no_grad():
        views = z.shape[1]
        new = _new_positives(shell, views, levels)  # (B, L)
        counts = new.cumsum(1) if positives == "inclusive" else new
        weight = _anchor_weights(counts, views, reduction, z) * penalties / levels  # (B, L)
        if threshold is not None:
            pair_weight, handed, worst, place = _constrained_weights(weight, log_p, shell, new, counts)
            if threshold == "attached":
                pair_weight.view(-1).index_add_(0, place, handed)
            else:
                constant = (handed * worst).sum()
        elif positives == "inclusive":
            # A pair counts at its finest common level and at all coarser ones.
            pair_weight = _pair_weights(weight.flip(1).cumsum(1).flip(1), shell, views)
        else:
            pair_weight = _pair_weights(weight, shell, views)
    return constant - (pair_weight * log_p).sum()


def _one_level(z: Tensor, shell: Tensor, temperature: float) -> Tensor:
    """SupCon; shell is 0 for images of one class and 1 for others."""
    views = z.shape[1]
    weight = _anchor_weights(_new_positives(shell, views, 1), views, "mean", z)
    return -(_pair_weights(weight, shell, views) * _similarities(z, temperature).log_softmax(1)).sum()


# Views are laid out view by view: row v B + i is view v of image i, so that one (B, B) matrix over the images
# broadcasts over the views, [:, None] in (V, B, V, B), with B as the innermost axis.


def _similarities(z: Tensor, temperature: float) -> Tensor:
    """(VB, VB): z_i.z_a / tau, with `_unseen` on the diagonal.

    After a log-softmax the diagonal has to be weighted by 0; then its gradient is 0 too.
    """
    rows = z.transpose(0, 1).flatten(0, 1)  # (VB, D)
    with torch.autocast(z.device.type, enabled=False):
        s = (rows / temperature) @ rows.T
    with torch.no_grad():
        s.diagonal().copy_(_unseen(z, temperature))
    return s


def _unseen(z: Tensor, temperature: float) -> Tensor:
    """(): so far below any similarity that its share in a softmax is exactly 0. Not -inf, since it is
    multiplied by 0 later, nor the lowest number, which would become -inf where a maximum is subtracted.
    """
    largest = torch.linalg.vector_norm(z.detach(), dim=2).amax()
    return -3 * (largest / temperature) * largest - 1e4


def _pair_losses(log_p: Tensor, views: int) -> Tensor:
    """(V, B, V, B): l_ip >= 0 without gradient, -1 for a view with itself, which is no pair."""
    return log_p.detach().neg().fill_diagonal_(-1).unflatten(1, (views, -1)).unflatten(0, (views, -1))


def _pair_weights(weight: Tensor, shell: Tensor, views: int) -> Tensor:
    """(VB, VB): weight (B, L) of image i at the level of the pair, 0 for a view with itself and beyond L."""
    table = torch.cat([weight, weight.new_zeros(len(weight), 1)], 1)  # (B, L + 1)
    return table.gather(1, shell).repeat(views, views).fill_diagonal_(0)


def _constrained_weights(
    weight: Tensor, log_p: Tensor, shell: Tensor, new: Tensor, counts: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The constrained loss as a weighted sum of pair losses.

    (VB, VB) weights of the pairs that are not raised; and for l = 2 .. L, (L - 1,) each: the weight that
    raised pairs hand over to the one pair whose loss is M_{l-1}, that loss, and its place. With the weight
    added at that place, value and gradient are those of the maximum, and autograd sees a weighted sum.
    """
    levels = weight.shape[1]
    views = len(log_p) // len(shell)
    ell = _pair_losses(log_p, views)  # (V, B, V, B)
    worst, place = _worst_pairs(ell, shell, levels)
    kept = (ell >= _thresholds(worst, shell)[:, None]).to(ell.dtype)  # (V, B, V, B)
    raised = views**2 - kept.sum(2).sum(0)  # (B, B); products and nested sums: several times as fast as masks
    handed = _sum_by_shell(raised, shell, levels)  # (B, L) pairs of this very level; the finest hands nothing
    handed += views * (counts - new)  # with inclusive positives, all pairs of finer levels
    pair_weight = _pair_weights(weight, shell, views) * kept.flatten(2).flatten(0, 1)
    return pair_weight, (weight * handed).sum(0)[1:], worst[:-1], place[:-1]


def _worst_pairs(ell: Tensor, shell: Tensor, levels: int) -> tuple[Tensor, Tensor]:
    """M_1 .. M_L (L,) of Eq. (5), 0 as long as there is no pair, and the places (L,) in (VB, VB)."""
    views, images = ell.shape[:2]
    top = ell.amax(2).amax(0)  # (B, B)
    largest = [top.masked_fill(shell != l, -1).flatten().max(0) for l in range(levels)]
    worst, level = torch.stack([value for value, _ in largest]).cummax(0)
    at = torch.stack([index for _, index in largest])[level]  # (L,) place in (B, B)
    i, p = at // images, at % images
    view = ell.permute(1, 3, 0, 2)[i, p].flatten(1).argmax(1)  # (L,) place in (V, V)
    return worst.clamp(min=0), ((view // views * images + i) * views + view % views) * images + p


def _thresholds(worst: Tensor, shell: Tensor) -> Tensor:
    """(B, B): M_{l-1} for a pair whose finest common level is l; 0 at the finest and beyond the coarsest."""
    table = torch.cat([worst.new_zeros(1), worst[:-1], worst.new_zeros(1)])  # (L + 1,)
    return table.expand(len(shell), -1).gather(1, shell)


def _released_levels(
    z: Tensor, labels: Tensor, shell: Tensor, temperature: float, *, cut: bool | None = None
) -> tuple[Tensor, Tensor]:
    """L_l over the images kept at each level, and how many of their views have no positive; (L,) both.

    cut: take the kept images out, instead of masking the others. A GPU would have to wait for their number,
    so that is for the CPU, None chooses; the results are the same.
    """
    cut = z.device.type == "cpu" if cut is None else cut
    views, kept = z.shape[1], _survivors(labels)  # (L, B)
    order = kept.sum(0).argsort(descending=True, stable=True)  # the longer kept, the earlier
    z, shell, kept = z[order], shell[order][:, order], kept[:, order]
    whole = None if cut else _similarities(z, temperature)  # (VB, VB)
    means, skipped = [], []
    for l, inside in enumerate(kept):
        if whole is None:
            n = int(inside.sum())
            s, inside = _similarities(z[:n], temperature), inside[:n]  # (V B_l, V B_l)
            other = shell[:n, :n] > l  # (B_l, B_l): not of one node
        else:
            s = whole.masked_fill(~inside.repeat(views), _unseen(z, temperature))
            other = (shell > l) | ~inside | ~inside[:, None]
        counts = views * (~other).sum(1, keepdim=True) - inside[:, None].long()  # (B_l, 1)
        weight = _anchor_weights(counts, views, "mean", z) * ~other
        weight = weight.repeat(views, views).fill_diagonal_(0)  # (V B_l, V B_l)
        means.append(-(weight * s.log_softmax(1)).sum())
        skipped.append(views * (inside & (counts[:, 0] == 0)).sum())
    return torch.stack(means), torch.stack(skipped)


def _survivors(labels: Tensor) -> Tensor:
    """(L, B) bool: the images that the released code keeps at each level, see `level_statistics`.

    Sorted by prefix, and equal prefixes in the order of the batch, the images of a node stand next to each
    other at every level, and the first of them is the one that is kept.
    """
    order = torch.arange(len(labels), device=labels.device)
    for column in labels.T[:-1].flip(0):
        order = order[column[order].argsort(stable=True)]
    ranked = labels[order]  # (B, K)
    change = torch.ones_like(ranked, dtype=torch.bool)
    change[1:] = ranked[1:] != ranked[:-1]
    first = change.int().cummax(1).values.bool()[:, :-1]  # (B, L): of its node, from coarse to fine
    kept = torch.ones_like(first.T)
    kept[1:, order] = first.T.flip(0)[:-1]
    return kept


def _new_positives(shell: Tensor, views: int, levels: int) -> Tensor:
    """(B, L) int64: positives of one view of image i whose finest common level is l."""
    images = torch.stack([(shell == l).sum(1) for l in range(levels)], 1)  # image i itself at the finest
    images *= views
    images[:, 0] -= 1
    return images


def _sum_by_shell(x: Tensor, shell: Tensor, levels: int) -> Tensor:
    """(B, L): sums of finite x (B, B) over the images whose finest common level is l."""
    return torch.stack([(x * (shell == l)).sum(1) for l in range(levels)], 1)


def _anchor_weights(counts: Tensor, views: int, reduction: Reduction, like: Tensor) -> Tensor:
    """(B, L): 1 / |P_l(i)|, for reduction 'mean' also over the number of anchors that have positives."""
    has = counts > 0
    anchors = views * has.sum(0) if reduction == "mean" else torch.ones_like(counts[0])
    return torch.where(has, 1 / (counts * anchors).clamp(min=1).to(like.dtype), 0)


def _penalty(penalty: Callable[[int], float], l: int) -> float:
    if not callable(penalty):
        raise TypeError(
            f"penalty is {described(penalty)}; give a callable of l = 1, 2, ... as exponential is"
        )
    value = penalty(l)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < 0:
        raise ValueError(
            f"penalty({l}) is {value!r}; give a callable of l = 1, 2, ... with finite values >= 0"
        )
    return float(value)


def _check(
    z: Tensor,
    labels: Tensor,
    temperature: float,
    form: str,
    reduction: str,
    positives: str,
    threshold: str,
) -> None:
    _check_embeddings(z)
    _check_temperature(temperature)
    _check_ids(labels, z)
    if labels.ndim != 2 or len(labels) != len(z):
        raise ValueError(
            f"labels {tuple(labels.shape)} do not fit z {tuple(z.shape)}; give [B, K], a row of ids per image"
        )
    if labels.shape[1] < 2:
        raise ValueError(
            f"labels have {labels.shape[1]} column; the last one is the image itself, so give K >= 2 columns "
            "(torch.column_stack([classes, index]))"
        )
    for name, value, choices in (
        ("form", form, ("paper", "released")),
        ("reduction", reduction, ("mean", "sum")),
        ("positives", positives, ("inclusive", "lowest")),
        ("threshold", threshold, ("attached", "detached")),
    ):
        if value not in choices:
            raise ValueError(f"{name} is {value!r}; choose {choices[0]!r} or {choices[1]!r}")
    if form == "released" and (reduction, positives, threshold) != ("mean", "inclusive", "attached"):
        raise ValueError(
            f"reduction={reduction!r}, positives={positives!r}, threshold={threshold!r}: the released form "
            "has only 'mean', 'inclusive' and 'attached'; leave them out or choose form='paper'"
        )


def _check_embeddings(z: Tensor) -> None:
    if not isinstance(z, Tensor):
        raise TypeError(f"z is {described(z)}; give a float32 or float64 tensor [B, V, D]")
    if z.ndim != 3 or 0 in z.shape:
        raise ValueError(
            f"z has shape {tuple(z.shape)}; give [B, V, D]: images, views, dimensions, each >= 1"
        )
    if z.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"z has type {z.dtype}; convert it to float32 or float64")
    if z.device.type == "cpu" and not z.detach().isfinite().all():
        image = int((~z.detach().isfinite()).flatten(1).any(1).nonzero()[0])
        raise ValueError(
            f"z: image {image} holds a value that is not finite; lower the learning rate or check the "
            "pictures"
        )


def _check_ids(labels: Tensor, z: Tensor) -> None:
    if not isinstance(labels, Tensor):
        raise TypeError(f"labels is {described(labels)}; give an int64 tensor")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels have type {labels.dtype}; convert them to int64")
    if labels.device != z.device:
        raise ValueError(f"labels are on {labels.device} but z is on {z.device}; move one of them")


def _check_temperature(temperature: float) -> None:
    number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not number or not 0 < temperature < math.inf:
        raise ValueError(f"temperature is {temperature!r}; give a finite number above 0")
