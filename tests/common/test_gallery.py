"""gallery.py: the search against its definition, the honest draw of queries, exports, and the colours."""

import csv
import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from common import gallery
from common.data import embedded
from common.data.dataset import Dataset
from common.metrics import recall_at_k


def pictures(n=12, size=9, split="test", channels=3, levels=2, name="embedded") -> Dataset:
    draw = torch.Generator().manual_seed(0)
    kind = torch.arange(n) % 4
    return Dataset(
        name=name,
        split=split,
        labels=torch.stack([kind // 2, kind], 1)[:, -levels:],
        levels=("family", "kind")[-levels:],
        names=(
            ("Larks", "Owls"),
            ("Larks/001.Horned_Lark", "Larks/Sky lark", "Owls/Barn owl", "Owls/Ural_owl"),
        )[-levels:],
        size=size,
        channels=channels,
        pixels=torch.randint(256, (n, channels, size, size), generator=draw, dtype=torch.uint8),
    )


def naive(x, y, rows, k, base=None, base_y=None):
    """Sort by (distance, right, row) in float64, the query itself left out."""
    others, other_y = (x, y) if base is None or base_y is None else (base, base_y)
    index = []
    for q in rows.tolist():
        near = sorted(
            (float((x[q].double() - others[j].double()).square().sum()), bool(y[q] == other_y[j]), j)
            for j in range(len(others))
            if base is not None or j != q
        )
        index.append([j for _, _, j in near[:k]])
    index = torch.tensor(index)
    return index, y[rows, None] == other_y[index]


# --- Neighbours ---


@pytest.mark.parametrize("block", [1, 50, 1 << 22])
@pytest.mark.parametrize("seed", range(4))
def test_neighbours_are_those_of_the_definition(seed, block, monkeypatch):
    monkeypatch.setattr(gallery, "BLOCK", block)
    draw = torch.Generator().manual_seed(seed)
    x, y = torch.randn(70, 5, generator=draw), torch.randint(9, (70,), generator=draw)
    rows = torch.randperm(70, generator=draw)[:66]
    got, expected = gallery.neighbours(x, y, rows, 6), naive(x, y, rows, 6)
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])
    base, base_y = torch.randn(30, 5, generator=draw), torch.randint(9, (30,), generator=draw)
    got, expected = gallery.neighbours(x, y, rows, 30, base, base_y), naive(x, y, rows, 30, base, base_y)
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])


@pytest.mark.parametrize("seed", range(3))
def test_ties_count_against_the_query_as_in_recall(seed):
    draw = torch.Generator().manual_seed(seed)
    x = torch.randint(3, (90, 3), generator=draw).float()  # a lattice: most distances are tied
    y = torch.randint(12, (90,), generator=draw)
    index, right = gallery.neighbours(x, y, torch.arange(90), 8)
    assert torch.equal(right, naive(x, y, torch.arange(90), 8)[1])
    recall = recall_at_k(x, y, (1, 2, 4, 8))
    assert {k: right[:, :k].any(1).double().mean().item() for k in (1, 2, 4, 8)} == pytest.approx(recall)
    assert not (index == torch.arange(90)[:, None]).any()


def test_a_few_equal_rows_come_in_their_order():
    draw = torch.Generator().manual_seed(0)
    for _ in range(20):
        equal = torch.randperm(59, generator=draw)[:6] + 1
        x = torch.rand(60, 3, generator=draw) + 2
        x[0], x[equal] = 0.0, 1.0
        found = gallery.neighbours(x, torch.arange(60), torch.tensor([0]), 3)[0]
        assert found[0].tolist() == equal.sort().values[:3].tolist()


def test_a_collapsed_embedding_finds_nothing():
    x, y = torch.full((60, 7), 0.3), torch.arange(60) // 30  # 29 right rows tie with 30 wrong ones
    assert not gallery.neighbours(x, y, torch.arange(60), 30)[1].any()
    assert gallery.neighbours(x, y, torch.arange(60), 31)[1].sum() == 60


def test_rounding_of_the_product_does_not_order():
    # Far from the origin |x|^2 + |y|^2 - 2 x.y in float32 cannot tell 0.001 from 0.003; differences can.
    x = torch.tensor([[1000.0, 0.0], [1000.0, 0.003], [1000.0, 0.001], [1000.0, -0.002], [0.0, 0.0]])
    assert gallery.neighbours(x, torch.tensor([0, 0, 1, 0, 1]), torch.tensor([0]), 4)[0].tolist() == [
        [2, 3, 1, 4]
    ]


def test_neighbours_refuse_what_they_cannot_do():
    x, y, rows = torch.randn(5, 2), torch.arange(5), torch.arange(5)
    with pytest.raises(ValueError, match="k = 5 but a query is compared with 4 rows"):
        gallery.neighbours(x, y, rows, 5)
    assert gallery.neighbours(x, y, rows, 5, x, y)[0].shape == (5, 5)  # a gallery has no row to leave out
    with pytest.raises(ValueError, match="rows 0 to 4"):
        gallery.neighbours(x, y, torch.tensor([5]), 1)
    with pytest.raises(ValueError, match="row 3 of query holds NaN"):
        gallery.neighbours(x.index_fill(0, torch.tensor([3]), torch.nan), y, rows, 1)
    with pytest.raises(ValueError, match="int64"):
        gallery.neighbours(x, y, rows.float(), 1)
    assert gallery.neighbours(x, y, rows[:0], 2)[0].shape == (0, 2)


# --- The draw of queries ---


def test_half_of_the_queries_are_wrong_ones():
    right = torch.arange(100) % 10 != 0  # nine of ten are right
    chosen = gallery.choose_queries(right, 8, seed=0)
    assert right[chosen].tolist() == [True] * 4 + [False] * 4
    assert len(chosen.unique()) == 8
    assert torch.equal(chosen, gallery.choose_queries(right, 8, seed=0))
    assert not torch.equal(chosen, gallery.choose_queries(right, 8, seed=1))
    assert right[gallery.choose_queries(right, 5)].tolist() == [True] * 3 + [False] * 2
    assert right[gallery.choose_queries(right, 30)].sum() == 20  # ten wrong ones are all there are
    assert gallery.choose_queries(~right, 30)[:10].sort().values.tolist() == list(range(0, 100, 10))
    assert gallery.choose_queries(right[:3], 8).sort().values.tolist() == [0, 1, 2]


def test_every_query_can_be_drawn():
    right = torch.arange(6) < 3
    seen = torch.cat([gallery.choose_queries(right, 2, seed) for seed in range(40)])
    assert seen.unique().tolist() == list(range(6))


def test_the_caption_tells_how_they_were_drawn():
    right = torch.tensor([True, True, True, False])
    assert gallery.caption(right, torch.tensor([0, 3]), 7) == (
        "1 query the embedding gets right and 1 it gets wrong, drawn at random, seed 7. "
        "Of all 4 queries it gets 75.0 % right."
    )


# --- The picture ---


def count(path, colour):
    return int((np.asarray(Image.open(path).convert("RGB")) == colour).all(2).sum())


@pytest.mark.parametrize(("size", "channels", "levels"), [(28, 1, 1), (9, 3, 2), (224, 3, 2)])
def test_the_same_bytes_and_no_dates(size, channels, levels, tmp_path):
    data = pictures(4, size, channels=channels, levels=levels)
    index, right = torch.tensor([[1, 2], [0, 3]]), torch.tensor([[True, False], [False, False]])
    for name in ("a.png", "deep/b.png"):
        gallery.draw(data, torch.tensor([0, 1]), index, right, tmp_path / name, title="Title", note="A note.")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "deep/b.png").read_bytes()
    with Image.open(tmp_path / "a.png") as image:
        assert image.info.keys() == {"dpi"}
        assert image.info["dpi"] == pytest.approx((150, 150), abs=0.1)
        assert image.width < 1700
    assert sorted(p.name for p in tmp_path.rglob("*.png")) == ["a.png", "b.png"]


def test_each_neighbour_is_framed_by_what_it_is(tmp_path):
    data, index = pictures(5), torch.tensor([[1, 2, 3]])
    seen = []
    for hits in range(4):
        right = torch.arange(3)[None] < hits
        gallery.draw(data, torch.tensor([0]), index, right, tmp_path / f"{hits}.png")
        seen.append([count(tmp_path / f"{hits}.png", colour) for colour in (gallery.RIGHT, gallery.WRONG)])
    steps = np.diff(np.array(seen), axis=0)  # one more right, one less wrong: the same pixels each time
    assert (steps == steps[0]).all()
    assert steps[0, 0] > 500
    assert steps[0, 1] < -500


def test_small_pictures_are_enlarged_by_whole_pixels():
    data = pictures(2, 28, channels=1)
    found = np.asarray(gallery.tile(data.picture(1)))
    assert found.shape == (140, 140, 3)
    assert (found == np.kron(data.picture(1).numpy()[0], np.ones((5, 5), np.uint8))[..., None]).all()
    same = gallery.tile(pictures(1, 150).picture(0))
    assert (np.asarray(same) == pictures(1, 150).picture(0).permute(1, 2, 0).numpy()).all()
    assert gallery.tile(pictures(1, 224).picture(0)).size == (150, 150)


@pytest.mark.parametrize(
    "text", ["", "Owl", "Black footed Albatross of the North", "Übergangswortungetüm" * 3]
)
@pytest.mark.parametrize("lines", [1, 2, 3])
def test_text_stays_in_its_place(text, lines):
    letters = gallery.font(15)
    found = gallery.fit(text, letters, 90, lines)
    assert 1 <= len(found) <= lines
    assert all(letters.getlength(line) <= 90 for line in found)
    if letters.getlength(text) <= 90:
        assert found == [text]
    elif not any("…" in line for line in found):
        assert " ".join(found) == text


def test_class_names_become_words():
    assert gallery.class_name(pictures(4), 0) == ("Horned Lark", "Larks")
    assert gallery.class_name(pictures(4), 3) == ("Ural owl", "Owls")
    assert gallery.class_name(pictures(4, levels=1), 1) == ("Larks/Sky lark", "")
    digits = Dataset(
        name="x", split="y", labels=torch.zeros(1, 1).long(), levels=("digit",), names=(("7",),), size=1,
        channels=1,        pixels=torch.zeros(1, 1, 1, 1, dtype=torch.uint8),
    )  # fmt: skip
    assert gallery.class_name(digits, 0) == ("7", "")


def test_draw_refuses_parts_that_do_not_fit(tmp_path):
    with pytest.raises(ValueError, match=r"index \(2, 2\) and right \(2, 1\) do not fit"):
        gallery.draw(
            pictures(4),
            torch.arange(2),
            torch.zeros(2, 2).long(),
            torch.ones(2, 1).bool(),
            tmp_path / "a.png",
        )


# --- Exports ---


def test_an_export_comes_back(tmp_path):
    data, rows = pictures(), torch.randn(12, 3, dtype=torch.float64)
    gallery.export(tmp_path / "new" / "e.npz", embedding=rows.requires_grad_(), dataset=data, crop=True)
    found = gallery.read_export(tmp_path / "new" / "e.npz")
    assert torch.equal(found.embedding, rows.detach().float())
    assert torch.equal(found.labels, data.labels)
    assert (found.levels, found.names) == (data.levels, data.names)
    assert (found.dataset, found.split, found.protocol, found.size) == ("embedded", "test", "retrieval", 9)
    assert (found.crop, found.c) == (True, None)
    with np.load(tmp_path / "new" / "e.npz") as file:
        assert "c" not in file.files, "an export without a ball is as it always was"
    with pytest.raises(ValueError, match=r"embedding has shape \(11, 3\) but embedded/test has 12 pictures"):
        gallery.export(tmp_path / "e.npz", embedding=rows[:11], dataset=data)


def test_an_export_says_of_which_ball_its_rows_are(tmp_path):
    data, rows = pictures(), torch.zeros(12, 3)
    rows[7] = torch.tensor([0.0, 2.4, 3.2])  # of norm 4, the radius for c = 1 / 16
    gallery.export(tmp_path / "e.npz", embedding=rows, dataset=data, c=0.0624)
    assert gallery.read_export(tmp_path / "e.npz").c == 0.0624
    with pytest.raises(ValueError, match=r"row 7 .* outside the ball .* -0.0625, whose radius is 4;"):
        gallery.export(tmp_path / "f.npz", embedding=rows, dataset=data, c=0.0625)
    for c in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match=f"c is {c}; give a finite number above 0"):
            gallery.export(tmp_path / "f.npz", embedding=rows, dataset=data, c=c)
    assert not (tmp_path / "f.npz").exists()


def test_an_export_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    gallery.export(tmp_path / "e.npz", embedding=torch.zeros(12, 3), dataset=pictures())
    before = (tmp_path / "e.npz").read_bytes()

    def full(*_args):
        raise OSError("no space left")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        gallery.export(tmp_path / "e.npz", embedding=torch.ones(12, 3), dataset=pictures())
    assert (tmp_path / "e.npz").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["e.npz"]


def test_files_for_other_tools(tmp_path):
    rows = torch.randn(12, 3)
    gallery.export_npy(tmp_path / "npy", embedding=rows, dataset=pictures())
    assert (np.load(tmp_path / "npy" / "embeddings.npy") == rows.numpy()).all()
    with open(tmp_path / "npy" / "labels.csv", newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 12
    assert lines[5] == {"picture": "5", "family": "Larks", "kind": "Larks/Sky lark"}


@pytest.fixture
def arrays():
    buffer = io.BytesIO()
    data = pictures()
    np.savez(buffer, embedding=np.zeros((12, 3), np.float32), labels=data.labels.numpy(),
             levels=np.array(data.levels),
             names_0=np.array(data.names[0]), names_1=np.array(data.names[1]), dataset=np.array("embedded"),
             split=np.array("test"), protocol=np.array("retrieval"), size=np.array(9),
             crop=np.array(0))  # fmt: skip
    buffer.seek(0)
    with np.load(buffer) as file:
        return dict(file)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"split": None, "names_1": None}, "lacks split, names_1"),
        ({"embedding": np.zeros(12, np.float32)}, r"embedding is float32 \(12,\)"),
        ({"embedding": np.zeros((12, 3), np.int64)}, "embedding is int64"),
        ({"embedding": np.zeros((11, 3), np.float32)}, r"labels is int64 \(12, 2\) for 11 rows and 2 levels"),
        ({"labels": np.full((12, 2), 3)}, "labels of level family go beyond its 2 names"),
        ({"labels": np.full((12, 2), -1)}, "labels of level family go beyond its 2 names"),
        ({"size": np.array([9, 9])}, r"size is int64 \(2,\); it must be one value"),
        ({"dataset": np.array(3)}, "dataset is int64"),
        ({"c": np.array([0.1])}, r"c is float64 \(1,\); it must be one number above 0"),
        ({"c": np.array(1)}, "c is int64 1; it must be one number above 0"),
        ({"c": np.array(-0.1)}, "c is float64 -0.1; it must be one number above 0"),
        ({"c": np.array(np.nan)}, "c is float64 nan; it must be one number above 0"),
        ({"c": np.array(0.25), "embedding": np.full((12, 1), 2, np.float32)}, "e.npz: row 0 .* radius is 2;"),
        ({"levels": np.array(["family", "kind"], dtype=object)}, "not an .npz of plain arrays"),
    ],
)
def test_a_wrong_export_is_explained(arrays, change, message, tmp_path):
    kept = {name: value for name, value in {**arrays, **change}.items() if value is not None}
    np.savez(tmp_path / "e.npz", **kept)
    with pytest.raises(ValueError, match=message):
        gallery.read_export(tmp_path / "e.npz")


def test_what_is_no_export_is_explained(arrays, tmp_path):
    np.savez(tmp_path / "e.npz", **arrays)
    gallery.read_export(tmp_path / "e.npz")
    whole = (tmp_path / "e.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.npz").write_text("no export")
    np.save(tmp_path / "one.npy", np.zeros(3))
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as file:
        file.writestr("embedding.npy", b"nothing")
    for name in ("cut.npz", "text.npz", "one.npy", "other.npz"):
        with pytest.raises(ValueError, match=rf"{name} (is not an .npz of plain arrays|lacks)"):
            gallery.read_export(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r"no file .*gone.npz; write one with"):
        gallery.read_export(tmp_path / "gone.npz")


# --- The command, on generated drawings ---


@pytest.fixture
def drawings(monkeypatch):
    """Few generated drawings, which common.data.load is made to find."""

    def load(name, split, *, size, protocol, crop):
        assert (name, size, protocol, crop) == ("embedded", 12, "retrieval", False)
        return embedded.load(split, size=size, families=2, kinds=3, instances=6)

    monkeypatch.setattr(gallery.data, "load", load)
    return {split: gallery.data.load("embedded", split, size=12, protocol="retrieval", crop=False)
            for split in ("test", "query", "gallery")}  # fmt: skip


def embed(data: Dataset) -> torch.Tensor:
    assert data.pixels is not None
    return torch.nn.functional.avg_pool2d(data.pixels.float(), 3).flatten(1)


def test_the_command_draws_one_split(drawings, tmp_path, capsys):
    data, file = drawings["test"], tmp_path / "e.npz"
    gallery.export(file, embedding=embed(data), dataset=data)
    gallery.main([str(file), "--queries", "3", "--neighbours", "2", "--npy", str(tmp_path / "npy")])
    assert capsys.readouterr().out.split() == [str(tmp_path / "npy"), str(tmp_path / "e.png")]
    gallery.main([str(file), "--queries", "3", "--neighbours", "2", "--out", str(tmp_path / "again.png")])
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "e.png").read_bytes()
    with pytest.raises(ValueError, match=f"k = {len(data)}"):
        gallery.main([str(file), "--neighbours", str(len(data))])


@pytest.mark.parametrize("c", [None, 1e-9])
def test_the_caption_says_which_distance_orders_points_of_a_ball(drawings, tmp_path, monkeypatch, c):
    data, notes = drawings["test"], []
    gallery.export(tmp_path / "e.npz", embedding=embed(data), dataset=data, c=c)
    monkeypatch.setattr(gallery, "draw", lambda *args, note, **keywords: notes.append(note))
    gallery.main([str(tmp_path / "e.npz")])
    assert ("Euclidean, not hyperbolic" in notes[0]) == (c is not None)


def test_the_command_searches_a_gallery(drawings, tmp_path, monkeypatch):
    for split in ("query", "gallery"):
        gallery.export(tmp_path / f"{split}.npz", embedding=embed(drawings[split]), dataset=drawings[split])
    seen = {}
    monkeypatch.setattr(gallery, "draw", lambda *args, **keywords: seen.update(keywords, args=args))
    gallery.main(
        [str(tmp_path / "query.npz"), "--gallery", str(tmp_path / "gallery.npz"), "--neighbours", "3"]
    )
    query, base = drawings["query"], drawings["gallery"]
    chosen, index, right = seen["args"][1:4]
    expected = naive(embed(query), query.label, chosen, 3, embed(base), base.label)
    assert torch.equal(index, expected[0])
    assert torch.equal(right, expected[1])
    assert seen["gallery"].split == "gallery"
    assert seen["title"] == "embedded, query in gallery"


def test_the_command_refuses_other_data(drawings, tmp_path):
    data = drawings["test"]
    short = data.subset(torch.arange(len(data) - 1))
    gallery.export(tmp_path / "short.npz", embedding=embed(short), dataset=short)
    with pytest.raises(
        ValueError, match=f"holds {len(data) - 1} rows but embedded/test has {len(data)} pictures"
    ):
        gallery.main([str(tmp_path / "short.npz")])
    moved = data.subset(torch.arange(len(data)).flip(0))
    gallery.export(tmp_path / "moved.npz", embedding=embed(moved), dataset=moved)
    with pytest.raises(ValueError, match="first at row 0; export again"):
        gallery.main([str(tmp_path / "moved.npz")])
    fewer = data.subset(data.label < 4, relabel=True)
    gallery.export(tmp_path / "fewer.npz", embedding=embed(fewer), dataset=fewer)
    with pytest.raises(ValueError, match=r"fewer.npz numbers its classes unlike .*short.npz"):
        gallery.main([str(tmp_path / "short.npz"), "--gallery", str(tmp_path / "fewer.npz")])
