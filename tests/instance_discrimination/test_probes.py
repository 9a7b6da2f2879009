"""Linear probes and fine-tuning: pooling by definition, planted signals, and what must stay untouched."""

import dataclasses

import pytest
import torch

from common.data.dataset import Dataset
from instance_discrimination import finetune, probes, train
from instance_discrimination.presets import PRESETS

CPU = torch.device("cpu")
CFG = dataclasses.replace(
    PRESETS["smoke"][1],
    size=8,
    widths=(4, 6),
    batch=8,
    probe_epochs=12,
    finetune_epochs=7,
    grey=0.0,
    jitter=0.0,
)


def coloured(n: int, seed: int, split: str = "train") -> Dataset:
    """Two classes: reddish and bluish noise."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    pixels = torch.randint(0, 120, (n, 3, 8, 8), generator=draw)
    pixels[torch.arange(n), labels * 2] += 110
    return Dataset(
        name="coloured",
        split=split,
        labels=labels[:, None],
        levels=("class",),
        names=(("red", "blue"),),
        size=8,
        pixels=pixels.to(torch.uint8),
    )


@pytest.fixture
def model():
    torch.manual_seed(0)
    return train.build(CFG).eval()


@pytest.mark.parametrize(
    ("shape", "most", "side"),
    [((2, 3, 8, 8), 48, 4), ((2, 3, 8, 8), 50, 4), ((2, 3, 2, 2), 48, 2), ((2, 60, 4, 4), 48, 1)],
)
def test_a_map_is_averaged_over_the_largest_grid_that_fits(shape, most, side):
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    f = probes.pooled(x, most)
    assert f.shape == (2, shape[1] * side * side)
    step = shape[2] // side
    if shape[2] % side == 0:
        naive = [
            float(x[1, c, r * step : (r + 1) * step, q * step : (q + 1) * step].mean())
            for c in range(shape[1])
            for r in range(side)
            for q in range(side)
        ]
        assert f[1].tolist() == pytest.approx(naive, abs=1e-6)


def test_probes_find_a_planted_signal_on_every_stage_and_nothing_in_shuffled_labels(model):
    labelled, queries = coloured(120, 0), coloured(60, 1, "test")
    before = {k: v.clone() for k, v in model.state_dict().items()}
    cfg = dataclasses.replace(CFG, probe_lr=0.1, probe_epochs=30)
    found = probes.measure(model, cfg, labelled, queries, CPU)
    assert list(found) == ["conv1", "res1", "res2", "pool"]
    for stage, predicted in found.items():
        assert float((predicted == queries.label).float().mean()) > 0.9, stage
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()), "the encoder is frozen"
    wrong = dataclasses.replace(
        labelled, labels=labelled.labels[torch.randperm(120, generator=torch.Generator().manual_seed(3))]
    )
    shuffled = probes.measure(model, cfg, wrong, queries, CPU)["conv1"]
    assert abs(float((shuffled == queries.label).float().mean()) - 0.5) < 0.45


def test_probes_are_the_same_twice(model):
    labelled, queries = coloured(40, 0), coloured(20, 1, "test")
    a, b = (probes.measure(model, CFG, labelled, queries, CPU) for _ in range(2))
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_a_share_of_the_labels_is_drawn_per_class():
    few = finetune.few_labels(coloured(100, 0), 0.1)
    assert few.label.bincount().tolist() == [5, 5]
    assert torch.equal(few.pixels, finetune.few_labels(coloured(100, 0), 0.1).pixels)
    assert sorted(finetune.few_labels(coloured(100, 0), 0.001).label.tolist()) == [0, 1]
    for share in (0.0, 1.0, 1.5):
        with pytest.raises(ValueError, match=rf"--label-shares {share}: choose shares between 0 and 1"):
            finetune.few_labels(coloured(100, 0), share)


def test_fine_tuning_learns_the_labels_and_leaves_the_encoder_alone(model):
    cfg = dataclasses.replace(CFG, finetune_lr=0.05)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    labelled, queries = coloured(200, 0), coloured(60, 1, "test")
    predicted = finetune.predict(model, cfg, labelled, queries, 0.4, CPU)
    assert float((predicted == queries.label).float().mean()) > 0.9
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    tuned = finetune.fine_tune(model, cfg, finetune.few_labels(labelled, 0.4), CPU)
    assert tuned.fc.out_features == 2
    first = next(iter(model.state_dict()))
    assert not torch.equal(tuned.state_dict()[first], before[first]), "all layers are trained"
