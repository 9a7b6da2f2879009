"""What the tests of the geometry share."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode


class Recorder(TorchDispatchMode):
    """The largest tensor that is made, and the types and precisions that matrix products run in."""

    def __init__(self):
        super().__init__()
        self.largest, self.precisions, self.products = 0, set(), set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, tuple | list) else (out,):
            if isinstance(tensor, torch.Tensor):
                self.largest = max(self.largest, tensor.numel())
        if "mm" in str(function):
            self.precisions.add(torch.get_float32_matmul_precision())
            self.products.add(out.dtype)
        return out


@pytest.fixture
def recorder():
    return Recorder()
