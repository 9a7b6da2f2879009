"""figures.py: what is there is drawn, what is not is said."""

from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from common import results
from common.data import layouts
from hierarchical_multilabel import figures, splits, train
from hierarchical_multilabel.tables import BATCHES, METHODS, changes

DRAWN = ("losses", "alphabets", "birds", "batch", "levels", "embedding", "similarity")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_ROOT", str(tmp_path / "data"))
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("DATA", "real")
    layouts.write("omniglot", tmp_path / "data", families=4, kinds=3, instances=20)
    return tmp_path


def test_what_is_missing_is_said(place, capsys):
    figures.main([])
    out = capsys.readouterr().out
    for name in DRAWN:
        assert f"{name}.png" in out
    assert not (place / figures.FOLDER).exists()
    with pytest.raises(ValueError, match="--all: this command takes no argument"):
        figures.main(["--all"])


def runs():
    rows = []
    for number, (label, fields) in enumerate(METHODS.items()):
        sizes = BATCHES if label in ("SupCon, characters", "HiMulConE") else (96,)
        for size in sizes:
            for seed in (0, 1):
                for metric in ("unseen/character/recall@1", "unseen/alphabet/knn@20"):
                    overrides = changes("omniglot", **fields, batch=size, steps=500 * 96 // size)
                    rows.append(
                        {
                            "target": "", "preset": "omniglot", "overrides": results.canonical(overrides),
                            "dataset": "omniglot", "split": "test", "metric": metric, "seed": seed,
                            "value": 0.3 + 0.02 * number + 0.01 * seed, "date": "2026-01-01",
                        }
                    )  # fmt: skip
    birds = {"preset": "cub-100", "dataset": "cub_100", "metric": "unseen/species/recall@1"}
    rows += [
        row | birds
        for row in rows
        if row["metric"] == "unseen/character/recall@1" and "batch" not in row["overrides"]
    ]
    pixels = {"overrides": results.canonical({"backbone": "pixels"}), "value": 0.1}
    rows += [rows[0] | pixels, rows[-1] | pixels]
    return pd.DataFrame(rows)


def test_rows_logs_and_checkpoints_are_drawn(place, capsys, monkeypatch):
    monkeypatch.setattr(results, "load_runs", lambda paper: runs())
    folders = {}
    for label in figures.SHOWN:
        fields = {name.replace("_", "-"): value for name, value in METHODS[label].items()}
        words = [word for name, value in fields.items() for word in (f"--{name}", str(value))]
        tiny = "--steps 4 --epoch-steps 2 --batch 12 --widths 4 6 --pools 1 --dim 8".split()
        train.main(["omniglot", *tiny, *words])
        folders[label] = Path(capsys.readouterr().out.strip().splitlines()[-1]).parent
    monkeypatch.setattr(figures, "folder_of", lambda label: folders[label])
    figures.main([])
    out = capsys.readouterr().out
    assert out.split() == [str(figures.FOLDER / f"{name}.png") for name in DRAWN]
    first = {}
    for name in DRAWN:
        path = place / figures.FOLDER / f"{name}.png"
        first[name] = path.read_bytes()
        picture = Image.open(path).convert("L")
        assert min(picture.size) > 300
        assert picture.getextrema()[0] < 100, "not an empty page"
    figures.main([])
    for name in ("losses", "birds", "batch", "levels", "similarity"):
        assert (place / figures.FOLDER / f"{name}.png").read_bytes() == first[name], "no dates inside"


def test_values_are_those_of_one_row():
    found = figures.values(runs(), "unseen/character/recall@1", "HiMulConE")
    assert found == pytest.approx([0.3 + 0.02 * 8, 0.31 + 0.02 * 8])
    assert figures.values(runs(), "unseen/character/recall@1", "HiMulConE", batch=7) == []
    assert figures.values(runs(), "unseen/species/recall@1", "SimCLR", "cub_100") == pytest.approx(
        [0.3, 0.31]
    )
    assert figures.of_row(runs(), "unseen/species/recall@1", "cub_100", {"backbone": "pixels"}) == [0.1]


def test_drawings_are_chosen_in_the_order_of_the_tree(place):
    unseen = splits.load("omniglot", size=32).unseen
    assert unseen is not None
    rows = figures.some(unseen)
    labels = unseen.labels[rows]
    assert torch.equal(labels, labels[(labels[:, 0] * 1000 + labels[:, 1]).argsort(stable=True)])
    assert torch.bincount(labels[:, 1]).max() <= figures.DRAWINGS
    assert len(labels[:, 0].unique()) <= figures.ALPHABETS


def test_the_matrix_is_that_of_cosines(place, monkeypatch):
    unseen = splits.load("omniglot", size=32).unseen
    assert unseen is not None
    chosen = unseen.subset(figures.some(unseen), relabel=True)
    shown = []

    def keep(figure, path):
        image = figure.axes[0].images[0]
        shown.extend([image.get_array(), image.get_clim(), figure.axes[0].get_yticklabels()])

    monkeypatch.setattr(figures, "save", keep)
    rows = normalize(torch.randn(len(chosen), 5, generator=torch.Generator().manual_seed(0)), dim=1)
    figures.matrices({"one": rows}, chosen)
    cosines = rows @ rows.T
    assert torch.allclose(torch.tensor(shown[0]), cosines)
    assert shown[1] == pytest.approx((float(cosines.min()), 1)), "nothing is cut off"
    for at, text in enumerate(shown[2]):
        drawings = (chosen.labels[:, 0] == at).nonzero()[:, 0].double()
        assert (text.get_position()[1], text.get_text()) == (drawings.mean(), chosen.names[0][at])


def test_no_two_characters_look_alike(place, monkeypatch):
    unseen = splits.load("omniglot", size=32).unseen
    assert unseen is not None
    chosen = unseen.subset(figures.some(unseen), relabel=True)
    looks = []

    def keep(figure, path):
        for dots in figure.axes[1].collections:
            mark = dots.get_paths()[0].vertices.tobytes()
            looks.append((tuple(dots.get_facecolor()[0]), mark, len(dots.get_offsets())))

    monkeypatch.setattr(figures, "save", keep)
    rows = normalize(torch.randn(len(chosen), 5, generator=torch.Generator().manual_seed(0)), dim=1)
    figures.maps({"one": rows}, chosen)
    assert len({look[:2] for look in looks}) == len(looks) == len(chosen.labels[:, 1].unique())
    assert sum(count for *_, count in looks) == len(chosen)
