"""One run: its folder, its checkpoint, its log. A killed run, started again, ends where an unbroken one ends.

runs/<paper>/<preset>[-<hash of overrides>]-s<seed>/
    config.json    configuration, overrides, command, code fingerprint, commit, versions
    log.jsonl      one JSON object per epoch
    last.pt        checkpoint, replaced atomically, loadable with weights_only=True
    done.json      written last: the run is finished; sha256 of last.pt, minutes
"""

from __future__ import annotations

import ast
import dataclasses
import fcntl
import hashlib
import io
import json
import math
import os
import pickletools
import re
import shutil
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from common import compute, config, distributed
from common.files import remove_drafts, write_atomically

T = TypeVar("T")
Network = TypeVar("Network")


class Stateful(Protocol):
    """A model, bank, optimiser or schedule."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


class Run:
    """Folder, resume and log of one training run. `paper` is the folder name of the paper."""

    def __init__(
        self,
        paper: str,
        preset: str,
        cfg: Any,
        changed: Mapping[str, Any],
        argv: list[str],
        root: Path = Path("runs"),
    ):
        self.paper, self.preset, self.cfg, self.changed = paper, preset, cfg, dict(changed)
        self.folder = run_folder(paper, preset, changed, cfg.seed, root)
        self.device = distributed.join(cfg.device)
        self.seconds = 0.0
        self._since = time.monotonic()
        compute.seed_everything(cfg.seed, deterministic=cfg.deterministic)
        wanted = {
            "paper": paper,
            "preset": preset,
            "overrides": self.changed,
            "config": json.loads(json.dumps(dataclasses.asdict(cfg))),
            "code": code_fingerprint(f"{paper}.train"),
        }
        self.facts = {
            **wanted,
            "command": f"python -m {paper}.train {' '.join(argv)}",
            "commit": commit(),
            "versions": {"python": sys.version.split()[0], "torch": torch.__version__},
            "device": distributed.device_name(self.device),
            "started": now(),
        }
        self._lock: int | None = None

    def claim(self) -> None:
        """Make the folder and hold it for this process; `resume` does it. Nothing is written before.

        ValueError: the folder holds a run of another configuration, or another process trains in it. A run of
        other code is kept aside.
        """
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            set_aside_stale(self.folder, self.facts)
            self.folder.mkdir(exist_ok=True)
            self._lock = lock(self.folder)
        except OSError as error:
            raise OSError(
                f"cannot make the run folder {self.folder}: {error.strerror or error}; start the command "
                "where you may write, or make runs/ a link to such a place"
            ) from error
        for name in ("config.json", "log.jsonl", "last.pt", "done.json"):
            remove_drafts(self.folder / name)
        if not (self.folder / "config.json").exists():
            write_atomically(self.folder / "config.json", json.dumps(self.facts, indent=1).encode())

    def release(self) -> None:
        """Let other processes have the folder; the end of the process does it too."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @property
    def finished(self) -> bool:
        """Whether this very run (configuration and code) is already done."""
        return finished(self.folder, self.facts["config"], self.facts["code"]) is not None

    def resume(self, **state: Stateful) -> int:
        """Claim the folder, load last.pt into the parts if there is one, return the number of epochs done."""
        if distributed.rank() == 0:
            self.claim()
        distributed.wait()
        path = self.folder / "last.pt"
        done = 0
        if path.exists():
            checkpoint = load_checkpoint(path)
            for name, part in state.items():
                config.load_state(part, checkpoint["state"], name, path)
            self._set_random_state(checkpoint["rng"])
            done, self.seconds = checkpoint["epoch"], checkpoint["seconds"]
        log = self.folder / "log.jsonl"
        if log.exists() and distributed.rank() == 0:
            # Lines past the checkpoint belong to epochs that are trained again; the last one may be torn.
            kept = [line for line in log.read_text().splitlines(keepends=True) if epoch_of(line) <= done]
            write_atomically(log, "".join(kept).encode())
        self._since = time.monotonic()
        return done

    def log(self, **row: Any) -> None:
        """Append one line to log.jsonl, before `save` of the same epoch."""
        if distributed.rank() > 0:
            return
        with open(self.folder / "log.jsonl", "a") as file:
            file.write(json.dumps(row) + "\n")

    def save(self, epoch: int, *, finished: bool = False, **state: Stateful) -> None:
        """Replace last.pt atomically: parts, epoch, random state, seconds. finished=True also writes
        done.json and releases the folder. FloatingPointError when a step has made a weight NaN or infinite:
        the loss of that step was still finite, the next one's would not be.
        """
        for name, part in state.items():
            if isinstance(part, torch.nn.Module) and not _finite(part.parameters()):
                raise FloatingPointError(
                    f"epoch {epoch} left weights of the {name} that are not finite; the last good checkpoint "
                    "is kept; usual causes: learning rate too high (--lr), or pictures with NaN"
                )
        self.seconds += time.monotonic() - self._since
        self._since = time.monotonic()
        checkpoint = {
            "paper": self.paper,
            "preset": self.preset,
            "overrides": self.changed,
            "config": self.facts["config"],
            "code": self.facts["code"],
            "commit": self.facts["commit"],
            "epoch": epoch,
            "finished": finished,
            "seconds": self.seconds,
            "peak_memory_mb": compute.peak_memory_mb(self.device),
            "device": self.facts["device"],
            "state": {name: part.state_dict() for name, part in state.items()},
            "rng": self._random_state(),
        }
        if distributed.rank() > 0:
            return
        buffer = io.BytesIO()
        torch.save(checkpoint, buffer)
        write_atomically(self.folder / "last.pt", buffer.getvalue())
        if finished:
            done = {
                "epoch": epoch,
                "checkpoint": hashlib.sha256(buffer.getvalue()).hexdigest(),
                "config": self.facts["config"],
                "code": self.facts["code"],
                "minutes": self.seconds / 60,
            }
            write_atomically(self.folder / "done.json", json.dumps(done, indent=1).encode())
            self.release()

    def _random_state(self) -> dict[str, Tensor]:
        """torch's random state of every rank, a row each."""
        ranks = distributed.world()
        state = {"cpu": distributed.gather(torch.get_rng_state()[None], ranks)}
        if self.device.type == "cuda":
            own = torch.cuda.get_rng_state(self.device)[None]
            state["cuda"] = distributed.gather(own, ranks)
        return state

    def _set_random_state(self, state: Mapping[str, Tensor]) -> None:
        """This rank's; where the run goes on with more ranks, the new ones start from their number."""
        own = distributed.rank()
        if own >= len(state["cpu"]):
            torch.manual_seed(self.cfg.seed * 1_000_003 + own)
            return
        torch.set_rng_state(state["cpu"][own])
        if self.device.type == "cuda" and "cuda" in state:
            torch.cuda.set_rng_state(state["cuda"][own], self.device)

    def progress(self, items: Iterable[T], total: int, text: str) -> Iterator[T]:
        """tqdm with the time left; silent when stderr is not a terminal."""
        quiet = distributed.rank() > 0 or not sys.stderr.isatty()
        return iter(tqdm(items, total=total, desc=text, leave=False, disable=quiet))


class LossMeter:
    """Mean of a loss over an epoch, and the first step at which it was not finite; the device is asked once
    per epoch.
    """

    def __init__(self, device: torch.device):
        self.total = torch.zeros((), device=device, dtype=torch.float64)
        self.first_bad = torch.full((), torch.iinfo(torch.int64).max, device=device)
        self.steps = 0

    def add(self, loss: Tensor) -> None:
        value = loss.detach().double()
        self.total += value
        step = torch.full_like(self.first_bad, self.steps)
        self.first_bad = torch.where(value.isfinite(), self.first_bad, torch.minimum(self.first_bad, step))
        self.steps += 1

    def mean(self, *, before: int = 0) -> float:
        """Mean so far. `before`: steps of earlier epochs, for the message. Raises FloatingPointError naming
        the step.
        """
        bad = int(self.first_bad)
        if bad < self.steps:
            raise not_finite(before + bad)
        return float(self.total) / max(self.steps, 1)


def not_finite(step: int) -> FloatingPointError:
    """The end of a run whose loss or embeddings are NaN or infinite."""
    return FloatingPointError(
        f"the loss was not finite at step {step}; the last good checkpoint is kept; "
        "usual causes: learning rate too high (--lr), or pictures with NaN"
    )


@torch.no_grad()
def _finite(tensors: Iterable[Tensor]) -> bool:
    """Whether all values are; the device is asked once."""
    sums = [(x.detach() * 0).sum() for x in tensors]  # 0, or NaN
    return not sums or bool(torch.stack(sums).isfinite().all())


def run_folder(
    paper: str, preset: str, changed: Mapping[str, Any], seed: int, root: Path = Path("runs")
) -> Path:
    """runs/<paper>/<preset>[-<hash of overrides>]-s<seed>"""
    mark = config.overrides_hash(changed)
    return root / paper / (preset + (f"-{mark}" if mark else "") + f"-s{seed}")


def finished(folder: Path, cfg: Mapping[str, Any], code: str) -> dict[str, Any] | None:
    """done.json of a folder that holds a finished checkpoint of this configuration (as a dict) and code; else
    None.
    """
    try:
        done = json.loads((folder / "done.json").read_text())
        whole = (folder / "last.pt").exists()
    except (OSError, ValueError):
        return None
    same = done.get("code") == code and done.get("config") == json.loads(json.dumps(cfg))
    return done if whole and same else None


def to_draw(paper: str, suits: Callable[[Mapping[str, Any]], bool], root: Path = Path("runs")) -> Path | None:
    """last.pt of the finished run that a picture should show, of those whose configuration suits: real data
    before generated, the longest training, a preset as it stands before a changed one, then the newest.
    """
    found = []
    for done in (root / paper).glob("*/done.json"):
        cfg = json.loads(done.read_text())["config"]
        if suits(cfg):
            facts = json.loads(done.with_name("config.json").read_text())
            order = (cfg["data"] != "embedded", cfg["epochs"], -len(facts["overrides"]), done.stat().st_mtime)
            found.append((order, done.with_name("last.pt")))
    return max(found)[1] if found else None


TUPLES = 50_000
"""In a checkpoint; the largest of ours has some thousand. Python breaks down when it hashes 200,000 in one
another."""
MAKES_TENSORS = re.compile(
    r"collections (OrderedDict|Counter)|torch\._utils _rebuild_tensor_v2|torch \w+Storage"
)
"""What the pickle of a checkpoint may call."""


def load_checkpoint(
    path: Path, device: torch.device | str = "cpu", *, paper: str | None = None
) -> dict[str, Any]:
    """The dictionary of a checkpoint as `Run.save` wrote it, whoever it comes from: nothing in it can run.

    With weights_only=True; its tensors take no more memory than the file is large, and it holds numbers, text
    and tensors alone. ValueError when it is not one, is cut short, or another paper's.
    """
    if not path.exists():
        raise FileNotFoundError(f"no checkpoint at {path}; train first, its last line prints the path")
    if not path.is_file():  # a pipe would be waited for without end
        raise ValueError(f"{path} is no file, so not a checkpoint; give the last.pt of a run folder")
    try:
        size = _checked_size(path)
        checkpoint = torch.load(path, map_location=device, weights_only=True)
    except (PermissionError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        why = " ".join(str(error).split())[:100] if isinstance(error, ValueError) else type(error).__name__
        raise ValueError(
            f"{path} is not a readable checkpoint ({why}): cut short, damaged, or not written by this "
            "project; give the last.pt of a run folder, or train again"
        ) from error
    if not isinstance(checkpoint, dict) or not _as_saved(checkpoint) or not _plain(checkpoint, size):
        raise ValueError(f"{path} is not a checkpoint of this project; give the last.pt of a run folder")
    if paper is not None and checkpoint["paper"] != paper:
        raise ValueError(
            f"{path} is a checkpoint of {checkpoint['paper']}, not of {paper}; "
            f"use python -m {checkpoint['paper']}.evaluate"
        )
    return checkpoint


def _checked_size(path: Path) -> int:
    """Bytes that a checkpoint unpacks to. ValueError when that is more than the file has, or when its pickle
    would make anything but tensors; torch would refuse code as well, but says less, and knows more names.
    """
    tuples = 0
    with zipfile.ZipFile(path) as pack:
        members = pack.infolist()
        size = sum(member.file_size for member in members)
        plain = all(
            member.compress_type == zipfile.ZIP_STORED and member.compress_size == member.file_size
            for member in members
        )
        if not plain or size > path.stat().st_size:
            raise ValueError("it holds more than its size")
        programs = [pack.read(member) for member in members if member.filename.endswith("data.pkl")]
    for program in programs:
        for code, argument, _ in pickletools.genops(program):
            tuples += code.name.startswith("TUPLE")
            if code.name == "GLOBAL" and not MAKES_TENSORS.fullmatch(str(argument)):
                asked = ".".join(str(argument).split())
                raise ValueError(f"it asks for {asked:.60}, which could run code")
    if tuples > TUPLES:
        raise ValueError("it nests too many tuples")
    return size


def _as_saved(checkpoint: Mapping[Any, Any]) -> bool:
    """Whether it has what `Run.save` writes, each of its type."""
    kinds = {
        str: ("paper", "preset", "code", "commit", "device"),
        dict: ("overrides", "config", "state", "rng"),
        int: ("epoch",),
        bool: ("finished",),
        float: ("seconds", "peak_memory_mb"),
    }
    if not all(type(checkpoint.get(name)) is kind for kind, names in kinds.items() for name in names):
        return False
    texts = [checkpoint[name] for name in kinds[str]]
    names = [name for part in kinds[dict] for name in checkpoint[part]]
    noise = checkpoint["rng"].get("cpu")
    return (
        all(isinstance(text, str) and text.isprintable() and len(text) < 1000 for text in texts + names)
        and re.fullmatch(r"[a-z][a-z0-9_]*", checkpoint["paper"]) is not None  # it becomes part of a command
        and checkpoint["epoch"] >= 0
        and all(isinstance(part, dict) for part in checkpoint["state"].values())
        and isinstance(noise, Tensor)
        and noise.ndim in (1, 2)  # (bytes,) of one process in earlier versions, (ranks, bytes) now
    )


def _plain(checkpoint: Mapping[Any, Any], size: int) -> bool:
    """Whether numbers, text and tensors are all it holds, and `size` bytes are enough for the tensors."""
    rest: list[Any] = [checkpoint]
    seen, stored = set(), {}
    while rest:
        value = rest.pop()
        if id(value) in seen:  # parts may hold one another
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            storage = value.untyped_storage()
            stored[storage.data_ptr()] = storage.nbytes()
            if value.numel() * value.element_size() > storage.nbytes():  # one number many times
                return False
        elif isinstance(value, Mapping):
            rest += [*value.keys(), *value.values()]
        elif isinstance(value, list | tuple):
            rest += value
        elif not isinstance(value, str | int | float | None):
            return False
    return sum(stored.values()) <= size


DROPPED = 100
"""Parameters that a network may make and not keep, as the classifier of a published one."""


def load_network(
    build: Callable[[], Network], state: Mapping[str, Any], source: object, *names: str
) -> Network:
    """build(), a module or a tuple of them, with the weights state[name] in each; one name for each module.

    It is made without memory first, on torch's device 'meta': ValueError naming `source` where the
    configuration of a checkpoint asks for another network than the file holds, a huge one among them.
    """
    most = DROPPED + sum(len(config.stored_part(state, name)) for name in names)

    def counted(*_: object) -> None:
        nonlocal most
        most -= 1
        if most < 0:
            raise ValueError("more parameters than the file holds")

    count = torch.nn.modules.module.register_module_parameter_registration_hook(counted)
    try:
        with torch.device("meta"):
            sketch = build()
        for name, part in _named(names, sketch):
            # A copy: torch notes `assign` in the state's own metadata, and would obey it ever after.
            part.load_state_dict(dict(state[name]), assign=True)
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise config.other_weights(" and ".join(names), source) from error
    finally:
        count.remove()
    network = build()
    for name, part in _named(names, network):
        config.load_state(part, state, name, source)
    return network


def _named(names: Iterable[str], network: object) -> Iterator[tuple[str, Any]]:
    return zip(names, network if isinstance(network, tuple) else (network,))


def set_aside_stale(folder: Path, wanted: Mapping[str, Any]) -> None:
    """Refuse a folder of another configuration; move one that other code has trained out of the way."""
    path = folder / "config.json"
    if not path.exists():
        return
    try:
        have = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(
            f"{path} is damaged ({error}); delete the folder {folder} and start again"
        ) from error
    if have.get("config") != wanted["config"]:
        before, after = have.get("config", {}), wanted["config"]
        names = [k for k in sorted(before.keys() | after.keys()) if before.get(k) != after.get(k)]
        told = ", ".join(f"{k}: {before.get(k)!r} there, {after.get(k)!r} now" for k in names[:3])
        raise ValueError(
            f"{folder} holds a run of another configuration ({told}); "
            "delete that folder or choose another seed"
        )
    if have.get("code") != wanted["code"]:
        aside = folder.with_name(f"{folder.name}~{str(have.get('code'))[:8]}")
        if aside.exists():
            shutil.rmtree(aside)
        os.replace(folder, aside)
        print(f"{folder} was trained by other code: kept as {aside.name}, starting anew", file=sys.stderr)


def lock(folder: Path) -> int:
    """Hold the folder for this process; a second one gets a sentence instead of a mixed log.."""
    handle = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise ValueError(
            f"another process is training in {folder}; wait for it or choose another seed"
        ) from error
    return handle


def epoch_of(line: str) -> float:
    """Epoch of a log line; infinite for a torn one."""
    try:
        return json.loads(line)["epoch"]
    except (ValueError, KeyError, TypeError):
        return math.inf


@cache
def code_fingerprint(module: str) -> str:
    """sha256 of the code that `module` runs: itself and every module of this repository that it imports.
    Nothing is imported.

    Docstrings and comments are left out, so that a better explanation does not make a finished run stale; so
    are presets, whose effect is the configuration, which is compared field by field.
    """
    queue, seen = [module], set()
    while queue:
        name = queue.pop()
        if name not in seen and not name.endswith(".presets"):
            seen.add(name)
            queue += imported(name, own={module.split(".")[0], "common"})
    digest = hashlib.sha256()
    for name in sorted(seen):
        digest.update(f"{name} {ast.dump(without_docstrings(source_file(name).read_text()))}".encode())  # type: ignore[union-attr]
    return digest.hexdigest()


def source_file(module: str) -> Path | None:
    """File of a module of this repository; None when there is none, as for a name inside a module."""
    base = Path(__file__).parent.parent.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.is_file():
            return path
    return None


def imported(module: str, own: set[str]) -> set[str]:
    """Modules of the folders `own` that a module imports, anywhere in its text."""
    path = source_file(module)
    if path is None:
        raise ValueError(f"{module} is not a module of this repository")
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return {name for name in names if name.split(".")[0] in own and source_file(name)}


def without_docstrings(source: str) -> ast.AST:
    """Syntax tree of source with every bare string statement removed."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            kept = [s for s in body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
            node.body = kept or [ast.Pass()]  # type: ignore[attr-defined]
    return tree


@cache
def commit() -> str:
    """Commit of the working tree, with '+dirty' when tracked files other than results differ; 'unknown'
    outside git.
    """
    root = Path(__file__).parent.parent
    try:
        git = ["git", "-C", str(root)]
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        status = subprocess.run(
            [*git, "status", "--porcelain", "--untracked-files=no", "--", ".", ":!results", ":!*.md"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+dirty" if status else "")


def commits(trained: str | None) -> str:
    """The commit that measures, after the one that trained when that was another: 'trained / measured'."""
    here = commit()
    return here if trained in (None, here) else f"{trained} / {here}"


def now() -> str:
    """UTC date and time, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
