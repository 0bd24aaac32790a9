"""Downloads against a web server on this machine, well-behaved and not."""

import errno
import http.server
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from hashlib import sha256

import pytest
import xxhash

from micro_sam.errors import Cancelled, InputError, ModelError
from micro_sam.models import cache, download
from micro_sam.models.download import fetch
from micro_sam.models.hashing import new_digests as hashing_digests
from micro_sam.models.spec import WeightFile
from micro_sam.sample_data.download import RemoteFile, fetch_sample

CONTENT = bytes(range(256)) * 20_000  # 5 MB
OTHER = b"\xff" + CONTENT[1:]


class Server(http.server.ThreadingHTTPServer):
    """Serves `content`; what it does wrong is set from outside."""

    content = CONTENT
    knows_ranges = True
    breaks_after: int | None = None  # bytes of each answer
    status = 200
    delay = 0.0  # seconds per answer
    length: str | None = None  # what it announces instead
    location: str | None = None  # where it sends us on
    chunks: bytes | None = None  # the body in chunks, as it goes over the line

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked_from = []  # first byte of each request

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/weights"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        time.sleep(server.delay)
        first = int(self.headers.get("Range", "bytes=0-")[len("bytes=") : -1])
        server.asked_from.append(first)
        if server.status != 200:
            return self.send_error(server.status)
        if server.location is not None:
            self.send_response(302)
            self.send_header("Location", server.location)
            return self.end_headers()
        if server.chunks is not None:
            self.protocol_version = "HTTP/1.1"
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Connection", "close")
            self.end_headers()
            return self.wfile.write(server.chunks)
        if first and server.knows_ranges:
            if first >= len(server.content):
                return self.send_error(416)
            self.send_response(206)
        else:
            first = 0
            self.send_response(200)
        body = server.content[first:]
        self.send_header("Content-Length", server.length or str(len(body)))
        self.end_headers()
        self.wfile.write(body[: server.breaks_after])

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The (empty) folder that weights are downloaded to."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path / "cache"))
    monkeypatch.delenv("SAM_MODELS", raising=False)
    return tmp_path / "cache" / "models"


def weights(url, content=CONTENT):
    return WeightFile("model", url, sha256(content).hexdigest(), xxhash.xxh3_128(content).hexdigest(), len(content))


def left_over(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")


def test_a_file_is_downloaded_once_with_progress(server, folder):
    seen = []
    path = fetch(weights(server.url), lambda done, total: seen.append((done, total)))
    assert path == folder / "model" and path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT)) and len(seen) > 1
    assert fetch(weights(server.url)) == path
    assert len(server.asked_from) == 1 and left_over(folder) == ["model"]


def test_a_file_put_there_by_hand_needs_no_network(folder):
    folder.mkdir(parents=True)
    (folder / "model.pt").write_bytes(CONTENT)
    assert fetch(weights("http://127.0.0.1:9/nowhere")) == folder / "model.pt"


def test_a_broken_transfer_goes_on_where_it_broke_off(server, folder):
    server.breaks_after = 2_000_000
    assert fetch(weights(server.url)).read_bytes() == CONTENT
    assert server.asked_from == [0, 2_000_000, 4_000_000]


def test_a_transfer_that_keeps_breaking_is_continued_by_the_next_run(server, folder):
    server.breaks_after = 1_000_000
    with pytest.raises(ModelError, match=r"broke off.*What arrived is kept"):
        fetch(weights(server.url))
    assert left_over(folder) == ["model.part"]
    server.breaks_after = None
    assert fetch(weights(server.url)).read_bytes() == CONTENT
    assert server.asked_from[-1] == 3_000_000


def test_a_server_without_ranges_starts_over(server, folder):
    folder.mkdir(parents=True)
    (folder / "model.part").write_bytes(CONTENT[:1000])
    server.knows_ranges = False
    assert fetch(weights(server.url)).read_bytes() == CONTENT
    assert server.asked_from == [1000]


@pytest.mark.parametrize("begun", [OTHER[:1000], OTHER, CONTENT + b"more"], ids=["start", "whole", "longer"])
def test_what_began_as_another_file_is_downloaded_from_the_start(server, folder, begun):
    folder.mkdir(parents=True)
    (folder / "model.part").write_bytes(begun)
    assert fetch(weights(server.url)).read_bytes() == CONTENT
    assert server.asked_from[-1] == 0


def test_wrong_content_never_gets_the_final_name(server, folder):
    server.content = OTHER
    with pytest.raises(ModelError, match="is not model") as error:
        fetch(weights(server.url))
    assert left_over(folder) == [] and len(server.asked_from) == 1
    for part in (server.url, str(folder / "model"), sha256(CONTENT).hexdigest(), "nano_lm"):
        assert part in str(error.value)


def test_a_login_page_is_recognised(server):
    server.content = b"\n<html>Please log in</html>"
    with pytest.raises(ModelError, match="web page.*firewall"):
        fetch(weights(server.url))


@pytest.mark.parametrize("status", [404, 403, 503])
def test_an_answer_that_refuses_is_named(server, folder, status):
    server.status = status
    with pytest.raises(ModelError, match=rf"answered {status}.*{server.url}.*sha256 \w{{64}}.*right now: nano_lm"):
        fetch(weights(server.url))


@pytest.mark.parametrize("length", ["abc", "-5", "1e6", "5, 5", "9" * 40, "\u00b2"])
def test_a_length_that_is_none_is_not_believed(server, length):
    server.length = length
    assert fetch(weights(server.url)).read_bytes() == CONTENT
    server.content = OTHER
    with pytest.raises(ModelError, match="is not other"):
        fetch(replace(weights(server.url), filename="other"))


def test_a_length_that_is_too_large_does_no_harm(server):
    server.length = str(len(CONTENT) + 5)
    assert fetch(weights(server.url)).read_bytes() == CONTENT


BROKEN = (
    "http://[broken/x",
    "http://127.0.0.1:99999/x",
    "http://127.0.0.1:abc/x",
    f"http://{'a' * 70}.invalid/x",
    "http://",
    "http:///x",
    "http://127.0.0.1 /x",
    "ftp://127.0.0.1:9/x",
    "file:///etc/hostname",
    "//",
)


@pytest.mark.parametrize("location", BROKEN)
def test_being_sent_on_to_a_broken_address_ends_with_a_sentence(server, tmp_path, location):
    server.location = location
    with pytest.raises(ModelError, match=r"could not be downloaded.*install it by hand"):
        fetch(weights(server.url))
    with pytest.raises(InputError, match="by hand"):
        fetch_sample(RemoteFile("x.tif", server.url, "0" * 64), tmp_path)


CHUNKED = b"%x\r\n%b\r\n0\r\n\r\n" % (len(CONTENT), CONTENT)


def test_a_body_in_chunks_is_taken(server):
    server.chunks = CHUNKED
    assert fetch(weights(server.url)).read_bytes() == CONTENT


@pytest.mark.parametrize(
    "chunks", [b"zz\r\nabc\r\n0\r\n\r\n", CHUNKED[:-1000], b"-5\r\nabc\r\n", b"", b"f" * 70_000, b"5\r\nabcde0\r\n"]
)
def test_a_body_in_broken_chunks_ends_with_a_sentence(server, tmp_path, chunks):
    server.chunks = chunks
    with pytest.raises(ModelError, match="install it by hand"):
        fetch(weights(server.url))
    with pytest.raises(InputError, match="by hand"):
        fetch_sample(RemoteFile("x.tif", server.url, "0" * 64), tmp_path)


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/x", "http://does-not-exist.invalid/x"])
def test_without_network_the_message_says_how_to_go_on(folder, url):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = url.format(port=unused.getsockname()[1])
        with pytest.raises(ModelError) as error:
            fetch(weights(url))
    for part in (url, str(folder / "model"), sha256(CONTENT).hexdigest(), "firewall", "-m nano_lm"):
        assert part in str(error.value)
    assert "is kept" not in str(error.value)


def test_no_room_on_the_disc_is_said_before_the_download(server, folder, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(ModelError, match=r"disc of .* is full \([\d.]+ (bytes|kB|MB) are needed"):
        fetch(weights(server.url))


def test_a_disc_that_fills_up_on_the_way_is_named(server, monkeypatch):
    def full(done, total):
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(ModelError, match="is full"):
        fetch(weights(server.url), full)


def test_a_folder_that_cannot_be_written_is_named_with_the_way_out(server, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("MICROSAM_CACHEDIR", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot be written.*MICROSAM_CACHEDIR"):
        fetch(weights(server.url))


def test_a_cancelled_download_goes_on_later(server, folder):
    def cancel(done, total):
        raise Cancelled("stopped")

    with pytest.raises(Cancelled):
        fetch(weights(server.url), cancel)
    assert left_over(folder) == ["model.part"]
    assert fetch(weights(server.url)).read_bytes() == CONTENT
    assert server.asked_from[1] > 0


def test_two_processes_download_once(server, folder):
    server.delay = 0.5
    spec = weights(server.url)
    code = f"from micro_sam.models.download import fetch, WeightFile; print(fetch({spec!r}))"
    runs = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [run.communicate(timeout=60)[0].strip() for run in runs] == [str(folder / "model")] * 2
    assert server.asked_from == [0] and (folder / "model").read_bytes() == CONTENT


def test_a_damaged_file_in_the_cache_is_refused(server, folder):
    folder.mkdir(parents=True)
    (folder / "model").write_bytes(CONTENT[:-1])
    with pytest.raises(ModelError, match=rf"{folder / 'model'} is not the published model.*incomplete.*Delete"):
        fetch(weights(server.url))
    assert not server.asked_from


def only_xxh128(url, content=CONTENT):
    return replace(weights(url, content), sha256=None)


def test_the_sha256_of_the_first_download_counts_from_then_on(server, folder, monkeypatch):
    known = only_xxh128(server.url)
    path = fetch(known)
    noted = folder.parent / "sha256" / "model.sha256"
    assert noted.read_text() == f"{sha256(CONTENT).hexdigest()}  model\n", "as sha256sum -c reads it"
    # a file made to have the same xxh128, which is not cryptographic: here it is published with the hash of another
    server.content = OTHER
    forged = replace(known, xxh128=xxhash.xxh3_128(OTHER).hexdigest())
    path.unlink()
    with pytest.raises(ModelError, match=f"is not model.*sha256 {sha256(OTHER).hexdigest()}"):
        fetch(forged)
    path.write_bytes(OTHER)
    with pytest.raises(ModelError, match=r"not the published model \(its sha256"):
        fetch(forged)
    noted.write_text("not a hash")
    assert fetch(forged) == path, "a note that is damaged is none"


def test_a_file_put_there_by_hand_is_compared_with_the_published_sha256(folder):
    folder.mkdir(parents=True)
    (folder / "model").write_bytes(OTHER)
    with pytest.raises(ModelError, match="its sha256"):
        fetch(replace(weights("http://127.0.0.1:9/x"), xxh128=xxhash.xxh3_128(OTHER).hexdigest()))


def test_a_download_is_not_read_again_to_know_its_sha256(server, monkeypatch):
    monkeypatch.setattr("micro_sam.models.hashing.REMEMBER_FROM", 1000)
    path = fetch(only_xxh128(server.url))
    read = []
    monkeypatch.setattr(
        "micro_sam.models.hashing.new_digests", lambda *names: read.extend(names) or hashing_digests(*names)
    )
    for _ in range(2):
        assert fetch(only_xxh128(server.url)) == path
    assert read == ["xxh128"]


def test_large_files_are_hashed_once(tmp_path, monkeypatch):
    monkeypatch.setattr("micro_sam.models.hashing.REMEMBER_FROM", 1000)
    path = tmp_path / "weights"
    path.write_bytes(CONTENT)
    first = cache.model_hash(path)
    assert first == xxhash.xxh3_128(CONTENT).hexdigest()
    stat = path.stat()
    path.write_bytes(OTHER)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert cache.model_hash(path) == first  # same length and time: not read again
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    assert cache.model_hash(path) == xxhash.xxh3_128(OTHER).hexdigest()


def test_a_damaged_record_of_hashes_does_no_harm(tmp_path, monkeypatch):
    monkeypatch.setattr("micro_sam.models.hashing.REMEMBER_FROM", 0)
    record = cache.get_cache_directory() / "weight_hashes.json"
    record.parent.mkdir(parents=True)
    for content in ("{", "[1]", "\x00"):
        record.write_text(content)
        path = tmp_path / "weights"
        path.write_bytes(content.encode())
        assert cache.model_hash(path) == xxhash.xxh3_128(content.encode()).hexdigest()


def test_usable_models_are_those_on_this_machine(folder):
    assert download.usable_models() == ["nano_lm"]
    folder.mkdir(parents=True)
    (folder / "vit_t").touch()
    assert download.usable_models() == ["vit_t", "nano_lm"]
