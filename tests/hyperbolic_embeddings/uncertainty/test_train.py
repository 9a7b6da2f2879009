"""train.py: the published training step by step, killed runs, order of the pictures, bad input."""

import dataclasses
import itertools
import json

import pytest
import torch
import torch.nn.functional as F

from common import data
from common.data import catalogue
from common.data.samplers import ShuffleSampler
from common.run import Run
from hyperbolic_embeddings.uncertainty import train
from hyperbolic_embeddings.uncertainty.model import Network
from hyperbolic_embeddings.uncertainty.presets import PRESETS

TINY = ("smoke-uncertainty", "--epochs", "5", "--epoch-steps", "2", "--batch", "16")
CLOCK = ("seconds", "images_per_second", "peak_memory_mb")


def content(path):
    return torch.load(path, weights_only=True)["state"]


def log(path):
    rows = [json.loads(line) for line in (path.parent / "log.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in CLOCK} for row in rows]


def same(a, b):
    """Bit for bit, through dictionaries and lists."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(same(i, j) for i, j in zip(a, b))
    return a == b


def test_a_killed_run_ends_where_an_unbroken_one_does(runs, monkeypatch):
    fit, _ = runs
    whole = fit(*TINY, "--seed", "3")
    a, lines = content(whole), log(whole)
    assert len(lines) == 5
    whole.parent.rename("whole")

    save = Run.save
    for fatal in (1, 4):  # once within the weights that stay, once after they have begun to be replaced

        def save_then_die(self, epoch, *, fatal=fatal, **parts):
            save(self, epoch, **parts)
            if epoch == fatal:
                self.release()
                raise KeyboardInterrupt

        monkeypatch.setattr(Run, "save", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            fit(*TINY, "--seed", "3")
    monkeypatch.setattr(Run, "save", save)
    again = fit(*TINY, "--seed", "3")
    assert same(a, content(again))
    assert log(again) == lines
    assert not same(a, content(fit(*TINY, "--seed", "4"))), "the comparison can tell two runs apart"


def test_the_weights_of_the_last_three_epochs_stay(runs):
    fit, _ = runs
    state = content(fit(*TINY))
    assert len(state["last"]["weights"]) == 3
    assert same(state["last"]["weights"][-1], state["model"])
    shorter = content(fit(*TINY[:1], "--epochs", "3", *TINY[3:]))
    assert same(state["last"]["weights"][0], shorter["model"]), "the third of five is the last of three"
    assert len(content(fit(*TINY[:1], "--epochs", "2", *TINY[3:]))["last"]["weights"]) == 2


@pytest.mark.parametrize("head", ["hyperbolic", "euclidean"])
def test_training_is_the_authors(runs, head):
    """Against a plain loop: -log softmax by hand, torch's unfused Adam, pictures standardised in float64."""
    fit, _ = runs
    state = content(fit(*TINY, "--head", head, "--lr", "0.002"))

    dataset = data.load("embedded", "train", size=28, protocol="classification", channels=1)
    torch.manual_seed(0)
    net = Network(2, dataset.classes, hyperbolic=head == "hyperbolic")
    optimiser = torch.optim.Adam(net.parameters(), lr=0.002, fused=False)
    sampler = ShuffleSampler(len(dataset), 16, seed=0)
    assert len(sampler) == 6, "ten steps go over the pictures almost twice"
    for rows in itertools.islice(itertools.chain(*(epoch(sampler, n) for n in range(2))), 10):
        x = ((dataset.pixels[rows].double() / 255 - 0.1307) / 0.3081).float()
        logits = net(x)[2]
        loss = -logits.log_softmax(1)[torch.arange(len(rows)), dataset.label[rows]].sum() / len(rows)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    # Adam divides by the size of a gradient, so rounding moves the weights whose gradient is almost 0.
    torch.manual_seed(0)
    start = Network(2, dataset.classes, hyperbolic=head == "hyperbolic").state_dict()
    for name, value in net.state_dict().items():
        moved = (value - start[name]).abs().mean()
        assert moved > 1e-3, name
        assert (state["model"][name] - value).abs().mean() < 0.01 * moved, name


def epoch(sampler, number):
    sampler.set_epoch(number)
    return list(sampler)


@pytest.mark.parametrize("length", [1, 4, 7, 30])
def test_order_does_not_depend_on_the_length_of_an_epoch(length):
    sampler = ShuffleSampler(100, 16, seed=5)
    plain = epoch(sampler, 0) + epoch(sampler, 1) + epoch(sampler, 2)
    got = []
    for first in range(0, len(plain), length):
        got += train.batches(sampler, first, length)
    assert got[: len(plain)] == plain
    assert sorted(itertools.chain(*got[:7])) == list(range(100)), "a pass has every picture once"


def test_an_epoch_is_one_pass_by_default(runs):
    fit, _ = runs
    path = fit("smoke-uncertainty", "--epochs", "2", "--epoch-steps", "0")
    assert [row["step"] for row in log(path)] == [2, 4], "96 pictures in batches of 64 and 32"


def test_neither_test_pictures_nor_the_other_set_are_read(runs, monkeypatch):
    seen, load = [], catalogue.load
    monkeypatch.setattr(data, "load", lambda name, split, **k: seen.append((name, split)) or load(name, split, **k), raising=False)  # fmt: skip  # noqa: E501
    runs[0](*TINY)
    assert seen == [("embedded", "train")]


def test_the_share_at_the_cap_is_logged(runs):
    fit, _ = runs
    free = log(fit(*TINY))
    assert [row["capped_share"] for row in free] == [0] * 5
    assert log(fit(*TINY, "--head", "euclidean"))[-1]["capped_share"] == 0
    clipped = log(fit(*TINY, "--clip", "0.001"))
    assert all(row["capped_share"] > 0.9 for row in clipped)


def test_an_untrained_network_is_a_finished_run(runs):
    path = runs[0](*TINY[:1], "--epochs", "0")
    assert content(path)["last"]["weights"] == []
    assert (path.parent / "done.json").exists()


BAD = [
    (["--dim", "0"], "--dim 0"),
    (["--batch", "0"], "--batch 0"),
    (["--epochs", "-1"], "--epochs -1"),
    (["--epoch-steps", "-1"], "--epoch-steps -1"),
    (["--lr", "0"], "--lr 0"),
    (["--c", "-0.05"], "--c -0.05"),
    (["--c", "nan"], "--c nan"),
    (["--std", "0"], "--std 0"),
    (["--clip", "-1"], "--clip -1"),
    (["--data", "nonsense"], "nonsense"),
    (["--data", "folder:nowhere"], "nowhere"),
]


@pytest.mark.parametrize(("words", "told"), BAD, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bad_input_is_one_sentence(runs, place, words, told):
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        runs[0]("smoke-uncertainty", *words)
    assert not list(place.rglob("*.pt"))
    assert not (place / "runs").exists(), "nothing is left behind"


def test_a_missing_out_of_domain_set_is_told_before_training(runs, place):
    from common.data import layouts

    layouts.write("mnist", place / "data", instances=4)
    with pytest.raises(FileNotFoundError, match="DATA MISSING: omniglot"):
        runs[0]("mnist-hyperbolic", "--epochs", "1")
    assert not (place / "runs").exists()


@pytest.mark.parametrize("head", ["hyperbolic", "euclidean"])
def test_a_diverging_run_stops_and_names_the_step(runs, head):
    with pytest.raises(FloatingPointError, match=r"not finite at step \d+"):
        runs[0](*TINY, "--head", head, "--lr", "1e35")


def test_gradients_flow_into_every_weight():
    """The published preset learns in all layers from the first step: no layer is cut off."""
    cfg = dataclasses.replace(PRESETS["mnist-hyperbolic"][1])
    torch.manual_seed(0)
    net = train.build(cfg, 10)
    F.cross_entropy(net(torch.randn(8, 1, 28, 28))[2], torch.arange(8)).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in net.parameters())
