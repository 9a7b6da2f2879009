"""Measure a checkpoint of any paper as every other method is measured: `python -m benchmarks.compare.evaluate
runs/PAPER/.../last.pt [--record] [--export FILE]`.

The embeddings of the test split come from the paper's own command, `python -m <paper>.evaluate CHECKPOINT
--export FILE`; measures.py says what is measured on them, always on the CPU. `seconds` and `peak_memory` are
the training's. Instead of a checkpoint, `pixels PAPER/PRESET [--field value ...]` measures what
`python -m <paper>.evaluate pixels PRESET` exports.
"""

from __future__ import annotations

import dataclasses
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.compare.measures import measure
from benchmarks.compare.tables import PAPER, PAPERS
from common import config, data, gallery, results, run, typos
from common.results import Figure, Measured


def main(argv: list[str]) -> None:
    parser = typos.Parser(prog=f"python -m {PAPER}.evaluate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument(
        "checkpoint", help="last.pt of a run folder, or the word pixels followed by PAPER/PRESET"
    )
    parser.add_argument(
        "--record", action="store_true", help="append the figures to results/runs/compare.csv"
    )
    parser.add_argument("--export", type=Path, metavar="FILE.npz", help="keep the embeddings there")
    args, rest = parser.parse_known_args(argv)
    config.require_free("--export", args.export)
    checkpoint, path = None, None
    if args.checkpoint == "pixels":
        paper, preset, cfg = given(rest)
        changed, seed = config.overrides(PAPERS[paper], preset, cfg), cfg.seed
        words = ["pixels", preset, *config.flags(changed), "--seed", str(seed)]
    elif rest:
        raise ValueError(parser.unknown(rest, "a checkpoint carries its own configuration; "))
    else:
        path = Path(args.checkpoint)
        checkpoint = run.load_checkpoint(path)
        paper, preset, changed = checkpoint["paper"], checkpoint["preset"], checkpoint["overrides"]
        if paper not in PAPERS:
            raise ValueError(f"{path} is a checkpoint of {paper}; give one of {', '.join(PAPERS)}")
        seed, words = checkpoint["config"]["seed"], [str(path)]

    with tempfile.TemporaryDirectory() as folder:
        export = args.export or Path(folder) / "embeddings.npz"
        embed(paper, [*words, "--export", str(export)])
        found = gallery.read_export(export)
    figures = measure(found.embedding, found.labels, found.levels, found.c)
    if checkpoint is not None and checkpoint["epoch"]:
        figures["seconds"] = Figure(checkpoint["seconds"], unit="s")
        figures["peak_memory"] = Figure(checkpoint["peak_memory_mb"], unit="MB")

    results.show_figures(figures)
    if args.record:
        results.record(
            PAPER,
            figures,
            preset=f"{paper}/{preset}",
            changed=changed,
            target="",
            seed=seed,
            measured=Measured(found.dataset, found.split),
            argv=argv,
            device=torch.device("cpu"),
            checkpoint=checkpoint,
            path=path,
        )


def given(words: list[str]) -> tuple[str, str, Any]:
    """(paper, preset, configuration) of PAPER/PRESET [--field value ...], its data set resolved."""
    first = words[0] if words else ""
    paper, _, preset = first.partition("/")
    if paper not in PAPERS:
        raise ValueError(f"pixels {first}: give PAPER/PRESET, of a paper that is one of {', '.join(PAPERS)}")
    _, cfg = config.parse(PAPERS[paper], [preset, *words[1:]], prog=f"python -m {PAPER}.evaluate pixels")
    return paper, preset, dataclasses.replace(cfg, data=data.resolve(cfg.data))


def embed(paper: str, words: list[str]) -> None:
    """Run `python -m <paper>.evaluate WORDS`; its last sentence as ValueError when it fails."""
    command = ["-m", f"{paper}.evaluate", *words]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True)
    if done.returncode:
        told = (done.stderr.strip().splitlines() or ["no message"])[-1].removeprefix("error: ")
        raise ValueError(f"`{shlex.join(['python', *command])}` failed: {told}")


if __name__ == "__main__":
    config.command(main)
