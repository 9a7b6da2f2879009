"""No source calls what a file could use to run, or to be written anywhere."""

import ast
import re

import pytest

from .conftest import PAPERS, REPOSITORY


def careless(source: str) -> list[str]:
    """Calls by which a file could run code, or be written anywhere."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        weights = name in ("torch.load", "torch.hub.load_state_dict_from_url")
        if weights and given.get("weights_only") != "True":
            found.append(f"{name} without weights_only=True")
        if name.startswith(("np.", "numpy.")) and given.get("allow_pickle", "False") != "False":
            found.append(f"{name} with allow_pickle")
        if re.fullmatch(r"c?[pP]ickle\.(load|loads|Unpickler)|torch\.(jit|hub)\.load|.*\bread_pickle", name):
            found.append(name)
        if re.match(r"(dill|joblib|shelve|marshal|yaml|jsonpickle|cloudpickle)\.", name):
            found.append(name)
        if re.fullmatch(r"eval|exec|os\.system|(.*\.)?(extractall|unpack_archive|loadmat)", name):
            found.append(name)
        if given.get("shell", "False") != "False":
            found.append(f"{name} with shell")
    return found


def test_no_source_reads_a_file_that_may_run():
    folders = ("common", *PAPERS, "benchmarks", "book")
    sources = [path for folder in folders for path in sorted((REPOSITORY / folder).rglob("*.py"))]
    assert len(sources) > 100
    found = {path: told for path in sources if (told := careless(path.read_text()))}
    assert not found


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=trusted)",
        "torch.hub.load_state_dict_from_url(url, check_hash=True)",
        "np.load(path, allow_pickle=True)",
        "pickle.loads(data)",
        "pickle.Unpickler(file).load()",
        "pd.read_pickle(path)",
        "joblib.load(path)",
        "pack.extractall(folder)",
        "shutil.unpack_archive(path)",
        "loadmat(path)",
        "eval(text)",
        "subprocess.run(line, shell=True)",
    ],
)
def test_a_careless_line_is_found(line):
    assert careless(f"def f():\n    return {line}\n")
