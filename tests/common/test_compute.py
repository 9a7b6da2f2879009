"""compute.py: the device and the memory of a process."""

import platform
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from common import compute

ROOT = Path(__file__).parents[2]


def test_a_device_that_is_not_there_is_refused():
    assert compute.pick_device("cpu") == torch.device("cpu")
    with pytest.raises(ValueError, match="--device tpu9: not a device; use auto, cpu, cuda or cuda:N"):
        compute.pick_device("tpu9")
    many = torch.cuda.device_count() + 3
    with pytest.raises(ValueError, match=f"--device cuda:{many}: this machine has"):
        compute.pick_device(f"cuda:{many}")


def faults_per_step() -> float:
    """Page faults of a step that makes and frees 40 MB, after the first few."""

    def step() -> None:
        (torch.ones(10_000_000) + 1).sum()

    for _ in range(10):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 5


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc alone takes the settings")
def test_freed_memory_is_kept():
    """In a process of its own: malloc cannot be told to forget it again."""
    script = (
        "from tests.common.test_compute import compute, faults_per_step as f; "
        "a = f(); assert compute.keep_freed_memory(); print(a, f())"
    )
    told = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True).stdout
    before, after = map(float, told.decode().split())
    if before < 5_000:
        pytest.skip("this system hands out huge pages: few faults to begin with")
    assert after < 50
