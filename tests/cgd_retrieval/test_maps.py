"""maps.py: every map adds up to its cosine; entropy obeys its laws; statistics equal the plain loop."""

import math
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch.nn.functional import normalize

from cgd_retrieval import evaluate, maps
from cgd_retrieval.descriptors import gem, mac, spoc
from cgd_retrieval.maps import contribution_map, spatial_entropy
from cgd_retrieval.model import CGD, CONFIGS
from cgd_retrieval.presets import PRESETS
from cgd_retrieval.train import build
from common.data import embedded
from common.data.augment import Augment
from common.data.dataset import Dataset
from common.data.loading import Loader
from common.networks import SmallCNN

POOL = {"S": spoc, "M": mac, "G": gem}


@pytest.fixture(params=range(3))
def case(request):
    """(x [6, 5, 3, 4], W [7, 5], phi [6, 7]) in float64; with tied maxima and a dead channel."""
    draw = torch.Generator().manual_seed(request.param)
    x = torch.randn(6, 5, 3, 4, generator=draw, dtype=torch.float64).relu()
    x[1, 2] = x[1, 2].round()
    x[2, 3] = 0
    x[3, 1] = 0.7
    weight = torch.randn(7, 5, generator=draw, dtype=torch.float64)
    return x, weight, normalize(torch.randn(6, 7, generator=draw, dtype=torch.float64), dim=1)


def net(config="SMG", **options: Any) -> Any:
    torch.manual_seed(0)
    return CGD(SmallCNN((4, 6), (1,)), config, 12, 5, **options).double().eval()


def naive(x, letter, weight, phi, p=3.0):
    """Place by place, channel by channel, with the shares of the docstring."""
    channels, height, width = x.shape
    f = POOL[letter](x[None])[0] if letter != "G" else gem(x[None], p)[0]
    length = math.sqrt(sum(float(weight[j] @ f) ** 2 for j in range(len(weight))))
    found = torch.zeros(height, width, dtype=torch.float64)
    for c in range(channels):
        values = x[c].clamp(min=1e-6) if letter == "G" else x[c]
        towards = float(phi @ weight[:, c])
        for a in range(height):
            for b in range(width):
                if letter == "S":
                    share = 1 / (height * width) * float(values[a, b])
                elif letter == "M":
                    share = (
                        float(f[c]) / int((values == values.max()).sum())
                        if values[a, b] == values.max()
                        else 0
                    )
                else:
                    share = float(f[c]) * float(values[a, b]) ** p / float((values**p).sum())
                found[a, b] += towards * share / length
    return found


# --- Contributions ---


@pytest.mark.parametrize("letter", "SMG")
def test_a_map_sums_to_the_branch_cosine(case, letter):
    x, weight, phi = case
    found = contribution_map(x, letter, weight, phi)
    cosine = (phi * normalize(POOL[letter](x) @ weight.T, dim=1)).sum(1)
    torch.testing.assert_close(found.sum((1, 2)), cosine, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("letter", "SMG")
def test_a_map_is_that_of_the_definition(case, letter):
    x, weight, phi = case
    found = contribution_map(x, letter, weight, phi)
    for i in range(len(x)):
        torch.testing.assert_close(found[i], naive(x[i], letter, weight, phi[i]), rtol=1e-10, atol=1e-13)
        torch.testing.assert_close(found[i], contribution_map(x[i], letter, weight, phi[i]))


@pytest.mark.parametrize("p", [0.5, 3.0, torch.tensor(2.2).double(), torch.linspace(1, 5, 5).double()])
def test_any_exponent_adds_up(case, p):
    x, weight, phi = case
    cosine = (phi * normalize(gem(x, p) @ weight.T, dim=1)).sum(1)
    torch.testing.assert_close(
        contribution_map(x, "G", weight, phi, p).sum((1, 2)), cosine, rtol=1e-12, atol=1e-13
    )


def test_gem_goes_from_the_mean_to_the_maximum(case):
    x, weight, phi = case
    x = x + 1e-3  # above GeM's floor
    torch.testing.assert_close(
        contribution_map(x, "G", weight, phi, 1.0),
        contribution_map(x, "S", weight, phi),
        rtol=1e-9,
        atol=1e-12,
    )
    x[1, 2] = torch.linspace(1, 2, 12).reshape(
        3, 4
    )  # rounding made near-ties of the others too unlikely to matter
    far = contribution_map(x, "G", weight, phi, 20000.0)
    torch.testing.assert_close(far, contribution_map(x, "M", weight, phi), rtol=1e-2, atol=2e-3)


def test_mac_shares_a_maximum_among_equals():
    x = torch.tensor([[[2.0, 2.0], [1.0, 0.0]]])
    found = contribution_map(x, "M", torch.ones(1, 1), torch.ones(1))
    assert found.tolist() == [[0.5, 0.5], [0.0, 0.0]]
    spread = contribution_map(x, "S", torch.ones(1, 1), torch.ones(1))
    torch.testing.assert_close(spread, torch.tensor([[0.4, 0.4], [0.2, 0.0]]))


def test_a_dead_picture_has_an_empty_map():
    found = contribution_map(torch.zeros(3, 2, 2), "S", torch.ones(4, 3), torch.ones(4) / 2)
    assert found.tolist() == [[0, 0], [0, 0]]


@pytest.mark.parametrize("scale", [1e-9, 1e12])
def test_scale_of_the_features_does_not_matter_in_float32(case, scale):
    x, weight, phi = (part.float() for part in case)
    for letter in "SM":
        torch.testing.assert_close(
            contribution_map(x * scale, letter, weight, phi), contribution_map(x, letter, weight, phi),
            rtol=1e-4, atol=1e-6,
        )  # fmt: skip
    assert contribution_map(x * scale, "G", weight, phi).isfinite().all()


def test_a_wrong_share_would_be_caught(case):
    """The sum alone does not tell S from M: the reference does."""
    x, weight, phi = case
    assert (contribution_map(x[0], "S", weight, phi[0]) - naive(x[0], "M", weight, phi[0])).abs().max() > 1e-2
    assert (
        contribution_map(x[0], "G", weight, phi[0]) - naive(x[0], "G", weight, phi[0], 2.0)
    ).abs().max() > 1e-3


def test_contributions_refuse_what_does_not_fit(case):
    x, weight, phi = case
    with pytest.raises(ValueError, match="descriptor is 'X'; choose S, M or G"):
        contribution_map(x, "X", weight, phi)
    with pytest.raises(ValueError, match=r"phi \(5, 7\) do not fit"):
        contribution_map(x, "S", weight, phi[:5])
    with pytest.raises(ValueError, match="do not fit"):
        contribution_map(x, "S", weight.T, phi)


# --- The network ---


@pytest.fixture
def images():
    return torch.rand(8, 3, 8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("framework", ["CGD", "A"])
@torch.no_grad()
def test_the_joint_map_sums_to_the_similarity(config, framework, images):
    model = net(config, framework=framework)
    psi, x = model(images)[0], maps.features(model, images)
    phi = maps.branch_embeddings(model, x)
    parts = model.parts(images)
    for letter, value in phi.items():
        torch.testing.assert_close(value, parts[f"branch_{letter}"])
    queries = torch.arange(8).roll(1)
    found = maps.branch_maps(model, x, {letter: value[queries] for letter, value in phi.items()})
    assert list(found) == list(dict.fromkeys([*config, config]))
    torch.testing.assert_close(found[config].sum((1, 2)), (psi[queries] * psi).sum(1), rtol=1e-11, atol=1e-12)


@torch.no_grad()
def test_sums_and_framework_b_have_no_joint_map(images):
    for fusion in ("sum", "sum-small"):
        model = net("SM", fusion=fusion)
        x = maps.features(model, images)
        assert list(maps.branch_maps(model, x, maps.branch_embeddings(model, x))) == ["S", "M"]
    with pytest.raises(ValueError, match="framework B"):
        maps.branch_maps(net("SM", framework="B"), x, {})


# --- Entropy ---


def test_entropy_of_known_maps():
    assert spatial_entropy(torch.ones(4, 5)).item() == pytest.approx(1)
    assert spatial_entropy(torch.eye(1, 6).reshape(2, 3)).item() == 0
    assert spatial_entropy(torch.tensor([[3.0, -3.0], [0.0, 0.0]])).item() == pytest.approx(
        0.5
    )  # log 2 / log 4
    assert spatial_entropy(torch.zeros(3, 3)).item() == pytest.approx(1)
    assert spatial_entropy(torch.tensor([[1e30, 1e30]])).item() == pytest.approx(1)
    for shape in ((3,), (2, 1, 1)):
        with pytest.raises(ValueError, match="has no spatial entropy"):
            spatial_entropy(torch.ones(shape))


def test_entropy_is_that_of_the_definition_and_keeps_its_laws():
    draw = torch.Generator().manual_seed(0)
    value = torch.randn(2, 7, 3, 4, generator=draw, dtype=torch.float64)
    found = spatial_entropy(value)
    assert found.shape == (2, 7)
    for i in range(2):
        for j in range(7):
            share = [
                abs(v) / sum(abs(v) for v in value[i, j].flatten().tolist())
                for v in value[i, j].flatten().tolist()
            ]
            assert found[i, j].item() == pytest.approx(
                -sum(q * math.log(q) for q in share) / math.log(12), rel=1e-12
            )
    torch.testing.assert_close(spatial_entropy(-5 * value), found)
    order = torch.randperm(12, generator=draw)
    torch.testing.assert_close(spatial_entropy(value.flatten(2)[..., order].reshape(2, 7, 3, 4)), found)


def test_larger_exponents_look_at_smaller_regions():
    x = torch.rand(1, 4, 4, generator=torch.Generator().manual_seed(2), dtype=torch.float64) + 0.01
    one, phi = torch.ones(1, 1).double(), torch.ones(1).double()
    wide = [spatial_entropy(contribution_map(x, "G", one, phi, p)).item() for p in (1.0, 2.0, 3.0, 8.0, 50.0)]
    assert wide == sorted(wide, reverse=True)
    assert spatial_entropy(contribution_map(x, "S", one, phi)).item() == pytest.approx(wide[0])
    assert spatial_entropy(contribution_map(x, "M", one, phi)).item() == 0


# --- Statistics over pairs, and the picture ---


def drawings(n, split, seed, size=8) -> Dataset:
    draw = torch.Generator().manual_seed(seed)
    return Dataset(
        name="drawn", split=split, labels=torch.arange(n)[:, None] % 3, levels=("kind",),
        names=(("a", "b", "c"),),        size=size, channels=1,
        pixels=torch.randint(256, (n, 1, size, size), generator=draw, dtype=torch.uint8),
    )  # fmt: skip


@pytest.mark.parametrize("batch", [1, 3, 128])
@torch.no_grad()
def test_entropies_equal_the_plain_loop(batch):
    model, queries, others = net("SMG").float(), drawings(9, "query", 0), drawings(7, "gallery", 1)
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.2)
    pictures = {}
    for data in (queries, others):
        augment = Augment(size=8, mean=mean, std=std)
        pictures[data.split] = maps.features(model, next(iter(Loader(data, augment).all()))[0])
    phi = maps.branch_embeddings(model, pictures["query"])
    match = torch.tensor([5, 2, 2, 6, 2, 2, 2, 0, 5])  # in no order, with a hub, 1, 3 and 4 never
    pairs = torch.stack([torch.tensor([8, 1, 2, 3, 4, 5, 6, 7, 0]), match], 1)
    found = maps.entropy_by_descriptor(model, others, phi, pairs, mean=mean, std=std, batch=batch)
    assert list(found) == ["S", "M", "G", "SMG"]
    for n, (query, other) in enumerate(pairs.tolist()):
        one = maps.branch_maps(model, pictures["gallery"][[other]], {k: v[[query]] for k, v in phi.items()})
        for name, value in one.items():
            assert found[name][n].item() == pytest.approx(spatial_entropy(value)[0].item(), rel=1e-4)
    with pytest.raises(ValueError, match=r"give \(P, 2\) int64"):
        maps.entropy_by_descriptor(model, others, phi, match)


def test_the_figure_is_the_same_each_time(tmp_path):
    model, data, others = net("SM").float(), drawings(6, "query", 0), drawings(5, "gallery", 1)
    pairs = torch.tensor([[0, 3], [4, 1]])
    for name in ("a.png", "b.png"):
        maps.figure(model, data, pairs, tmp_path / name, matches=others, title="Title", note="Note.")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    maps.figure(model, data, pairs.flip(0), tmp_path / "c.png", matches=others, title="Title", note="Note.")
    assert (tmp_path / "c.png").read_bytes() != (tmp_path / "a.png").read_bytes()


def test_the_overlay_is_warm_where_a_place_is_for_and_cold_where_it_is_against():
    value = torch.zeros(4, 4)
    value[0, 0], value[3, 3] = 1.0, -0.9
    image = maps.overlay(torch.full((1, 8, 8), 128, dtype=torch.uint8), value, 64)
    red, _, blue = image.getpixel((4, 4))  # type: ignore[misc]
    assert red > blue + 60
    red, _, blue = image.getpixel((59, 59))  # type: ignore[misc]
    assert blue > red + 60
    assert len(set(image.getpixel((59, 4)))) == 1  # type: ignore[arg-type]  # grey where nothing happens


def test_the_command_draws_a_checkpoint(tmp_path, monkeypatch, capsys):
    cfg = replace(PRESETS["smoke"][1], config="SM", size=16)
    facts = {
        "paper": "cgd_retrieval", "preset": "smoke", "overrides": {}, "config": asdict(cfg), "code": "",
        "commit": "", "epoch": 1, "finished": True, "seconds": 0.0, "peak_memory_mb": 0.0, "device": "",
        "rng": {"cpu": torch.get_rng_state()[None]},
    }  # fmt: skip
    torch.manual_seed(0)
    torch.save({**facts, "state": {"model": build(cfg, 6).state_dict()}}, tmp_path / "last.pt")
    monkeypatch.setattr(
        evaluate.data,
        "load",
        lambda name, split, *, size, crop: embedded.load(split, size=size, families=2, kinds=3, instances=5),
    )
    maps.main([str(tmp_path / "last.pt"), "--pairs", "2", "--device", "cpu"])
    assert capsys.readouterr().out.strip() == str(tmp_path / "maps.png")
    assert (tmp_path / "maps.png").read_bytes().startswith(b"\x89PNG")
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at gone\.pt"):
        maps.main(["gone.pt"])

    cfg = replace(cfg, framework="B")
    facts["config"] = asdict(cfg)
    torch.save({**facts, "state": {"model": build(cfg, 6).state_dict()}}, tmp_path / "b.pt")
    with pytest.raises(ValueError, match=r"b\.pt is framework B, which has no branches"):
        maps.main([str(tmp_path / "b.pt")])
