"""More than 10,000 mutated files: every reader reads them, or ends in one sentence that says where, within
bounds of time and memory, and touches nothing else.

Each input is a valid file of which a few bytes are flipped, cut, spliced, repeated or replaced by an extreme
number. In half of the cases what guards the content (checksums of an archive, the sha256 of a row) is made to
fit again, so that the change is seen behind it. Inputs follow from the reader's name and their number alone,
so a fault comes back.
"""

import bz2
import contextlib
import csv
import gzip
import hashlib
import io
import json
import lzma
import os
import pickle
import random
import re
import resource
import shutil
import signal
import struct
import sys
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cgd_retrieval.presets import PRESETS
from common import data, gallery, run
from common.data import archive, cache, embedded, layouts, readers
from common.data.manifests import MANIFESTS
from common.results import append, load_runs, rows
from common.results.published import COLUMNS, load_published

SECONDS = 2.0
"""Of the processor, after which a reader hangs: a busy machine takes none of them."""
WAIT = 30
"""Times as long by the clock, after which it waits for what does not come."""
BOUND = 256 * 2**20
"""Bytes of address space that a reader of a file below 100 kB may add, whatever the file claims."""

Mutation = Callable[[bytes, bytes, random.Random], bytes]

# --- Mutations ----------------------------------------------------------------------------------------------

NUMBERS = [0, 1, -1, 127, 255, 2**15, 2**16 - 1, 2**31 - 1, -(2**31), 2**32 - 1, 2**40, 2**63 - 1, -(2**63)]
WORDS = [
    *(b"", b"\0", b"\xff", b"\xc3(", b"\n", b"\r\n", b",", b'"', b" ", b"/", b"../../..", b"/etc/passwd"),
    *(b"nan", b"1e999", b"-inf", b"9" * 30, b"9" * 5000, b"[" * 5000, b"{}", b"null", b"\xe2\x80\xa8"),
]


def mutated(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """`content` with 1 to 16 changes; splices come from `other`."""
    out = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 4, 16))):
        size = rng.choice((1, 1, 2, 4, 8, 64, 1024))
        at = rng.randrange(len(out) + 1)
        number, order = rng.choice(NUMBERS), rng.choice("<>")
        match rng.choice(("flip", "byte", "cut", "end", "splice", "repeat", "binary", "decimal", "word")):
            case "flip" if at < len(out):
                out[at] ^= 1 << rng.randrange(8)
            case "byte" if at < len(out):
                out[at] = rng.randrange(256)
            case "cut":
                del out[at : at + size]
            case "end":
                del out[at:]
            case "splice":
                start = rng.randrange(len(other) + 1)
                out[at : at + size] = other[start : start + rng.choice((size, 4 * size))]
            case "repeat":
                out[at:at] = out[at : at + size] * rng.choice((1, 2, 50))
            case "binary":
                width = rng.choice("BHIQ")
                out[at : at + struct.calcsize(width)] = struct.pack(
                    order + width, number % 256 ** struct.calcsize(width)
                )
            case "decimal":  # one of the numbers in the text
                found = list(re.finditer(rb"\d+", out))
                if found:
                    out[slice(*rng.choice(found).span())] = str(number).encode()
            case "word":
                out[at : at + rng.choice((0, size))] = rng.choice(WORDS)
    return bytes(out)


def inside_zip(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """One member of a zip archive mutated, with checksums that fit."""
    with zipfile.ZipFile(io.BytesIO(content)) as pack:
        members = [(info.filename, pack.read(info)) for info in pack.infolist()]
    victim = rng.randrange(len(members))
    buffer = io.BytesIO()
    how = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(buffer, "w", how) as pack:
        for i, (name, value) in enumerate(members):
            pack.writestr(name, mutated(value, other, rng) if i == victim else value)
    return buffer.getvalue()


def inside_tar(pack: Callable[[bytes], bytes], unpack: Callable[[bytes], bytes]) -> Mutation:
    """A tar archive mutated below its compression, with headers whose checksums fit."""

    def change(content: bytes, other: bytes, rng: random.Random) -> bytes:
        out = bytearray(mutated(unpack(content), unpack(content), rng))
        for at in range(0, len(out) - 511, 512):
            if out[at + 257 : at + 262] == b"ustar":
                out[at + 148 : at + 156] = b" " * 8
                out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + 512])
        return pack(bytes(out))

    return change


def with_row_hashes(content: bytes, other: bytes, rng: random.Random) -> bytes:
    """A CSV of runs mutated, each row with the sha256 of its cells."""
    text = mutated(content, other, rng).decode("utf-8", "surrogateescape")
    try:
        rows = list(csv.reader(io.StringIO(text, newline="")))
    except csv.Error:
        return text.encode("utf-8", "surrogateescape")
    for cells in rows[1:]:
        if cells:
            cells[-1] = hashlib.sha256(json.dumps(cells[:-1]).encode()).hexdigest()
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode("utf-8", "surrogateescape")


# --- Watching -----------------------------------------------------------------------------------------------


class Hang(BaseException):
    """Raised by the alarm; no reader catches it."""


RUNS = {"os.system", "os.exec", "os.fork", "os.posix_spawn", "subprocess.Popen", "socket.connect", "exec"}
WRITES: dict[str, Callable[..., tuple[str, int]]] = {  # event -> (path, folder that it starts from, or -1)
    "os.mkdir": lambda path, mode, folder: (path, folder),
    "os.remove": lambda path, folder: (path, folder),
    "os.rmdir": lambda path, folder: (path, folder),
    "os.rename": lambda old, new, old_folder, new_folder: (new, new_folder),
    "os.symlink": lambda old, new, folder: (new, folder),
    "os.link": lambda old, new, old_folder, new_folder: (new, new_folder),
    "os.chmod": lambda path, mode, folder: (path, folder),
    "os.truncate": lambda path, length: (path, -1),
}
watching: list[Any] = []
"""While a reader is watched: the folder in which it may write, and what it did besides."""


def _audit(event: str, args: tuple[Any, ...]) -> None:
    """Python tells of every file that is opened and every process that is started; a hook stays for good."""
    if not watching:
        return
    here, seen = watching
    path, start = "", -1
    if event in RUNS:
        if event != "exec" or not _imports():
            seen.append(f"ran code ({event})")
    elif event in WRITES:
        path, start = WRITES[event](*args)
    elif event == "open" and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        path = args[0]
    if isinstance(path, str | bytes) and path:
        top = "" if start < 0 else os.readlink(f"/proc/self/fd/{start}")
        place = os.path.abspath(os.path.join(top, os.fsdecode(path)))
        if not place.startswith(here):
            seen.append(f"wrote {place}")


def _imports() -> bool:
    """Whether a module is being imported, which libraries do when they first need it."""
    frame = sys._getframe()
    while frame is not None and not frame.f_code.co_filename.startswith("<frozen importlib"):
        frame = frame.f_back
    return frame is not None


@pytest.fixture(scope="module", autouse=True)
def hook():
    sys.addaudithook(_audit)
    previous = {number: signal.signal(number, _alarm) for number in (signal.SIGPROF, signal.SIGALRM)}
    yield
    for number, handler in previous.items():
        signal.signal(number, handler)


def _alarm(*_: object) -> None:
    raise Hang


def fault(read: Callable[[Path], object], folder: Path, *, seconds: float = SECONDS) -> tuple[str, bool]:
    """(what a reader of a file in `folder` does wrong, whether it refused the file). Nothing is wrong when it
    reads the file or says in a sentence why it does not.
    """
    seen: list[str] = []
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    error: BaseException | None = None
    resource.setrlimit(resource.RLIMIT_AS, (used + BOUND, before[1]))
    watching[:] = [str(folder), seen]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, WAIT * seconds)
    try:
        read(folder)
    except BaseException as caught:
        error = caught
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.setitimer(signal.ITIMER_REAL, 0)
        watching.clear()
        resource.setrlimit(resource.RLIMIT_AS, before)
    return "; ".join([*dict.fromkeys(seen), *wrong(error, folder)]), error is not None


def wrong(error: BaseException | None, folder: Path) -> list[str]:
    """Why an error is not a documented one with a sentence."""
    if error is None:
        return []
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MemoryError) or "can't allocate memory" in str(cause):
            return ["asked for too much memory"]
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, Hang):
        return ["hangs"]
    if not isinstance(error, ValueError | OSError):
        return [f"{type(error).__name__}: {str(error)[:200]}"]
    text = str(error)
    if str(folder) not in text:
        return [f"does not say where: {text[:200]!r}"]
    told = text.replace(str(folder), "")
    return [f"no sentence: {told[:200]!r}"] if "\n" in told or not 20 < len(told) < 1000 else []


# --- Readers ------------------------------------------------------------------------------------------------


class Reader:
    """Valid files below a folder, and what reads them all. victims: those that are mutated. seal: a mutation
    behind what guards the content.
    """

    def __init__(
        self,
        files: dict[str, bytes],
        read: Callable[[Path], object],
        victims: str = ".*",
        seal: Mutation | None = None,
    ):
        self.files, self.read, self.seal = files, read, seal
        self.victims = [name for name in files if re.fullmatch(victims, name)]
        assert self.victims

    def place(self, folder: Path) -> None:
        for name, content in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)

    def input(self, name: str, i: int) -> tuple[str, bytes]:
        """(file, its content) of input i."""
        rng = random.Random(f"{name} {i}")
        victim = rng.choice(self.victims)
        other = self.files[rng.choice(list(self.files))]
        change = self.seal if self.seal is not None and rng.random() < 0.5 else mutated
        return victim, change(self.files[victim], other, rng)


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def lines(*rows: str) -> bytes:
    return "".join(f"{row}\n" for row in rows).encode()


def loads(name: str, **protocols: str) -> Callable[[Path], object]:
    """Splits of a set; pictures stay on disk where the reader leaves them there."""
    inside = {"mnist": 28, "cifar10": 32, "cifar100": 32}  # always read into memory, at this size
    size, resident = inside.get(name, 4), None if name in inside else False

    def read(folder: Path) -> None:
        for protocol, splits in protocols.items():
            for split in splits.split():
                found = data.load(name, split, size=size, protocol=protocol, root=folder, resident=resident)
                for column, level in zip(found.labels.T, found.names):
                    assert column.min() >= 0
                    assert column.max() < len(level)

    return read


def written(name: str, layout: str, place: Path, victims: str, **protocols: str) -> Reader:
    """A data set in its published layout."""
    few = {} if layout == "mnist" else {"families": 2, "kinds": 2}
    layouts.write(layout, place / layout, instances=2, **few)
    return Reader(files_of(place / layout), loads(name, **protocols), victims)


def small_run(place: Path) -> bytes:
    """A checkpoint with a network, its optimiser, and nested parts."""
    one = run.Run("cgd_retrieval", "smoke", PRESETS["smoke"][1], {"dim": 8}, ["smoke"], root=place / "runs")
    model = network()
    optimiser = torch.optim.Adam(model.parameters())
    model(torch.zeros(2, 3, 4, 4)).sum().backward()
    optimiser.step()
    one.resume(model=model, optimiser=optimiser)
    one.save(1, model=model, optimiser=optimiser)
    one.release()
    return (one.folder / "last.pt").read_bytes()


def network() -> torch.nn.Module:
    return torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.BatchNorm2d(2), torch.nn.Flatten())


def an_export(place: Path) -> bytes:
    drawings = embedded.load("test", size=8, families=2, kinds=2, instances=2)
    gallery.export(place / "e.npz", embedding=torch.randn(len(drawings), 3), dataset=drawings)
    return (place / "e.npz").read_bytes()


CONTENT = {
    "a/b.txt": b"hello " * 20,
    "a/c/d.bin": bytes(range(256)),
    "e/ü.txt": b"",
    f"{'long' * 40}/f": b"pax",
}


def a_tar() -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as pack:
        for name, value in CONTENT.items():
            info = tarfile.TarInfo(name)
            info.size, info.pax_headers = len(value), {"comment": "x" * 30}
            pack.addfile(info, io.BytesIO(value))
    return buffer.getvalue()


def a_zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as pack:
        for name, value in CONTENT.items():
            pack.writestr(name, value)
    return buffer.getvalue()


def unpacks(name: str) -> Callable[[Path], object]:
    """Extract the archive `name`; after a failure nothing but it may be there."""

    def read(folder: Path) -> None:
        try:
            archive.extract(folder / name, folder / "out")
        finally:
            shutil.rmtree(folder / "out", ignore_errors=True)
            left = [path.name for path in folder.iterdir() if path.name != name]
            assert not left, f"left behind: {left}"

    return read


TARS = {
    "tar": (bytes, bytes),
    "tgz": (gzip.compress, gzip.decompress),
    "tar.xz": (lzma.compress, lzma.decompress),
    "tar.bz2": (bz2.compress, bz2.decompress),
}


PUBLISHED = [
    'best/mg,v1,paper,Table 9,MG,cub,cropped,recall@1,0.7920,0.1,share,"page 7, ""left""",yes',
    "best/mg,v1,authors-code,Table 9,MG,cub,cropped,recall@1,0.7681,,share,README,yes",
    "best/sg,v1,paper,Table 9,SG,cub,cropped,recall@1,,,share,memory,no",
    "size/mg,v1,paper,Table 1,MG,cub,,parameters,26.5,,million,page 3,yes",
]
MEASURED = {
    "target": "best/mg", "preset": "cub", "overrides": {"tau": 0.5, "config": "ü"}, "dataset": "cub",
    "split": "test", "metric": "recall@1", "unit": "share", "interval": 0.01, "selection": "last",
    "epochs": 15, "minutes": 12.0, "device": "GPU", "peak_memory_mb": 900.0, "commit": "abc",
    "torch": "2.9.0", "command": "python -m toy.evaluate last.pt --record", "checkpoint": "0" * 64,
    "date": "2025-01-01T00:00:00Z",
}  # fmt: skip


def runs_file(place: Path) -> bytes:
    append("toy", [{**MEASURED, "seed": seed, "value": 0.1 * seed} for seed in range(3)], place)
    return (place / "runs/toy.csv").read_bytes()


def inaturalist_lists() -> dict[str, bytes]:
    top, files = "inaturalist", {"inaturalist/EMBEDDED.txt": b""}
    parts = {
        "train": ("Aves/Alba/a.jpg", "Aves/Ibis/b.jpg"),
        "val": ("Aves/Alba/c.jpg", "Felis/Lynx/d.jpg"),
    }
    for part, names in parts.items():
        images = [{"id": i, "file_name": f"train_val_images/{name}"} for i, name in enumerate(names)]
        files[f"{top}/{part}2017.json"] = json.dumps({"images": images}).encode()
        files |= {f"{top}/train_val_images/{name}": b"" for name in names}
    return files


def imagenet_graph() -> dict[str, bytes]:
    graph = lines("n1 n2", "n1 n3", "n2 n10", "n2 n11", "n3 n12", "n3 n13")
    pictures = {f"imagenet/{part}/n1{i}/a.JPEG": b"" for part in ("train", "val") for i in range(4)}
    return {"imagenet/wordnet.is_a.txt": graph, "imagenet/EMBEDDED.txt": b"", **pictures}


def cub_100_list() -> dict[str, bytes]:
    head = "path,order,family,cub_class_id,class_name,retrieval_split,fewshot_split,cub_is_train"
    rest = ["a.png,O,Alba,1,001.Alba,train,train,1", "b.png,O,Ibis,2,002.Ibis,test,val,0"]
    return {"CUB_100/images.csv": lines(head, *rest, "c.png,P,Q,3,003.Q,test,test,1")}


def read_cub_100(folder: Path) -> None:
    place = readers.Place(manifest=MANIFESTS["cub_100"], folder=folder, packed=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "unpacked", lambda file, sha256: folder)
        for protocol, split in (("retrieval", "train"), ("fewshot", "val"), ("classification", "test")):
            readers.cub_100(place, split, protocol)


def make(name: str, place: Path) -> Reader:
    """The reader of this name; `place` is an empty folder."""
    half = {"retrieval": "train test"}
    both = {"classification": "train test"}
    parts = {"fewshot": "train val test"}
    shop = {"retrieval": "train query gallery"}
    match name:
        case "mnist":
            return written(name, name, place, ".*-ubyte", **half)
        case "cifar10":
            return written(name, name, place, ".*batch.*", **both)
        case "cifar100":
            return written(name, name, place, ".*/(train|test|meta)", **half)
        case "cub":
            lists = ".*/([a-z_]*.txt|.*csv)"
            return written(name, name, place, lists, **half, **parts, classification="train")
        case "sop":
            return written(name, name, place, "Ebay_.*txt", **half)
        case "inshop" | "deepfashion":
            return written(name, "inshop", place, ".*partition.txt", **shop)
        case "mini_imagenet":
            return written(name, name, place, ".*csv", **parts)
        case "cars":
            return written(name, name, place, ".*mat", **half)
        case "cub_100":
            return Reader(cub_100_list(), read_cub_100)
        case "inaturalist":
            return Reader(inaturalist_lists(), loads(name, **both), ".*json")
        case "imagenet":
            return Reader(imagenet_graph(), loads(name, **both), ".*is_a.txt")
        case "checkpoint":
            files = {"last.pt": small_run(place)}
            return Reader(files, lambda folder: run.load_checkpoint(folder / "last.pt"), seal=inside_zip)
        case "export":
            files = {"e.npz": an_export(place)}
            return Reader(files, lambda folder: gallery.read_export(folder / "e.npz"), seal=inside_zip)
        case "runs":
            files = {"runs/toy.csv": runs_file(place)}
            return Reader(files, lambda folder: load_runs("toy", folder), seal=with_row_hashes)
        case "published":
            files = {"published/toy.csv": lines(",".join(COLUMNS), *PUBLISHED)}
            return Reader(files, lambda folder: load_published("toy", folder))
        case "zip":
            return Reader({"p.zip": a_zip()}, unpacks("p.zip"), seal=inside_zip)
        case "gz":
            repack = inside_tar(*TARS["tgz"])  # which for a file that is no tar archive only packs anew
            return Reader({"one.gz": gzip.compress(b"hello " * 20)}, unpacks("one.gz"), seal=repack)
        case _:
            pack, unpack = TARS[name]
            return Reader({f"p.{name}": pack(a_tar())}, unpacks(f"p.{name}"), seal=inside_tar(pack, unpack))


INPUTS = {
    "mnist": 800, "cifar10": 600, "cifar100": 500, "cub": 700, "sop": 500, "inshop": 500, "deepfashion": 300,
    "mini_imagenet": 500, "cars": 500, "cub_100": 400, "inaturalist": 400, "imagenet": 300,
    "checkpoint": 1500, "export": 1000, "runs": 900, "published": 900, "zip": 400, "tar": 400, "tgz": 300,
    "tar.xz": 200, "tar.bz2": 200, "gz": 200,
}  # fmt: skip


@pytest.mark.parametrize("name", INPUTS)
def test_mutated_files(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))
    (tmp_path / "made").mkdir()
    here = tmp_path / "here"
    reader = make(name, tmp_path / "made")
    reader.place(here)
    reader.read(here)  # what it needs is imported now
    assert fault(reader.read, here) == ("", False)
    found: dict[str, int] = {}
    refusals = 0
    for i in range(INPUTS[name]):
        victim, content = reader.input(name, i)
        (here / victim).unlink()  # writing over a file waits for the disk on some file systems
        (here / victim).write_bytes(content)
        if i < 10:  # what its errors need is imported now
            with contextlib.suppress(Exception):
                reader.read(here)
        told, refused = fault(reader.read, here)
        refusals += refused
        if told:
            found.setdefault(re.sub(r"\d+", "#", told), i)
        (here / victim).unlink()
        (here / victim).write_bytes(reader.files[victim])
    assert not found, "\n".join(f"input {i} of {name}: {told}" for told, i in list(found.items())[:20])
    assert (
        0.05 < refusals / INPUTS[name] < 0.999
    )  # else the changes are without effect, or all see the same guard


def test_they_are_more_than_ten_thousand():
    assert sum(INPUTS.values()) >= 10_000


def _raises(error: BaseException) -> Callable[[Path], None]:
    def read(folder: Path) -> None:
        raise error

    return read


def _hangs(folder: Path) -> None:
    while True:
        with contextlib.suppress(Exception):
            sum(range(1000))


def _waits(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "pipe").read_bytes()


def _asks_for_too_much(folder: Path) -> None:
    try:
        bytearray(2**40)
    except MemoryError as error:
        raise ValueError(f"{folder} is damaged; get it again") from error


def _takes_too_much(folder: Path) -> None:
    np.empty(2 * BOUND, np.uint8)


def _writes_outside(folder: Path) -> None:
    (folder.parent / "escaped").write_text("x")


def _makes_a_folder_outside(folder: Path) -> None:
    inside = os.open(folder, os.O_RDONLY)
    try:
        os.mkdir("../escaped too", dir_fd=inside)
    finally:
        os.close(inside)


def _runs_a_program(folder: Path) -> None:
    with contextlib.suppress(Exception):
        pickle.loads(b"cos\nsystem\n(S'true'\ntR.")


def _runs_python(folder: Path) -> None:
    pickle.loads(b"cbuiltins\nexec\n(S'1'\ntR.")


@pytest.mark.parametrize(
    ("weak", "told"),
    [
        (_raises(KeyError("labels")), "KeyError: 'labels'"),
        (_raises(AssertionError()), "AssertionError: "),
        (_raises(RuntimeError("shape '[3]' is invalid")), "RuntimeError: shape '[3]' is invalid"),
        (_raises(RecursionError("maximum recursion depth exceeded")), "RecursionError: maximum"),
        (_raises(SystemExit("code from a file ran")), "SystemExit: code from a file ran"),
        (_raises(ValueError("invalid literal for int() with base 10")), "does not say where"),
        (_hangs, "hangs"),
        (_waits, "hangs"),
        (_asks_for_too_much, "asked for too much memory"),
        (_takes_too_much, "asked for too much memory"),
        (_writes_outside, "wrote "),
        (_makes_a_folder_outside, "wrote "),
        (_runs_a_program, "ran code (os.system)"),
        (_runs_python, "ran code (exec)"),
    ],
)
def test_a_weak_reader_is_caught(weak, told, tmp_path):
    (tmp_path / "here").mkdir()
    assert told in fault(weak, tmp_path / "here", seconds=0.2)[0]


def test_sentences_are_told_from_noise(tmp_path):
    assert fault(
        _raises(ValueError(f"{tmp_path}/a.csv, line 3: 4 cells, not 5; get it again")), tmp_path
    ) == ("", True)
    assert "no sentence" in fault(_raises(ValueError(f"{tmp_path}/a.csv\nis bad, get it again")), tmp_path)[0]
    assert "no sentence" in fault(_raises(ValueError(f"{tmp_path}: {'x' * 5000}")), tmp_path)[0]
    assert "no sentence" in fault(_raises(ValueError(f"{tmp_path}: bad")), tmp_path)[0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # numpy leaves a file open
def test_a_reader_without_its_check_is_caught(tmp_path, monkeypatch):
    """Each check of a reader that is taken away is missed by one of the inputs."""
    monkeypatch.setenv("DATA_CACHE", str(tmp_path / "cache"))
    for name, module, check, instead in (
        ("sop", readers, "_leads_out", lambda path: False),
        ("export", gallery, "_check_sizes", lambda path: None),
        ("runs", rows, "_written_anew", dict),
        ("cifar100", readers, "_listed", lambda file, found, name, kind: found[name]),
    ):
        (tmp_path / name).mkdir()
        reader, here = make(name, tmp_path / name), tmp_path / f"{name} here"
        reader.place(here)
        reader.read(here)
        with monkeypatch.context() as patch:
            patch.setattr(module, check, instead)
            found = ""
            for i in range(INPUTS[name]):
                victim, content = reader.input(name, i)
                (here / victim).write_bytes(content)
                found = fault(reader.read, here)[0]
                if found:
                    break
                (here / victim).write_bytes(reader.files[victim])
        assert found, name
