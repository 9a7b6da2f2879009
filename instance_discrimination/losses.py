"""Losses of Wu et al., "Unsupervised Feature Learning via Non-Parametric Instance Discrimination", CVPR 2018
(arXiv:1805.01978), Section 3. Equation numbers are those of the camera-ready version.

    symbol     shape       meaning
    v          (B, D)      embeddings of the batch, f_theta(x); rows of any norm (the model's are unit rows)
    bank       (N, D)      memory bank; row i is v_i, the embedding of image i at its last visit
    index      (B,)        image i of each row of v: its row in the bank, int64
    noise      (B, m)      images drawn as noise, int64
    tau        ()          temperature
    log_z      ()          log Z, one constant for all images                                        Eq. (8)
    scores     (B, 1 + m)  v_j . v / tau for the image itself (column 0) and its m noise images

The parametric softmax of Eq. (1) is the cross-entropy of model.ParametricSoftmax's logits: no function here.
The bank is a constant: no loss sends a gradient into it. All is computed in log space and in the dtype of v,
also under autocast, so that exp(1 / tau) is never formed.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from common.arguments import described, require_finite, require_tensor, whole_number, whole_numbers
from common.data import counter

CPU_BLOCK = 1 << 20  # numbers of gathered rows held at a time: 4 MB, near the cache
GPU_BLOCK = 1 << 24
BAG = 64  # rows summed one after the other: a GPU sums the bags side by side
NOISE_STREAM = 0x4E6F697365  # keeps these draws apart from those of the augmentation


def softmax_loss(v: Tensor, bank: Tensor, index: Tensor, temperature: float) -> Tensor:
    """Negative log-likelihood of the non-parametric softmax, Eq. (2) and (3).  -> ()

    P(i | v) = exp(v_i . v / tau) / sum_j exp(v_j . v / tau)                          Eq. (2)
    J        = - mean_b log P(index_b | v_b)                Eq. (3) prints the sum over all images
    """
    check_rows(v, bank, index, len(bank))
    check_number("temperature", temperature)
    with torch.autocast(v.device.type, enabled=False):
        loss = F.cross_entropy((v / temperature) @ bank.detach().T, index)  # logits (B, N)
    _blame_bank(loss, bank)
    return loss


def nce_loss(
    v: Tensor,
    bank: Tensor,
    index: Tensor,
    noise: Tensor,
    log_z: Tensor,
    temperature: float,
    *,
    eps: float = 0.0,
    product: bool | None = None,
) -> Tensor:
    """Noise-contrastive estimate of `softmax_loss`: Eq. (4) to (7).  -> ()

    `nce_loss_of_scores` of `noise_scores`; call the two where the scores also serve to estimate Z.
    """
    scores = noise_scores(v, bank, index, noise, temperature, product=product)
    return nce_loss_of_scores(scores, log_z, len(bank), eps=eps)


def noise_scores(
    v: Tensor,
    bank: Tensor,
    index: Tensor,
    noise: Tensor,
    temperature: float,
    *,
    product: bool | None = None,
) -> Tensor:
    """v_j . v / tau for the image itself and for its noise, the exponents of Eq. (4).  -> (B, 1 + m)

    product=True takes one product with the whole bank and picks m of its N columns per row; False gathers
    m rows of the bank per image. Value and gradient are the same. None: as `whole_product` says.
    """
    check_rows(v, bank, index, len(bank))
    check_noise(noise, v, len(bank))
    check_number("temperature", temperature)
    if product is None:
        product = whole_product(len(bank), noise.shape[1], bank.shape[1])
    with torch.autocast(v.device.type, enabled=False):
        scores = picked_products(v / temperature, bank, torch.cat([index[:, None], noise], 1), product)
    _blame_bank(scores, bank)
    return scores


def picked_products(x: Tensor, rows: Tensor, places: Tensor, product: bool) -> Tensor:
    """x_b . rows[places_bk], with a gradient for x alone.  (B, D), (n, D), (B, k) int64 -> (B, k)

    product: out of one product with all rows, (B, n) numbers; otherwise from the (B, k, D) picked ones, a
    block of them at a time. The gradient, sum_k g_bk rows[places_bk], is a weighted bag of rows either way:
    k D operations per row of x where the product's own gradient would take n D, and nothing is kept for it.
    """
    return _PickedProducts.apply(x, rows.detach(), places, product)  # type: ignore[no-any-return]


class _PickedProducts(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, rows: Tensor, places: Tensor, product: bool) -> Tensor:
        ctx.save_for_backward(rows, places)
        if product:
            return (x @ rows.T).gather(1, places)
        step = max(1, (CPU_BLOCK if x.device.type == "cpu" else GPU_BLOCK) // x.numel())
        parts = [torch.bmm(F.embedding(part, rows), x[:, :, None]) for part in places.split(step, 1)]
        return torch.cat(parts, 1).squeeze(2)  # (B, k, 1) -> (B, k)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        rows, places = ctx.saved_tensors
        b, k = places.shape
        of = min(k, BAG)
        bags, weights = (F.pad(x, (0, -k % of)).view(-1, of) for x in (places, gradients[0]))
        sums = F.embedding_bag(bags, rows, per_sample_weights=weights, mode="sum")  # (B ceil(k / of), D)
        return sums.view(b, -1, rows.shape[1]).sum(1), None, None, None


def whole_product(size: int, m: int, dim: int) -> bool:
    """The rule of `noise_scores`: one product with all `size` rows if size <= m min(dim, 64).

    Its (B, N) numbers are then no more than the B m D of the gathered rows, and it is not the slower one: a
    product costs arithmetic in proportion to N D, gathering costs memory traffic in proportion to m D, and
    on a CPU the two meet near N = 64 m (measured with m = 512 and 4096, D = 32 to 512).
    """
    whole_numbers(size=size, m=m, dim=dim)
    return size <= m * min(dim, 64)


def nce_loss_of_scores(scores: Tensor, log_z: Tensor, size: int, *, eps: float = 0.0) -> Tensor:
    """NCE from the scores of `noise_scores`; size: N, rows of the bank.  -> ()

    P(i | v)  = exp(v_i . v / tau) / Z                                                Eq. (4)
    Z         = sum_j exp(v_j . v / tau), a constant here                             Eq. (5)
    h(i, v)   = P(i | v) / (P(i | v) + m P_n(i)),   P_n = 1 / N                       Eq. (6)
    J         = - mean_b [ log h(index_b, v_b) + sum_k log(1 - h(noise_bk, v_b)) ]    Eq. (7)

    Eq. (7) has m times an expectation over the noise: the sum over m draws. With E = Z / N, log h is the
    logsigmoid of score - log E - log m, so this is binary cross-entropy with logits.
    eps: the released code adds 1e-7 to both denominators of h and 1 - h (note D15); the paper has none.
    """
    if not isinstance(scores, Tensor):
        raise TypeError(f"scores is {described(scores)}; give a float32 or float64 tensor (B, 1 + m)")
    if scores.ndim != 2 or scores.shape[0] < 1 or scores.shape[1] < 2:
        raise ValueError(f"scores has shape {tuple(scores.shape)}; give (B, 1 + m) with B, m >= 1")
    require_tensor("scores", scores, "(B, 1 + m)")
    require_finite("scores", scores)
    whole_number("size", size)
    check_number("eps", eps, low=0, open_low=False)
    _check_log_z(log_z)
    m = scores.shape[1] - 1
    log_noise = math.log(m / size)  # log(m P_n)
    log_other = math.log(m / size + eps)
    log_p = scores - log_z  # (B, 1 + m) Eq. (4)
    log_h = F.logsigmoid(log_p[:, 0] - log_other)  # (B,) Eq. (6)
    log_not_h = F.logsigmoid(log_other - log_p[:, 1:]) + (log_noise - log_other)  # (B, m)
    return -(log_h + log_not_h.sum(1)).mean()  # Eq. (7)


def proximal_term(v: Tensor, previous: Tensor) -> Tensor:
    """Proximal regularisation without its factor lambda, Eq. (9) and (10).  -> ()

    R = mean_b |v_b - previous_b|^2,   loss = nce_loss + lambda R

    previous (B, D): the bank's rows of the same images, v^(t-1), constants. For unit rows R = 2 (1 - v .
    previous): a pull of constant size. The released code has no such term (note D1); the lambda of the
    paper's results is not stated, its Figure 3 shows 0, 10, 30 and 50.
    """
    _check_embeddings(v)
    require_tensor("previous", previous, "(B, D)")
    if previous.shape != v.shape:
        raise ValueError(f"previous has shape {tuple(previous.shape)}; give that of v, {tuple(v.shape)}")
    if previous.dtype != v.dtype:
        raise TypeError(f"previous is {previous.dtype}, v {v.dtype}; convert them to one type")
    return (v - previous.detach()).square().sum(1).mean()


def estimated_log_z(scores: Tensor, size: int) -> Tensor:
    """Monte-Carlo estimate of log Z from any block of scores; size: N, rows of the bank.  -> ()

    Z = N mean exp(v_j . v / tau)                                                     Eq. (8)

    The mean runs over all entries given. Eq. (8) has the noise, scores[:, 1:]; the released code takes all
    1 + m columns (note D5): no matter in the first batch, when an image's own row is as random as any.
    """
    if not isinstance(scores, Tensor) or not scores.is_floating_point():
        shown = scores.dtype if isinstance(scores, Tensor) else described(scores)
        raise TypeError(f"scores is {shown}; give a float32 or float64 tensor")
    if not scores.numel():
        raise ValueError(f"scores has shape {tuple(scores.shape)}; give at least one score")
    require_finite("scores", scores)
    whole_number("size", size)
    return scores.detach().flatten().logsumexp(0) + math.log(size / scores.numel())


def expected_log_z(size: int, dim: int, temperature: float) -> float:
    """log Z of a bank of `size` independent rows, uniform on the unit sphere in `dim` dimensions.

    Z / N = E exp(v_j . v / tau) = Gamma(D/2) (2 tau)^(D/2 - 1) I_(D/2-1)(1 / tau) = 0F1(; D/2; 1 / (4 tau^2))

    or about exp(1 / (2 D tau^2)): 1.476 at D = 128, tau = 0.1. Not in the paper. The series of 0F1 has
    positive terms only and is summed in log space, so that a large D or a small tau does no harm.
    """
    whole_number("size", size, least=0)
    whole_number("dim", dim, least=0)
    if size < 1 or dim < 1:
        raise ValueError(
            f"size and dim: a bank of {size} rows of {dim} numbers has no Z; give at least 1 and 1"
        )
    check_number("temperature", temperature)
    terms = 100 + math.ceil(2 / temperature)  # the largest is before 1 / (2 tau)
    k = torch.arange(terms, dtype=torch.float64)
    half = torch.tensor(dim / 2, dtype=torch.float64)
    log_term = -2 * k * math.log(2 * temperature) - (k + 1).lgamma() - (half + k).lgamma() + half.lgamma()
    return math.log(size) + float(log_term.logsumexp(0))


def draw_noise(
    index: Tensor, m: int, size: int, seed: int, step: int, *, exclude_positive: bool = False
) -> Tensor:
    """m images per image of the batch, uniform with replacement, P_n = 1 / N.  (B,) -> (B, m) int64

    Row b is a function of (seed, step, index[b]) alone: not of the batch, the number of ranks, the device or
    an earlier draw. exclude_positive: never the image itself, as the paper's text says ("from another
    image"); the released code may draw it (note D3), with probability 1 - (1 - 1/N)^m: 7.9 % at N = 50,000,
    m = 4096. Then P_n is 1 / (N - 1), a difference that h keeps ignoring.
    """
    if not isinstance(index, Tensor):
        raise TypeError(f"index is {described(index)}; give an int64 tensor (B,)")
    if index.dtype != torch.int64:
        raise TypeError(f"index is {index.dtype}; convert it to int64")
    for name, value in (("m", m), ("size", size), ("seed", seed), ("step", step)):
        whole_number(name, value, least=0)
    if size < 1 + exclude_positive or m < 1:
        raise ValueError(
            f"m and size: cannot draw {m} noise images out of {size}; give m >= 1 and a bank of 2 or more"
        )
    uniform = counter.uniform(seed, step, index, NOISE_STREAM, 2 * m)  # multiples of 2^-24
    bits = (uniform * 2.0**24).long()
    bits = (bits[:, :m] << 24) + bits[:, m:]  # 48 bits: rows are equally likely to within size / 2^48
    if not exclude_positive:
        return bits % size
    drawn = bits % (size - 1)
    return drawn + (drawn >= index[:, None])  # steps over the image itself


def _blame_bank(found: Tensor, bank: Tensor) -> None:
    """On the CPU: what came out is finite, or the bank is not the cause. Only then is the whole bank read."""
    if found.device.type == "cpu" and not found.detach().sum().isfinite():
        require_finite("bank", bank)


def _check_embeddings(v: Tensor) -> None:
    if not isinstance(v, Tensor):
        raise TypeError(f"v is {described(v)}; give a float32 or float64 tensor [B, D]")
    if v.ndim != 2 or 0 in v.shape:
        raise ValueError(f"v has shape {tuple(v.shape)}; give [B, D] with B, D >= 1")
    if v.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"v is {v.dtype}; normalise the embeddings in float32 or float64")
    if v.device.type == "cpu" and not v.detach().isfinite().all():
        row = int((~v.detach().isfinite()).any(1).nonzero()[0])
        raise ValueError(f"row {row} of v is not finite; lower the learning rate or check the pictures")


def check_rows(v: Tensor, rows: Tensor, index: Tensor, size: int) -> None:
    """v (B, D) fits rows (n, D) of a bank of `size` images, and index (B,) points into it."""
    _check_embeddings(v)
    if not isinstance(rows, Tensor):
        raise TypeError(f"bank is {described(rows)}; give MemoryBank.rows, a tensor [N, D]")
    if rows.dtype != v.dtype:
        raise TypeError(f"bank is {rows.dtype}, v {v.dtype}; convert them to one type")
    if not isinstance(index, Tensor):
        raise TypeError(f"index is {described(index)}; give an int64 tensor [B]")
    if rows.ndim != 2 or rows.shape[1] != v.shape[1] or not len(rows):
        raise ValueError(
            f"bank has shape {tuple(rows.shape)} and v {tuple(v.shape)}; give [N, D] and [B, D] of one D"
        )
    if index.shape != v.shape[:1]:
        raise ValueError(f"index has shape {tuple(index.shape)}; give one image per row of v, [{len(v)}]")
    _check_range("index", index, size)


def check_noise(noise: Tensor, v: Tensor, size: int) -> None:
    """noise (B, m) points into a bank of `size` images."""
    if not isinstance(noise, Tensor):
        raise TypeError(f"noise is {described(noise)}; give an int64 tensor [B, m]")
    if noise.ndim != 2 or len(noise) != len(v) or not noise.shape[1]:
        raise ValueError(f"noise has shape {tuple(noise.shape)}; give [{len(v)}, m] with m >= 1")
    _check_range("noise", noise, size)


def _check_range(name: str, index: Tensor, size: int) -> None:
    if index.dtype != torch.int64:
        raise TypeError(f"{name} is {index.dtype}; convert it to int64")
    if index.device.type == "cpu":
        low, high = index.aminmax()
        if low < 0 or high >= size:
            bad = int(low) if low < 0 else int(high)
            raise ValueError(
                f"{name} holds {bad}, outside 0 .. {size - 1}, the rows of the bank; is that of other data? "
                "give rows of this bank"
            )


def _check_log_z(log_z: Tensor) -> None:
    if not isinstance(log_z, Tensor):
        raise TypeError(f"log_z is {described(log_z)}; give a tensor of shape (), such as MemoryBank.log_z")
    if log_z.ndim:
        raise ValueError(f"log_z has shape {tuple(log_z.shape)}; give one number, a tensor of shape ()")
    if log_z.device.type == "cpu" and not log_z.isfinite():
        raise ValueError(f"log_z is {float(log_z)}; set it first, for example MemoryBank.start_log_z")


def check_number(name: str, value: float, *, low: float = 0, open_low: bool = True) -> None:
    """`value` is a finite number above `low`, or from it on."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or value < low or (open_low and value == low):
        raise ValueError(f"{name} is {value!r}; give a finite number {'above' if open_low else 'from'} {low}")
