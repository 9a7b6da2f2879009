"""Losses of Jun et al., "Combination of Multiple Global Descriptors for Image Retrieval"
(arXiv:1903.10663v4), Sections 3.2 and 3.3: a ranking loss on the embedding plus an auxiliary classification
loss, L = L_rank + L_cls.

    symbol    shape    meaning
    z         (B, D)   embeddings Psi of the batch, rows of any norm (the model's are unit rows)
    labels    (B,)     class of each row, int64
    logits    (B, M)   output of FC(0) for the M training classes
    d(a, b)   ()       Euclidean distance |z_a - z_b|, not squared
    m         ()       margin

The paper trains with batch-hard triplets and also tries semi-hard triplets, HAP2S and the margin loss. Every
ranking loss here is a mean, and value and gradient stay finite when rows coincide: the distance of equal rows
has gradient 0.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from common.arguments import described, finite_number, require_finite, require_generator


def batch_hard_triplet_loss(z: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Hinge between each anchor's farthest positive and nearest negative, L_rank of Section 3.2.  -> ()

    L = 1/B sum_a [ max_{p: y_p = y_a, p != a} d(a, p) - min_{n: y_n != y_a} d(a, n) + m ]_+

    The distance is not squared and the reduction is the mean over the batch; the paper states neither (note
    D16). An anchor without a positive or without a negative adds 0 and stays in B. The extremes are found by
    one matrix product of the centred rows; the 2 B distances that enter the loss are recomputed from
    differences, so that cancellation in |a|^2 + |b|^2 - 2 a.b reaches neither value nor gradient.
    """
    _check_batch(z, labels)
    _check_number("margin", margin, low=0)
    same, positive, negative = _pairs(labels)
    with torch.no_grad(), torch.autocast(z.device.type, enabled=False):
        rows = z.detach() / _scale(z)  # choosing does not depend on scale or origin, its rounding does
        rows = rows - rows.mean(0)
        square = (rows * rows).sum(1)  # (B,)
        distance2 = (square[:, None] + square).addmm(rows, rows.T, alpha=-2)  # (B, B)
        farthest = distance2.masked_fill(~positive, -math.inf).argmax(1)  # (B,)
        nearest = distance2.masked_fill(same, math.inf).argmin(1)  # (B,)
        counts = positive.any(1) & negative.any(1)  # (B,)
    hinge = F.relu(_distance(z, z[farthest]) - _distance(z, z[nearest]) + margin)  # (B,)
    return torch.where(counts, hinge, 0).sum() / len(z)


def auxiliary_loss(logits: Tensor, labels: Tensor, temperature: float, smoothing: float) -> Tensor:
    """Cross-entropy with temperature and label smoothing, L_cls of Section 3.3, Eq. (4).  -> ()

    L_cls = - 1/B sum_i sum_j q_ij log softmax(logits_i / temperature)_j
    q_ij  = (1 - eps) [j = y_i] + eps / M

    The uniform part includes the true class. temperature: 0.5 in the paper's experiments, 1 switches it off;
    smoothing eps: not stated in the paper as far as known, 0.1 in the unofficial code; 0 switches it off.
    """
    _check_tensors(logits=logits, labels=labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or 0 in logits.shape:
        raise ValueError(
            f"auxiliary_loss: logits {tuple(logits.shape)} and labels {tuple(labels.shape)} do not fit; give "
            "[B, M] with B, M >= 1 and [B]"
        )
    _check_types("logits", logits, labels)
    _check_number("temperature", temperature, low=0, open_low=True)
    _check_number("smoothing", smoothing, low=0, high=1)
    if labels.device.type == "cpu" and not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise ValueError(
            f"auxiliary_loss: labels range over {int(labels.min())} .. {int(labels.max())}, but logits have "
            f"{logits.shape[1]} classes; relabel the training classes 0 .. M - 1"
        )
    require_finite("logits", logits)
    return F.cross_entropy(logits / temperature, labels, label_smoothing=smoothing)


def semi_hard_triplet_loss(z: Tensor, labels: Tensor, margin: float) -> Tensor:
    """Hinge between each positive pair and the nearest negative that is farther than the positive.  -> ()

    L = mean over pairs (a, p) of [ d(a, p) - min_{n: d(a, n) > d(a, p)} d(a, n) + m ]_+

    Semi-hard negatives: Schroff, Kalenichenko and Philbin, "FaceNet", CVPR 2015 (arXiv:1503.03832), Section
    3.2, where the distance is squared; here it is not, as in `batch_hard_triplet_loss`. A pair without such a
    negative takes the farthest negative (as TensorFlow Addons does), so that a collapsed net still gets a
    loss. Anchors without a positive have no pairs; anchors without a negative add 0, and their pairs stay in
    the mean. No pair at all: 0.
    """
    _check_batch(z, labels)
    _check_number("margin", margin, low=0)
    same, positive, negative = _pairs(labels)
    d = _distances(z)  # (B, B)
    ordered = d.masked_fill(same, math.inf).sort(1).values  # (B, B) negatives from near to far, then inf
    count = negative.sum(1, keepdim=True)  # (B, 1)
    place = torch.searchsorted(ordered.detach(), d.detach(), right=True)  # (B, B) first one beyond column p
    hinge = F.relu(d - ordered.gather(1, place.minimum(count - 1).clamp(min=0)) + margin)  # (B, B)
    return torch.where(positive, hinge, 0).sum() / positive.sum().clamp(min=1)


def hap2s_loss(
    z: Tensor, labels: Tensor, margin: float, variant: str = "P", alpha: float = 10.0, sigma: float = 0.5
) -> Tensor:
    """Hard-aware point-to-set loss.  -> ()

    L = 1/B sum_a [ D+(a) - D-(a) + m ]_+,   D(a) = sum_j w_j d(a, j) / sum_j w_j,  j positives or negatives

    variant 'E': w = exp(d / sigma) for positives, exp(-d / sigma) for negatives
    variant 'P': w = (d + 1)^alpha  for positives, (d + 1)^(-2 alpha) for negatives; best in the CGD paper

    Recalled, HAP2S, Yu et al., "Hard-Aware Point-to-Set Deep Metric for Person Re-identification", ECCV 2018,
    with alpha = 10 and sigma = 0.5; not checked against the PDF. The gradient also flows through the weights,
    which are normalised in log space. Alpha to infinity, or sigma to 0, gives `batch_hard_triplet_loss`. An
    anchor without a positive or without a negative adds 0 and stays in B.
    """
    _check_batch(z, labels)
    _check_number("margin", margin, low=0)
    _check_number("alpha", alpha, low=0)
    _check_number("sigma", sigma, low=0, open_low=True)
    _, positive, negative = _pairs(labels)
    d = _distances(z)  # (B, B)
    if variant == "E":
        log_near, log_far = -d / sigma, d / sigma
    elif variant == "P":
        log_near, log_far = -2 * alpha * d.log1p(), alpha * d.log1p()
    else:
        raise ValueError(
            f"variant {variant!r} of HAP2S is unknown; choose 'P' (polynomial) or 'E' (exponential)"
        )
    lowest = torch.finfo(d.dtype).min  # not -inf, whose softmax is NaN for an anchor without any
    to_positives = (log_far.masked_fill(~positive, lowest).softmax(1) * d).sum(1)  # (B,) D+
    to_negatives = (log_near.masked_fill(~negative, lowest).softmax(1) * d).sum(1)  # (B,) D-
    hinge = F.relu(to_positives - to_negatives + margin)  # (B,)
    return torch.where(positive.any(1) & negative.any(1), hinge, 0).sum() / len(z)


def margin_loss(
    z: Tensor,
    labels: Tensor,
    margin: float = 0.2,
    beta: float | Tensor = 1.2,
    *,
    generator: torch.Generator,
    lower: float = 0.5,
    upper: float = 1.4,
) -> Tensor:
    """Margin loss with distance-weighted negatives.  -> ()

    L = sum over pairs of [ alpha + y (d - beta) ]_+ / number of pairs above 0,  y = 1 same class, else -1

    Each positive pair (a, p) comes with one negative pair (a, n), n drawn with probability proportional to
    1 / q(d(a, n)), where q(d) = d^(D-2) (1 - d^2 / 4)^((D-3)/2) is the density of distances between random
    points of the unit sphere in D dimensions, so rows should have unit norm. For q alone, d is raised to
    `lower` at least, and negatives from `upper` on are left out unless there are no others; then all are
    alike. An anchor without a negative adds no pairs. No pair above 0: the loss is 0.

    Wu, Manmatha, Smola and Krähenbühl, "Sampling Matters in Deep Embedding Learning", ICCV 2017
    (arXiv:1706.07567), Sections 4.1 and 4.2; the default numbers, `upper`, and the division by the pairs
    above 0 (authors' code) are recalled, not checked against the PDF. margin is the paper's alpha. beta:
    number, or a learnable tensor (). generator: source of the draws, on the device of z; equal states draw
    equal negatives.
    """
    _check_batch(z, labels)
    _check_number("margin", margin, low=0)
    if not isinstance(beta, Tensor):
        _check_number("beta", beta, low=0)
    elif beta.ndim:
        raise ValueError(
            f"margin_loss: beta has shape {tuple(beta.shape)}; give a number or a tensor of shape ()"
        )
    elif beta.device.type == "cpu" and not beta.isfinite():
        raise ValueError(f"margin_loss: beta is {float(beta)}; give a finite number")
    _check_number("lower", lower, low=0, high=2, open_low=True)
    finite_number("upper", upper)
    require_generator("generator", generator)
    if not lower <= upper < 2:
        raise ValueError(f"margin_loss: upper is {upper!r}; give a number from lower = {lower} to below 2")
    _, positive, negative = _pairs(labels)
    d = _distances(z)  # (B, B)
    drawn = _distance_weighted(
        d.detach(), negative, z.shape[1], lower, upper, generator
    )  # (B, B) n of (a, p)
    counts = positive & negative.any(1, keepdim=True)
    near = torch.where(counts, F.relu(margin + d - beta), 0)  # (B, B)
    far = torch.where(counts, F.relu(margin + beta - d.gather(1, drawn)), 0)  # (B, B)
    return (near + far).sum() / ((near > 0).sum() + (far > 0).sum()).clamp(min=1)


def _distance_weighted(
    d: Tensor, negative: Tensor, dim: int, lower: float, upper: float, generator: torch.Generator
) -> Tensor:
    """(B, B) int64: for each anchor B draws among its negatives, with replacement and weights 1 / q(d)."""
    clamped = d.clamp(lower, upper)
    log_q = (dim - 2) * clamped.log() + (dim - 3) / 2 * (1 - clamped.square() / 4).log()  # (B, B)
    close = negative & (d < upper)
    allowed = torch.where(close.any(1, keepdim=True), close, negative)
    allowed = allowed | ~allowed.any(1, keepdim=True)  # an anchor without negatives: any draw, it is not used
    log_weight = (-log_q).masked_fill(~allowed, -math.inf)
    weight = (log_weight - log_weight.amax(1, keepdim=True)).exp()
    return torch.multinomial(weight, len(d), replacement=True, generator=generator)


def _pairs(labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(B, B) bool masks: same class, positive (same class, another row), negative."""
    same = labels[:, None] == labels
    positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
    return same, positive, ~same


def _scale(z: Tensor) -> Tensor:
    """(): largest absolute entry, 1 when all are 0; no gradient. Dividing by it keeps squares in range."""
    top = z.detach().abs().amax()
    return torch.where(top > 0, top, 1)


def _distance(x: Tensor, y: Tensor) -> Tensor:
    """Distance of matching rows, (B, D) and (B, D) -> (B,); equal rows: distance 0 and gradient 0."""
    difference = x - y
    top = difference.detach().abs().amax(1, keepdim=True)  # (B, 1)
    apart = top > 0
    square = (difference / torch.where(apart, top, 1)).square().sum(1, keepdim=True)  # (B, 1), 1 to D
    # Two `where`: the first keeps the square root away from 0, whose infinite slope would turn into NaN.
    root = torch.where(apart, square, 1).sqrt() * top
    return torch.where(apart, root, 0).squeeze(1)


def _distances(z: Tensor) -> Tensor:
    """(B, B) distances from differences, without cancellation; equal rows: distance 0 and gradient 0."""
    scale = _scale(z)
    return torch.cdist(z / scale, z / scale, compute_mode="donot_use_mm_for_euclid_dist") * scale


def _check_batch(z: Tensor, labels: Tensor) -> None:
    _check_tensors(z=z, labels=labels)
    if z.ndim != 2 or labels.shape != z.shape[:1] or 0 in z.shape:
        raise ValueError(
            f"embeddings {tuple(z.shape)} and labels {tuple(labels.shape)} do not fit; give z [B, D] with "
            "B, D >= 1 and labels [B]"
        )
    _check_types("z: embeddings", z, labels)
    if z.device.type == "cpu" and not z.detach().isfinite().all():
        row = int((~z.detach().isfinite()).any(1).nonzero()[0])
        raise ValueError(
            f"z: row {row} holds a value that is not finite; lower the learning rate or check the pictures"
        )


def _check_tensors(**given: object) -> None:
    for name, x in given.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} is {described(x)}; give a tensor")


def _check_types(name: str, values: Tensor, labels: Tensor) -> None:
    if values.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} have type {values.dtype}; convert them to float32 or float64")
    if labels.dtype != torch.int64:
        raise TypeError(f"labels have type {labels.dtype}; convert them to int64")


def _check_number(
    name: str, value: float, *, low: float, high: float = math.inf, open_low: bool = False
) -> None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or not low <= value <= high or (open_low and value == low):
        above = f"above {low}" if open_low else f"at least {low}"
        below = f" and at most {high}" if high < math.inf else ""
        raise ValueError(f"{name} is {value!r}; give a finite number {above}{below}")
