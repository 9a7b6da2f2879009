"""Words of a command line that cannot be read: one sentence, with the nearest word that can.

tyro and argparse find the same faults, but say so in boxes of many lines, or without a remedy.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, NoReturn, get_args, get_origin, get_type_hints


def find(presets: Mapping[str, tuple[str, Any]], argv: list[str]) -> str | None:
    """What is wrong with the words PRESET [--field value ...], in one sentence; None: nothing."""
    preset, *words = argv
    if "-h" in argv or "--help" in argv:
        return None
    if preset not in presets:
        return f"preset {preset}: there is none of this name; {near(preset, presets)}choose {one_of(presets)}"
    kinds = {f.name: f.type for f in dataclasses.fields(presets[preset][1])}
    kinds = {name: kind for name, kind in get_type_hints(type(presets[preset][1])).items() if name in kinds}
    given: list[tuple[str, list[str]]] = []
    for word in words:
        if word.startswith("--"):
            option, equals, value = word.partition("=")
            given.append((option, [value] if equals else []))
        elif given:
            given[-1][1].append(word)
        else:
            return f"{word}: this word belongs to no option; give options as --field value"
    for option, values in given:
        name = option[2:].replace("-", "_")
        if kinds.get(name.removeprefix("no_")) is bool:
            if values:
                return f"{option} {' '.join(values)}: this option takes no value; give {option} alone"
        elif name not in kinds:
            known = [f"--{known.replace('_', '-')}" for known in kinds]
            return f"{option}: there is no such option; {near(option, known)}give one that --help shows"
        elif wanted := _not_read(kinds[name], values):
            return f"{' '.join([option, *values])}: give {wanted}"
    return None


def _not_read(kind: Any, values: list[str]) -> str | None:
    """What an option of this type wants, if these words are not that."""
    if get_origin(kind) is tuple:
        each, *rest = get_args(kind)
        count = None if rest[-1] is ... else 1 + len(rest)
        words = {int: "whole numbers", float: "numbers"}.get(each, "words")
        fits = count in (None, len(values)) and all(_reads(each, value) for value in values)
        return None if fits else f"{count or 'any number of'} {words}"
    if get_origin(kind) is Literal:
        return (
            None
            if len(values) == 1 and values[0] in get_args(kind)
            else f"one of {', '.join(get_args(kind))}"
        )
    fits = len(values) == 1 and _reads(kind, values[0])
    return None if fits else {int: "a whole number", float: "a number"}.get(kind, "one word")


def _reads(kind: type, value: str) -> bool:
    try:
        kind(value)
    except ValueError:
        return False
    return True


def one_of(names: Iterable[str], where: str = "--help") -> str:
    """'one of: a, b, c', the first few where there are many; where: what lists them all."""
    known = list(names)
    told = ", ".join(known)
    return f"one of: {told if len(told) < 250 else ', '.join(known[:6])}" + (
        "" if len(told) < 250 else f", ... ({where} lists all {len(known)})"
    )


def near(word: str, known: Iterable[str]) -> str:
    """'did you mean smoke? ', or nothing when none of the known words is like it."""
    alike = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {alike[0]}? " if alike else ""


def refuse(sentence: str) -> NoReturn:
    """End the program as every command ends for bad input."""
    print(f"error: {sentence}", file=sys.stderr)
    sys.exit(2)


class Parser(argparse.ArgumentParser):
    """argparse, but a typo ends the program with one sentence that has the nearest option."""

    def error(self, message: str) -> NoReturn:
        if message.startswith("unrecognized arguments: "):
            refuse(self.unknown(message.partition(": ")[2].split()))
        message = message.removeprefix("argument ")
        for kind, wanted in (("int", "a whole number"), ("float", "a number")):
            if f"invalid {kind} value" in message:
                message += f"; give {wanted}"
        refuse(f"{message}; use --help to see what this command takes")

    def with_commands(self) -> list[Parser]:
        """This parser and those of its commands."""
        choices = [action.choices for action in self._actions if isinstance(action.choices, dict)]
        return [self, *(each for found in choices for each in found.values() if isinstance(each, Parser))]

    def unknown(self, words: Sequence[str], why: str = "") -> str:
        """The sentence about words that this command does not know."""
        actions = [action for parser in self.with_commands() for action in parser._actions]
        known = [option for action in actions for option in action.option_strings]
        alike = near(words[0], known)
        return f"{' '.join(words)}: unknown argument; {why}{alike}use --help to see the known ones"
