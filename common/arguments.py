"""What functions ask of their arguments. A refusal is one sentence: the argument, the value, the remedy.

Types, shapes, dtypes and Python numbers are looked at always, values of tensors on the CPU only
(`require_finite`): nothing here waits for a GPU.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

FLOATS = (torch.float32, torch.float64)


def described(x: object) -> str:
    """How a sentence shows what was given: the value of a number or a word, else the type."""
    if x is None or isinstance(x, bool | int | float | str):
        return f"{x!r:.60}"
    kind = type(x).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def require_tensor(name: str, x: Any, axes: str, *dtypes: torch.dtype) -> None:
    """x is a tensor of one of the dtypes, by default float32 or float64, with the axes that are named, none
    of them empty.

    axes: '[B, D]', or '(..., D)' for any number of axes before the last. TypeError: no tensor, another dtype;
    ValueError: another shape.
    """
    wanted = dtypes or FLOATS
    kinds = " or ".join(str(dtype).removeprefix("torch.") for dtype in wanted)
    if not isinstance(x, Tensor):
        article = "an" if kinds[0] == "i" else "a"
        raise TypeError(f"{name} is {described(x)}; give {article} {kinds} tensor {axes}")
    if x.dtype not in wanted:
        raise TypeError(f"{name} is {x.dtype}; convert it to {kinds}")
    named = [axis for axis in axes[1:-1].replace(" ", "").split(",") if axis]
    fits = x.ndim >= len(named) - 1 if named[0] == "..." else x.ndim == len(named)
    if not fits or 0 in x.shape:
        raise ValueError(f"{name} has shape {tuple(x.shape)}; give {axes}, each at least 1")


def require_finite(name: str, x: Tensor, rows: str = "row") -> None:
    """On the CPU: no NaN and no infinity in x, which is not empty. rows: what the first axis counts."""
    if x.device.type != "cpu":
        return
    least, most = x.detach().aminmax()  # both show here; a twentieth of the time of isfinite
    if least.isfinite() and most.isfinite():
        return
    bad = (~x.detach().isfinite()).nonzero()[0].tolist()
    where = f"{rows} {bad[0]} of {name}" if bad else name
    raise ValueError(f"{where} holds NaN or infinity; lower the learning rate or check the input")


def require_pictures(name: str, x: Any, channels: int, least: int = 1) -> None:
    """x is a floating-point tensor [B, channels, H, W], H and W at least `least`."""
    if not isinstance(x, Tensor):
        raise TypeError(f"{name} is {described(x)}; give a float32 tensor [B, {channels}, H, W]")
    if not x.is_floating_point():
        raise TypeError(f"{name} is {x.dtype}; give normalised pictures, float32 [B, {channels}, H, W]")
    if x.ndim != 4 or x.shape[0] < 1 or x.shape[1] != channels or min(x.shape[2:]) < least:
        raise ValueError(
            f"{name} has shape {tuple(x.shape)}; give [B, {channels}, H, W] with H and W of at least {least}"
        )


def require_generator(name: str, x: object) -> None:
    """x is a torch.Generator."""
    if not isinstance(x, torch.Generator):
        raise TypeError(f"{name} is {described(x)}; give a torch.Generator")


def require_widths(widths: Any) -> None:
    """widths: channels of each stage of a network, at least one stage of at least 1."""
    if not isinstance(widths, Iterable) or isinstance(widths, str):
        raise TypeError(f"widths is {described(widths)}; give a tuple of whole numbers, one per stage")
    stages = [whole_number("a number of widths", width, least=-math.inf) for width in widths]
    if not stages or min(stages) < 1:
        raise ValueError(f"widths is {widths}; give at least one stage, each of at least 1 channel")


def whole_number(name: str, value: Any, least: float = 1) -> int:
    """`value` as an int of at least `least`, else ValueError; a bool, fraction or string raises TypeError."""
    try:
        number = operator.index(value)
    except TypeError:
        number = None
    if number is None or isinstance(value, bool):
        raise TypeError(f"{name} is {described(value)}; give a whole number")
    if number < least:
        raise ValueError(f"{name} is {number}; give a whole number of at least {least}")
    return number


def whole_numbers(**values: Any) -> None:
    """Whole numbers of at least 1 that belong together: the sentence names them all."""
    for name, value in values.items():
        whole_number(name, value, least=-math.inf)
    if min(values.values()) < 1:
        listed = ", ".join(f"{name} = {value}" for name, value in values.items())
        raise ValueError(f"{listed}: give whole numbers of at least 1")


def finite_number(name: str, value: Any, above: float | None = None) -> None:
    """value is a finite int or float, above `above` if that is given."""
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not number or (above is not None and value <= above):
        raise ValueError(
            f"{name} is {described(value)}; give a finite number{'' if above is None else f' above {above}'}"
        )
