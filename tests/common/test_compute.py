"""compute.py: the device and the memory of a process."""

import os
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


def faults_of_a_process(**environment):
    """A fresh one: torch reads the setting once."""
    script = "import common; from tests.common.test_compute import faults_per_step; print(faults_per_step())"
    environment = {k: v for k, v in os.environ.items() if k != "THP_MEM_ALLOC_ENABLE"} | environment
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=True, env=environment
    )
    return float(ran.stdout)


def test_large_tensors_lie_in_huge_pages():
    setting = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    if not setting.exists() or "[madvise]" not in setting.read_text():
        pytest.skip("this system has no huge pages, or gives them to every process")
    assert faults_of_a_process() < faults_of_a_process(THP_MEM_ALLOC_ENABLE="0") / 5
