"""Device, precision, seeds and memory: what a run needs to know of the machine it is on."""

from __future__ import annotations

import os
import platform
import random
import resource
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from common.arguments import whole_number

T = TypeVar("T")


def pick_device(choice: str = "auto") -> torch.device:
    """'auto': CUDA if there is any, else CPU. A device that is not there raises ValueError."""
    if choice == "auto":
        choice = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(choice)
    except (RuntimeError, TypeError) as error:
        raise ValueError(f"--device {choice}: not a device; use auto, cpu, cuda or cuda:N") from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"--device {choice}: this machine has {torch.cuda.device_count()} CUDA devices; use auto or cpu"
        )
    return device


def autocast(device: torch.device, precision: str) -> AbstractContextManager[object]:
    """Context of the forward pass: 'float32' (TF32 off), 'tf32', or 'bfloat16'. Weights and losses stay
    float32.
    """
    if precision not in ("float32", "tf32", "bfloat16"):
        raise ValueError(f"--precision {precision}: use float32, tf32 or bfloat16")
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = precision != "float32"
    return torch.autocast(device.type, torch.bfloat16) if precision == "bfloat16" else nullcontext()


def seed_everything(seed: int, *, deterministic: bool = False) -> None:
    """Seed Python, NumPy and torch. deterministic: an operation without a deterministic kernel raises (slower
    on GPU).
    """
    if whole_number("seed", seed, least=0) >= 2**64:
        raise ValueError(f"seed is {seed}; give a whole number below 2^64")
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.backends.cudnn.benchmark = False
        torch.use_deterministic_algorithms(True)


def device_name(device: torch.device) -> str:
    """What a results row says of the device: the GPU's name, or the CPU's with the number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return f"CPU {cpu_name()}, {threads} thread{'s' if threads > 1 else ''}"


def cpu_name() -> str:
    """Model name of the processor, or its architecture where the system does not tell."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def peak_memory_mb(device: torch.device) -> float:
    """Peak memory so far in MB (10^6 bytes): allocated on the GPU, or resident in this process on CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 1e6 if platform.system() == "Darwin" else peak * 1024 / 1e6


def halving(work: Callable[[int], T], block: int, what: str) -> T:
    """work(block), and when memory runs out work(block / 2), and so on down to 1, saying so on stderr.

    what: of what there are `block`, for the message. work must begin anew when it is called again.
    """
    whole_number("block", block)
    while True:
        try:
            return work(block)
        except RuntimeError as error:
            if block == 1 or not is_out_of_memory(error):
                raise
        block //= 2
        print(f"out of memory: going on with {block} {what} at a time", file=sys.stderr)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch could not get memory, on a GPU or on the CPU."""
    return isinstance(error, torch.OutOfMemoryError) or "DefaultCPUAllocator: can't allocate" in str(error)


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
