"""common.data.download against a server on this machine that breaks off, ignores Range, or lies."""

import hashlib
import http.server
import io
import socket
import tarfile
import threading
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from common.data import cache, download
from common.data.manifests import MANIFESTS, File

DATA = np.random.default_rng(0).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()
MD5 = hashlib.md5(DATA).hexdigest()


@dataclass
class Server:
    """What it serves, how it misbehaves, and what it was asked."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    ranges: bool = True
    drop_after: int | None = None
    """Break off after this many bytes of an answer."""
    shift: int = 0
    """Resume this many bytes too late."""
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture
def server(monkeypatch):
    state = Server()

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *args):
            pass

        def do_GET(self):
            wanted = self.headers.get("Range")
            state.asked.append((self.path, wanted))
            data = state.files.get(self.path)
            if data is None:
                self.send_error(404)
                return
            start = 0
            if wanted and state.ranges:
                start = int(wanted.removeprefix("bytes=").removesuffix("-"))
                if start >= len(data):
                    self.send_error(416)
                    return
                start += state.shift
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
            else:
                self.send_response(200)
            body = data[start:]
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            try:
                self.wfile.write(body if state.drop_after is None else body[: state.drop_after])
            except ConnectionError:
                pass

    for name in ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        state.url = f"http://127.0.0.1:{running.server_address[1]}"
        state.files["/data.bin"] = DATA
        yield state
        running.shutdown()
        thread.join()


def a_file(server, **changed):
    values = {"name": "data.bin", "urls": (f"{server.url}/data.bin",), "megabytes": 3, "md5": MD5, **changed}
    return File(**values)


def names(folder):
    return sorted(path.name for path in folder.rglob("*"))


@pytest.fixture
def closed_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def test_a_download_arrives(server, tmp_path):
    download.get(a_file(server, bytes=len(DATA)), tmp_path / "sub" / "data.bin")
    assert (tmp_path / "sub" / "data.bin").read_bytes() == DATA
    assert names(tmp_path) == ["data.bin", "sub"]
    assert server.asked == [("/data.bin", None)]


def test_an_interrupted_download_is_resumed_by_the_next_call(server, tmp_path):
    server.drop_after = 1_200_000
    target = tmp_path / "data.bin"
    with pytest.raises(download.DownloadError, match="broke off after 1200000 of 3000000 bytes"):
        download.get(a_file(server), target, attempts=1)
    assert names(tmp_path) == ["data.bin.part"]
    assert (tmp_path / "data.bin.part").read_bytes() == DATA[:1_200_000]
    server.drop_after = None
    download.get(a_file(server), target)
    assert target.read_bytes() == DATA
    assert names(tmp_path) == ["data.bin"]
    assert server.asked == [("/data.bin", None), ("/data.bin", "bytes=1200000-")]


def test_one_call_goes_on_while_bytes_come(server, tmp_path):
    server.drop_after = 1_200_000
    download.get(a_file(server), tmp_path / "data.bin", attempts=3)
    assert (tmp_path / "data.bin").read_bytes() == DATA
    assert [wanted for _, wanted in server.asked] == [None, "bytes=1200000-", "bytes=2400000-"]


def test_a_server_without_range_starts_again(server, tmp_path):
    server.ranges = False
    (tmp_path / "data.bin.part").write_bytes(DATA[:1000])
    download.get(a_file(server), tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == DATA
    assert len(server.asked) == 1


def test_a_server_that_resumes_elsewhere_is_not_believed(server, tmp_path):
    server.shift = 5
    (tmp_path / "data.bin.part").write_bytes(DATA[:1000])
    with pytest.raises(download.DownloadError, match="resumed at 'bytes 1005"):
        download.get(a_file(server), tmp_path / "data.bin")
    assert not (tmp_path / "data.bin").exists()


@pytest.mark.parametrize("known", [True, False], ids=["size published", "size unknown"])
def test_a_complete_part_is_only_checked(server, tmp_path, known):
    (tmp_path / "data.bin.part").write_bytes(DATA)
    download.get(a_file(server, bytes=len(DATA) if known else None), tmp_path / "data.bin")
    assert names(tmp_path) == ["data.bin"]
    assert len(server.asked) == (0 if known else 1)


def test_a_wrong_checksum_leaves_nothing(server, tmp_path):
    with pytest.raises(download.DownloadError, match=f"its md5 is {MD5}, expected {'0' * 32}"):
        download.get(a_file(server, md5="0" * 32), tmp_path / "data.bin")
    assert names(tmp_path) == []
    assert len(server.asked) == 1  # the same mirror would send the same file


def test_a_spoilt_half_is_thrown_away_and_fetched_again(server, tmp_path):
    (tmp_path / "data.bin.part").write_bytes(bytes(1000))
    download.get(a_file(server), tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == DATA
    assert [wanted for _, wanted in server.asked] == ["bytes=1000-", None]


def test_the_next_mirror_takes_over(server, tmp_path, closed_port):
    server.files["/other/data.bin"] = b"something else"
    urls = (
        f"http://127.0.0.1:{closed_port}/data.bin",
        f"{server.url}/gone.bin",
        f"{server.url}/other/data.bin",
    )
    download.get(a_file(server, urls=(*urls, f"{server.url}/data.bin")), tmp_path / "data.bin")
    assert (tmp_path / "data.bin").read_bytes() == DATA
    assert [path for path, _ in server.asked] == ["/gone.bin", "/other/data.bin", "/data.bin"]


def test_all_mirrors_failing_gives_every_reason_and_leaves_nothing(server, tmp_path, closed_port):
    urls = (f"http://127.0.0.1:{closed_port}/data.bin", f"{server.url}/gone.bin")
    with pytest.raises(download.DownloadError, match=r"refused.*; .*gone\.bin: HTTP 404"):
        download.get(a_file(server, urls=urls), tmp_path / "data.bin")
    assert names(tmp_path) == []


def test_another_size_is_refused_before_it_is_downloaded(server, tmp_path):
    with pytest.raises(download.DownloadError, match="offers 3000000 bytes, the published file has 17"):
        download.get(a_file(server, bytes=17), tmp_path / "data.bin")
    assert names(tmp_path) == []


def test_nothing_is_downloaded_without_a_checksum(server, tmp_path):
    with pytest.raises(download.DownloadError, match="no published checksum"):
        download.get(a_file(server, md5=""), tmp_path / "data.bin")
    assert server.asked == []


def test_two_processes_do_not_write_one_part(server, tmp_path):
    fcntl = pytest.importorskip("fcntl")
    with (tmp_path / "data.bin.part").open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(download.DownloadError, match="another process"):
            download.get(a_file(server), tmp_path / "data.bin")
    assert server.asked == []


def test_a_host_that_never_answers_is_given_up(monkeypatch):
    over = threading.Event()

    def silent(*args, **kwargs):
        over.wait(10)
        raise ConnectionRefusedError("too late")

    monkeypatch.setattr(download, "CONNECT", 0.05)
    monkeypatch.setattr(socket, "create_connection", silent)
    with pytest.raises(TimeoutError, match=r"nowhere\.invalid within 0\.05 s"):
        download.reach("https://nowhere.invalid/x")
    over.set()


def test_a_proxy_is_asked_instead_of_the_host(monkeypatch):
    asked = []
    monkeypatch.setenv("https_proxy", "http://proxy.invalid:3128")
    monkeypatch.delenv("no_proxy", raising=False)

    def connect(address, timeout):
        asked.append(address)
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(socket, "create_connection", connect)
    with pytest.raises(ConnectionRefusedError):
        download.reach("https://nowhere.invalid/x")
    assert asked == [("proxy.invalid", 3128)]


# --- Whole data sets -------------------------------------------------------------------------------------


def packed(top="top", name="file.txt"):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as pack:
        for path in (f"{top}/{name}", "beside.txt"):
            info = tarfile.TarInfo(path)
            info.size = 5
            pack.addfile(info, io.BytesIO(b"hello"))
    return buffer.getvalue()


@pytest.fixture
def manifest(server):
    data = packed()
    server.files["/pack.tgz"] = data
    file = File(
        name="pack.tgz",
        urls=(f"{server.url}/pack.tgz",),
        megabytes=1,
        md5=hashlib.md5(data).hexdigest(),
        folder="downloads",
        unpacks="top",
        into="here/top",
    )
    return replace(MANIFESTS["cub"], files=(file,))


def test_fetch_unpacks_what_is_wanted_and_does_nothing_twice(server, tmp_path, manifest):
    assert download.missing_megabytes(manifest, tmp_path) == 1
    download.fetch(manifest, tmp_path)
    assert names(tmp_path) == ["downloads", "file.txt", "here", "pack.tgz", "top"]
    assert (tmp_path / "here/top/file.txt").read_text() == "hello"
    assert download.missing_megabytes(manifest, tmp_path) == 0
    download.fetch(manifest, tmp_path)
    assert len(server.asked) == 1


def test_an_archive_placed_by_hand_is_checked_and_used(server, tmp_path, manifest):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/pack.tgz").write_bytes(packed(name="wrong.txt"))
    with pytest.raises(ValueError, match=r"pack\.tgz is not the published file"):
        download.fetch(manifest, tmp_path)
    (tmp_path / "downloads/pack.tgz").write_bytes(server.files["/pack.tgz"])
    download.fetch(manifest, tmp_path)
    assert (tmp_path / "here/top/file.txt").exists()
    assert server.asked == []


def test_an_archive_that_does_not_hold_the_folder_leaves_no_folder(server, tmp_path, manifest):
    data = packed(top="other")
    server.files["/pack.tgz"] = data
    file = replace(manifest.files[0], md5=hashlib.md5(data).hexdigest())
    with pytest.raises(ValueError, match="holds no top"):
        download.fetch(replace(manifest, files=(file,)), tmp_path)
    assert names(tmp_path) == ["downloads", "here", "pack.tgz"]
    assert list((tmp_path / "here").iterdir()) == []


def test_a_truncated_archive_placed_by_hand_without_checksum_leaves_no_folder(server, tmp_path, manifest):
    (tmp_path / "downloads").mkdir()
    (tmp_path / "downloads/pack.tgz").write_bytes(packed()[:100])
    file = replace(manifest.files[0], md5="")
    with pytest.raises(ValueError, match="damaged or incomplete"):
        download.fetch(replace(manifest, files=(file,)), tmp_path)
    assert list((tmp_path / "here").iterdir()) == []


def test_checksum_reads_what_hashlib_does(tmp_path):
    (tmp_path / "f").write_bytes(DATA)
    assert cache.checksum(tmp_path / "f") == hashlib.sha256(DATA).hexdigest()
    assert cache.checksum(tmp_path / "f", "md5") == MD5
