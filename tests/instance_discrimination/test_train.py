"""Training: every loss, killed runs, Z, the bank, no wait for the device, bad input in one sentence."""

import dataclasses
import json
import math
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from common.run import Run
from instance_discrimination import pictures, train
from instance_discrimination.losses import expected_log_z
from instance_discrimination.memory import MemoryBank
from instance_discrimination.model import ParametricSoftmax
from instance_discrimination.presets import PRESETS, Config

TINY = ["smoke", "--images", "60", "--epochs", "2", "--batch", "16", "--widths", "4", "--size", "12"]
SMOKE = PRESETS["smoke"][1]


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA", "auto")
    return tmp_path


def run(*words: str) -> dict:
    """The checkpoint's parts after training here."""
    train.main([*TINY, *words])
    (path,) = Path().glob("runs/instance_discrimination/smoke*/last.pt")
    return torch.load(path, weights_only=True)["state"]


def log_lines() -> list[dict]:
    """The log without what a clock or an allocator decides."""
    (path,) = Path().glob("runs/instance_discrimination/smoke*/log.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [
        {k: v for k, v in r.items() if k not in ("seconds", "images_per_second", "peak_memory_mb")}
        for r in rows
    ]


def same(a, b) -> bool:
    """Nested state dicts, equal bit by bit."""
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b) or (bool(a.isnan().all()) and bool(b.isnan().all()))
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--loss", "parametric"),
        tuple("--loss nce --noise 7 --z ema --proximal 30 --held-out 20 --val-every 2".split()),
    ],
    ids=("softmax", "parametric", "nce"),
)
def test_a_killed_run_ends_where_an_unbroken_one_does(words, tmp_path, monkeypatch):
    save = Run.save

    def save_then_die(self, epoch, **parts):
        save(self, epoch, **parts)
        self.release()  # what the end of a process does
        raise KeyboardInterrupt

    monkeypatch.setenv("DATA", "auto")
    ends = []
    for name in ("unbroken", "killed"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "killed":
            monkeypatch.setattr(Run, "save", save_then_die)
            with pytest.raises(KeyboardInterrupt):
                run(*words)
            monkeypatch.setattr(Run, "save", save)
        ends.append((run(*words), log_lines()))
    (a, log_a), (b, log_b) = ends
    assert set(a) == {"model", "optimiser", "schedule", "classifier" if "parametric" in words else "bank"}
    assert same(a, b)
    assert log_a == log_b
    assert len(log_a) == 2
    if "bank" in a:
        torch.testing.assert_close(a["bank"]["rows"].norm(dim=1), torch.ones(60))
    if "nce" in words:
        assert "heldout_knn_bank" in log_a[-1]
        assert "heldout_knn_bank" not in log_a[0]
        assert log_a[0]["log_z"] != log_a[1]["log_z"]


@pytest.mark.parametrize("epoch", [1, 3])
def test_what_a_kill_between_checkpoints_costs_is_trained_again(epoch, tmp_path, monkeypatch):
    """Checkpoints after epochs 2 and 3 only; killed once epoch 1, or 3, is logged but not kept."""
    log, words, ends = Run.log, ("--epochs", "3", "--save-every", "2"), []

    def log_then_die(self, **row):
        log(self, **row)
        if row["epoch"] == epoch:
            self.release()
            raise KeyboardInterrupt

    monkeypatch.setenv("DATA", "auto")
    for name in ("unbroken", "killed"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        if name == "killed":
            monkeypatch.setattr(Run, "log", log_then_die)
            with pytest.raises(KeyboardInterrupt):
                run(*words)
            monkeypatch.setattr(Run, "log", log)
        ends.append((run(*words), log_lines()))
    (a, log_a), (b, log_b) = ends
    assert same(a, b)
    assert log_a == log_b
    assert [row["epoch"] for row in log_a] == [1, 2, 3]


def test_the_log_shows_the_rate_that_an_epoch_had(here):
    run("--lr", "0.5", "--milestones", "1", "--grey", "0")
    assert [row["lr"] for row in log_lines()] == pytest.approx([0.5, 0.05])


def test_a_finished_run_is_not_trained_again(here, monkeypatch):
    run("--epochs", "1")
    monkeypatch.setattr(train, "build", lambda cfg: pytest.fail("it was"))
    run("--epochs", "1")


def test_a_step_does_what_the_symbols_say(here, monkeypatch):
    """One batch, overwritten bank, lr 0: the bank becomes f_theta(x), and the loss is Eq. (3) on the first
    bank.
    """
    words = ["--images", "40", "--batch", "40", "--epochs", "1", "--lr", "1e-30", "--bank-momentum", "0"]
    seen = []
    loss = train.one_process.softmax_loss
    monkeypatch.setattr(
        train.one_process, "softmax_loss", lambda v, *rest: seen.append((v, *rest)) or loss(v, *rest)
    )

    state = run(*words, "--weight-decay", "0")
    ((v, bank, index, temperature),) = seen
    assert bank is not None
    assert temperature == SMOKE.temperature
    torch.testing.assert_close(state["bank"]["rows"][index], v.detach())
    assert sorted(index.tolist()) == list(range(40))
    first = MemoryBank(40, 16, 0, init="released", generator=train.counter.generator(0, train._BANK)).rows
    naive = 0.0
    for b in range(40):
        scores = [float(v[b].detach() @ row) / temperature for row in first]
        naive -= scores[int(index[b])] - math.log(sum(map(math.exp, scores)))
    assert log_lines()[0]["loss"] == pytest.approx(naive / 40, rel=1e-5)


def batch(cfg: Config, n: int = 30):
    draw = torch.Generator().manual_seed(1)
    bank = MemoryBank(n, 6, cfg.bank_momentum, generator=draw)
    v = normalize(torch.randn(5, 6, generator=draw), dim=1).requires_grad_()
    return v, torch.tensor([3, 0, 29, 7, 7]), bank


def nce(z: Any = "first-batch", **changed) -> Config:
    """With the constant Z of the first batch, as released, unless told otherwise."""
    return dataclasses.replace(SMOKE, loss="nce", noise=9, z=z, **changed)


def test_z_is_fixed_by_the_first_batch_or_follows_the_bank():
    v, index, bank = batch(nce())
    train.instance_loss(nce(), v, index, bank, None, 0)
    first = float(bank.log_z)
    bank.rows.copy_(v[0].detach().expand(30, 6))  # every score changes
    train.instance_loss(nce(), v, index, bank, None, 1)
    assert float(bank.log_z) == first
    train.instance_loss(nce(z="ema"), v, index, bank, None, 1)
    assert float(bank.log_z) != first


def test_the_first_z_takes_all_columns_as_released_and_later_ones_only_the_noise():
    cfg = nce()
    v, index, bank = batch(cfg)
    noise = train.draw_noise(index, 9, 30, cfg.seed, 4)
    scores = torch.cat(
        [(v * bank.rows[index]).sum(1, keepdim=True), torch.einsum("bd,bmd->bm", v, bank.rows[noise])], 1
    )
    scores = scores.detach() / cfg.temperature
    train.instance_loss(cfg, v, index, bank, None, 4)
    assert math.exp(float(bank.log_z)) == pytest.approx(30 * float(scores.exp().mean()), rel=1e-5)
    before = math.exp(float(bank.log_z))
    train.instance_loss(dataclasses.replace(cfg, z="ema", z_momentum=0.9), v, index, bank, None, 4)
    wanted = 0.9 * before + 0.1 * 30 * float(scores[:, 1:].exp().mean())
    assert math.exp(float(bank.log_z)) == pytest.approx(wanted, rel=1e-5)


def test_closed_form_z_stands_before_the_first_step(here):
    state = run("--loss", "nce", "--noise", "5", "--z", "closed-form")
    assert float(state["bank"]["log_z"]) == pytest.approx(expected_log_z(60, 16, SMOKE.temperature), rel=1e-6)


@pytest.mark.parametrize("cfg", [SMOKE, nce()], ids=("softmax", "nce"))
def test_the_proximal_term_is_apart_and_pulls_to_the_old_row(cfg):
    v, index, bank = batch(cfg)
    plain, none = train.instance_loss(cfg, v, index, bank, None, 0)
    loss, pull = train.instance_loss(dataclasses.replace(cfg, proximal=30.0), v, index, bank, None, 0)
    assert none is None
    assert loss.item() == plain.item(), "what is logged does not hold it"
    wanted = sum(float(((v[b] - bank.rows[i]) ** 2).detach().sum()) for b, i in enumerate(index)) / 5
    assert pull.item() == pytest.approx(wanted, rel=1e-5)


def test_the_step_follows_loss_plus_lambda_times_the_proximal_term(here, monkeypatch):
    """The gradient that reaches v is that of the loss and lambda times that of Eq. (9)."""
    whole, seen = train.instance_loss, []

    def watched(cfg, v, *rest):
        loss, pull = whole(cfg, v, *rest)
        apart = [torch.autograd.grad(x, v, retain_graph=True)[0] for x in (loss, pull)]
        v.register_hook(lambda gradient: seen.append((*apart, gradient)))
        return loss, pull

    monkeypatch.setattr(train, "instance_loss", watched)
    run("--images", "40", "--batch", "40", "--epochs", "1", "--proximal", "30")
    ((of_loss, of_pull, used),) = seen
    assert of_pull.norm() > 1e-3
    torch.testing.assert_close(used, of_loss + 30 * of_pull)
    (line,) = log_lines()
    assert 0 < line["proximal"] <= 4, "logged apart and without lambda"


def test_noise_changes_with_step_and_seed():
    cfg = nce(z="closed-form")
    v, index, bank = batch(cfg)
    bank.start_log_z(3.0)
    values = {
        train.instance_loss(dataclasses.replace(cfg, seed=s), v, index, bank, None, t)[0].item()
        for s in (0, 1)
        for t in (0, 1)
    }
    assert len(values) == 4


@pytest.mark.parametrize("loss", ["softmax", "nce", "parametric"])
def test_a_step_never_waits_for_the_device(loss):
    """Fake CUDA tensors have no values: whatever asks for one on the host raises. (They have no backward
    pass either, without a GPU; that of the losses is torch's own.)
    """
    fake = pytest.importorskip("torch._subclasses.fake_tensor")
    cfg = dataclasses.replace(
        SMOKE, loss=loss, noise=9, proximal=0.0 if loss == "parametric" else 30.0, exclude_positive=True
    )
    with fake.FakeTensorMode(), torch.device("cuda"):
        v, index = torch.empty(4, 6), torch.empty(4, dtype=torch.int64)
        bank, classifier, meter = None, None, train.LossMeter(torch.device("cuda"))
        if loss == "parametric":
            classifier = ParametricSoftmax(30, 6)
        else:
            bank = MemoryBank(30, 6, 0.5)
        for z in ("first-batch", "ema"):
            value, pull = train.instance_loss(dataclasses.replace(cfg, z=z), v, index, bank, classifier, 3)
            meter.add(value)
            if pull is not None:
                meter.add(pull)
            if bank is not None:
                bank.update(index, v)
        assert value.device.type == "cuda"
        with pytest.raises(Exception, match="_local_scalar_dense"):
            value.item()  # the test would notice


def test_learning_rate_of_the_released_schedule():
    cfg = PRESETS["cifar10"][1]
    factors = [train.learning_rate(cfg, e) for e in range(200)]
    assert factors[:120] == [1.0] * 120
    assert factors[120:160] == pytest.approx([0.1] * 40)
    assert factors[160:] == pytest.approx([0.01] * 40)
    cosine = [train.learning_rate(dataclasses.replace(cfg, schedule="cosine"), e) for e in (0, 100, 200)]
    assert cosine == pytest.approx([1, 0.5, 0])


def test_mixed_precision_is_for_gpus():
    assert train.precision(SMOKE, torch.device("cpu")) == "float32"
    assert train.precision(SMOKE, torch.device("cuda")) == "bfloat16"
    assert train.precision(dataclasses.replace(SMOKE, precision="tf32"), torch.device("cuda")) == "tf32"


def test_held_out_accuracy_of_the_log_is_a_naive_vote(here):
    words = ("--held-out", "15", "--val-every", "2", "--k", "7")
    state = run(*words)
    cfg = train.config.parse(PRESETS, [*TINY, *words])[1]
    sets = pictures.split(cfg)
    model = train.build(cfg)
    model.load_state_dict(state["model"])
    (images, _, _), *_ = pictures.loader(cfg, sets.held_out, torch.device("cpu")).all()
    right = 0
    with torch.no_grad():
        for v, label in zip(model.eval()(images).double(), sets.held_out.label.tolist()):
            s = state["bank"]["rows"].double() @ v
            votes = [0.0] * sets.training.classes
            for i in sorted(range(60), key=lambda i: -float(s[i]))[:7]:
                votes[int(sets.training.label[i])] += math.exp(float(s[i]) / cfg.temperature)
            right += votes.index(max(votes)) == label
    assert log_lines()[-1]["heldout_knn_bank"] == pytest.approx(right / 15)


def check_losses():
    test_the_first_z_takes_all_columns_as_released_and_later_ones_only_the_noise()
    test_z_is_fixed_by_the_first_batch_or_follows_the_bank()
    test_noise_changes_with_step_and_seed()
    for cfg in (SMOKE, nce()):
        test_the_proximal_term_is_apart_and_pulls_to_the_old_row(cfg)


def check_schedule():
    test_learning_rate_of_the_released_schedule()


PLANTED = [
    ("estimated_log_z(scores, n)", "estimated_log_z(scores[:, 1:], n)", check_losses),
    ("estimated_log_z(scores[:, 1:], n)", "estimated_log_z(scores, n)", check_losses),
    ("z.start_log_z(estimated", "z.log_z.copy_(estimated", check_losses),
    ("cfg.seed, step, exclude", "cfg.seed, 0, exclude", check_losses),
    ("n, cfg.seed, step", "n, 0, step", check_losses),
    ("proximal_term(v, bank.rows_of(index))", "proximal_term(v, bank.rows[: len(v)])", check_losses),
    (
        "(v, rows, index, cfg.temperature), pull",
        "(v, rows, index, cfg.temperature) + (pull or 0), pull",
        check_losses,
    ),
    ("epoch >= m for m", "epoch > m for m", check_schedule),
    ("0.1 ** sum", "0.1 * sum", check_schedule),
    ("min(epoch / max(cfg.epochs, 1), 1)", "2 * epoch / cfg.epochs", check_schedule),
]


@pytest.mark.parametrize(("right", "wrong", "check"), PLANTED, ids=[w for _, w, _ in PLANTED])
def test_a_planted_bug_is_caught(right, wrong, check, monkeypatch):
    check()
    source = Path(train.__file__).read_text()
    assert right in source, f"{right!r} is no longer in train.py"
    module = types.ModuleType("planted_train")
    exec(compile(source.replace(right, wrong), "planted_train", "exec"), module.__dict__)
    monkeypatch.setitem(globals(), "train", module)
    with pytest.raises(AssertionError):
        check()


BAD = [
    (["nonsense"], "nonsense"),
    ([], "name a preset first"),
    (["smoke", "--backbone", "pixels"], "nothing to train"),
    (["smoke", "--k", "100000"], "--k 100000 but the bank has"),
    (["smoke", "--images", "40", "--k", "41"], "--k 41 but the bank has 40 rows; give a k of at most 40"),
    (["smoke", "--images", "-1"], "--images -1"),
    (["smoke", "--batch", "1"], "--batch 1"),
    (["smoke", "--temperature", "0"], "--temperature 0"),
    (["smoke", "--bank-momentum", "1"], "--bank-momentum 1"),
    (["smoke", "--loss", "parametric", "--proximal", "3"], "no memory bank"),
    (["smoke", "--val-every", "3"], "--held-out"),
    (["smoke", "--eps", "-1"], "--eps -1"),
    (["smoke", "--z-momentum", "1"], "--z-momentum 1"),
    (["smoke", "--save-every", "0"], "--save-every 0"),
    (["smoke", "--data", "folder:nowhere"], "nowhere"),
    (["smoke", "--data", "imagenet"], r"train/CLASS"),
    (["smoke", "--data", "imagenet", "--rotate", "3"], "--rotate 3.0 with --data imagenet: photographs"),
    (["smoke", "--data", "imagenet", "--crop-area", "1"], "--crop-area 1.0 with --data imagenet"),
    (["smoke", "--device", "toaster"], "not a device"),
]


@pytest.mark.parametrize(("words", "told"), BAD, ids=lambda x: " ".join(x) if isinstance(x, list) else "")
def test_bad_input_is_one_sentence_and_leaves_nothing_behind(words, told, here, monkeypatch, capsys):
    monkeypatch.setattr(train.config.sys, "argv", ["train", *words])
    with pytest.raises(SystemExit) as stop:
        train.config.command(train.main)
    assert stop.value.code == 2
    assert told in capsys.readouterr().err
    assert not list(here.rglob("runs/*"))


def test_a_loss_that_is_not_finite_stops_the_run_and_says_where(here):
    with pytest.raises(FloatingPointError, match="not finite at step"):
        run("--lr", "1e30")
    assert not list(here.rglob("last.pt"))


def test_the_bank_of_other_pictures_is_refused_on_resume(here, monkeypatch):
    for name in ("ant", "bee"):
        (here / "own" / name).mkdir(parents=True)
        for i in range(20):
            Image.new("RGB", (12, 12), (i * 12, len(name), 90)).save(here / "own" / name / f"{i}.png")
    words = ["smoke", "--data", f"folder:{here / 'own'}", "--size", "12", "--widths", "4", "--batch", "8"]
    save = Run.save

    def save_then_die(self, epoch, **parts):
        save(self, epoch, **parts)
        self.release()
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", save_then_die)
    with pytest.raises(KeyboardInterrupt):
        train.main(words)
    monkeypatch.setattr(Run, "save", save)
    for i in range(5):
        Image.new("RGB", (12, 12), (3, i * 40, 200)).save(here / "own" / "ant" / f"new{i}.png")
    with pytest.raises(ValueError, match="the stored bank has 32 rows of 16 numbers, this run's has 36"):
        train.main(words)
