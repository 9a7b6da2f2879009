"""train.py: one step against a loop, killed runs, the epoch that is kept, bad input."""

import json
import math

import pytest
import torch

from common import config
from common.data.augment import Augment
from common.data.loading import Loader
from common.data.samplers import EpisodeSampler
from common.run import Run
from hyperbolic_embeddings.fewshot import train
from hyperbolic_embeddings.fewshot.presets import PRESETS

TINY = ("smoke-fewshot", "--epochs", "4", "--epoch-episodes", "2", "--way", "4", "--query", "2", "--dim", "8")
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
    words = (*TINY, "--geometry", "cosine", "--learn-temperature", "--seed", "3")
    whole = fit(*words)
    a, lines = content(whole), log(whole)
    assert len(lines) == 4
    whole.parent.rename("whole")

    save = Run.save
    for fatal in (1, 3):

        def save_then_die(self, epoch, *, fatal=fatal, **parts):
            save(self, epoch, **parts)
            if epoch == fatal:
                self.release()
                raise KeyboardInterrupt

        monkeypatch.setattr(Run, "save", save_then_die)
        with pytest.raises(KeyboardInterrupt):
            fit(*words)
    monkeypatch.setattr(Run, "save", save)
    again = fit(*words)
    assert same(a, content(again))
    assert log(again) == lines
    assert not same(a, content(fit(*words[:-1], "4"))), "the comparison can tell two runs apart"


@pytest.mark.parametrize("shot", [1, 3])
def test_the_loss_of_an_episode_is_that_of_a_loop(runs, shot):
    """Which pictures are support and query, and which label each query has, picture by picture in float64."""
    fit, _ = runs
    words = ("smoke-fewshot", "--epochs", "1", "--epoch-episodes", "1", "--way", "5", "--query", "2")
    words += (
        "--shot",
        str(shot),
        "--geometry",
        "euclidean-squared",
        "--temperature",
        "3",
        "--selection",
        "last",
    )
    (line,) = log(fit(*words))

    _, cfg = config.parse(PRESETS, list(words))
    torch.manual_seed(0)
    encoder, _ = train.build(cfg)
    pictures = train.training_set(cfg)
    sampler = EpisodeSampler(pictures.label, 5, shot, 2, 1, seed=0)
    ((images, labels, _),) = Loader(pictures, train.augmentation(cfg)).epoch(sampler, seed=0, epoch=0)
    z = encoder.double()(images[:, :1].double()).detach()
    y = labels[:, -1].tolist()
    groups: dict[int, list[int]] = {}
    for i, label in enumerate(y):
        groups.setdefault(label, []).append(i)
    assert [len(g) for g in groups.values()] == [shot + 2] * 5
    total = 0.0
    for rows in groups.values():
        for q in rows[shot:]:
            scores = {k: -float((z[q] - z[g[:shot]].mean(0)).square().sum()) / 3 for k, g in groups.items()}
            top = max(scores.values())
            total += math.log(sum(math.exp(s - top) for s in scores.values())) + top - scores[y[q]]
    assert line["loss"] == pytest.approx(total / 10, rel=1e-4)


def test_the_best_epoch_is_kept_and_the_last_goes_on(runs):
    fit, _ = runs
    path = fit(*TINY, "--lr", "0.05", "--epochs", "6")
    state, lines = content(path), log(path)
    accuracies = [line["val_accuracy"] for line in lines]
    best = accuracies.index(max(accuracies))
    assert len(set(accuracies)) > 1
    assert (state["best"]["epoch"], state["best"]["accuracy"]) == (best + 1, accuracies[best])
    assert same(state["best"]["encoder"], state["encoder"]) == (best == 5)
    keeper = train.Best()
    encoder, head = train.build(PRESETS["smoke-fewshot"][1])
    for epoch, accuracy in enumerate((0.3, 0.5, 0.5, 0.4), 1):
        keeper.offer(accuracy, epoch, encoder, head)
    assert (keeper.epoch, keeper.accuracy) == (2, 0.5), "among equals the first"
    kept = keeper.encoder["blocks.0.0.bias"].clone()
    with torch.no_grad():
        next(iter(encoder.parameters())).add_(1)
        encoder.state_dict()["blocks.0.0.bias"].add_(1)
    assert torch.equal(keeper.encoder["blocks.0.0.bias"], kept), "a copy, not a view of what trains on"


def test_the_log_says_how_many_points_are_at_the_cap(runs):
    fit, _ = runs
    free = log(fit(*TINY, "--c", "1e-4"))
    capped = log(fit(*TINY, "--eps", "0.9", "--c", "1"))
    assert [line["capped"] for line in free] == [0] * 4
    assert [line["capped"] for line in capped] == [1] * 4
    assert all(line["norm"] > 0 for line in free)


@pytest.mark.parametrize("training", [True, False])
def test_embedding_uses_the_running_statistics(training):
    """Whatever mode the encoder is in, which it keeps; its buffers stay as they are."""
    _, cfg = config.parse(PRESETS, list(TINY))
    pictures = train.training_set(cfg).subset(torch.arange(6))
    encoder, _ = train.build(cfg)
    encoder.train()(torch.rand(4, 1, cfg.size, cfg.size))  # running statistics that are no longer 0 and 1
    encoder.train(training)
    before = {k: v.clone() for k, v in encoder.state_dict().items()}
    z = train.embed(encoder, cfg, pictures, torch.device("cpu"))
    assert encoder.training == training
    assert all(torch.equal(v, before[k]) for k, v in encoder.state_dict().items())
    with torch.no_grad():
        plain = encoder.eval()((pictures.pixels / 255)[:, :1])
    torch.testing.assert_close(z, plain, rtol=1e-4, atol=1e-5)


def test_the_learning_rate_falls_after_every_episode(runs):
    fit, _ = runs
    words = (*TINY, "--epochs", "2", "--lr", "0.008", "--selection", "last")
    # A cosine over 4 episodes, at the end of the second and of the fourth.
    assert [line["lr"] for line in log(fit(*words))] == pytest.approx([0.004, 0], abs=1e-12)


def test_learning_rates():
    published = PRESETS["mini-imagenet-conv4-1shot"][1]
    at = [train.learning_rate(published, 100 * epoch) for epoch in (0, 79, 80, 159, 160, 199)]
    assert at == [1, 1, 0.5, 0.5, 0.25, 0.25]
    assert train.learning_rate(published, 100 * 80 - 1) == 1
    mini = PRESETS["omniglot-protonet"][1]
    at = [train.learning_rate(mini, episode) for episode in (0, 500, 1000)]
    assert at == pytest.approx([1, 0.5, 0])


def test_held_out_alphabets_are_neither_trained_on_nor_tested(runs):
    _, cfg = config.parse(PRESETS, ["smoke-fewshot", "--val-share", "0.25"])
    kept, held = train.training_set(cfg), train.validation_set(cfg)
    whole = train.training_set(PRESETS["smoke-fewshot"][1])
    assert len(kept) + len(held) == len(whole)
    assert not set(kept.names[0]) & set(held.names[0])
    assert len(held.names[0]) == 3, "a quarter of twelve families, not of their kinds"
    turned = train.training_set(config.parse(PRESETS, ["smoke-fewshot", "--quarter-turns"])[1])
    assert turned.classes == 4 * whole.classes
    fit, judge = runs
    _, measured, _, _ = judge(fit(*TINY, "--val-share", "0.25", "--test-ways", "5"))
    assert measured.split == "val"


def test_published_augmentation():
    assert train.augmentation(PRESETS["mini-imagenet-conv4-1shot"][1]) == Augment(
        size=84,
        resized_crop=(0.08, 1.0),
        flip=0.5,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        mean=(0.485, 0.456, 0.406),
        std=(0.229, 0.224, 0.225),
    )


def test_crops_of_another_area():
    _, cfg = config.parse(PRESETS, ["cub-100-protonet", "--crop-area", "0.5", "1"])
    assert train.augmentation(cfg).resized_crop == (0.5, 1.0)


@pytest.mark.parametrize(
    ("preset", "words", "wanted"),
    [
        ("cub-100-protonet", [], "fewshot"),
        ("cub-100-protonet", ["--protocol", "retrieval"], "retrieval"),
        ("omniglot-protonet", [], "retrieval"),
        ("omniglot-protonet", ["--data", "folder:pictures", "--protocol", "fewshot"], "retrieval"),
    ],
)
def test_which_classes_train_and_test(monkeypatch, preset, words, wanted):
    asked = []
    monkeypatch.setattr(train.data, "load", lambda *_, protocol, **__: asked.append(protocol))
    _, cfg = config.parse(PRESETS, [preset, *words])
    for split in ("train", "test"):
        train.load(cfg, split, 8)
    assert asked == [wanted] * 2


def test_augmentation_of_drawings():
    assert train.augmentation(PRESETS["omniglot-protonet"][1]) == Augment(
        size=28,
        rotate=12.0,
        translate=0.08,
        scale=(1 - 0.12, 1 + 0.12),
        shear=8.0,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
    )


BAD = [
    (["--backbone", "pixels"], ValueError, "nothing to train; use .* pixels"),
    (["--stored", "20"], ValueError, "--stored 20 with --no-resized-crop: .* give --stored 16"),
    (["--resize", "12"], ValueError, "--resize 12 is below --size 16"),
    (["--way", "73"], ValueError, "way = 73 classes per episode but only 72 classes"),
    (["--query", "20"], ValueError, r"20 images but shot \+ query = 1 \+ 20 = 21"),
    (["--way", "0"], ValueError, "--way 0: give at least 1"),
    (["--epochs", "-1"], ValueError, "--epochs -1"),
    (["--val-share", "1"], ValueError, "--val-share 1.0"),
    (["--lr", "0"], ValueError, "--lr 0.0"),
    (["--channels", "2"], ValueError, "--channels 2: give 1"),
    (["--c", "0"], ValueError, "--c 0.0: give a finite number above 0"),
    (["--test-query", "20"], ValueError, r"test episodes: .*shot \+ query = 1 \+ 20 = 21"),
    (["--test-query", "20", "--selection", "last"], ValueError, r"test episodes: .* \(.*--test-query\)"),
    (["--test-ways", "700", "--selection", "last"], ValueError, r"test episodes: way = 700 .*--test-ways"),
    (["--backbone", "resnet12"], ValueError, "DropBlock of size 5 does not fit"),
    (["--lr", "1e30"], FloatingPointError, "the loss was not finite at step"),
]


@pytest.mark.parametrize(
    ("words", "error", "told"), BAD, ids=lambda x: " ".join(x) if isinstance(x, list) else ""
)
def test_bad_input_is_one_sentence(runs, words, error, told):
    fit, _ = runs
    with pytest.raises(error, match=told):
        fit("smoke-fewshot", *words)
