"""Growth is measured as it is planted, and growth that must not be is caught."""

import functools
import itertools
import math
import re
import time
from dataclasses import replace

import pytest
import torch
from PIL import Image

from benchmarks.scaling import __main__ as command
from benchmarks.scaling import curves, page, ranks, subjects
from benchmarks.scaling.curves import Curve
from benchmarks.scaling.ranks import Point
from common import distributed

SIZES = (4, 8, 16)
MB = 10**6


def busy(size, seconds=0.0, power=1, megabytes=0.0, growth=1, fixed=0.0, shared=False):
    """Sleeps seconds x size^power and holds fixed + megabytes x size^growth; shared: ranks divide both."""
    parts = distributed.world() if shared else 1

    def run():
        held = torch.ones(int((fixed + megabytes * size**growth) * MB / parts), dtype=torch.uint8)
        time.sleep(seconds * size**power / parts)
        return float(held[:1].sum()) + size

    return run


def slow(size):
    return busy(size, seconds=2e-3, power=2)


def held_square(size):
    return busy(size, megabytes=0.5, growth=2)


def held_line(size):
    """Its inputs were made by way of blocks that an allocator likes to keep: they must not hide anything."""
    for _ in range(3):
        torch.ones(20 * MB, dtype=torch.uint8)
    return busy(size, megabytes=2, fixed=5)


def in_shares(size):
    return busy(size, seconds=0.03, megabytes=4, shared=True)


def different_on_each_rank(size):
    return lambda: float(distributed.rank())


def different_with_ranks(size):
    return lambda: float(distributed.world())


def fails_on_the_last_rank(size):
    def run():
        if distributed.rank() == distributed.world() - 1 and size > min(SIZES):
            raise RuntimeError("planted")
        distributed.wait()
        return 1.0

    return run


def every_subject(size, expected):
    """Compare each subject with its value in one process."""
    if size:
        for s, value in zip(subjects.SUBJECTS, expected):
            found = s.build(s.sizes["tiny"][1])()
            assert math.isclose(found, value, rel_tol=ranks.TOLERANCE), f"{s.name}: {found}, not {value}"
    return lambda: float(distributed.world())


def planted(name, build, **claims):
    first = subjects.SUBJECTS[0]
    sizes = dict.fromkeys(("tiny", "small", "full"), SIZES)
    facts = {"title": f"planted {name}", "time": 1, "memory": 1} | claims
    return replace(first, name=name, build=build, sizes=sizes, **facts)


def curve(seconds, megabytes, sizes=(1000, 2000, 4000, 8000), **claims):
    found = {n: Point(seconds=seconds(n), megabytes=megabytes(n), value=0.0) for n in sizes}
    return Curve(planted("curve", held_line, **claims), 1, found)


# --- Exponents and verdicts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0, 0.5, 1, 2, 3])
def test_a_power_has_its_exponent(p):
    found = curve(lambda n: 1e-9 * n**p, lambda n: 3 * n**p)
    assert found.time == pytest.approx(p, abs=1e-12)
    assert found.memory == pytest.approx(p, abs=1e-12)


def test_faster_growth_than_claimed_is_a_fault():
    n2 = curve(lambda n: n**2, lambda n: 1e-3 * n**2)
    assert n2.faults == ["time grows as N^2.00, faster than N", "memory grows as N^2.00, faster than N"]
    assert not curve(lambda n: n**2, lambda n: 1e-3 * n**2, time=2, memory=2).faults
    assert not curve(lambda n: n**1.2, lambda n: n**1.15).faults
    assert curve(lambda n: n**1.3, lambda n: n**1.15).faults == ["time grows as N^1.30, faster than N"]
    assert curve(lambda n: 1, lambda n: 9, time=0, memory=0).faults == []
    flat = curve(lambda n: 1, lambda n: 9 * n**0.3, time=0, memory=0)
    assert flat.faults == ["memory grows as N^0.30, faster than 1"]


def test_a_square_hidden_by_a_fixed_part_shows_in_the_last_step():
    hidden = curve(lambda n: n, lambda n: 60 + 4e-6 * n**2)
    assert curves.slope(list(hidden.points), hidden.megabytes) < 1 + curves.MEMORY_ROOM
    assert hidden.faults == [f"memory grows as N^{hidden.memory:.2f}, faster than N"]


def test_readings_in_the_noise_do_not_count():
    assert curve(lambda n: n, lambda n: 1e-9 * n**2).memory == 0
    assert curve(lambda n: n, lambda n: 0.0).memory == 0


def test_what_counts_data_may_not_even_claim_a_square():
    by_kind = {kind: [s for s in subjects.SUBJECTS if s.counts == kind] for kind in page.SENTENCES}
    assert sum(map(len, by_kind.values())) == len(subjects.SUBJECTS)
    assert all(s.memory <= 1 for s in by_kind["data"])
    assert [s.name for s in by_kind["matrix"]] == ["delta"]
    assert {s.name for s in by_kind["data"]} == {"recall", "knn", "softmax-bank", "nce-bank"}


def test_sizes_grow_and_show_a_square():
    """At the largest size one byte per pair of rows would be ten times what a first reading may be."""
    names = [s.name for s in subjects.SUBJECTS]
    assert len(set(names)) == len(names)
    for s in subjects.SUBJECTS:
        for sizes in s.sizes.values():
            assert len(sizes) >= 2
            assert all(b == 2 * a for a, b in itertools.pairwise(sizes))
        assert max(s.sizes["full"]) >= 8 * min(s.sizes["full"])
        if s.counts == "data":
            assert max(s.sizes["full"]) ** 2 / MB > 500


# --- Processes ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def found():
    """Planted growth, measured as everything is: fresh processes, one rank and two."""
    alone = [
        planted("slow", slow),
        planted("square", held_square, time=9),
        planted("line", held_line, time=9),
    ]
    quiet = {"turn": 0.1, "say": lambda line: None}
    found = curves.curves(alone, "tiny", [1], **quiet)
    return found + curves.curves([planted("shares", in_shares, time=9)], "tiny", [1, 2], **quiet)


def test_planted_growth_is_measured(found):
    slow, square, line, shares, halves = found
    assert slow.time == pytest.approx(2, abs=0.3)
    assert slow.faults == [f"time grows as N^{slow.time:.2f}, faster than N"]
    assert square.memory == pytest.approx(2, abs=0.1)
    assert square.faults == [f"memory grows as N^{square.memory:.2f}, faster than N"]
    assert line.megabytes == pytest.approx([13, 21, 37], abs=2)
    assert line.memory < 1
    assert not line.faults
    assert halves.megabytes == pytest.approx([8, 16, 32], abs=2)
    assert shares.megabytes == pytest.approx([16, 32, 64], abs=2)
    assert halves.seconds[-1] < 0.8 * shares.seconds[-1]


def test_page_and_picture_say_what_was_measured(found, tmp_path):
    text = page.page(found, "a machine")
    rows = [line for line in text.splitlines() if line.startswith("| planted")]
    assert [("holds" in row) for row in rows[: len(found)]] == [False, False, True, True, True]
    for row, one in zip(rows, found):
        assert f"N^{one.time:.2f}" in row
        assert f"N^{one.memory:.2f}" in row
        assert "N = 4 to 16" in row
    worst = max(one.memory for one in found)
    assert f"must not grow as N^2. Largest exponent {worst:.2f} (square, " in text
    assert f"{found[-1].points[16].megabytes:.1f}" in text
    for block in re.split(r"\n\n", text):
        if block.startswith("|"):
            assert len({line.count("|") for line in block.splitlines()}) == 1
    page.picture(found, tmp_path / "a.png")
    page.picture(found, tmp_path / "b.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
    picture = Image.open(tmp_path / "a.png").convert("RGB")
    colours = {colour for _, colour in picture.getcolors(picture.width * picture.height) or []}
    for wanted in (page.TIME, page.MEMORY):
        assert tuple(bytes.fromhex(wanted[1:])) in colours


def test_saved_points_are_read_back(found, tmp_path):
    curves.save(found, 'a, "machine"', tmp_path / "points.csv")
    known = [own[0].subject for own in page.by_subject(found)]
    assert curves.load(tmp_path / "points.csv", known) == ('a, "machine"', found)
    assert curves.load(tmp_path / "points.csv", known[-1:])[1] == found[-2:]
    with pytest.raises(ValueError, match="has no point of nobody; measure them first"):
        curves.load(tmp_path / "points.csv", [planted("nobody", held_line)])
    with pytest.raises(ValueError, match="measure first, without --redraw"):
        curves.load(tmp_path / "absent.csv", known)


def test_a_process_that_fails_ends_all_with_its_reason():
    with pytest.raises(ValueError, match=r"size 8, .*rank 1 of 2: RuntimeError: planted"):
        ranks.measure(fails_on_the_last_rank, 8, 4, 2, turn=0)
    with pytest.raises(ValueError, match=r"size 8, rank 0 of 1: RuntimeError: planted"):
        ranks.measure(fails_on_the_last_rank, 8, 4, 1, turn=0)


def test_ranks_that_compute_something_else_are_refused():
    with pytest.raises(ValueError, match=r"size 8: the ranks compute 0\.0, 1\.0"):
        ranks.measure(different_on_each_rank, 8, 4, 2, turn=0)
    with pytest.raises(ValueError, match=r"work, size 4: 2\.0 with 2 ranks, 1\.0 with 1; the ranks do not"):
        curves.curves([planted("work", different_with_ranks)], "tiny", [1, 2], turn=0, say=lambda line: None)


# --- The subjects and the command ---------------------------------------------------------------------------


def test_two_ranks_compute_what_one_process_does():
    expected = tuple(s.build(s.sizes["tiny"][1])() for s in subjects.SUBJECTS)
    assert len(set(expected)) == len(expected)
    compare = functools.partial(every_subject, expected=expected)
    assert ranks.measure(compare, 1, 0, 2, turn=0).value == 2
    wrong = functools.partial(every_subject, expected=(expected[0] * 1.01, *expected[1:]))
    with pytest.raises(ValueError, match=subjects.SUBJECTS[0].name):
        ranks.measure(wrong, 1, 0, 2, turn=0)


def test_command(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(command, "SUBJECTS", (planted("line", held_line, time=9),))
    out = tmp_path / "a folder" / "scaling"
    command.main(["--ranks", "1", "--out", str(out)])
    told = capsys.readouterr().out
    assert (out / "scaling.md").read_text().strip() in told
    assert {path.name for path in out.iterdir()} == {"scaling.md", "scaling.png", "points.csv"}
    monkeypatch.setattr(command, "SUBJECTS", (planted("line", held_line, time=9, memory=0),))
    with pytest.raises(SystemExit) as stop:
        command.main(["line", "--redraw", "--out", str(out)])
    assert stop.value.code == 1
    assert "line, 1 rank: memory grows as N^" in capsys.readouterr().err
    for wrong, sentence in (
        (["lime"], "no subject 'lime'; choose from line"),
        (["--ranks", "0"], "--ranks is 0"),
        (["--redraw", "--out", str(tmp_path)], "points.csv is not there; measure first"),
    ):
        with pytest.raises(SystemExit) as stop:
            command.main(wrong)
        assert stop.value.code == 2
        assert sentence in capsys.readouterr().err
