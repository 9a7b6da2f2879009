"""Every loss that couples the batch, on two gloo ranks: its value and its gradient are those of one process.

Those with a memory bank stand in tests/instance_discrimination/test_sharding.py.
"""

import functools
from typing import get_args

import pytest
import torch
import torch.nn.functional as F

from cgd_retrieval import losses as cgd
from common import distributed
from hierarchical_multilabel import losses as hierarchical
from hyperbolic_embeddings.fewshot.presets import Geometry
from hyperbolic_embeddings.fewshot.protonet import ProtoHead
from tests import two_ranks

WAY, SHOT, DIM, VIEWS = 5, 3, 4, 2
ROWS = WAY * SHOT  # odd: rank 0 has one row more
CLASS = torch.arange(WAY).repeat_interleave(SHOT)
TREE = torch.stack([CLASS // 2, CLASS, torch.arange(ROWS)], 1)


def protonet(z, geometry):
    """The last picture of each class against the prototypes of the others."""
    head = ProtoHead(geometry).double()
    x = head.embed(z.view(WAY, SHOT, -1))
    return F.cross_entropy(head.logits(x[:, -1], head.prototypes(x[:, :-1])), torch.arange(WAY))


def with_views(loss, *arguments, **options):
    return lambda z: loss(F.normalize(z.unflatten(1, (VIEWS, DIM)), dim=-1), *arguments, **options)


LOSSES = {
    "batch-hard": lambda z: cgd.batch_hard_triplet_loss(z, CLASS, 1.0),
    "semi-hard": lambda z: cgd.semi_hard_triplet_loss(z, CLASS, 1.0),
    "hap2s-p": lambda z: cgd.hap2s_loss(z, CLASS, 1.0, "P"),
    "hap2s-e": lambda z: cgd.hap2s_loss(z, CLASS, 1.0, "E"),
    "margin": lambda z: cgd.margin_loss(z, CLASS, generator=torch.Generator().manual_seed(0)),
    "auxiliary": lambda z: cgd.auxiliary_loss(z, CLASS, 0.5, 0.1),
    "simclr": with_views(hierarchical.simclr_loss, 0.1),
    "supcon": with_views(hierarchical.supcon_loss, CLASS, 0.1),
}
for name in ("himulcon", "hicone", "himulcone"):
    for form in ("paper", "released"):
        loss = getattr(hierarchical, f"{name}_loss")
        LOSSES[f"{name}, {form}"] = with_views(loss, TREE, 0.1, form)
LOSSES |= {
    f"protonet, {geometry}": functools.partial(protonet, geometry=geometry) for geometry in get_args(Geometry)
}


def found(name, gather=distributed.gather):
    """(loss, gradient) of a linear encoder whose ranks see their own rows."""
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(ROWS, 6, generator=draw, dtype=torch.float64)
    weight = (torch.randn(6, VIEWS * DIM, generator=draw, dtype=torch.float64) / 5).requires_grad_()
    loss = LOSSES[name](gather(distributed.share(x) @ weight, ROWS))
    loss.backward()
    distributed.average_gradients([weight])
    return loss.detach(), weight.grad


def without_gradient(z, rows):
    """A planted bug: only a rank's own rows carry the gradient, as torch's all_gather leaves them."""
    parts = list(distributed.gather(z.detach(), rows).tensor_split(distributed.world()))
    parts[distributed.rank()] = z
    return torch.cat(parts)


def of_rank(rank):
    return {name: (found(name), found(name, without_gradient)) for name in LOSSES}


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    return two_ranks.found(__file__, tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("name", LOSSES)
def test_two_ranks_give_loss_and_gradient_of_one(name, ranks):
    value, gradient = found(name)
    assert gradient is not None
    assert gradient.abs().max() > 1e-6
    for outcome in ranks:
        (loss, same), (_, other) = outcome[name]
        torch.testing.assert_close(loss, value)
        torch.testing.assert_close(same, gradient)
        assert not torch.allclose(other, gradient, rtol=1e-3), "a gradient that ends at the ranks is noticed"


if __name__ == "__main__":
    two_ranks.serve(of_rank)
