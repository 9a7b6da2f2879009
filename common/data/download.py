"""Get the published files of a data set: resume, mirrors, checksum first, then unpack, nothing half-written.

A download grows in NAME.part beside its final name. A later call goes on where it stopped, when the server
can (HTTP Range); the name without .part appears only after the checksum was right. A checksum that is wrong
leaves nothing behind.
"""

from __future__ import annotations

import contextlib
import ftplib
import http.client
import os
import shutil
import socket
import tempfile
import threading
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from tqdm import tqdm

from common.data import archive, cache
from common.data.manifests import File, Manifest

CONNECT = 5.0
"""Seconds until a host that does not answer is given up, name resolution included."""
SILENCE = 30.0
"""Seconds without a byte until a connection is given up."""

_CHUNK = 1 << 20
_BELIEVED = 4
"""Times the rounded size of a file that is taken from a server before the checksum can be compared."""
_FAILURES = (OSError, http.client.HTTPException, *ftplib.all_errors)


class DownloadError(OSError):
    """No mirror delivered the file; the message says for each of them why."""


def fetch(manifest: Manifest, root: Path, *, attempts: int = 3) -> None:
    """Bring every published file of the data set below `root` and unpack it there. What is there already
    stays.

    attempts: how often a mirror that broke off is asked to go on. Raises DownloadError, and ValueError for a
    file that was placed by hand and is not the published one, or an archive without the expected folder.
    """
    for file in manifest.files:
        target = root / file.folder / file.name
        if file.unpacks and (root / file.into).exists():
            continue
        if not target.exists():
            get(file, target, attempts=attempts)
        elif file.md5 or file.sha256:
            cache.require(target, sha256=file.sha256, md5=file.md5)
        if file.unpacks:
            unpack(file, target, root / file.into)


def get(file: File, target: Path, *, attempts: int = 3) -> None:
    """Download one file to `target`: the mirrors in turn, each resumed up to `attempts` times after it broke
    off.
    """
    if not (file.sha256 or file.md5):
        raise DownloadError(
            f"{file.name} has no published checksum, so it is not downloaded; place it at {target} by hand"
        )
    if not file.urls:
        raise DownloadError(f"{file.name} has no public address; place it at {target} by hand")
    new = _missing(target.parent)
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    reasons = []
    for url in file.urls:
        for _ in range(attempts):
            had = part.stat().st_size if part.exists() else 0
            try:
                reach(url)
                _receive(url, part, file)
                cache.require(part, sha256=file.sha256, md5=file.md5)
            except ValueError as error:  # all bytes came, and they are not the published ones
                part.unlink(missing_ok=True)
                reasons.append(f"{url}: {str(error).replace(str(part), file.name)}")
                if not had:
                    break  # the mirror has another file; else the half that was there may be to blame
            except _FAILURES as error:
                reasons.append(f"{url}: {_reason(error)}")
                if (part.stat().st_size if part.exists() else 0) <= had:
                    break  # nothing came: the next mirror
            else:
                os.replace(part, target)
                return
    if part.exists() and not part.stat().st_size:
        part.unlink()
    _remove_empty(new)
    raise DownloadError(f"{file.name} could not be downloaded. " + "; ".join(reasons))


def reach(url: str) -> None:
    """OSError unless the host of `url` (or the proxy for it) accepts a connection within CONNECT seconds.

    Neither name resolution nor urllib's own connection attempts over several addresses can be limited
    otherwise.
    """
    parts = urllib.parse.urlsplit(url)
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy and not urllib.request.proxy_bypass(parts.netloc):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    port = parts.port or {"https": 443, "ftp": 21}.get(parts.scheme, 80)
    failure: list[BaseException] = [TimeoutError(f"no answer from {parts.hostname} within {CONNECT:g} s")]

    def connect() -> None:
        try:
            socket.create_connection((parts.hostname or "", port), timeout=CONNECT).close()
            failure.clear()
        except OSError as error:
            failure[:] = [error]

    attempt = threading.Thread(target=connect, daemon=True)
    attempt.start()
    attempt.join(CONNECT)
    if failure:
        raise failure[0]


def _receive(url: str, part: Path, file: File) -> None:
    """Append to `part` what is missing; OSError when the connection ends too early."""
    with part.open("ab") as out:
        _lock(out.fileno(), part)
        start = out.tell()
        if (
            file.bytes is not None and start >= file.bytes
        ):  # complete before, but not yet checked; or nonsense
            if start == file.bytes:
                return
            start = 0
        request = urllib.request.Request(
            url, headers={"User-Agent": "python-urllib", "Accept-Encoding": "identity"}
        )
        if start and url.startswith("http"):
            request.add_header("Range", f"bytes={start}-")
        try:
            answer = urllib.request.urlopen(request, timeout=SILENCE)
        except urllib.error.HTTPError as error:
            error.close()
            if (
                error.code == 416
            ):  # nothing follows: the part is complete, or not of this file; the checksum decides
                return
            raise OSError(f"HTTP {error.code} {error.reason}") from error
        with answer:
            resumed = getattr(answer, "status", None) == 206
            if resumed and not (answer.headers.get("Content-Range") or "").startswith(f"bytes {start}-"):
                raise OSError(
                    f"the server resumed at {answer.headers.get('Content-Range')!r}, not at {start}"
                )
            if not resumed:  # from the beginning: the server ignored Range, or was not asked
                start = 0
            out.truncate(start)
            length = answer.headers.get("Content-Length") or ""
            total = start + int(length) if length.isdecimal() else file.bytes
            if file.bytes is not None and total != file.bytes:
                raise OSError(f"the server offers {total} bytes, the published file has {file.bytes}")
            most = file.bytes or _BELIEVED * max(file.megabytes, 1) * 1e6
            received = start
            with tqdm(
                total=total,
                initial=start,
                unit="B",
                unit_scale=True,
                desc=file.name,
                disable=None,
                leave=False,
            ) as bar:
                while chunk := answer.read(_CHUNK):
                    out.write(chunk)
                    received += len(chunk)
                    bar.update(len(chunk))
                    if total is not None and received > total:
                        raise OSError(f"more than the announced {total} bytes came")
                    if received > most:
                        raise OSError(f"more than {_BELIEVED} times the published {file.megabytes:g} MB came")
            if total is not None and received < total:
                raise OSError(f"broke off after {received} of {total} bytes")


def _lock(number: int, part: Path) -> None:
    """OSError when another process is writing this part."""
    if cache.fcntl is None:
        return
    try:
        cache.fcntl.flock(number, cache.fcntl.LOCK_EX | cache.fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(f"another process is downloading {part}; wait for it") from error
    except OSError:
        pass  # a file system without locks: the checksum guards


def _reason(error: BaseException) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    return str(cause) or type(cause).__name__


def unpack(file: File, source: Path, target: Path) -> None:
    """Unpack the entry file.unpacks of `source` to `target`, all or nothing."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpack-", dir=target.parent) as temporary:
        whole = Path(temporary) / "all"
        archive.extract(source, whole)
        entry = whole / file.unpacks
        if not entry.exists():
            raise ValueError(f"archive {source} holds no {file.unpacks}")
        try:
            os.replace(entry, target)
        except OSError:
            if not target.exists():  # else another process was faster, with the same result
                raise


def missing_megabytes(manifest: Manifest, root: Path) -> float:
    """What `fetch` would have to download, in 10^6 bytes."""
    return sum(
        file.megabytes
        for file in manifest.files
        if not (file.unpacks and (root / file.into).exists())
        and not (root / file.folder / file.name).exists()
    )


def writable(root: Path) -> bool:
    """Whether files can be placed below `root`. A missing one is made, and taken away again."""
    new = _missing(root)
    try:
        root.mkdir(parents=True, exist_ok=True)
        return os.access(root, os.W_OK) and shutil.disk_usage(root).free > 0
    except OSError:
        return False
    finally:
        _remove_empty(new)


def _missing(folder: Path) -> list[Path]:
    """What making the folder with its parents would make, the innermost first."""
    return [each for each in (folder, *folder.parents) if not each.exists()]


def _remove_empty(folders: list[Path]) -> None:
    """Those that nothing was put into."""
    for folder in folders:
        with contextlib.suppress(OSError):
            folder.rmdir()
