"""A server that answers like Hugging Face, for downloads without a network."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants

from napari_sprout.models.registry import Model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What is served, how badly, and what was asked for.

    Attributes
    ----------
    content, commit
        Of the one file that there is.
    status, code
        Answer with this error, and this X-Error-Code, instead.
    cuts
        Bytes after which each of the next connections breaks off.
    ranges
        Whether parts of the file can be asked for.
    states
        Whether the file's SHA-256 is stated; `stated` in its place if given.
    drops
        How many of the next connections are closed without an answer.
    pause
        Seconds between blocks of 1000 bytes.
    elsewhere
        Send the asker on to this address.
    requests
        Path and headers of every request.
    """

    content: bytes = bytes(range(256)) * 40
    commit: str = COMMIT
    status: int = 200
    code: str = ""
    cuts: list[int] = field(default_factory=list)
    ranges: bool = True
    states: bool = True
    stated: str = ""
    drops: int = 0
    pause: float = 0.0
    elsewhere: str = ""
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    address: str = ""

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.content).hexdigest()

    @property
    def asked_ranges(self) -> list[str]:
        return [headers.get("range", "") for _, headers in self.requests]


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            # A client that goes away in the middle is what some tests are about.
            with suppress(ConnectionError):
                _answer(self, hub)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    hub.address = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, hub: Hub) -> None:
    asked = {name.lower(): value for name, value in handler.headers.items()}
    hub.requests.append((handler.path, asked))
    handler.close_connection = True
    if hub.drops:
        hub.drops -= 1
        return
    if hub.status != 200 or hub.elsewhere:
        handler.send_response(hub.status if hub.status != 200 else 302)
        handler.send_header("X-Error-Code", hub.code)
        _send_facts(handler, hub)
        if hub.elsewhere:
            handler.send_header("Location", hub.elsewhere)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return
    begin = 0
    if hub.ranges and "range" in asked:
        begin = int(asked["range"].removeprefix("bytes=").removesuffix("-"))
    handler.send_response(206 if begin else 200)
    _send_facts(handler, hub)
    size = len(hub.content)
    if begin:
        handler.send_header("Content-Range", f"bytes {begin}-{size - 1}/{size}")
    handler.send_header("Content-Length", str(size - begin))
    handler.end_headers()
    _send(handler, hub, hub.content[begin:])


def _send_facts(handler: BaseHTTPRequestHandler, hub: Hub) -> None:
    if hub.commit:
        handler.send_header("X-Repo-Commit", hub.commit)
    if hub.states:
        handler.send_header("X-Linked-Etag", f'"{hub.stated or hub.sha256}"')
        handler.send_header("X-Linked-Size", str(len(hub.content)))
    else:
        handler.send_header("ETag", '"abc"')


def _send(handler: BaseHTTPRequestHandler, hub: Hub, body: bytes) -> None:
    cut = hub.cuts.pop(0) if hub.cuts else len(body)
    for begin in range(0, min(cut, len(body)), 1000):
        handler.wfile.write(body[begin : min(begin + 1000, cut)])
        handler.wfile.flush()
        time.sleep(hub.pause)


def use_hub(address: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let downloads go to a server and into a folder; huggingface_hub read its own long ago."""
    monkeypatch.setenv("NAPARI_SPROUT_MODELS", str(folder / "models"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    template = address + "/{repo_id}/resolve/{revision}/{filename}"
    for name, value in {
        "ENDPOINT": address,
        "HUGGINGFACE_CO_URL_TEMPLATE": template,
        "HF_HUB_CACHE": str(folder / "hub"),
        "HF_TOKEN_PATH": str(folder / "token"),
        "HF_HUB_OFFLINE": False,
    }.items():
        monkeypatch.setattr(constants, name, value)
    # The client that there is may have been made with other proxies.
    huggingface_hub.close_session()


def a_model(**changes: object) -> Model:
    """Return a model that is not in the package."""
    facts: dict[str, object] = {
        "name": "some_model",
        "kind": "encoder",
        "family": "timm",
        "title": "Some model",
        "architecture": "vit",
        "parameters": 0.01,
        "dimension": 8,
        "patch": 16,
        "licence": "MIT",
        "page": "https://example.org/some",
        "repository": "people/some",
        "file": "folder/weights.bin",
    }
    return Model(**{**facts, **changes})  # type: ignore[arg-type]
