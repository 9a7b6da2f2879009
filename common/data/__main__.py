"""`python -m common.data list | verify NAME | fetch NAME [--root DIR]`.

list     every data set: what it is, how large, whether and where it was found
verify   files present, checksums, counts, one line each; exit status 0 when all is right, 1 when not
fetch    download, check and unpack below the data root; exit status 2 with one message when that is not
         possible
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

from common import config, typos
from common.data import cache, download
from common.data.catalogue import data_root, find, frame, read, size_text
from common.data.manifests import MANIFESTS, Manifest
from common.data.readers import ListMissing, Place, stamp


def table(root: Path) -> str:
    """All data sets as a table."""
    rows = []
    for manifest in MANIFESTS.values():
        place = find(manifest, root)
        where = (
            "-"
            if place is None
            else f"{place.folder}" + " (packed)" * place.packed + " (embedded)" * place.embedded
        )
        how = (
            f"by hand: python -m common.data fetch {manifest.name}"
            if manifest.manual
            else f"make data-{manifest.name}"
        )
        pictures = sum(pictures for pictures, _ in next(iter(manifest.counts.values())).values())
        rows.append(
            [
                manifest.name,
                manifest.what,
                f"{pictures:,}",
                size_text(manifest.megabytes),
                where if place else how,
            ]
        )
    rows.append(
        [
            "embedded",
            "generated drawings, a tree of families and kinds",
            "any",
            "-",
            "everywhere, nothing to get",
        ]
    )
    rows.append(["folder:PATH", "own pictures, one folder per class", "any", "-", "PATH"])
    head = ["name", "what", "pictures", "size", "found in, or how to get it"]
    align = ("left", "left", "right", "right", "left")
    text = tabulate(rows, head, tablefmt="simple", disable_numparse=True, colalign=align)
    terms = "\n".join(f"  {manifest.name:<13} {manifest.terms}" for manifest in MANIFESTS.values())
    return f"data root: {root}\n\n{text}\n\nterms\n{terms}"


def verify(manifest: Manifest, root: Path) -> Iterator[tuple[bool | None, str]]:
    """(right, wrong or not checkable (None); what was checked), one after the other."""
    place = find(manifest, root)
    if place is None:
        if (root / manifest.name).is_dir() and manifest.packed:
            for file in manifest.packed:
                yield (root / manifest.name / file.name).exists(), f"{root / manifest.name / file.name}"
        yield False, f"{manifest.name} is not complete below {root}"
        return
    yield True, f"found in {place.folder}"
    if place.embedded:
        yield None, "EMBEDDED.txt: generated drawings, neither checksums nor counts are published"
    elif place.packed:
        for file in manifest.packed:
            yield (
                cache.checksum(place.folder / file.name) == file.sha256,
                f"{file.name}: sha256 {file.sha256}",
            )
        if manifest.packed_note:
            yield None, manifest.packed_note
    elif manifest.contents:
        for name, md5 in manifest.contents.items():
            yield cache.checksum(place.folder / name, "md5") == md5, f"{name}: MD5 {md5}"
    else:
        for file in manifest.files:
            path = root / file.folder / file.name
            if not path.exists():
                yield None, f"{file.name}: not kept, its checksum cannot be compared"
            elif file.md5:
                yield cache.checksum(path, "md5") == file.md5, f"{file.name}: MD5 {file.md5}"
            else:
                yield None, f"{file.name}: no checksum is published"
            if file.remark:
                yield None, f"{file.name}: {file.remark}"
    yield from _counts(place)


def _counts(place: Place) -> Iterator[tuple[bool | None, str]]:
    for protocol, splits in place.manifest.counts.items():
        for split in splits:
            what = f"{split} ({protocol})"
            try:
                listing = read(place, split, protocol)
                if listing.paths:
                    stamp(listing.base, listing.paths)
            except ListMissing as error:
                yield None, f"{what}: {error}"
            except (OSError, ValueError) as error:
                yield False, f"{what}: {error}"
            else:
                classes = len({key[-1] for key in listing.keys})
                yield True, f"{what}: {len(listing.keys):,} pictures of {classes:,} classes"


def fetch(manifest: Manifest, root: Path) -> str:
    """Bring the set below `root`; the sentence to print. OSError or ValueError: the sentence says why not."""
    if place := find(manifest, root):
        return f"{manifest.name} is there: {place.folder}"
    by_hand = [root / file.folder / file.name for file in manifest.files]
    if manifest.manual and not (by_hand and all(path.exists() for path in by_hand)):
        raise FileNotFoundError(frame(manifest, root, go_on=False))
    if not download.writable(root):
        raise PermissionError(
            f"{root} cannot be written; give another folder with --root, and set DATA_ROOT to it"
        )
    if not manifest.manual:
        print(
            f"{manifest.title}: {size_text(download.missing_megabytes(manifest, root))} to download; "
            f"{manifest.terms}"
        )
    download.fetch(manifest, root)
    place = find(manifest, root)
    if place is None:
        raise FileNotFoundError(
            f"{manifest.name} was unpacked below {root}, but is not complete; see `verify {manifest.name}`"
        )
    wrong = [what for good, what in _counts(place) if not good]
    if wrong:
        raise ValueError("; ".join(wrong))
    return f"{manifest.name} is complete: {place.folder} (the archive may be removed)"


def main(argv: list[str]) -> int:
    """The command. Returns the exit status."""
    parser = typos.Parser(prog="python -m common.data", description="Data sets: list, verify, fetch.")
    parser.add_argument("--root", type=Path, default=None, help="data root; default: $DATA_ROOT, else ./data")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every data set, and where it was found")
    for command, what in (("verify", "files, checksums, counts"), ("fetch", "download, check and unpack")):
        one = commands.add_parser(command, help=what)
        one.add_argument("name", choices=list(MANIFESTS), metavar="NAME", help=", ".join(MANIFESTS))
        one.add_argument("--root", type=Path, default=argparse.SUPPRESS, help="data root")
    args = parser.parse_args(argv)
    root = args.root or data_root()
    if args.command == "list":
        print(table(root))
        return 0
    manifest = MANIFESTS[args.name]
    if args.command == "fetch":
        print(fetch(manifest, root))
        return 0
    right = True
    for good, what in verify(manifest, root):
        print({True: "✓", False: "✗", None: "-"}[good], what)
        right = right and good is not False
    return 0 if right else 1


if __name__ == "__main__":
    config.command(lambda argv: sys.exit(main(argv)))
