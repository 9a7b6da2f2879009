"""Measure a checkpoint: `python -m instance_discrimination.evaluate runs/.../last.pt [--record]`.

Protocol. Labels of `labelled` training pictures are used only here. Test pictures are queries, normalised,
without crops; v in float32 with running batch-norm statistics.

    knn            weighted vote of the k = 200 nearest by cosine, weight exp(s / tau), tau as in training
                   (Section 3.4)
    nn             the class of the nearest
    svm            scikit-learn's LinearSVC(dual=False), C = svm_c, one against the rest, on v with every
                   column standardised, fitted on `svm_images` labelled pictures (0: all); not for raw pixels,
                   whose 3,072 columns take it most of an hour
    knn_bank, nn_bank, svm_bank    the same with the rows of the memory bank instead of recomputed ones:
                   augmented views, train-mode batch norm, stale weights; only the pictures trained on
    probe_STAGE    linear probe on a stage's map, see probes.py; only when probe_epochs is above 0
    finetune_SHARE accuracy after fine-tuning on that share of labels, see finetune.py; only with label_shares

With protocol = retrieval the test pictures show classes that training never saw: no label of a training
picture can be right, so none of the above is measured, and the embeddings are for --export.

Each name ends with the test pictures that it is about: nothing when all of them are the published files;
`_exact1000`: the first 1,000 of CIFAR-10's test batch, which are exact in every copy; `_jpeg10000`: all
10,000, of which 9,000 exist as JPEG only. The interval is binomial, 95 %. `train_loss` is the mean over the
last epoch without the proximal term; `loss@E` (each eighth of the epochs) and `heldout_knn_bank@E` are the
log's figures after epoch E.

Instead of a checkpoint:

    pixels PRESET [--field value ...]    raw pixels, minus the mean, l2-normalised, by the same protocol
    transfer PRESET --data NAME [...]    the finished run of PRESET, measured on NAME's pictures (Table 3)
    cost PRESET [...]                    time per picture of the loss against n, see cost.py (Section 3.2)
    voc07 PRESET [...]                   detection with the finished run's backbone, see voc.py (Table 6)
"""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from sklearn.preprocessing import StandardScaler
from sklearn.svm import LinearSVC
from torch import Tensor
from torch.nn.functional import normalize

from common import compute, config, distributed, gallery, results, run, typos
from common.arguments import finite_number
from common.data.dataset import Dataset
from common.data.loading import embed as embed_all
from common.metrics import knn_predict
from common.metrics.contract import require_embeddings, require_labels
from common.results import Figure, Measured
from instance_discrimination import finetune, pictures, probes
from instance_discrimination.model import Encoder, parameters
from instance_discrimination.presets import PRESETS, Config
from instance_discrimination.train import build

PAPER = "instance_discrimination"
WORDS = ("pixels", "transfer", "cost", "voc07")


class Trained(NamedTuple):
    """What a checkpoint holds."""

    model: Encoder
    rows: Tensor | None
    """(N, D) rows of the memory bank; None: the parametric softmax has none."""
    cfg: Config
    facts: dict[str, Any]
    path: Path


def main(argv: list[str]) -> None:
    parser = typos.Parser(
        prog=f"python -m {PAPER}.evaluate",
        description=(__doc__ or "").split("\n")[0],
        epilog="instead of a checkpoint: pixels, transfer, cost or voc07, then a preset and its fields",
        allow_abbrev=False,
    )
    parser.add_argument(
        "checkpoint", help=f"last.pt of a run folder, or one of {', '.join(WORDS)}, then a preset"
    )
    parser.add_argument(
        "--split", choices=("test", "val"), help="val: held-out training pictures; default: test, or val"
    )
    parser.add_argument(
        "--record", action="store_true", help=f"append the figures to results/runs/{PAPER}.csv"
    )
    parser.add_argument(
        "--export", type=Path, metavar="FILE.npz", help="write the test embeddings for other tools"
    )
    parser.add_argument("--device", default="auto")
    args, rest = parser.parse_known_args(argv)
    device = distributed.join(args.device)
    config.require_free("--export", args.export)
    trained = None
    if args.checkpoint in WORDS:
        preset, cfg = config.parse(PRESETS, rest, prog=f"python -m {PAPER}.evaluate {args.checkpoint}")
        if args.checkpoint not in ("cost", "voc07"):
            cfg = dataclasses.replace(cfg, data=pictures.resolve(cfg.data))
        if args.checkpoint in ("transfer", "voc07"):
            trained = finished_run(preset, cfg, device)
    elif rest:
        raise ValueError(parser.unknown(rest, "a checkpoint carries its own configuration; "))
    else:
        trained = load(Path(args.checkpoint), device)
        preset, cfg = trained.facts["preset"], trained.cfg

    # Two imports that take seconds, and that only these words need.
    if args.checkpoint == "cost":
        from instance_discrimination import cost

        figures, measured = cost.measure(cfg, device), Measured(cfg.data, "cost")
    elif args.checkpoint == "voc07":
        from instance_discrimination import voc

        assert trained is not None
        with distributed.alone():
            figures, name = voc.measure(trained.model, cfg, device)
        measured = Measured(name, "test")
    else:
        split = args.split or ("val" if cfg.held_out else "test")
        sets = pictures.split(cfg)
        if split == "val" and sets.held_out is None:
            raise ValueError("--split val: this run held out no pictures; train with --held-out 2000")
        queries = sets.held_out if split == "val" else pictures.load(cfg.data, "test", cfg.size, cfg.protocol)
        assert queries is not None
        figures = measure(
            None if args.checkpoint == "pixels" else trained, cfg, sets, queries, device, args.export
        )
        measured = Measured(queries.name, split)

    results.show_figures(figures)
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
            checkpoint=None if trained is None else trained.facts,
            path=None if trained is None else trained.path,
        )


def load(path: Path, device: torch.device | str = "cpu") -> Trained:
    """Network in evaluation mode, bank rows, configuration and facts of a checkpoint.

    ValueError when its bank has rows off unit norm after an epoch: somebody has changed it.
    """
    path = Path(path)
    facts = run.load_checkpoint(path, device, paper=PAPER)
    cfg = config.restore(Config, facts["config"], path)
    model = run.load_network(lambda: build(cfg), facts["state"], path, "model")
    model = model.to(device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    rows = config.stored_part(facts["state"], "bank").get("rows")
    if rows is not None and facts["epoch"]:  # before, rows are random and of norm about 1 only
        norm = torch.linalg.vector_norm(rows, dim=1)
        if bool(((norm - 1).abs() <= 1e-3).logical_not().any()):
            row = int((norm - 1).abs().nan_to_num(math.inf).argmax())
            raise ValueError(
                f"row {row} of the memory bank in {path} has norm {float(norm[row]):.4g}, not 1; the file is "
                "damaged, train again"
            )
    return Trained(model.eval(), rows, cfg, facts, path)


def finished_run(preset: str, cfg: Config, device: torch.device) -> Trained:
    """The run of PRESET with the overrides of cfg, on the preset's own data; without its bank of those."""
    own = dataclasses.replace(cfg, data=PRESETS[preset][1].data)
    path = run.run_folder(PAPER, preset, config.overrides(PRESETS, preset, own), cfg.seed) / "last.pt"
    if not path.exists():
        words = config.flags(config.overrides(PRESETS, preset, own))
        raise FileNotFoundError(
            f"no checkpoint at {path}; train it first: "
            f"{' '.join(['python -m', f'{PAPER}.train', preset, *words, '--seed', str(cfg.seed)])}"
        )
    return load(path, device)._replace(rows=None, cfg=cfg)


def measure(
    trained: Trained | None,
    cfg: Config,
    sets: pictures.Split,
    queries: Dataset,
    device: torch.device,
    export: Path | None = None,
) -> dict[str, Figure]:
    """Every figure of the protocol; trained None: raw pixels."""
    model = None if trained is None else trained.model
    query = embed(model, cfg, queries, device)
    predicted: dict[str, Tensor] = {}
    if cfg.protocol == "classification" or queries.split == "val":
        predicted = predictions(trained, cfg, sets, queries, query, device)
    else:
        print("the test classes are unseen in training, so no training label votes; see --export")

    figures: dict[str, Figure] = {}
    for name, classes in predicted.items():
        right = classes.cpu() == queries.label  # (Q,)
        for suffix, chosen in test_pictures(queries).items():
            figures[name + suffix] = accuracy(right[chosen])
    if trained is not None:
        figures["parameters"] = Figure(float(parameters(trained.model)), unit="count")
        figures |= logged(trained.path.parent / "log.jsonl", trained.facts["epoch"])
    if export:
        gallery.export(export, embedding=query, dataset=queries, protocol=cfg.protocol)
        print(export)
    return figures


def predictions(
    trained: Trained | None,
    cfg: Config,
    sets: pictures.Split,
    queries: Dataset,
    query: Tensor,
    device: torch.device,
) -> dict[str, Tensor]:
    """Classifier -> predicted class (Q,) of each query, from the labels of training pictures."""
    model = None if trained is None else trained.model
    rows = embed(model, cfg, sets.labelled, device)
    svm = cfg.svm and model is not None
    predicted = dict(classify(cfg, "", rows, sets.labelled.label, query, queries.classes, svm=svm))
    if trained is not None and trained.rows is not None and trained.facts["epoch"]:  # before, rows are random
        if len(trained.rows) != len(sets.training):
            raise ValueError(
                f"the memory bank of {trained.path} has {len(trained.rows)} rows but {sets.training.name} "
                f"has {len(sets.training)} training pictures now; the data have changed, train again"
            )
        predicted |= dict(
            classify(cfg, "_bank", trained.rows, sets.training.label, query, queries.classes, svm=svm)
        )
    with distributed.alone():  # these train anew: every rank does the same
        if model is not None and cfg.probe_epochs:
            found = probes.measure(model, cfg, sets.labelled, queries, device)
            predicted |= {f"probe_{stage}": classes for stage, classes in found.items()}
        if model is not None:
            for share in cfg.label_shares:
                name = f"finetune_{100 * share:g}%"
                predicted[name] = finetune.predict(model, cfg, sets.labelled, queries, share, device)
    return predicted


@torch.no_grad()
def embed(model: Encoder | None, cfg: Config, dataset: Dataset, device: torch.device) -> Tensor:
    """(N, D) unit rows in float32 on the device; no model: pixels."""

    def network(images: Tensor) -> dict[str, Tensor]:
        if model is None:
            return {"v": normalize(images[:, : dataset.channels].flatten(1), dim=1)}
        return {"v": model(images.contiguous(memory_format=torch.channels_last))}

    with compute.autocast(device, "float32"):
        return embed_all(pictures.loader(cfg, dataset, device), network)["v"]


def classify(
    cfg: Config, name: str, rows: Tensor, labels: Tensor, query: Tensor, classes: int, *, svm: bool
) -> Iterator[tuple[str, Tensor]]:
    """(classifier + name, predicted class (Q,)) of kNN, nearest neighbour and SVM on unit rows."""
    labels = labels.to(rows.device)
    yield f"knn{name}", knn_predict(rows, labels, query, cfg.k, cfg.temperature, classes)  # Section 3.4
    yield f"nn{name}", knn_predict(rows, labels, query, 1, cfg.temperature, classes)
    few = slice(cfg.svm_images or None)
    if svm and len(labels[few].unique()) > 1:
        yield f"svm{name}", svm_predict(rows[few], labels[few], query, cfg.svm_c)


def svm_predict(rows: Tensor, labels: Tensor, query: Tensor, c: float) -> Tensor:
    """(Q,) int64 by LinearSVC(dual=False, C=c) on columns standardised over `rows`."""
    require_embeddings("rows", rows)
    require_embeddings("query", query, rows)
    require_labels("labels", labels, len(rows))
    finite_number("c", c, above=0)
    if len(labels.unique()) < 2:
        raise ValueError(f"labels are all {int(labels[0])}; give rows of at least two classes")
    scale = StandardScaler().fit(rows.cpu().numpy())
    with warnings.catch_warnings():  # many classes of few pictures are as good a task as any
        warnings.filterwarnings("ignore", "The number of unique classes is greater than 50%")
        svm = LinearSVC(dual=False, C=c).fit(  # pyright: ignore[reportArgumentType]
            scale.transform(rows.cpu().numpy()), labels.cpu().numpy()
        )
    return torch.from_numpy(svm.predict(scale.transform(query.cpu().numpy())))


def test_pictures(queries: Dataset) -> dict[str, Tensor]:
    """Suffix of a metric's name -> rows (n,) int64 of the pictures that it is about; see the protocol."""
    n, exact = len(queries), queries.extra.get("exact")
    found = {"" if exact is None or bool(exact.all()) else f"_jpeg{n}": torch.arange(n)}
    if (
        queries.name == "cifar10"
        and queries.split == "test"
        and exact is not None
        and bool(exact[:1000].all())
    ):
        found["_exact1000"] = torch.arange(1000)
    return found


def accuracy(right: Tensor) -> Figure:
    """Share of True in (n,) bool, with its binomial 95 % interval."""
    if not len(right):
        raise ValueError("right is empty; give at least one picture")
    share = float(right.double().mean())
    return Figure(share, 1.96 * (share * (1 - share) / len(right)) ** 0.5)


def logged(path: Path, epochs: int) -> dict[str, Figure]:
    """train_loss of the last epoch, loss@E after each eighth of the epochs, and what is logged on held-out
    pictures.
    """
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    found = {"train_loss": Figure(lines[-1]["loss"], unit="nats")} if lines else {}
    for line in lines:
        epoch = line["epoch"]
        if "heldout_knn_bank" in line:
            found[f"heldout_knn_bank@{epoch}"] = Figure(line["heldout_knn_bank"])
        if "heldout_knn_bank" in line or epoch % max(1, epochs // 8) == 0:
            found[f"loss@{epoch}"] = Figure(line["loss"], unit="nats")
    return found


if __name__ == "__main__":
    config.command(main)
