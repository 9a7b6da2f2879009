"""Measuring delta_rel from pictures, exports and spaces."""

import dataclasses

import pytest
import torch

from common.data import load
from hyperbolic_embeddings.delta import evaluate, spaces
from hyperbolic_embeddings.delta.hyperbolicity import CONSTANT, euclidean, relative_delta
from hyperbolic_embeddings.delta.presets import PRESETS

SMOKE = PRESETS["smoke-delta"][1]
PIXELS = dataclasses.replace(SMOKE, network="pixels", stored=12, points=40)
CPU = torch.device("cpu")


def measure(**changed):
    cfg = dataclasses.replace(PIXELS, **changed)
    return evaluate.measure(cfg, CPU)


def test_smoke_preset_measures_a_network():
    figures, measured = evaluate.measure(SMOKE, CPU)
    assert (measured.dataset, measured.split) == ("embedded", "train")
    assert figures["points"].value == SMOKE.points
    assert figures["dim"].value == 512
    relative = figures["delta_rel"].value
    assert 0 < relative <= figures["delta_rel_bases"].value <= 1
    assert figures["c_eq5"].value == pytest.approx((CONSTANT / relative) ** 2)
    assert {"null_spectrum", "null_isotropic", "null_sphere", "c_self_consistent"} <= figures.keys()


def test_what_is_measured_is_the_mean_over_the_samples():
    figures, _ = measure(tries=3, bases=3)
    pictures = load("embedded", "train", size=12)
    assert pictures.pixels is not None
    random = evaluate.counter.generator(PIXELS.seed, evaluate.SAMPLE)
    found, nulls = [], {"null_isotropic": [], "null_spectrum": [], "null_sphere": []}
    for t in range(3):
        own = torch.randperm(len(pictures), generator=random)[:40]
        x = pictures.pixels[own].flatten(1).float() / 255
        found.append(relative_delta(euclidean(x), 3))
        null = evaluate.counter.generator(PIXELS.seed, t, evaluate.NULL)
        for name, cloud in (  # in the order in which they are drawn
            ("null_isotropic", spaces.isotropic(40, x.shape[1], null)),
            ("null_spectrum", spaces.spectrum_matched(x, null)),
            ("null_sphere", spaces.sphere(40, x.shape[1], null)),
        ):
            nulls[name].append(relative_delta(euclidean(cloud))[0])
    first, largest = (torch.tensor(column, dtype=torch.float64) for column in zip(*found))
    assert figures["delta_rel"].value == pytest.approx(float(first.mean()), rel=1e-6)
    assert figures["delta_rel_spread"].value == pytest.approx(float(first.std()), rel=1e-6)
    assert figures["delta_rel_bases"].value == pytest.approx(float(largest.mean()), rel=1e-6)
    for name, values in nulls.items():
        assert figures[name].value == pytest.approx(sum(values) / 3, rel=1e-6), name


def test_a_function_of_the_seed():
    again, other = measure()[0], measure(seed=1)[0]
    assert measure()[0] == again
    for name in ("delta_rel", "null_spectrum", "null_isotropic"):
        assert again[name] != other[name], name


def test_an_export_gives_what_the_pictures_gave(tmp_path):
    file = tmp_path / "out.npz"
    direct, _ = evaluate.measure(PIXELS, CPU, export=file)
    assert direct == measure()[0], "exporting changes no figure"
    figures, measured = measure(network=f"export:{file}", data="mnist")
    assert figures == direct
    assert (measured.dataset, measured.split) == ("embedded", "train"), "what the export is of"


@pytest.mark.parametrize("space", ["tree", "disk", "isotropic", "sphere"])
def test_spaces_need_no_pictures(space, monkeypatch):
    monkeypatch.setattr(evaluate, "load", lambda *_: pytest.fail("a picture was read"))
    figures, _ = measure(network=space, dim=8)
    assert figures["points"].value == 40
    if space == "tree":
        assert figures["delta_rel"].value < 1e-6
        assert "c_eq5" not in figures, "infinite"
    elif space == "disk":
        assert figures["delta_rel"].value < CONSTANT / 2
    else:
        assert figures["delta_rel"].value > CONSTANT
        assert figures["dim"].value == 8


@pytest.mark.parametrize(
    ("changed", "how", "told"),
    [
        ({"points": 5000}, {}, "--points 5000 exceeds the 1440 pictures"),
        ({"bases": 41}, {}, "--bases 41 exceeds --points 40"),
        ({"tries": 0}, {}, "--tries 0: give at least 1"),
        ({"points": 2}, {}, "--points 2: give at least 3"),
        ({"network": "tree"}, {"export": "x.npz"}, "made of no pictures"),
        ({"network": "export:x.npz"}, {"split": "test"}, "names its own split"),
        ({"network": "resnet99"}, {}, "torchvision has no such classification network"),
    ],
)
def test_bad_input_is_one_sentence(changed, how, told):
    with pytest.raises(ValueError, match=told):
        evaluate.measure(dataclasses.replace(PIXELS, **changed), CPU, **how)
