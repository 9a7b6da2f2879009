"""What the loss of one picture costs as the number of instances n grows: the claim of Section 3.2 of Wu et
al., CVPR 2018 (arXiv:1805.01978), that noise-contrastive estimation makes it independent of n.

Timed are noise, loss, gradient and the bank's update on random unit rows; the network, which does not know
n, is left out. NCE gathers m rows of the bank per picture (`product=False`), the form that the claim is
about. Where n is at most 64 m, the training itself takes one product with the whole bank, which is faster
there but depends on n (losses.whole_product).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import normalize
from torch.utils.benchmark import Timer

from common.data import counter
from common.results import Figure
from instance_discrimination.losses import (
    draw_noise,
    expected_log_z,
    nce_loss_of_scores,
    noise_scores,
    softmax_loss,
)
from instance_discrimination.memory import MemoryBank
from instance_discrimination.presets import COST_SIZES, Config

_ROWS = 73  # purpose of a generator; never renumber


def measure(
    cfg: Config, device: torch.device, sizes: tuple[int, ...] = COST_SIZES, seconds: float = 2.0
) -> dict[str, Figure]:
    """'nce_us@N', 'softmax_us@N': microseconds per picture; 'nce_exponent', 'softmax_exponent': slope of
    log time over log n by least squares, 0 if the cost does not depend on n and 1 if it grows with it
    (Section 3.2).

    seconds: time spent on each point; its median counts.
    """
    if len(sizes) < 2:
        raise ValueError(f"sizes is {sizes}; give at least two numbers of instances")
    draw = counter.generator(cfg.seed, _ROWS)
    v = normalize(torch.randn(cfg.batch, cfg.dim, generator=draw), dim=1).to(device)
    times: dict[str, list[float]] = {"nce": [], "softmax": []}
    figures: dict[str, Figure] = {}
    for n in sizes:
        bank = MemoryBank(n, cfg.dim, cfg.bank_momentum, generator=draw).to(device)
        bank.start_log_z(expected_log_z(n, cfg.dim, cfg.temperature))
        index = torch.randint(n, (cfg.batch,), generator=draw).to(device)
        for name, head in (("nce", nce), ("softmax", exact)):
            timer = Timer(
                "step(head, cfg, v, bank, index)",
                globals={"step": step, "head": head, "cfg": cfg, "v": v, "bank": bank, "index": index},
                num_threads=torch.get_num_threads(),
            )
            times[name].append(timer.blocked_autorange(min_run_time=seconds).median / cfg.batch)
            figures[f"{name}_us@{n}"] = Figure(1e6 * times[name][-1], unit="us")
    for name, values in times.items():
        figures[f"{name}_exponent"] = Figure(slope(sizes, values), unit="exponent")
    return figures


def step(
    loss: Callable[[Config, Tensor, MemoryBank, Tensor], Tensor],
    cfg: Config,
    v: Tensor,
    bank: MemoryBank,
    index: Tensor,
) -> None:
    """Loss, gradient and update, as in training."""
    v = v.detach().requires_grad_()
    loss(cfg, v, bank, index).backward()
    bank.update(index, v.detach())


def nce(cfg: Config, v: Tensor, bank: MemoryBank, index: Tensor) -> Tensor:
    noise = draw_noise(index, cfg.noise, len(bank.rows), cfg.seed, 0)
    scores = noise_scores(v, bank.rows, index, noise, cfg.temperature, product=False)
    return nce_loss_of_scores(scores, bank.log_z, len(bank.rows), eps=cfg.eps)


def exact(cfg: Config, v: Tensor, bank: MemoryBank, index: Tensor) -> Tensor:
    return softmax_loss(v, bank.rows, index, cfg.temperature)


def slope(x: tuple[int, ...], y: list[float]) -> float:
    """Least-squares slope of log y over log x."""
    if len(set(x)) < 2 or len(y) != len(x) or min(*x, *y) <= 0:
        raise ValueError(f"x is {x} and y {y}; give as many numbers above 0 of each, x not all alike")
    a, b = [math.log(value) for value in x], [math.log(value) for value in y]
    mean_a, mean_b = sum(a) / len(a), sum(b) / len(b)
    return sum((p - mean_a) * (q - mean_b) for p, q in zip(a, b)) / sum((p - mean_a) ** 2 for p in a)
