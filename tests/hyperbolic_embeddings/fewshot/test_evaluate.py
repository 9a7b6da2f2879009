"""Measuring: figures against loops, the epoch that is measured, published layouts end to end, baselines."""

import dataclasses
import math

import numpy as np
import pytest
import torch

from common import config
from common.data import layouts
from common.run import load_checkpoint
from hyperbolic_embeddings.fewshot import evaluate, train
from hyperbolic_embeddings.fewshot.episodes import TEST_SEED, draw
from hyperbolic_embeddings.fewshot.presets import PRESETS

TINY = ("smoke-fewshot", "--epochs", "2", "--epoch-episodes", "2", "--way", "4", "--query", "2", "--dim", "8")


def test_a_figure_is_the_mean_of_loops_over_stored_episodes(runs, place):
    fit, judge = runs
    words = ("--geometry", "euclidean-squared", "--test-episodes", "30", "--test-query", "4")
    figures, measured, _, _ = judge(fit(*TINY, *words), export=place / "out.npz")
    assert tuple(measured) == ("embedded", "test", "val")
    saved = np.load(place / "out.npz", allow_pickle=False)
    z, y = saved["embedding"].astype(np.float64), saved["labels"][:, -1]
    for way, shot in ((5, 1), (20, 5)):
        rows = draw(torch.from_numpy(y), way, shot, 4, 30, seed=TEST_SEED).numpy()
        accuracies = []
        for episode in rows:
            prototypes = np.stack([z[line[:shot]].mean(0) for line in episode])
            hits = [
                np.square(prototypes - z[q]).sum(1).argmin() == k
                for k, line in enumerate(episode)
                for q in line[shot:]
            ]
            accuracies.append(np.mean(hits))
        figure = figures[f"{way}way-{shot}shot"]
        assert figure.value == pytest.approx(np.mean(accuracies), abs=1e-9)
        assert figure.interval == pytest.approx(1.96 * np.std(accuracies) / math.sqrt(30), abs=1e-9)
    assert figures["accuracy"] == figures["5way-1shot"]
    assert figures["norm"].value == pytest.approx(np.linalg.norm(z, axis=1).mean(), rel=1e-5)


def test_the_epoch_of_the_best_validation_is_measured(runs):
    fit, judge = runs
    path = fit(*TINY, "--lr", "0.05", "--epochs", "3")
    state = torch.load(path, weights_only=True)["state"]
    _, _, cfg, checkpoint = judge(path)
    encoder, _ = evaluate.restored(cfg, checkpoint)
    assert not encoder.training
    assert all(torch.equal(v, state["best"]["encoder"][k]) for k, v in encoder.state_dict().items())
    last, _ = evaluate.restored(dataclasses.replace(cfg, selection="last"), checkpoint)
    assert all(torch.equal(v, state["encoder"][k]) for k, v in last.state_dict().items())


def test_an_untrained_network_is_measured_as_such(runs):
    fit, judge = runs
    figures, measured, cfg, checkpoint = judge(fit(*TINY, "--epochs", "0", "--selection", "val"))
    assert measured.selection == "last"
    torch.manual_seed(cfg.seed)
    fresh, _ = train.build(cfg)
    encoder, _ = evaluate.restored(cfg, checkpoint)
    assert all(torch.equal(v, dict(encoder.state_dict())[k]) for k, v in fresh.state_dict().items())
    assert 0.2 < figures["accuracy"].value < 1


def test_raw_pixels_are_the_nearest_mean_picture(place):
    _, cfg = config.parse(
        PRESETS, [*TINY, "--backbone", "pixels", "--test-episodes", "10", "--test-query", "3"]
    )
    figures, measured = evaluate.measure(cfg, None, torch.device("cpu"))
    pictures = train.load(cfg, "test", cfg.resize)
    z = pictures.pixels.double().flatten(1) / 255
    hits = []
    for episode in draw(pictures.label, 5, 1, 3, 10, seed=TEST_SEED).tolist():
        for k, line in enumerate(episode):
            for q in line[1:]:
                d = [float((z[q] - z[other[0]]).square().sum()) for other in episode]
                hits.append(d.index(min(d)) == k)
    assert figures["5way-1shot"].value == pytest.approx(sum(hits) / len(hits), abs=1e-6)
    assert figures["parameters"].value == 0
    assert "capped" not in figures
    assert measured.selection == "last"
    with pytest.raises(ValueError, match="add --backbone pixels"):
        evaluate.measure(dataclasses.replace(cfg, backbone="conv4"), None, torch.device("cpu"))


def test_capped_and_temperature_are_those_of_the_checkpoint(runs):
    fit, judge = runs
    figures, *_ = judge(fit(*TINY, "--eps", "0.99", "--c", "1"))
    assert figures["capped"].value == 1
    path = fit(*TINY, "--geometry", "cosine", "--temperature", "0.1", "--learn-temperature", "--lr", "0.01")
    figures, *_ = judge(path)
    learned = load_checkpoint(path)["state"]["best"]["head"]["log_temperature"].exp()
    assert figures["temperature"].value == pytest.approx(float(learned))
    assert figures["temperature"].value != pytest.approx(0.1, rel=1e-3)


SMALL = (
    "--size 16 --stored 20 --resize 18 --dim 4 --epochs 1 --epoch-episodes 2 --way 3 --shot 1 --query 2 "
    "--val-way 2 --val-episodes 5 --test-ways 2 --test-shots 1 --test-query 3 --test-episodes 20"
).split()


@pytest.mark.parametrize(
    ("preset", "crop"), [("mini-imagenet-conv4-5shot", False), ("cub-conv4-1shot", True)]
)
def test_published_layouts_train_and_are_measured(runs, place, preset, crop):
    fit, judge = runs
    name = PRESETS[preset][1].data
    layouts.write(name, place / "data", families=2, kinds=2, instances=6, size=24)
    figures, measured, cfg, _ = judge(fit(preset, *SMALL, *(["--crop"] if crop else [])))
    assert tuple(measured) == (f"{name}-embedded", "test", "val")
    assert 0 < figures["accuracy"].value <= 1
    parts = [train.training_set(cfg), train.validation_set(cfg), train.load(cfg, "test", 18)]
    names = [set(part.names[-1]) for part in parts]
    assert not names[0] & names[1]
    assert not names[0] & names[2]
    assert not names[1] & names[2]
    assert all(part.pixels is not None for part in parts), "pictures stay in memory"


def test_own_pictures_in_folders(runs, place):
    fit, judge = runs
    layouts.write("folder", place / "own", families=2, kinds=2, instances=6, size=24)
    words = ("cub-100-protonet", "--data", f"folder:{place / 'own'}", *SMALL, "--selection", "last")
    figures, measured, _, _ = judge(fit(*words))
    assert measured.split == "test"
    assert "2way-1shot" in figures
