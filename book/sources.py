"""What a page may cite, looked up where it is kept: functions in the code, equations in reproduce.md.

A page is Markdown with directives (`:::{name} argument`, options, text, `:::`). Those that cite:

    beside EQUATION        equation and text beside the code that realises it; :code: file.py:name, name
    not-shown EQUATION     an equation of the map that the page leaves out; its text says why
    deviation ID ...       rows of the table of deviations
    results MARKER         a table of reproduce.md, rendered from results/
    lesson                 what the paper's lesson.py prints and draws
    figure FILE            a picture, by its path from the page

EQUATION is the first cell of a row of the equation map. `check` finds everything that is cited and not there,
in one sentence each, without the tools that build the site; the build uses the same functions, so it stops at
the same places. Only the standard library is imported here.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGES = Path(__file__).resolve().parent / "pages"
UNCHECKED = "not checked against the PDF"

_OPEN = re.compile(r"\s*:{3,}\{([\w-]+)\}\s*(.*?)\s*$")
_OPTION = re.compile(r"\s*:([\w-]+):\s*(.*?)\s*$")
_FENCE = re.compile(r"\s*(`{3,})")
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True)
class Code:
    """A function, class or method as it stands in its file."""

    path: Path
    """From the root of the repository."""
    name: str
    line: int
    text: str


@dataclass(frozen=True)
class Equation:
    """A row of the equation map."""

    name: str
    code: tuple[tuple[str, str], ...]
    """(file, function) pairs; a file is in the paper's folder, or in common/ when it starts with that."""


@dataclass(frozen=True)
class Directive:
    name: str
    argument: str
    options: dict[str, str]
    line: int


# --- The paper's own page, reproduce.md ---------------------------------------------------------------------


@cache
def reproduce(paper: str) -> str:
    return (ROOT / paper / "reproduce.md").read_text(encoding="utf-8")


def section(paper: str, heading: str) -> list[str]:
    """Lines below `## heading`, up to the next heading."""
    lines = reproduce(paper).splitlines()
    try:
        start = lines.index(f"## {heading}") + 1
    except ValueError:
        raise ValueError(f"{paper}/reproduce.md has no heading '## {heading}'; write one") from None
    end = next((i for i in range(start, len(lines)) if lines[i].startswith("## ")), len(lines))
    return lines[start:end]


def cells(line: str) -> list[str]:
    """Cells of one line of a Markdown table; an escaped bar is part of its cell."""
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def rows(lines: Sequence[str]) -> list[list[str]]:
    """All lines of the first Markdown table, its header first, without the line of dashes."""
    start = next((i for i, line in enumerate(lines) if line.startswith("|")), len(lines))
    end = next((i for i in range(start, len(lines)) if not lines[i].startswith("|")), len(lines))
    return [cells(line) for i, line in enumerate(lines[start:end]) if i != 1]


def heading(paper: str) -> tuple[str, str]:
    """(title, paragraph under it that names the paper and the reading order)."""
    lines = reproduce(paper).splitlines()
    first = next(i for i, line in enumerate(lines) if i and line.strip())
    last = next(i for i in range(first, len(lines)) if not lines[i].strip())
    return lines[0].removeprefix("# "), "\n".join(lines[first:last])


def note(paper: str) -> str:
    """What stands above the equation map: where its numbers come from."""
    lines = section(paper, "Equation map")
    return " ".join(
        line for line in lines[: lines.index(next(x for x in lines if x.startswith("|")))] if line
    )


def equations(paper: str) -> dict[str, Equation]:
    """The equation map, by the name in its first column."""
    found = {}
    for name, code, *_ in rows(section(paper, "Equation map"))[1:]:
        pairs, file = [], ""
        for entry in _CODE.findall(code):
            file, _, function = entry.rpartition(":") if ":" in entry else (file, ":", entry)
            pairs.append((file, function))
        found[name] = Equation(name, tuple(pairs))
    return found


def deviations(paper: str) -> dict[str, dict[str, str]]:
    """The table of deviations: id -> {heading of the column: cell}."""
    header, *body = rows(section(paper, "Deviations"))
    return {row[0]: dict(zip(header[1:], row[1:])) for row in body}


# --- Code ---------------------------------------------------------------------------------------------------


def code(
    paper: str, file: str, name: str, *, docstring: bool = False, start: str = "", end: str = ""
) -> Code:
    """`name` ('function', 'Class' or 'Class.method') of `file`, unindented, without docstrings unless asked.

    start, end: the first and the last line to show, by a text that occurs in one line of it. Raises
    ValueError: no such file or name, or a text that is not in exactly one line.
    """
    path = Path(file) if file.startswith("common/") else Path(paper) / file
    if not (ROOT / path).is_file():
        raise ValueError(f"there is no file {path}")
    source = (ROOT / path).read_text(encoding="utf-8")
    node = _find(ast.parse(source), name.split("."))
    if node is None:
        raise ValueError(f"{path} has no {name}; was it renamed?")
    first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
    keep = dict(enumerate(source.splitlines()[first - 1 : node.end_lineno], first))
    if not docstring:
        for inner in ast.walk(node):
            if isinstance(inner, ast.FunctionDef | ast.ClassDef) and ast.get_docstring(inner) is not None:
                text = inner.body[0]
                for number in range(text.lineno, (text.end_lineno or text.lineno) + 1):
                    keep.pop(number, None)
                if not keep.get((text.end_lineno or 0) + 1, "x").strip():
                    keep.pop((text.end_lineno or 0) + 1)
    low = _line_with(keep, start, path, name) if start else first
    high = _line_with(keep, end, path, name) if end else max(keep)
    lines = [line for number, line in keep.items() if low <= number <= high]
    indent = min((len(line) - len(line.lstrip()) for line in lines if line.strip()), default=0)
    return Code(path, name, low, "\n".join(line[indent:] for line in lines))


def codes(paper: str, listed: str, **options: str | bool) -> list[Code]:
    """Every entry of a :code: option, 'file.py:name, name, other.py:name'."""
    found, file = [], ""
    for entry in (part.strip() for part in listed.split(",")):
        file, _, name = entry.rpartition(":") if ":" in entry else (file, ":", entry)
        if not file or not name:
            raise ValueError(f"':code: {listed}' is not file.py:name, name, ...")
        found.append(code(paper, file, name, **options))  # type: ignore[arg-type]
    return found


def _find(tree: ast.AST, names: list[str]) -> ast.FunctionDef | ast.ClassDef | None:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == names[0]:
            return node if len(names) == 1 else _find(node, names[1:])
    return None


def _line_with(lines: dict[int, str], text: str, path: Path, name: str) -> int:
    found = [number for number, line in lines.items() if text in line]
    if len(found) != 1:
        raise ValueError(
            f"{len(found)} lines of {name} in {path} hold '{text}'; give a text that one line holds"
        )
    return found[0]


# --- Pages --------------------------------------------------------------------------------------------------


def papers() -> list[str]:
    """Folders that have a page."""
    return sorted(page.stem for page in PAGES.glob("*.md") if (ROOT / page.stem / "reproduce.md").is_file())


def directives(text: str) -> list[Directive]:
    """Directives of a page, nested ones included, in the order of the page; none inside fenced code."""
    found, fence, lines = [], "", text.splitlines()
    for number, line in enumerate(lines):
        mark = _FENCE.match(line)
        if mark:
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
            continue
        opened = None if fence else _OPEN.match(line)
        if opened:
            options = {}
            for below in lines[number + 1 :]:
                option = _OPTION.fullmatch(below)
                if not option:
                    break
                options[option[1]] = option[2]
            found.append(Directive(opened[1], opened[2], options, number + 1))
    return found


def cited_code(paper: str, directive: Directive) -> list[Code]:
    """What a `beside` shows. ValueError: unknown equation, or no code of its row among what is shown."""
    equation = known(paper, directive.argument)
    options = directive.options
    shown = codes(
        paper,
        options.get("code", ""),
        docstring="docstring" in options,
        start=options.get("start", ""),
        end=options.get("end", ""),
    )
    mapped = {(code(paper, *pair).path, pair[1]) for pair in equation.code}
    if not any(
        (each.path, each.name) in mapped or (each.path, each.name.split(".")[0]) in mapped for each in shown
    ):
        names = ", ".join(f"{path}:{name}" for path, name in sorted(mapped))
        raise ValueError(f"shows none of the code that the equation map names, {names}")
    return shown


def known(paper: str, name: str) -> Equation:
    found = equations(paper).get(name)
    if found is None:
        raise ValueError(f"'{name}' is no row of the equation map of {paper}/reproduce.md")
    return found


def cited_deviations(paper: str, ids: str) -> dict[str, dict[str, str]]:
    """Rows of the table of deviations. Raises ValueError for an id that it does not have."""
    table = deviations(paper)
    missing = [name for name in ids.split() if name not in table]
    if missing or not ids.split():
        raise ValueError(f"no deviation {' '.join(missing) or '(none given)'} in {paper}/reproduce.md")
    return {name: table[name] for name in ids.split()}


def check(page: Path) -> list[str]:
    """Everything that is wrong with what a page cites, one sentence each: 'page, line N, directive: what'."""
    paper, wrong, seen = page.stem, [], []
    markers = re.findall(r"<!-- table: (.*?) -->", reproduce(paper))
    for each in directives(page.read_text(encoding="utf-8")):
        try:
            if each.name == "beside":
                cited_code(paper, each)
                seen.append(each.argument)
            elif each.name == "not-shown":
                seen.append(known(paper, each.argument).name)
            elif each.name == "deviation":
                cited_deviations(paper, each.argument)
            elif each.name == "results" and each.argument not in markers:
                raise ValueError(f"{paper}/reproduce.md has no table '{each.argument}'")
            elif each.name == "figure" and not (page.parent / each.argument).is_file():
                raise ValueError(f"there is no figure {each.argument}")
            elif each.name == "lesson" and not (ROOT / paper / "lesson.py").is_file():
                raise ValueError(f"there is no {paper}/lesson.py")
        except ValueError as error:
            wrong.append(f"{page.name}, line {each.line}, {each.name}: {error}")
    for equation in equations(paper).values():
        if equation.name not in seen:
            wrong.append(
                f"{page.name}: '{equation.name}' of the equation map is not on the page; show it with "
                ":::{beside}, or say with :::{not-shown} why not"
            )
    return wrong
