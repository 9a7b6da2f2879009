"""evaluate.py: end to end on generated drawings, in the published layouts and on the embedded set."""

import dataclasses

import numpy as np
import pytest
import torch

from common import data, results
from common.data import layouts
from hyperbolic_embeddings.uncertainty import evaluate
from hyperbolic_embeddings.uncertainty.model import Network
from hyperbolic_embeddings.uncertainty.presets import Uncertainty

TINY = ("smoke-uncertainty", "--epochs", "4", "--epoch-steps", "3", "--batch", "16", "--lr", "0.003")
SHORT = ("--epochs", "2", "--epoch-steps", "4", "--batch", "16")
SCORES = ("distance", "norm", "p_max", "energy")


@pytest.fixture
def published(place):
    """Generated drawings where MNIST and Omniglot would lie."""
    layouts.write("mnist", place / "data/mnist", instances=6)
    layouts.write("omniglot", place / "data/omniglot", families=2, kinds=2, instances=3)
    return place


def test_both_heads_on_the_published_layouts(runs, published):
    fit, judge = runs
    for preset, names in (("mnist-hyperbolic", SCORES), ("mnist-euclidean", SCORES[1:])):
        figures, measured, *_ = judge(fit(preset, *SHORT), export=published / "z.npz")
        assert measured == ("mnist-embedded", "test", "last"), "generated drawings never pass for it"
        assert [n.removeprefix("ks_") for n in figures if n.startswith("ks_")] == list(names)
        assert [n.removeprefix("auroc_") for n in figures if n.startswith("auroc_")] == list(names)
        assert ("capped_inside" in figures) == (preset == "mnist-hyperbolic")
        z = np.load(published / "z.npz")
        assert z["embedding"].shape == (60, 2)
        assert str(z["dataset"]) == "mnist-embedded"


def test_all_of_omniglot_is_out_of_domain_and_its_ink_is_bright(published):
    cfg = Uncertainty()
    outside = evaluate.out_of_domain(cfg)
    parts = [data.load("omniglot", split, size=28, channels=1).pixels for split in ("train", "test")]
    assert torch.equal(outside.pixels, torch.cat(parts)), "background and evaluation, resized to 28"
    inside = data.load("mnist", "test", size=28, protocol="classification", channels=1)
    for pixels in (inside.pixels, outside.pixels):
        assert pixels[:, :, 0].float().mean() < 20, "paper is dark"
        assert pixels.float().mean() < 90, "and most of a picture is paper"


def test_generated_drawings_outside_of_the_real_set_take_its_name_away(runs, published, monkeypatch):
    fit, judge = runs
    path = fit("mnist-hyperbolic", *SHORT)
    load = evaluate.load

    def as_if_real(cfg, split):
        return dataclasses.replace(load(cfg, split), name="mnist")

    monkeypatch.setattr(evaluate, "load", as_if_real)
    assert judge(path)[1].dataset == "mnist-embedded"


@pytest.fixture
def trained(runs):
    """A checkpoint and what was measured of it."""
    fit, judge = runs
    path = fit(*TINY)
    return path, *judge(path)


def test_figures_are_those_of_a_plain_computation(trained):
    """Network by hand from the checkpoint, scores from the formulas, statistics by counting pairs."""
    _, figures, measured, cfg, checkpoint = trained
    assert measured == ("embedded", "test", "last")
    inside = data.load("embedded", "test", size=28, protocol="classification", channels=1)
    outside = data.load("embedded", "test", size=28, channels=1)
    net = Network(2, inside.classes)
    accuracies = []
    for weights in checkpoint["state"]["last"]["weights"]:
        net.load_state_dict(weights)
        with torch.no_grad():
            x = (inside.pixels / 255 - 0.1307) / 0.3081
            accuracies.append((net(x)[2].argmax(1) == inside.label).double().mean().item())
    assert len(accuracies) == 3
    assert figures["accuracy"].value == pytest.approx(accuracies[-1], abs=1e-9)
    assert figures["accuracy_last3"].value == pytest.approx(sum(accuracies) / 3, abs=1e-9)

    samples = []
    with torch.no_grad():
        for dataset in (inside, outside):
            u, z, logits = (t.double() for t in net((dataset.pixels / 255 - 0.1307) / 0.3081))
            p = logits.softmax(1)
            if dataset is inside:
                right = logits.argmax(1) == inside.label
            root = cfg.c**0.5
            samples.append(
                {
                    "distance": 2 / root * torch.atanh(root * z.norm(dim=1)),
                    "norm": u.norm(dim=1),
                    "p_max": p.amax(1),
                    "energy": logits.exp().sum(1).log(),
                }
            )
    near, far = samples
    for name in SCORES:
        a, b = near[name], far[name]
        every = torch.cat([a, b])
        gap = (a[None] <= every[:, None]).double().mean(1) - (b[None] <= every[:, None]).double().mean(1)
        assert figures[f"ks_{name}"].value == pytest.approx(gap.abs().max().item(), abs=0.01), name
        wins = ranks(a, b).mean().item() / len(b)
        assert figures[f"auroc_{name}"].value == pytest.approx(wins, abs=1e-3), name
        errors = ranks(a[right], a[~right]).mean().item() / (~right).sum().item()
        assert figures[f"errors_auroc_{name}"].value == pytest.approx(errors, abs=1e-3), name
        doubt, ambiguity = -a, inside.extra["ambiguity"]
        rho = torch.corrcoef(torch.stack([ranks(doubt, doubt), ranks(ambiguity, ambiguity)]))[0, 1].item()
        assert figures[f"ambiguity_{name}"].value == pytest.approx(rho, abs=1e-3), name
    assert figures["ks_distance"].value == figures["ks_norm"].value, "no picture is at the cap: finding F1"
    assert (figures["capped_inside"].value, figures["capped_outside"].value) == (0, 0)
    assert figures["ambiguity_distance"].unit == "rank correlation"

    # A clip that a quarter of the in-domain norms lie below, and another share of the others.
    lengths = near["norm"].sort().values
    quarter = len(lengths) // 4
    clip = float(lengths[quarter - 1 : quarter + 1].mean())
    clipped, _ = evaluate.measure(dataclasses.replace(cfg, clip=clip), checkpoint, torch.device("cpu"))
    beyond = (far["norm"] >= clip).double().mean().item()
    assert clipped["capped_inside"].value == pytest.approx(1 - quarter / len(lengths), abs=1e-9)
    assert clipped["capped_outside"].value == pytest.approx(beyond, abs=1e-9)
    assert abs(beyond - 0.75) > 0.05, "the two sets can be told apart"


def ranks(a, b):
    """How many of b each of a exceeds; a tie counts as half."""
    return ((a[:, None] > b).double() + (a[:, None] == b).double() / 2).sum(1)


def test_rank_correlation():
    x = torch.tensor([1.0, 2.0, 3.0, 50.0])
    assert evaluate.rank_correlation(x, x**3) == pytest.approx(1)
    assert evaluate.rank_correlation(x, -x) == pytest.approx(-1)
    # Ranks 1 3 2 4 against 1 2 3 4: 1 - 6 (1 + 1) / (4 (16 - 1)).
    assert evaluate.rank_correlation(x, torch.tensor([0.0, 9.0, 8.0, 10.0])) == pytest.approx(0.8)
    assert evaluate.rank_correlation(x, torch.ones(4)) == 0, "a constant follows nothing"


def test_a_clipped_network_puts_everything_at_the_cap(runs):
    fit, judge = runs
    figures = judge(fit(*TINY, "--clip", "0.0001"))[0]
    assert figures["capped_inside"].value > 0.95
    assert figures["auroc_distance"].value == pytest.approx(0.5, abs=0.05), "one distance orders nothing"
    assert figures["ks_norm"].value > figures["ks_distance"].value


def test_an_untrained_network_is_measured(runs):
    fit, judge = runs
    figures = judge(fit(*TINY[:1], "--epochs", "0"))[0]
    assert figures["accuracy"] == figures["accuracy_last3"]
    assert figures["parameters"].value == 427_072 + 2 * 2 * 12


def test_the_split_is_named(runs):
    fit, judge = runs
    path = fit(*TINY)
    assert judge(path, split="train")[1].split == "train"
    with pytest.raises(ValueError, match="nonsense"):
        judge(path, split="nonsense")


def test_figures_make_legal_rows(trained, place):
    path, figures, measured, cfg, checkpoint = trained
    new = results.record(
        "hyperbolic_embeddings",
        figures,
        preset="smoke-uncertainty",
        changed={},
        target=cfg.target,
        seed=cfg.seed,
        measured=measured,
        argv=[str(path)],
        device=torch.device("cpu"),
        checkpoint=checkpoint,
        path=path,
    )
    assert new == len(figures)
    rows = results.load_runs("hyperbolic_embeddings")
    assert set(rows["metric"]) == set(figures)
    shares = rows[rows["unit"] == "share"]["value"]
    assert ((shares >= 0) & (shares <= 1)).all()
