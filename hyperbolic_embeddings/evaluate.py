"""Measure a checkpoint: `python -m hyperbolic_embeddings.evaluate runs/.../last.pt [--record] [--export F]`.

The protocol of each experiment stands at the head of its own evaluate.py (uncertainty/, fewshot/, reid/).
Without training: `delta PRESET` measures the delta-hyperbolicity of a given network's features (delta/), and
`pixels PRESET` classifies few-shot episodes by raw pixels.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from common import config, data, distributed, results, run, typos
from hyperbolic_embeddings.delta import evaluate as delta
from hyperbolic_embeddings.delta.presets import Delta
from hyperbolic_embeddings.fewshot import evaluate as fewshot
from hyperbolic_embeddings.fewshot.presets import FewShot
from hyperbolic_embeddings.presets import PRESETS
from hyperbolic_embeddings.reid import evaluate as reid
from hyperbolic_embeddings.uncertainty import evaluate as uncertainty
from hyperbolic_embeddings.uncertainty.presets import Uncertainty

PAPER = "hyperbolic_embeddings"
BASELINES = {"delta": Delta, "pixels": FewShot}


def main(argv: list[str]) -> None:
    parser = typos.Parser(prog=f"python -m {PAPER}.evaluate", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("checkpoint", help="last.pt of a run folder, or delta PRESET, or pixels PRESET")
    parser.add_argument("--split", help="default: the one of the published tables")
    parser.add_argument(
        "--record", action="store_true", help=f"append the figures to results/runs/{PAPER}.csv"
    )
    parser.add_argument(
        "--export", type=Path, metavar="FILE.npz", help="write the embeddings for other tools"
    )
    parser.add_argument("--device", default="auto")
    args, rest = parser.parse_known_args(argv)
    device = distributed.join(args.device)
    config.require_free("--export", args.export)
    checkpoint, path = None, None
    if args.checkpoint in BASELINES:
        preset, cfg = config.parse(PRESETS, rest, prog=f"python -m {PAPER}.evaluate {args.checkpoint}")
        if not isinstance(cfg, BASELINES[args.checkpoint]):
            own = [name for name, (_, one) in PRESETS.items() if isinstance(one, BASELINES[args.checkpoint])]
            raise ValueError(
                f"{args.checkpoint} {preset}: that preset belongs to another experiment; choose "
                f"{typos.one_of(own)}"
            )
        cfg = dataclasses.replace(cfg, data=data.resolve(cfg.data))
    elif rest:
        raise ValueError(parser.unknown(rest, "a checkpoint carries its own configuration; "))
    else:
        path = Path(args.checkpoint)
        checkpoint = run.load_checkpoint(path, device, paper=PAPER)
        preset = checkpoint.get("preset")
        if preset not in PRESETS:
            raise ValueError(f"{path} is of preset {preset!r:.60}, which is no more; train again")
        cfg = config.restore(type(PRESETS[preset][1]), checkpoint["config"], path)

    if isinstance(cfg, Uncertainty):
        assert checkpoint is not None  # BASELINES has no entry for it
        figures, measured = uncertainty.measure(cfg, checkpoint, device, split=args.split, export=args.export)
    elif isinstance(cfg, FewShot):
        figures, measured = fewshot.measure(cfg, checkpoint, device, split=args.split, export=args.export)
    elif isinstance(cfg, Delta):
        figures, measured = delta.measure(cfg, device, split=args.split, export=args.export)
    else:
        figures, measured = reid.measure(cfg, checkpoint, device, split=args.split, export=args.export)

    results.show_figures(figures)
    if args.export:
        print(args.export)
    if args.record:
        results.record(
            PAPER,
            figures,
            preset=preset,
            changed=config.overrides(PRESETS, preset, cfg),
            target=cfg.target,
            seed=cfg.seed,
            measured=measured,
            argv=argv,
            device=device,
            checkpoint=checkpoint,
            path=path,
        )


if __name__ == "__main__":
    config.command(main)
