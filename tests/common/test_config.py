"""Presets and overrides: names of run folders and results rows hang on them."""

from dataclasses import dataclass

import pytest

from common import config


@dataclass(frozen=True, kw_only=True)
class Toy:
    lr: float = 0.1
    """Learning rate."""
    flip: bool = True
    """Mirror."""
    widths: tuple[int, ...] = (8, 16)
    """Channels."""
    name: str = "a"
    """A word."""
    seed: int = 0
    """Seed."""


PRESETS = {"one": ("first", Toy()), "two": ("second", Toy(lr=0.5))}


def test_overrides_are_the_fields_that_differ_from_the_preset_without_the_seed():
    preset, cfg = config.parse(PRESETS, ["two", "--lr", "0.25", "--no-flip", "--seed", "7"])
    assert (preset, cfg.seed) == ("two", 7)
    assert config.overrides(PRESETS, preset, cfg) == {"flip": False, "lr": 0.25}


def test_flags_are_read_back_as_the_same_overrides():
    changed = {"flip": False, "lr": 0.25, "name": "b c", "widths": (4, 4, 4)}
    _, cfg = config.parse(PRESETS, ["one", *config.flags(changed)])
    assert config.overrides(PRESETS, "one", cfg) == changed


def test_hash_does_not_depend_on_order_but_on_every_value():
    a = config.overrides_hash({"lr": 0.25, "flip": False})
    assert a == config.overrides_hash({"flip": False, "lr": 0.25})
    assert a != config.overrides_hash({"flip": False, "lr": 0.26})
    assert config.overrides_hash({}) == ""


@pytest.mark.parametrize("argv", [["one", "--lrr", "1"], ["three"], ["one", "--lr", "fast"]])
def test_a_typo_ends_the_program(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        config.parse(PRESETS, argv)
    assert stop.value.code == 2
    assert capsys.readouterr().err


def test_no_preset_is_one_sentence():
    with pytest.raises(ValueError, match="name a preset first, one of: one, two"):
        config.parse(PRESETS, [])


def test_a_command_prints_one_sentence_and_exits_with_2(capsys, monkeypatch):
    monkeypatch.delenv("TRACEBACK", raising=False)

    def fail(argv: list[str]) -> None:
        raise ValueError("k = 9 but there are 4 rows; lower k")

    with pytest.raises(SystemExit) as stop:
        config.command(fail)
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: k = 9 but there are 4 rows; lower k\n"


def test_our_own_faults_keep_their_traceback():
    def fail(argv: list[str]) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError):
        config.command(fail)
