"""A server of photos that can misbehave in many ways, for the tests of fetching."""

import csv
import hashlib
import io
import os
import socket
import struct
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest
from PIL import Image

from dataset.fetch import fetch
from mobilenet import UserError
from tests.helpers.drawn import draw, one_sentence

HEADER = ["path", "label", "bytes", "sha256", "width", "height"]
SECONDS = 1.0  # a silent server is waited for

# --- A server, and what it can do wrong ---


def answer(handler, body, status=200, length=None, **headers):
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    handler.wfile.write(body)


def dribble(handler, body):
    answer(handler, b"", length=len(body))
    for i in range(len(body)):
        handler.wfile.write(body[i : i + 1])
        handler.wfile.flush()


def reset(handler, body):
    answer(handler, body[: len(body) // 2], length=len(body))
    handler.wfile.flush()
    reset_at_once(handler, body)


def reset_at_once(handler, body):
    # A socket that lingers for no time is reset when it is closed.
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def endless(handler, body, status=200, **headers):
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    while handler.wfile.write(bytes(65536)):
        handler.server.sent += 65536


def chunked(handler, body, end=b"0\r\n\r\n"):
    handler.protocol_version = "HTTP/1.1"
    handler.send_response(200)
    handler.send_header("Transfer-Encoding", "chunked")
    handler.end_headers()
    handler.wfile.write(b"%x\r\n%b\r\n" % (len(body), body) + end)


def redirect(place):
    return lambda handler, body: answer(handler, b"", 302, Location=place.format(handler=handler))


FINE = {
    "slow": dribble,
    "chunked": chunked,
    "a length too great": lambda handler, body: answer(handler, body, length=len(body) + 9),
    "moved on the site": redirect("/elsewhere{handler.path}"),
    "moved, with an endless page": lambda handler, body: endless(
        handler, body, 301, Location=f"/elsewhere{handler.path}"
    ),
}
WRONG = {
    "truncated": lambda handler, body: answer(handler, body[:-1], length=len(body)),
    "a length too small": lambda handler, body: answer(handler, body, length=len(body) - 1),
    "empty": lambda handler, body: answer(handler, b""),
    "one byte more": lambda handler, body: answer(handler, body + b"!"),
    "wrong bytes": lambda handler, body: answer(handler, bytes(len(body))),
    "a length that is none": lambda handler, body: answer(handler, body[1:], length="many"),
    "404": lambda handler, body: answer(handler, body, 404),
    "500": lambda handler, body: answer(handler, body, 500),
    "204": lambda handler, body: answer(handler, b"", 204),
    "moved to itself": redirect("{handler.path}"),
    "moved to another host": redirect(
        "http://localhost:{handler.server.server_port}/elsewhere{handler.path}"
    ),
    "moved to a file": redirect("file:///etc/hostname"),
    "moved to ftp": redirect("ftp://127.0.0.1/x.jpg"),
    "moved to no address": redirect("http://[/"),
    "reset": reset,
    "reset at once": reset_at_once,
    "closed": lambda handler, body: None,
    "no HTTP": lambda handler, body: handler.wfile.write(b"\x1b[31mSSH-2.0\r\n\r\n"),
    "chunks that break off": lambda handler, body: chunked(handler, body[1:], end=b"zz\r\n"),
    "endless": endless,
    "silent": lambda handler, body: handler.server.release.wait(),
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        with self.server.lock:
            self.server.requests[path] += 1
            faults = self.server.faults.get(path.removeprefix("/"), [])
            act = faults.pop(0) if faults else answer
        body = self.server.files.get(path.removeprefix("/elsewhere").removeprefix("/"))
        try:
            answer(self, b"", 404) if body is None else act(self, body)
        except OSError:  # the other side had enough
            self.close_connection = True

    def log_message(self, *args):
        pass


class Server(ThreadingHTTPServer):
    """Serves `files`; `faults` says by file what is done instead at its first requests."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.files, self.faults, self.requests = {}, {}, Counter()
        self.lock, self.release, self.sent = threading.Lock(), threading.Event(), 0
        self.base = f"http://127.0.0.1:{self.server_port}/"

    def handle_error(self, request, address):
        pass  # a connection that a fault has closed

    def shutdown_request(self, request):
        if request.fileno() != -1:
            super().shutdown_request(request)


@contextmanager
def serving():
    server = Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield server
    server.release.set()
    server.shutdown()
    server.socket.close()
    thread.join()


def write_manifest(path, rows):
    with path.open("w", encoding="utf-8", newline="", errors="surrogateescape") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return path


def row(path, label, data):
    return [path, label, len(data), hashlib.sha256(data).hexdigest(), 40, 40]


class Place:
    """A server with drawn photos, their manifest, and the folder that they belong into."""

    def __init__(self, server, tmp_path, count=6):
        self.server, self.outside = server, tmp_path
        drawn = draw(count, size=16)
        for file, image in zip(drawn.files, drawn.images, strict=True):
            buffer = io.BytesIO()
            Image.fromarray(image).save(buffer, "PNG")
            server.files[f"dataset/{file}"] = buffer.getvalue()
        rows = [row(path, path.split("/")[1], data) for path, data in server.files.items()]
        self.manifest = write_manifest(tmp_path / "photos.csv", rows)
        (tmp_path / "dataset").mkdir()
        self.folder = tmp_path / "dataset" / "photos"
        self.partial = tmp_path / "dataset" / ".photos-partial"
        self.files = list(server.files)

    def fetch(self, seconds=SECONDS):
        return fetch(self.server.base, self.folder, self.manifest, seconds)

    def fails(self, said=".", seconds=SECONDS):
        """The sentence of a run that fails; it has not made the folder."""
        with pytest.raises(UserError, match=said) as raised:
            self.fetch(seconds)
        assert one_sentence(raised.value)
        return str(raised.value)

    def content(self, folder=None):
        folder = folder or self.folder
        return {
            f"dataset/{path.relative_to(folder).as_posix()}": path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }

    def is_complete(self):
        """Whether the photos lie in the folder and nothing is left beside it."""
        assert self.content() == self.server.files
        return os.listdir(self.folder.parent) == ["photos"]
