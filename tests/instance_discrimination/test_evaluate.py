"""Measuring: figures against naive ones, which test pictures they are about, baselines, transfer, bad
checkpoints.
"""

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from common import gallery, results
from common.data import embedded, layouts
from common.data.dataset import Dataset
from instance_discrimination import cost, evaluate, figures, pictures, train
from instance_discrimination.presets import PRESETS

CPU = torch.device("cpu")
TINY = "--images 60 --labelled 90 --epochs 1 --batch 16 --widths 4 --size 12 --dim 8 --k 7".split()
TINY += ["--probe-epochs", "0"]


def trained(*words: str) -> Path:
    """Checkpoint of a run below the working folder."""
    train.main(list(words))
    return max(Path().glob("runs/instance_discrimination/*/last.pt"), key=lambda p: p.stat().st_mtime_ns)


@pytest.fixture(scope="module")
def module_run(tmp_path_factory):
    """(folder, checkpoint) of one run of the smoke preset, with probes and fine-tuning."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DATA", "auto")
        words = ["--probe-epochs", "1", "--label-shares", "0.5", "--finetune-epochs", "1"]
        return folder, folder / trained("smoke", *TINY, *words)


@pytest.fixture
def here(module_run, monkeypatch):
    monkeypatch.chdir(module_run[0])
    return module_run[1]


def recorded(words: list[str]) -> dict[str, float]:
    evaluate.main([*words, "--record"])
    rows = results.load_runs("instance_discrimination")
    return dict(zip(rows["metric"], rows["value"]))


def naive_vote(rows, labels, query, k, temperature, classes) -> list[int]:
    out = []
    for q in query.double():
        s = [float(r @ q) for r in rows.double()]
        votes = [0.0] * classes
        for i in sorted(range(len(s)), key=lambda i: -s[i])[:k]:
            votes[int(labels[i])] += math.exp(s[i] / temperature)
        out.append(votes.index(max(votes)))
    return out


def test_recorded_figures_are_those_of_a_naive_vote(here):
    found = recorded([str(here), "--export", "out.npz"])
    model, bank, cfg, _, _ = evaluate.load(here)
    sets, test = pictures.split(cfg), pictures.load(cfg.data, "test", cfg.size)
    v, rows = evaluate.embed(model, cfg, test, CPU), evaluate.embed(model, cfg, sets.labelled, CPU)
    assert len(rows) == 90
    assert len(bank) == 60
    for name, base, labels, k in (
        ("knn", rows, sets.labelled.label, 7),
        ("nn", rows, sets.labelled.label, 1),
        ("knn_bank", bank, sets.training.label, 7),
        ("nn_bank", bank, sets.training.label, 1),
    ):
        wanted = naive_vote(base, labels, v, k, cfg.temperature, test.classes)
        right = np.mean([a == b for a, b in zip(wanted, test.label.tolist())])
        assert found[name] == pytest.approx(right, rel=1e-5), name
    assert {"svm", "svm_bank", "train_loss", "loss@1", "parameters", "finetune_50%"} <= set(found)
    assert {"probe_conv1", "probe_res1", "probe_pool"} <= set(found)
    assert not any("exact" in name or "jpeg" in name for name in found)
    with np.load("out.npz", allow_pickle=False) as saved:
        np.testing.assert_allclose(saved["embedding"], v.numpy(), atol=1e-6)
    assert set(results.load_runs("instance_discrimination")["dataset"]) == {"embedded"}


def test_labels_of_training_do_not_vote_on_unseen_classes(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", "auto")
    path = trained("smoke", *TINY, "--protocol", "retrieval", "--backbone", "small", "--pools", "1")
    found = recorded([str(path), "--export", "out.npz"])
    assert set(found) == {"parameters", "train_loss", "loss@1"}
    assert "no training label votes" in capsys.readouterr().out
    model, _, cfg, _, _ = evaluate.load(path)
    test = pictures.load(cfg.data, "test", cfg.size, "retrieval")
    export = gallery.read_export("out.npz")
    assert (export.split, export.protocol) == ("test", "retrieval")
    assert torch.equal(export.labels, test.labels)
    torch.testing.assert_close(export.embedding, evaluate.embed(model, cfg, test, CPU))
    assert torch.equal(export.pictures().labels, test.labels)


def test_held_out_pictures_of_training_classes_are_voted_on_under_either_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", "auto")
    words = ["--protocol", "retrieval", "--held-out", "20"]
    assert "knn" in recorded([str(trained("smoke", *TINY, *words)), "--split", "val"])


def test_embeddings_do_not_depend_on_the_batch(here):
    model, _, cfg, _, _ = evaluate.load(here)
    test = pictures.load(cfg.data, "test", cfg.size)
    whole = evaluate.embed(model, cfg, test, CPU)
    part = evaluate.embed(model, cfg, test.subset(torch.arange(5)), CPU)
    torch.testing.assert_close(whole[:5], part)
    torch.testing.assert_close(whole.norm(dim=1), torch.ones(len(test)))


def test_svm_is_standardised_and_separates_what_is_separable():
    draw = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (90,), generator=draw)
    rows = torch.randn(90, 5, generator=draw) * 0.1
    rows[torch.arange(90), labels] += 2.0
    scaled = rows * torch.tensor([1.0, 1e-3, 50.0, 1e3, 1.0]) + 7  # undone by standardising
    predicted = evaluate.svm_predict(scaled[:60], labels[:60], scaled[60:], 1.0)
    assert torch.equal(predicted, labels[60:])
    assert torch.equal(predicted, evaluate.svm_predict(rows[:60], labels[:60], rows[60:], 1.0))


def cifar(exact: list[int] | None, name: str = "cifar10", split: str = "test") -> Dataset:
    n = 1200
    return Dataset(
        name=name,
        split=split,
        labels=torch.zeros(n, 1, dtype=torch.int64),
        levels=("class",),
        names=(("a",),),
        size=1,
        pixels=torch.zeros(n, 3, 1, 1, dtype=torch.uint8),
        extra={} if exact is None else {"exact": torch.tensor(exact)},
    )


def test_every_accuracy_says_which_test_pictures_it_is_about():
    packed = evaluate.test_pictures(cifar([1] * 1000 + [0] * 200))
    assert {k: len(v) for k, v in packed.items()} == {"_jpeg1200": 1200, "_exact1000": 1000}
    assert packed["_exact1000"].tolist() == list(range(1000))
    published = evaluate.test_pictures(cifar([1] * 1200))
    assert {k: len(v) for k, v in published.items()} == {"": 1200, "_exact1000": 1000}
    assert list(evaluate.test_pictures(cifar(None, "imagenet"))) == [""]
    assert list(evaluate.test_pictures(cifar([1] * 1200, "cifar10-embedded"))) == [""]
    assert list(evaluate.test_pictures(cifar([1] * 1200, split="val"))) == [""]
    assert list(evaluate.test_pictures(cifar([0] * 1200))) == ["_jpeg1200"], "nothing exact is claimed"


def test_interval_is_binomial():
    figure = evaluate.accuracy(torch.tensor([True] * 30 + [False] * 70))
    assert figure.value == 0.3
    assert figure.interval == pytest.approx(1.96 * math.sqrt(0.3 * 0.7 / 100))


def test_raw_pixels_go_through_the_same_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", "auto")
    found = recorded(["pixels", "smoke", *TINY, "--backbone", "pixels"])
    cfg = dataclasses.replace(PRESETS["smoke"][1], images=60, labelled=90, size=12)
    sets, test = pictures.split(cfg), pictures.load("embedded", "test", 12)

    def raw(dataset):
        x = (dataset.pixels / 255 - torch.tensor(cfg.mean)[:, None, None]) / torch.tensor(cfg.std)[
            :, None, None
        ]
        return normalize(x.flatten(1), dim=1)

    wanted = naive_vote(raw(sets.labelled), sets.labelled.label, raw(test), 7, cfg.temperature, test.classes)
    assert found["knn"] == pytest.approx(
        np.mean([a == b for a, b in zip(wanted, test.label.tolist())]), rel=1e-5
    )
    assert "knn_bank" not in found
    assert results.load_runs("instance_discrimination")["epochs"].tolist()[0] == 0


def test_an_untrained_network_has_no_bank_to_measure(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", "auto")
    found = recorded([str(trained("smoke", *TINY, "--epochs", "0"))])
    assert "knn" in found
    assert "knn_bank" not in found
    assert "train_loss" not in found


def test_held_out_pictures_are_measured_when_there_are_some(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", "auto")
    found = recorded([str(trained("smoke", *TINY, "--held-out", "20", "--val-every", "1"))])
    assert set(results.load_runs("instance_discrimination")["split"]) == {"val"}
    assert found["heldout_knn_bank@1"] == pytest.approx(found["knn_bank"]), (
        "the log's figure is the recorded one"
    )


def image_folder(root: Path, name: str) -> None:
    """Drawings in the layout of ImageNet: NAME/{train,val}/CLASS/*.JPEG."""
    drawn = embedded.make(families=2, kinds=2, instances=5, size=40)
    for part in ("train", "val"):
        for i in range(len(drawn)):
            folder = root / name / part / f"n{int(drawn.label[i]):08d}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(drawn.pixels[i].permute(1, 2, 0).numpy()).resize((44, 40)).save(
                folder / f"{i}.JPEG"
            )
    (root / name / "EMBEDDED.txt").write_text("drawings\n")


def test_imagenet_and_places_end_to_end_in_their_layout(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("DATA", "real")
    for name in ("imagenet", "places205"):
        image_folder(tmp_path / "data", name)
    tiny = "--size 32 --epochs 1 --batch 8 --noise 6 --k 3 --dim 8 --workers 0 --probe-epochs 1".split()
    checkpoint = trained("imagenet-resnet18", *tiny)
    evaluate.main([str(checkpoint), "--record"])
    evaluate.main(["transfer", "imagenet-resnet18", *tiny, "--data", "places205", "--record"])
    rows = results.load_runs("instance_discrimination")
    assert set(rows["dataset"]) == {"imagenet-embedded", "places205-embedded"}
    of = {name: set(part["metric"]) for name, part in rows.groupby("dataset")}
    assert {f"probe_conv{n}" for n in range(1, 6)} | {"knn", "nn"} <= of["places205-embedded"]
    assert not any("svm" in name for name in of["imagenet-embedded"]), "1,000 classes would take days"
    assert "knn_bank" in of["imagenet-embedded"]
    assert "knn_bank" not in of["places205-embedded"], "the bank holds other pictures"
    with pytest.raises(FileNotFoundError, match=r"train it first: .*imagenet-resnet18 .*--seed 4"):
        evaluate.main(["transfer", "imagenet-resnet18", *tiny, "--data", "places205", "--seed", "4"])


def test_cifar_layout_trains_and_is_measured(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DATA", "real")
    layouts.write("cifar10", tmp_path / "data", families=2, kinds=2, instances=20)
    tiny = "--images 40 --labelled 0 --epochs 1 --widths 4 --k 5 --svm-images 0 --probe-epochs 0".split()
    found = recorded([str(trained("cifar10-mini", *tiny))])
    assert "knn" in found
    assert set(results.load_runs("instance_discrimination")["dataset"]) == {"cifar10-embedded"}


def test_cost_of_the_loss_against_n():
    cfg = dataclasses.replace(PRESETS["smoke"][1], loss="nce", noise=64, dim=8)
    found = cost.measure(cfg, CPU, sizes=(50, 100), seconds=0.002)
    assert {"nce_us@50", "softmax_us@100", "nce_exponent", "softmax_exponent"} <= set(found)
    assert cost.slope((10, 100, 1000), [3.0, 3 * 10**0.5, 30.0]) == pytest.approx(0.5)
    assert cost.slope((10, 100), [2.0, 2.0]) == pytest.approx(0)
    measured = cost.slope((50, 100), [found["nce_us@50"].value, found["nce_us@100"].value])
    assert found["nce_exponent"].value == pytest.approx(measured)


def test_figures_say_what_is_missing_and_do_not_fail(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    figures.main([])
    told = capsys.readouterr().out
    for name in ("Table 1", "consistency.png", "losses.png", "proximal.png", "neighbours.png"):
        assert name in told, name


def test_checkpoints_that_cannot_be_measured_are_named(here, tmp_path):
    whole = torch.load(here, weights_only=True)
    other = tmp_path / "other.pt"
    rows = whole["state"]["bank"]["rows"]
    torch.save({**whole, "state": {**whole["state"], "bank": {"rows": rows[:50]}}}, other)
    with pytest.raises(ValueError, match="50 rows but embedded has 60 training pictures now"):
        evaluate.main([str(other)])
    torch.save({**whole, "state": {**whole["state"], "bank": {"rows": rows * 2}}}, other)
    with pytest.raises(ValueError, match=r"row \d+ of the memory bank in .*other\.pt has norm 2, not 1"):
        evaluate.main([str(other)])
    torch.save({**whole, "config": {**whole["config"], "unheard": 1}}, other)
    with pytest.raises(ValueError, match=r"another version .*unheard"):
        evaluate.main([str(other)])
    with pytest.raises(ValueError, match="--nonsense: unknown argument"):
        evaluate.main([str(here), "--nonsense"])
    with pytest.raises(ValueError, match="held out no pictures"):
        evaluate.main([str(here), "--split", "val"])
    with pytest.raises(FileNotFoundError, match="train first"):
        evaluate.main([str(tmp_path / "none.pt")])
