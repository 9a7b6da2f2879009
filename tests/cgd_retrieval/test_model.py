"""model.py: the exact identities of Eq. (2) and (3), Figure 2, the auxiliary head, and parameter counts."""

import math
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import normalize

from cgd_retrieval.backbones import resnet50
from cgd_retrieval.descriptors import gem, mac, spoc
from cgd_retrieval.losses import batch_hard_triplet_loss
from cgd_retrieval.model import CGD, CONFIGS
from common.networks import SmallCNN

POOL = {"S": spoc, "M": mac, "G": gem}


def net(config="GSM", dim=12, classes: int | None = 5, **options: Any) -> Any:
    torch.manual_seed(0)
    return CGD(SmallCNN((4, 6), (1,)), config, dim, classes, **options).double()


@pytest.fixture
def x():
    return torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("config", CONFIGS)
def test_twelve_configurations_follow_the_formulas(config, x):
    model = net(config).eval()
    psi, logits = model(x)
    n = len(config)
    features = model.backbone(x)
    phi = []
    for letter in config:
        y = POOL[letter](features) @ model.branches[letter].fc.weight.T  # Eq. (2)
        phi.append(y / y.norm(dim=1, keepdim=True))
        assert y.shape == (8, 12 // n)
    joined = torch.cat(phi, 1)
    torch.testing.assert_close(psi, joined / joined.norm(dim=1, keepdim=True))  # Eq. (3)
    first = POOL[config[0]](features)  # the first letter, raw, feeds the classifier
    norm, fc = model.classifier
    hat = (first - norm.running_mean) / (norm.running_var + norm.eps).sqrt() * norm.weight + norm.bias
    torch.testing.assert_close(logits, hat @ fc.weight.T + fc.bias)
    assert logits.shape == (8, 5)


def test_there_are_twelve_and_no_others():
    assert len(set(CONFIGS)) == 12
    for config in ("", "SS", "MGS", "SGM", "GMS", "gsm", "X"):
        with pytest.raises(ValueError, match="S, M, G, SM, MS, SG, GS, MG, GM, SMG, MSG, GSM"):
            net(config)


def test_letter_order_moves_the_classifier_only(x):
    gs, sg = net("GS").eval(), net("SG").eval()
    sg.load_state_dict(gs.state_dict())
    (psi, logits), (swapped, other) = gs(x), sg(x)
    torch.testing.assert_close(swapped, torch.cat(psi.split(6, 1)[::-1], 1))
    assert not torch.allclose(logits, other)


@pytest.mark.parametrize("config", ["S", "MG", "GSM"])
def test_exact_consequences(config, x):
    """Unit branches, so Psi only divides by sqrt(n), cosines and squared distances are means."""
    model, n = net(config), len(config)
    parts = model.parts(x)
    psi, phi = parts["embedding"], [parts[f"branch_{letter}"] for letter in config]
    one = torch.ones(8, dtype=torch.float64)
    torch.testing.assert_close(psi.norm(dim=1), one)
    for branch in phi:
        torch.testing.assert_close(branch.norm(dim=1), one)
    torch.testing.assert_close(torch.cat(phi, 1).norm(dim=1), math.sqrt(n) * one)
    torch.testing.assert_close(psi, torch.cat(phi, 1) / math.sqrt(n))
    torch.testing.assert_close(psi @ psi.T, sum(branch @ branch.T for branch in phi) / n)
    squares = sum((branch[:, None] - branch).square().sum(2) for branch in phi) / n
    torch.testing.assert_close((psi[:, None] - psi).square().sum(2), squares)


def test_without_the_last_l2_the_margin_is_another(x):
    """A planted bug: the joined, unnormalised vector would need margin m sqrt(n) for the same loss."""
    model, labels = net("GSM"), torch.arange(8) // 2
    parts = model.parts(x)
    joined = torch.cat([parts[f"branch_{letter}"] for letter in "GSM"], 1)
    right = batch_hard_triplet_loss(parts["embedding"], labels, 0.1)
    root = math.sqrt(3)
    torch.testing.assert_close(batch_hard_triplet_loss(joined, labels, 0.1 * root), root * right)
    assert not torch.allclose(batch_hard_triplet_loss(joined, labels, 0.1), root * right, rtol=1e-3)


def test_parts_agree_with_forward(x):
    variants: list[dict[str, Any]] = [{}, {"framework": "A"}, {"framework": "B"}]
    variants += [{"fusion": "sum"}, {"fusion": "sum-small"}]
    for options in variants:
        model = net("SMG", **options).eval()
        parts = model.parts(x)
        assert torch.equal(parts["embedding"], model(x)[0])
        branches = [] if model.framework == "B" else ["branch_S", "branch_M", "branch_G"]
        assert list(parts) == ["embedding", *branches, "raw_S", "raw_M", "raw_G"]
        features = model.backbone(x)
        for letter in "SMG":
            assert torch.equal(parts[f"raw_{letter}"], POOL[letter](features))


@pytest.mark.parametrize("config", ["S", "GS", "GSM"])
def test_framework_a_ranks_each_branch(config, x):
    """`ranked` cuts the branches out of Psi, with the value and gradient that the branches have."""
    labels = torch.arange(8) // 2
    grads = []
    for way in ("ranked", "parts"):
        model = net(config, framework="A")
        if way == "ranked":
            phi = model.ranked(model(x)[0])
        else:
            parts = model.parts(x)
            phi = [parts[f"branch_{letter}"] for letter in config]
        torch.testing.assert_close(phi[0].norm(dim=1), torch.ones(8, dtype=x.dtype))
        loss = torch.stack([batch_hard_triplet_loss(z, labels, 0.3) for z in phi]).sum()
        loss.backward()
        grads.append(
            [loss.detach(), *(p.grad for name, p in model.named_parameters() if "classifier" not in name)]
        )
    assert len(phi) == len(config)
    torch.testing.assert_close(grads[0], grads[1])


def test_other_frameworks_rank_the_embedding(x):
    variants: list[dict[str, Any]] = [{}, {"framework": "B"}, {"fusion": "sum"}]
    for options in variants:
        model = net("GS", **options)
        psi, _ = model(x)
        (ranked,) = model.ranked(psi)
        assert ranked is psi


def test_framework_b_reduces_the_joined_descriptors(x):
    model = net("GS", dim=7, framework="B").eval()  # 7: no branch to share it with
    psi, _ = model(x)
    features = model.backbone(x)
    expected = torch.cat([gem(features), spoc(features)], 1) @ model.reduce.fc.weight.T
    torch.testing.assert_close(psi, normalize(expected, dim=1))
    assert model.reduce.fc.bias is None
    assert (model.dim, psi.shape[1]) == (7, 7)


@pytest.mark.parametrize(("fusion", "size"), [("sum", 12), ("sum-small", 4)])
def test_sum_fusion(fusion, size, x):
    model = net("GSM", fusion=fusion)
    parts = model.parts(x)
    total = parts["branch_G"] + parts["branch_S"] + parts["branch_M"]
    torch.testing.assert_close(parts["embedding"], total / total.norm(dim=1, keepdim=True))
    assert parts["embedding"].shape == (8, size)
    assert model.dim == size


def test_branches_have_no_bias_norm_or_activation():
    for part in net("GSM").branches.values():
        assert [type(m) for m in part.modules()][1:] == [nn.Linear]
        assert part.fc.bias is None


def meta(classes=None, **options):
    with torch.device("meta"):
        model = CGD(resnet50(), classes=classes, auxiliary=classes is not None, **options)
    return sum(p.numel() for p in model.parameters())


def test_parameter_counts():
    """ResNet-50, 1536-d: 26.86, 26.86, 49.85, 34.85 M are what the unofficial code prints; then test time."""
    assert meta(100) == 26_862_756  # CUB
    assert meta(98) == 26_858_658  # CARS
    assert meta(11318) == 49_848_438  # SOP
    assert meta(3997) == 34_847_709  # In-shop
    assert meta() == 26_653_760
    assert {meta(100, config=config) for config in ("S", "SG", "GSM")} == {26_862_756}
    assert meta(100, framework="A") == 26_862_756
    assert meta(100, config="SG", framework="B") - meta(config="SG") == 3_145_728 + 4096 + 2049 * 100
    assert meta(config="GSM", framework="B") - 23_508_032 == 9_437_184
    assert meta(config="GSM", learnable_p=True) == 26_653_761


def test_learnable_exponent(x):
    model = net("GS", learnable_p=True)
    torch.testing.assert_close(model(x)[0], net("GS")(x)[0])  # starts at the paper's 3
    model(x)[0][:, 0].sum().backward()
    assert model.p.grad is not None
    assert float(model.p.grad.abs()) > 0


def test_no_auxiliary_head(x):
    model = net("GS", classes=None, auxiliary=False)
    psi, logits = model(x)
    assert logits is None
    assert psi.shape == (8, 12)


def test_the_auxiliary_head_alone_reaches_only_the_first_descriptor(x):
    model = net("GS")
    model(x)[1].square().sum().backward()
    assert all(p.grad is None for p in model.branches.parameters())
    assert model.classifier[1].bias.grad is not None


def test_frozen_statistics_stay_frozen(x):
    """Note D3: only BatchNorm2d of the backbone; the head's BatchNorm1d keeps learning its statistics."""
    model = net("GS", freeze_bn=True)
    assert model.training
    before = {name: value.clone() for name, value in model.named_buffers()}
    model(x)
    model.eval().train()
    model(x)
    moved = {name for name, value in model.named_buffers() if not torch.equal(value, before[name])}
    assert moved == {
        f"classifier.0.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")
    }


def test_half_precision_stays_in_the_backbone(x):
    model = net("GSM").float()
    with torch.autocast("cpu", torch.bfloat16):
        assert model.backbone(x.float()).dtype == torch.bfloat16
        psi, logits = model(x.float())
    assert psi.dtype == logits.dtype == torch.float32
    torch.testing.assert_close(psi.norm(dim=1), torch.ones(8))


def test_bad_requests_are_one_clear_sentence():
    with pytest.raises(
        ValueError, match="dim 10 cannot be shared by the 3 branches of GSM; choose a multiple of 3"
    ):
        net(dim=10)
    with pytest.raises(ValueError, match="dim is 0"):
        net(dim=0)
    with pytest.raises(ValueError, match="classes is None; the auxiliary head needs"):
        net(classes=None)
    with pytest.raises(ValueError, match="framework 'C' is unknown; choose one of CGD, A, B"):
        net(framework="C")
    with pytest.raises(ValueError, match="fusion 'mean' is unknown"):
        net(fusion="mean")
    with pytest.raises(ValueError, match="belongs to framework 'CGD'"):
        net(framework="B", fusion="sum")
    with pytest.raises(ValueError, match="config SM has no letter G"):
        net("SM", learnable_p=True)
    with pytest.raises(TypeError, match=r"backbone\.channels is None"):
        CGD(nn.Identity(), "S", 4, 3)
