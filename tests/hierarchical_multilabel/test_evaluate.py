"""Measuring: figures against naive ones, own pictures and published layouts end to end, bad checkpoints."""

import dataclasses
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import normalized_mutual_info_score
from torch.nn.functional import normalize

from common import gallery, results
from common.data import MANIFESTS, embedded, layouts
from hierarchical_multilabel import evaluate, probe, splits, train
from hierarchical_multilabel.evaluate import clustering, held_out, probe_sets, retrieval
from hierarchical_multilabel.presets import PRESETS

TINY = (
    "--backbone small --weights none --widths 4 6 --pools 1 --frozen 0 --dim 8 --size 12 --stored 12 "
    "--batch 10 --steps 2 --epoch-steps 1 --workers 0"
).split()


def trained(capsys, *words: str) -> Path:
    train.main(list(words))
    return Path(capsys.readouterr().out.strip().splitlines()[-1])


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DATA", "real")
    return tmp_path


@pytest.fixture(scope="module")
def smoke(tmp_path_factory):
    """Checkpoint of the smoke preset."""
    folder = tmp_path_factory.mktemp("smoke")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("DATA", "auto")
        train.main(["smoke", "--steps", "2", "--epoch-steps", "1"])
    return next(folder.rglob("last.pt"))


@pytest.fixture(scope="module")
def measured(smoke, tmp_path_factory):
    """Rows of a measurement of that checkpoint, and what it exported."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        evaluate.main([str(smoke), "--record", "--export", "out.npz"])
        return results.load_runs("hierarchical_multilabel"), gallery.read_export("out.npz")


def recorded() -> dict[str, float]:
    rows = results.load_runs("hierarchical_multilabel")
    return dict(zip(rows["metric"], rows["value"]))


# Own pictures: nested folders of any depth train and are measured with no further argument


def write_pictures(folder: Path, *levels: int, each: int = 6) -> None:
    """levels: number of children of each node, coarse to fine. A class is a colour in its group's part."""
    rng = np.random.default_rng(0)
    for number in range(math.prod(levels)):
        names, rest = [], number
        for n in reversed(levels):
            names.insert(0, f"n{rest % n}")
            rest //= n
        colour = rng.integers(0, 255, 3)
        for i in range(each):
            picture = np.clip(rng.normal(colour, 30, (40, 32, 3)), 0, 255).astype(np.uint8)
            path = folder.joinpath(*names) / f"{i}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(path)


@pytest.mark.parametrize("levels", [(6,), (4, 2), (3, 2, 2)], ids=["one", "two", "three"])
@pytest.mark.parametrize("preset", ["omniglot", "cub-100"])
def test_own_pictures_in_nested_folders(place, capsys, preset, levels):
    write_pictures(place / "own", *levels)
    checkpoint = trained(capsys, preset, "--data", f"folder:{place / 'own'}", "--steps", "1")
    evaluate.main([str(checkpoint), "--export", "out.npz"])
    out = capsys.readouterr().out
    names = ["group", "subgroup"][: len(levels) - 1]
    for wanted in ("seen/class/recall@1", "unseen/class/recall@1", "unseen/class/nmi", "seen/class/probe"):
        assert wanted in out
    for name in names:
        assert f"unseen/{name}/recall@1" in out
        assert f"unseen/{name}/violation" in out
    export = gallery.read_export("out.npz")
    assert export.levels == (*names, "class")
    assert len(export.pictures()) == len(export.embedding)


def test_own_pictures_with_the_same_classes_for_testing(place, capsys):
    for part in ("train", "test"):
        write_pictures(place / "own" / part, 3, 2)
    checkpoint = trained(capsys, "cub-100", "--data", f"folder:{place / 'own'}", *TINY)
    evaluate.main([str(checkpoint), "--export", "out.npz"])
    out = capsys.readouterr().out
    assert "unseen/" not in out
    assert "seen/group/probe" in out
    assert gallery.read_export("out.npz").pictures().split == "test"
    (place / "own/test/n2").rename(place / "own/test/n7")
    evaluate.main([str(checkpoint)])
    assert "unseen/class/recall@1" in capsys.readouterr().out
    with pytest.raises(
        ValueError, match="give own pictures test classes that are either all in train or none"
    ):
        evaluate.main([str(checkpoint), "--export", "other.npz"])


# Published layouts


def picture(path, value=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (14, 14), (value % 256, value // 3 % 256, 90)).save(path)


def other_counts(monkeypatch, name, **protocols):
    monkeypatch.setitem(MANIFESTS, name, dataclasses.replace(MANIFESTS[name], counts=protocols))


def test_deepfashion_searches_its_gallery_and_holds_categories_out(place, capsys, monkeypatch):
    known = splits.read("deepfashion")["categories"]
    rows, value = [], 0
    for part, products in (("train", "12"), ("query", "34"), ("gallery", "34")):
        for c in known:
            for product in products:
                for variation in (1, 2):
                    for view in (1, 2):
                        item = f"id_{known.index(c):04}000{product}"
                        number = view + 2 * (part == "gallery")
                        rows.append((f"WOMEN/{c}/{item}/{variation:02}_{number}_side.png", item, part))
                        picture(place / "data/inshop/img" / rows[-1][0], value := value + 1)
    text = [str(len(rows)), "image_name item_id evaluation_status"]
    text += [f"img/{name} {item} {status}" for name, item, status in rows]
    (place / "data/inshop/list_eval_partition.txt").write_text("\n".join(text))
    n = len(rows) // 3
    for name in ("inshop", "deepfashion"):
        other_counts(monkeypatch, name, retrieval=dict.fromkeys(("train", "query", "gallery"), (n, None)))

    checkpoint = trained(capsys, "deepfashion", *TINY)
    evaluate.main([str(checkpoint), "--record"])
    found = recorded()
    assert not any(name.startswith("unseen") for name in found)
    encoder, cfg, _ = evaluate.load_model(checkpoint)
    parts = splits.load("deepfashion", size=12)
    assert parts.seen is not None
    assert parts.gallery is not None
    here = torch.device("cpu")
    query, base = (evaluate.describe(encoder, cfg, part, here)[1] for part in (parts.seen, parts.gallery))
    nearest = (query @ base.T).argmax(1)
    hits = parts.gallery.label[nearest] == parts.seen.label
    assert found["seen/variation/recall@1"] == pytest.approx(float(hits.double().mean()), abs=1e-6)
    assert {"seen/category/probe", "seen/category/nmi", "seen/variation/nmi-within"} <= found.keys()
    assert set(results.load_runs("hierarchical_multilabel")["split"]) == {"test"}

    checkpoint = trained(capsys, "deepfashion", *TINY, "--hold-out")
    evaluate.main([str(checkpoint), "--record"])
    rows = results.load_runs("hierarchical_multilabel")
    held = rows[rows["split"] == "held-out"]
    assert {"seen/category/probe", "unseen/category/probe"} <= set(held["metric"])
    with pytest.raises(ValueError, match="no split of deepfashion that can be loaded again"):
        evaluate.main([str(checkpoint), "--export", "out.npz"])


@pytest.mark.parametrize("preset", ["omniglot", "cifar-100"])
def test_generated_drawings_in_published_layouts(place, capsys, preset):
    name = PRESETS[preset][1].data
    layouts.write(name, place / "data", families=4, kinds=3, instances=20, size=None)
    words = [] if preset == "omniglot" else ["--no-hold-out"]  # their classes have other names
    checkpoint = trained(capsys, preset, *TINY, *words)
    evaluate.main([str(checkpoint), "--record"])
    rows = results.load_runs("hierarchical_multilabel")
    assert set(rows["dataset"]) == {f"{name}-embedded"}, "generated drawings never pass for the real set"
    assert ("unseen/character/recall@1" in set(rows["metric"])) == (preset == "omniglot")


def test_validation_categories_are_recorded_as_such(place, capsys, monkeypatch):
    monkeypatch.setenv("DATA", "synthetic")
    checkpoint = trained(capsys, "omniglot", *TINY, "--val-share", "0.3")
    evaluate.main([str(checkpoint), "--record"])
    rows = results.load_runs("hierarchical_multilabel")
    assert set(rows["split"]) == {"val"}
    assert set(rows["dataset"]) == {"embedded"}


# Figures


def test_everything_is_measured_and_recorded(measured):
    rows, export = measured
    assert len(export.pictures()) == len(export.embedding)
    assert len(rows) == len(set(rows["metric"]))
    expected = {
        f"{group}/{name}"
        for group in ("seen", "unseen")
        for name in (
            *(f"{level}/{figure}" for level in ("family", "kind") for figure in ("recall@1", "nmi", "probe")),
            "family/knn@20", "family/violation", "kind/nmi-within",
        )
    } | {"parameters", "active_steps", "active_terms"}  # fmt: skip
    assert expected <= set(rows["metric"])


def test_pixels_are_measured_without_a_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(evaluate, "clustering", lambda z, part: {})  # slow in 3,072 dimensions
    evaluate.main(["pixels", "smoke", "--record"])
    rows = results.load_runs("hierarchical_multilabel")
    found = dict(zip(rows["metric"], rows["value"]))
    assert not any("probe" in name or name in ("parameters", "active_steps") for name in found)
    part = splits.load("embedded", size=32).unseen
    assert part is not None
    assert part.pixels is not None
    x = normalize(part.pixels.double().flatten(1), dim=1)
    nearest = (x @ x.T).fill_diagonal_(-2).argmax(1)
    expected = float((part.label[nearest] == part.label).double().mean())
    assert found["unseen/kind/recall@1"] == pytest.approx(expected, abs=2e-3)
    assert set(rows["checkpoint"]) == {"none"}


def small_tree(seed=0, n=60):
    g = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (n, 3), generator=g)
    for l in (2, 1):
        labels[:, l] = labels[:, : l + 1].unique(dim=0, return_inverse=True)[1]
    z = torch.randn(n, 4, generator=g) + torch.randn(3, 4, generator=g)[labels[:, 0]]
    part = embedded.load("test", size=8, channels=1).subset(torch.arange(n))
    names = tuple(tuple(map(str, range(int(c.max()) + 1))) for c in labels.T)
    part = dataclasses.replace(part, labels=labels, levels=("a", "b", "c"), names=names, extra={})
    return normalize(z, dim=1), part


def test_retrieval_reports_each_level_and_leaves_out_too_large_k():
    z, part = small_tree()
    found = retrieval(z, part)
    s = (z @ z.T).fill_diagonal_(-2)
    fine = part.labels[s.argmax(1), 2] == part.labels[:, 2]
    assert found["c/recall@1"] == pytest.approx(float(fine.double().mean()))
    own_finer = part.labels[:, 1][:, None] == part.labels[:, 1]
    coarse = part.labels[s.masked_fill(own_finer, -2).argmax(1), 0] == part.labels[:, 0]
    assert found["a/recall@1"] == pytest.approx(float(coarse.double().mean()))
    assert {"a/knn@20", "b/knn@20", "a/violation", "b/violation"} <= found.keys()
    assert not {"c/knn@20", "c/violation"} & found.keys()
    few = retrieval(z[:6], part.subset(torch.arange(6)))
    assert {"a/recall@5"} <= few.keys()
    assert not {"a/recall@10", "a/knn@20"} & few.keys()


def test_clusters_are_compared_with_the_nodes():
    z, part = small_tree()
    rows = torch.eye(30)[part.labels[:, 2]]  # each class a point of its own
    found = clustering(rows, part)
    assert found["c/nmi"] > 0.97
    assert found["c/nmi-within"] > 0.97
    found, expected = clustering(z, part), 0.0
    for node in range(3):
        own = part.labels[:, 0] == node
        y = part.labels[own, 2]
        k = evaluate.clusters(z[own], len(y.unique()))
        expected += normalized_mutual_info_score(y, k) * int(own.sum()) / 60
    assert found["c/nmi-within"] == pytest.approx(expected)


def test_parts_of_the_probe_on_unseen_categories():
    """4 of 5 pictures of each class at the finest level, 4 of 5 finer nodes with all their pictures above."""
    labels = torch.cartesian_prod(torch.arange(3), torch.arange(5), torch.arange(10))
    labels[:, 1] += 5 * labels[:, 0]
    fine, coarse = held_out(labels[:, :2], 1), held_out(labels[:, :2], 0)
    assert torch.bincount(labels[fine, 1]).tolist() == [2] * 15
    nodes = labels[coarse, 1].unique()
    assert Counter((nodes // 5).tolist()) == {0: 1, 1: 1, 2: 1}
    assert torch.equal(coarse, torch.isin(labels[:, 1], nodes))
    assert torch.equal(coarse, held_out(labels[:, :2], 0))
    alone = torch.tensor([(0, 0), (0, 0), (1, 1), (1, 2)])
    assert held_out(alone, 0).tolist()[:2] == [False, False], "an only child stays"


def test_probe_sets_do_not_mix_the_groups():
    z, part = small_tree()
    other = dataclasses.replace(part, labels=part.labels.flip(0))
    sets = probe_sets("seen", part, z, other, 2 * z)
    for level, name in enumerate(part.levels):
        fit_x, fit_y, test_x, test_y = sets[name]
        assert torch.equal(fit_x, 2 * z)
        assert torch.equal(fit_y, other.labels[:, level])
        assert torch.equal(test_x, z)
        assert torch.equal(test_y, part.labels[:, level])
    for fit_x, fit_y, test_x, _ in probe_sets("unseen", part, z, other, 2 * z).values():
        assert len(fit_x) + len(test_x) == 60
        assert not {tuple(r) for r in fit_x.tolist()} & {tuple(r) for r in test_x.tolist()}
        assert len(fit_y) == len(fit_x)
    strangers = dataclasses.replace(other, labels=part.labels + 100)
    assert probe_sets("seen", part, z, strangers, z) == {}


def test_the_recorded_probe_is_the_probe(smoke, measured):
    rows = measured[0]
    encoder, cfg, _ = evaluate.load_model(smoke)
    parts, here = splits.load(cfg.data, size=cfg.size), torch.device("cpu")
    assert parts.seen is not None
    h, test = (evaluate.describe(encoder, cfg, part, here)[0] for part in (parts.train, parts.seen))
    expected = probe.accuracy(h, parts.train.labels[:, 1], test, parts.seen.labels[:, 1])
    found = rows.loc[rows["metric"] == "seen/kind/probe", "value"].item()
    assert found == pytest.approx(expected, abs=1e-3)


def test_embedding_is_the_head_or_the_features(smoke):
    encoder, cfg, _ = evaluate.load_model(smoke)
    part = splits.load(cfg.data, size=cfg.size).train.subset(torch.arange(20))
    here = torch.device("cpu")
    h, z = evaluate.describe(encoder, cfg, part, here)
    features, unit = evaluate.describe(encoder, dataclasses.replace(cfg, embedding="features"), part, here)
    assert (h.shape, z.shape) == ((20, 16), (20, 16))
    assert torch.equal(features, h)
    torch.testing.assert_close(unit, normalize(h, dim=1))
    assert not torch.allclose(unit, z)


def test_activity_is_the_watched_share(smoke):
    checkpoint = torch.load(smoke, weights_only=True)
    watched = checkpoint["state"]["watched"]
    found = evaluate.activity(checkpoint)
    assert found["active_steps"].value == int(watched["active_steps"]) / 2
    assert found["active_terms"].value == int(watched["active"]) / int(watched["terms"])
    watched["watched"] = torch.tensor(0)
    assert evaluate.activity(checkpoint) == {}


# Bad input


def test_checkpoints_that_cannot_be_measured_are_named(smoke, tmp_path):
    with pytest.raises(FileNotFoundError, match="train first"):
        evaluate.main([str(tmp_path / "none.pt")])
    whole = torch.load(smoke, weights_only=True)
    other = tmp_path / "other.pt"
    torch.save({**whole, "paper": "cgd_retrieval"}, other)
    with pytest.raises(ValueError, match="a checkpoint of cgd_retrieval, not of hierarchical_multilabel"):
        evaluate.main([str(other)])
    torch.save({**whole, "config": {**whole["config"], "unheard": 1}}, other)
    with pytest.raises(ValueError, match=r"another version .*unheard"):
        evaluate.main([str(other)])
    with pytest.raises(ValueError, match="--nonsense: unknown argument; a checkpoint carries"):
        evaluate.main([str(smoke), "--nonsense"])
    with pytest.raises(ValueError, match="not a device"):
        evaluate.main([str(smoke), "--device", "toaster"])
