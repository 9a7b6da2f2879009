"""The memory bank of Wu et al. (arXiv:1805.01978), Section 3.1, and the constant Z of Section 3.2, Eq. (8).

State and explicit updates, nothing else: reading is indexing `rows`, writing is `update` after the step of
the optimiser. (The released code writes inside the backward pass.)
"""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from common.arguments import described, finite_number, require_generator, whole_number


class MemoryBank(nn.Module):
    """v_i of every training image, and log Z; buffers, so that a checkpoint carries them.

    size: N images. dim: D. momentum: weight of the OLD row in `update`, in [0, 1); 0 is the overwrite of the
    paper, 0.5 the default of the released code (note D2). init: 'paper', unit vectors in random directions;
    'released', entries uniform in +- sqrt(3 / D), of norm about 1 (note D14). generator: source of the draws.

    rows (N, D) float32; log_z () is NaN until `start_log_z` or `average_log_z`. Moving the module moves both.
    Raises ValueError for a size, dim, momentum or init out of range, and on loading a bank of another shape.
    """

    rows: Tensor
    log_z: Tensor

    def __init__(
        self,
        size: int,
        dim: int,
        momentum: float,
        *,
        init: str = "paper",
        generator: torch.Generator | None = None,
    ):
        super().__init__()
        whole_number("size", size, least=0)
        whole_number("dim", dim, least=0)
        if size < 1 or dim < 1:
            raise ValueError(
                f"size and dim: a bank of {size} rows of {dim} numbers holds nothing; give at least 1 and 1"
            )
        if isinstance(momentum, str):
            raise TypeError(f"momentum is {momentum!r}; give a number from 0 to below 1")
        if generator is not None:
            require_generator("generator", generator)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum is {momentum}; give the weight of the old row, from 0 to below 1")
        if init == "paper":
            rows = normalize(torch.randn(size, dim, generator=generator), dim=1)
        elif init == "released":
            rows = (2 * torch.rand(size, dim, generator=generator) - 1) * math.sqrt(3 / dim)
        else:
            raise ValueError(f"init is {init!r}; choose 'paper' or 'released'")
        self.momentum = momentum
        self.register_buffer("rows", rows)  # (N, D)
        self.register_buffer("log_z", torch.tensor(math.nan))  # ()
        self.register_load_state_dict_pre_hook(_same_shape)

    @property
    def size(self) -> int:
        """N, images."""
        return len(self.rows)

    def rows_of(self, index: Tensor) -> Tensor:
        """(B, D): the rows of these images."""
        check_index(index, len(self.rows))
        return self.rows[index]

    @torch.no_grad()
    def update(self, index: Tensor, v: Tensor) -> None:
        """rows[index] = normalize(momentum rows[index] + (1 - momentum) v), with index (B,), unit v (B, D).

        Call it after the optimiser's step, with the embeddings that the loss saw. If an index occurs twice,
        one of its rows is kept; which one is left open on a GPU. On CPU tensors an index outside the bank
        and a v off unit norm by more than 1e-3 raise ValueError.
        """
        check_update(index, v, len(self.rows), self.rows)
        self.rows[index] = self.mixed(self.rows[index], v)

    def mixed(self, old: Tensor, v: Tensor) -> Tensor:
        """normalize(momentum old + (1 - momentum) v); (B, D) all three."""
        return normalize(self.momentum * old + (1 - self.momentum) * v, dim=1)

    @torch.no_grad()
    def start_log_z(self, estimate: Tensor | float) -> None:
        """Set log Z if it has not been set: the paper's policy, with `estimated_log_z` of the first batch.

        The closed form is this too, with `expected_log_z`, before the first step.
        """
        self.log_z.copy_(torch.where(self.log_z.isnan(), self._of(estimate), self.log_z))

    @torch.no_grad()
    def average_log_z(self, estimate: Tensor | float, decay: float = 0.99) -> None:
        """Z = decay Z + (1 - decay) exp(estimate), in log space; the first call sets it.

        An exponential moving average follows the bank as it changes, where the paper's Z stays what a random
        bank gave it. Estimate from the noise alone, scores[:, 1:]: once trained, an image's own row would add
        exp(1 / tau) / m to the mean. The decay is the one that K. He reports to work (issue 23 of the CMC
        repository); the paper has no such policy.
        """
        if not 0 < decay < 1:
            raise ValueError(f"decay is {decay}; give a number between 0 and 1")
        new = self._of(estimate)
        mixed = torch.logaddexp(self.log_z + math.log(decay), new + math.log1p(-decay))
        self.log_z.copy_(torch.where(self.log_z.isnan(), new, mixed))

    def _of(self, estimate: Tensor | float) -> Tensor:
        """The estimate as a tensor on the bank's device; a Python number is written there without a wait."""
        if isinstance(estimate, Tensor):
            if estimate.numel() != 1:
                raise ValueError(f"estimate has shape {tuple(estimate.shape)}; give one number, log Z")
            if estimate.device.type == "cpu" and not estimate.isfinite():
                raise ValueError(f"estimate is {float(estimate)}; give a finite log Z")
            return estimate.detach().to(self.log_z).reshape(())
        finite_number("estimate", estimate)
        return torch.full_like(self.log_z, estimate)


def check_index(index: Tensor, size: int) -> None:
    """Images of a bank of `size`, int64; the range on CPU tensors."""
    if not isinstance(index, Tensor):
        raise TypeError(f"index is {described(index)}; give an int64 tensor [B]")
    if index.dtype != torch.int64:
        raise TypeError(f"index is {index.dtype}; convert it to int64")
    if index.device.type != "cpu" or not len(index):
        return
    low, high = index.aminmax()
    if low < 0 or high >= size:
        bad = int(low) if low < 0 else int(high)
        raise ValueError(
            f"index holds {bad}, outside 0 .. {size - 1}, the rows of the bank; is that of other data? give "
            "rows of this bank"
        )


def check_update(index: Tensor, v: Tensor, size: int, rows: Tensor) -> None:
    """What is written into a bank of `size` images, of which `rows` are held here; values on CPU tensors."""
    for name, x, kind in (("index", index, "an int64 tensor [B]"), ("v", v, "a float32 tensor [B, D]")):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} is {described(x)}; give {kind}")
    if v.ndim != 2 or index.shape != v.shape[:1]:
        raise ValueError(f"index {tuple(index.shape)} and v {tuple(v.shape)} do not fit; give [B] and [B, D]")
    if v.shape[1] != rows.shape[1]:
        raise ValueError(f"v has {v.shape[1]} columns, the bank {rows.shape[1]}; use one embedding size")
    if v.dtype != rows.dtype:
        raise TypeError(f"v is {v.dtype}, the bank {rows.dtype}; normalise the embeddings in that type")
    check_index(index, size)
    if index.device.type != "cpu" or not len(index):
        return
    norm = torch.linalg.vector_norm(v, dim=1)
    off = ((norm - 1).abs() <= 1e-3).logical_not()  # NaN is off, too
    if off.any():
        row = int(off.nonzero()[0])
        raise ValueError(f"row {row} of v has norm {float(norm[row]):.4g}; scale every row to unit length")


def _same_shape(bank: MemoryBank, state: dict[str, Tensor], prefix: str, *_: object) -> None:
    """Before loading: a bank of other images or another embedding size is refused in one sentence."""
    rows = state.get(prefix + "rows")
    if rows is not None and rows.shape != bank.rows.shape:
        (n, d), (size, dim) = tuple(rows.shape), tuple(bank.rows.shape)
        raise ValueError(
            f"the stored bank has {n} rows of {d} numbers, this run's has {size} of {dim}; resume with the "
            "data set and the embedding size that it was made with"
        )
