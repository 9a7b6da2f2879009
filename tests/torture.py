"""kill -9 at chosen moments, start again, compare with an unbroken run: `make torture`.

A child process trains and measures the smoke preset of a paper and is killed at one event; the same commands
are then run again. What must be equal, bit for bit, to a run that nobody killed: every tensor of the
checkpoint, every log line but for its times, every row of results/ but for times, dates and the hash of the
checkpoint (which holds the seconds spent). No row may be missing or stand there twice, and nothing
half-written may stay behind.

    event     the process dies
    forward   in the middle of a step, or of measuring: after a layer of the network has run
    step      after the optimiser has changed the weights, before anything is saved
    log       in the middle of a line of log.jsonl
    write     in the middle of a checkpoint, of config.json, done.json or the CSV: half of the bytes are there
    sync      after the bytes of such a file, before they are on the disk
    replace   after the file has taken the place of the old one, before anything else
"""

from __future__ import annotations

import builtins
import contextlib
import csv
import importlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook
from torch.optim.optimizer import register_optimizer_step_post_hook

import common.files
import common.run
from common import typos

PAPERS = {
    "cgd_retrieval": ("smoke",),
    "hyperbolic_embeddings": ("smoke-fewshot", "--selection", "val"),
    "hierarchical_multilabel": ("smoke",),
    "instance_discrimination": (
        "smoke", *"--epochs 3 --images 96 --k 9 --loss nce --noise 9".split(),
    ),
}  # fmt: skip
EVENTS = ("forward", "step", "log", "write", "sync", "replace")
TIMES = {"seconds", "images_per_second", "peak_memory_mb"}
OF_A_MEASUREMENT = {"minutes", "peak_memory_mb", "checkpoint", "date", "sha256"}


class Fate:
    """Counts events; at the chosen one the process kills itself, as kill -9 does."""

    def __init__(self, kind: str = "", number: int = 0):
        self.kind, self.number = kind, number
        self.seen: Counter[str] = Counter()

    def meet(self, kind: str, before: Callable[[], object] = lambda: None) -> None:
        """One event of this kind. before: what is done of it when it is the last."""
        self.seen[kind] += 1
        if kind == self.kind and self.seen[kind] == self.number:
            before()
            os.kill(os.getpid(), signal.SIGKILL)

    def install(self) -> None:
        """In a child process, which ends with it."""
        register_module_forward_hook(lambda *_: self.meet("forward"))
        register_optimizer_step_post_hook(lambda *_: self.meet("step"))
        fsync, replace = os.fsync, os.replace

        def synced(handle: int) -> None:
            self.meet("sync")
            fsync(handle)

        def replaced(*paths: Any) -> None:
            replace(*paths)
            self.meet("replace")

        os.fsync, os.replace = synced, replaced
        common.files.open = self.opener("write")  # type: ignore[attr-defined]
        common.run.open = self.opener("log")  # type: ignore[attr-defined]

    def opener(self, kind: str) -> Callable[..., Any]:
        """`open`, whose files meet this event half way through a write."""

        def opened(path: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
            file = builtins.open(path, mode, *args, **kwargs)
            write = file.write

            def torn(data: Any) -> int:
                def half() -> None:
                    write(data[: len(data) // 2])
                    file.flush()

                self.meet(kind, half)
                return write(data)

            return Torn(file, torn) if set(mode) & set("wa") else file

        return opened


class Torn:
    """A file with another write."""

    def __init__(self, file: Any, write: Callable[[Any], int]):
        self.file, self.write = file, write

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def __enter__(self) -> Torn:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()


def work(paper: str) -> None:
    """Train and measure, as the two commands of a user do."""
    with open("printed.txt", "w") as told, contextlib.redirect_stdout(told):
        importlib.import_module(f"{paper}.train").main(list(PAPERS[paper]))
    path = Path("printed.txt").read_text().strip().splitlines()[-1]
    with contextlib.redirect_stdout(None):
        importlib.import_module(f"{paper}.evaluate").main([path, "--record"])
    Path("printed.txt").unlink()


def child(folder: Path, paper: str, fate: Fate) -> int:
    """Exit status of a process that works in `folder`; -9 when it was killed. What it has seen: seen.json."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = 1
    try:
        os.chdir(folder)
        os.environ["DATA"] = "synthetic"
        torch.set_num_threads(1)
        fate.install()
        work(paper)
        with builtins.open("seen.json", "w") as file:
            json.dump(fate.seen, file)
        status = 0
    except BaseException as error:
        print(
            f"{paper}, {fate.kind} {fate.number}: {type(error).__name__}: {error}",
            file=sys.stderr,
            flush=True,
        )
    finally:
        os._exit(status)


def outcome(folder: Path, paper: str) -> tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, str]]]:
    """(tensors of the checkpoint, log lines, rows) without what may differ."""
    (checkpoint,) = folder.glob(f"runs/{paper}/*/last.pt")
    loaded = torch.load(checkpoint, weights_only=True)
    state = flat({"state": loaded["state"], "rng": loaded["rng"], "epoch": loaded["epoch"]})
    lines = checkpoint.with_name("log.jsonl").read_text().splitlines()
    log = [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]
    with open(folder / f"results/runs/{paper}.csv", newline="") as file:
        rows = [{k: v for k, v in row.items() if k not in OF_A_MEASUREMENT} for row in csv.DictReader(file)]
    return state, log, rows


def flat(value: Any, place: str = "") -> dict[str, Any]:
    """Every leaf of nested dictionaries and lists, by its place."""
    parts = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list | tuple)
        else None
    )
    if parts is None:
        return {place: value}
    return {k: v for name, part in parts for k, v in flat(part, f"{place}/{name}").items()}


def differences(folder: Path, paper: str, whole: Any) -> list[str]:
    """What is not as in the unbroken run, in sentences; empty when all is equal."""
    (state, log, rows), (state_, log_, rows_) = outcome(folder, paper), whole
    found = [f"{k} differs" for k in state_.keys() | state.keys() if not same(state.get(k), state_.get(k))]
    if log != log_:
        found.append(f"log: {len(log)} lines, {len(log_)} in the unbroken run, or other figures")
    if rows != rows_:
        found.append(f"rows: {len(rows)}, {len(rows_)} in the unbroken run, or other figures")
    left = [str(path.relative_to(folder)) for path in folder.rglob(".*.[0-9]*")]
    return found + [f"{name} was left behind" for name in left]


def same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor) and isinstance(b, torch.Tensor):
        return a.shape == b.shape and bool(torch.equal(a.nan_to_num(), b.nan_to_num()))
    return a == b


def unbroken(folder: Path, paper: str) -> tuple[Any, Counter[str]]:
    """(outcome, events) of a run that nobody kills."""
    folder.mkdir(parents=True)
    if child(folder, paper, Fate()):
        raise RuntimeError(f"{paper}: the unbroken run failed")
    seen = Counter(json.loads((folder / "seen.json").read_text()))
    return outcome(folder, paper), seen


def moments(paper: str, seen: Counter[str], kills: int, seed: int) -> list[tuple[str, int]]:
    """(event, number) of each kill: kinds in turn, the number at random among those of the unbroken run.

    Every paper begins with another kind, so that two kills of each meet all of them.
    """
    draw = random.Random(f"{paper} {seed}")
    first = 2 * list(PAPERS).index(paper) % len(EVENTS)
    kinds = [kind for kind in EVENTS[first:] + EVENTS[:first] if seen[kind]]
    return [(kind, draw.randint(1, seen[kind])) for kind, _ in zip(kinds * kills, range(kills))]


def torture(paper: str, kills: int, seed: int, top: Path, tell: Callable[[str], object]) -> list[str]:
    """Sentences about what went wrong in `kills` killed runs of one paper; empty when all ended well."""
    whole, seen = unbroken(top / paper / "unbroken", paper)
    wrong = []
    for kind, number in moments(paper, seen, kills, seed):
        folder = top / paper / f"{kind}-{number}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        started = time.monotonic()
        first = child(folder, paper, Fate(kind, number))
        again = child(folder, paper, Fate())
        place = f"{paper}, {kind} {number} of {seen[kind]}"
        if first != -signal.SIGKILL:
            wrong.append(f"{place}: was not killed but ended with {first}")
        elif again:
            wrong.append(f"{place}: started again, it ended with {again}")
        else:
            wrong += [f"{place}: {what}" for what in differences(folder, paper, whole)]
        tell(f"{place}: {time.monotonic() - started:.1f} s")
        shutil.rmtree(folder)
    return wrong


def main(argv: list[str]) -> None:
    parser = typos.Parser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("papers", nargs="*", default=list(PAPERS), metavar="PAPER")
    parser.add_argument("--kills", type=int, default=20, help="per paper")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    for paper in args.papers:  # once, before any child: what each would import again
        importlib.import_module(f"{paper}.train")
        importlib.import_module(f"{paper}.evaluate")
    wrong = []
    with tempfile.TemporaryDirectory() as top:
        for paper in args.papers:
            wrong += torture(paper, args.kills, args.seed, Path(top), print)
    print(f"{args.kills * len(args.papers)} runs killed, {len(wrong)} differences")
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
