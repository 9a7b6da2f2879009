"""The topics of hyperbolic_embeddings: what they compare is the same work, by the paths that they name."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks import hyperbolic

TOPICS = pytest.mark.parametrize("topic", [hyperbolic.distance, hyperbolic.mlr])
PRINTED = "printed formula, B x K x D"


class Largest(TorchDispatchMode):
    """The most numbers that a tensor holds that is made, and the number of matrix products."""

    def __init__(self):
        super().__init__()
        self.numbers, self.products = 0, 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        if isinstance(out, torch.Tensor):
            self.numbers = max(self.numbers, out.numel())
        self.products += "mm" in str(function)
        return out


def contenders(topic):
    return {c.name: c for c in topic("tiny")[0].build()}


@TOPICS
def test_inputs_are_the_same_every_time(topic):
    assert contenders(topic)["ours"].run() == contenders(topic)["ours"].run()


def test_every_scale_has_its_size_in_the_title():
    for topic, work in ((hyperbolic.distance, "distance"), (hyperbolic.mlr, "MLR, forward and backward")):
        for scale, size in (("small", "120 x 250 x 128"), ("full", "480 x 1000 x 512")):
            (case,) = topic(scale)
            assert size in case.title
            assert work in case.title


@TOPICS
def test_only_the_plain_way_makes_a_tensor_of_b_k_d(topic):
    b, k, d = hyperbolic.SIZES["tiny"]
    for name in ("ours", "bare product", PRINTED):
        with Largest() as recorder:
            contenders(topic)[name].run()
        if name == PRINTED:
            assert recorder.numbers == b * k * d
        else:
            assert recorder.numbers <= max(b * k, k * d)


@TOPICS
def test_the_baseline_is_one_product(topic):
    with Largest() as recorder:
        assert contenders(topic)["bare product"].run() is None
    assert recorder.products == 1


@TOPICS
def test_the_peer_is_of_geoopt(topic):
    peers = [c for c in contenders(topic).values() if c.packages]
    assert [(c.packages, c.pip) for c in peers] == [(("geoopt",), "geoopt")]


def test_values_are_worth_comparing():
    """A distance or a gradient that is wrong by a part in a thousand is beyond the tolerance."""
    for topic in (hyperbolic.distance, hyperbolic.mlr):
        assert contenders(topic)["ours"].run() * 1e-3 > topic("tiny")[0].tolerance
