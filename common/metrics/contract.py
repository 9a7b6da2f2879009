"""What every metric asks of its input, and of the arithmetic it runs in.

Shapes, dtypes, devices and Python numbers are checked first, then the values: a network that has diverged
must stop the evaluation, since a comparison with NaN is False and would read as a perfect score.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from common.arguments import described, whole_number


def require_embeddings(name: str, rows: Tensor, like: Tensor | None = None) -> None:
    """`rows` is a finite, non-empty float32 or float64 matrix; with `like`, of its dtype, device and width.

    Raises TypeError (no tensor, other dtype) or ValueError (shape, device, NaN or infinity), naming the
    argument.
    """
    if not isinstance(rows, Tensor):
        raise TypeError(f"{name} is {described(rows)}; give a float32 or float64 tensor of shape (N, D)")
    if rows.dtype not in (torch.float32, torch.float64):
        raise TypeError(f"{name} is {rows.dtype}; convert it to torch.float32 or torch.float64")
    if rows.ndim != 2 or 0 in rows.shape:
        raise ValueError(
            f"{name} has shape {tuple(rows.shape)}; give (N, D) with at least one row and one column"
        )
    if like is not None and rows.dtype != like.dtype:
        raise TypeError(f"{name} is {rows.dtype} but the other rows are {like.dtype}; convert one of them")
    if like is not None and rows.device != like.device:
        raise ValueError(
            f"{name} is on {rows.device} but the other rows are on {like.device}; move one of them"
        )
    if like is not None and rows.shape[1] != like.shape[1]:
        raise ValueError(
            f"{name} has {rows.shape[1]} columns but the other rows have {like.shape[1]}; use one model"
        )
    least, most = rows.aminmax()  # NaN and infinity both show here, without an N x D mask
    if not (least.isfinite() and most.isfinite()):
        bad = int((~rows.isfinite()).any(1).nonzero()[0])
        raise ValueError(f"row {bad} of {name} holds NaN or infinity; check the network that made it")


def require_labels(name: str, labels: Tensor, rows: int | None = None, like: Tensor | None = None) -> None:
    """`labels` is a one-dimensional int64 tensor; with `rows`, of that length; with `like`, on its device."""
    if not isinstance(labels, Tensor):
        raise TypeError(f"{name} is {described(labels)}; give an int64 tensor, one label per row")
    if labels.dtype != torch.int64:
        raise TypeError(f"{name} is {labels.dtype}; convert it to torch.int64")
    if labels.ndim != 1:
        raise ValueError(f"{name} has shape {tuple(labels.shape)}; give one label per row, shape (N,)")
    if rows is not None and len(labels) != rows:
        raise ValueError(f"{name} has {len(labels)} labels for {rows} rows; give one label per row")
    if like is not None and labels.device != like.device:
        raise ValueError(f"{name} is on {labels.device} but the rows are on {like.device}; move one of them")


def require_ks(ks: Iterable[int], gallery: int) -> tuple[int, ...]:
    """The K's as ints, in order; each 1 .. `gallery`, the number of rows that a query is compared with."""
    if isinstance(ks, str | bytes) or not isinstance(ks, Iterable):
        raise TypeError(f"ks is {ks!r}; give a sequence of whole numbers, for example (1, 2, 4, 8)")
    numbers = tuple(whole_number("K", k) for k in ks)
    if not numbers:
        raise ValueError("ks is empty; give at least one K")
    if gallery < 1:
        raise ValueError("query has 1 row, and no other row to find; give at least 2, or a gallery")
    if max(numbers) > gallery:
        raise ValueError(
            f"K = {max(numbers)} but a query is compared with {gallery} rows; give a K of at most {gallery}"
        )
    return numbers


def require_pair(
    query: Tensor, query_labels: Tensor, gallery: Tensor | None, gallery_labels: Tensor | None
) -> tuple[Tensor, Tensor, bool]:
    """Check a retrieval task; returns the gallery, its labels, and whether it is the query (gallery=None)."""
    require_embeddings("query", query)
    require_labels("query_labels", query_labels, len(query), query)
    if (gallery is None) != (gallery_labels is None):
        given, missing = ("gallery_labels", "gallery") if gallery is None else ("gallery", "gallery_labels")
        raise ValueError(
            f"{given} is given but {missing} is not; give both, or neither for retrieval among the queries"
        )
    if gallery is None or gallery_labels is None:
        return query, query_labels, True
    require_embeddings("gallery", gallery, query)
    require_labels("gallery_labels", gallery_labels, len(gallery), gallery)
    return gallery, gallery_labels, False


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Matrix products in the dtype of their input: no TF32, no bfloat16, no autocast; then as it was.

    torch.set_float32_matmul_precision governs CUDA and oneDNN alike. Where torch has the newer
    `fp32_precision` as well (2.9 and later), that is put back too: the older setter overwrites it, and its
    getter refuses to read a mix.
    """
    modules = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)]
    newer = [(module, module.fp32_precision) for module in modules if hasattr(module, "fp32_precision")]
    try:
        older = torch.get_float32_matmul_precision()
    except RuntimeError:
        older = None
    torch.set_float32_matmul_precision("highest")
    try:
        with torch.no_grad(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        if older is not None:
            torch.set_float32_matmul_precision(older)
        for module, value in newer:
            module.fp32_precision = value


def in_double(rows: Tensor) -> Tensor:
    """The rows in float64, on their device, or on the CPU where the device has none (Apple's MPS)."""
    return (rows.cpu() if rows.device.type == "mps" else rows).double()
