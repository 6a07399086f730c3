"""
A management API that answers what it is told to, over HTTP: for what needs no broker.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any


@dataclass
class Recorded:
    """What it answers, and what it was asked."""

    endpoint: str = ""
    answers: dict[str, Any] = field(default_factory=dict)
    """By path below ``/api``, without the query; text is sent as it is. Others are 404."""
    etags: dict[str, str] = field(default_factory=dict)
    """By path: sent, and answered with 304 where it is asked for."""
    asked: list[str] = field(default_factory=list)


@contextmanager
def recorded(answers: Mapping[str, Any]) -> Iterator[Recorded]:
    """Answer on a free port."""
    one = Recorded(answers=dict(answers))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path, _, query = self.path.removeprefix("/api").partition("?")
            one.asked.append(path)
            etag = one.etags.get(path)
            if etag and self.headers["If-None-Match"] == etag:
                self._send(304, b"", etag)
            elif path not in one.answers:
                self._send(404, b"{}", None)
            else:
                self._send(200, _body(one.answers[path], query), etag)

        def _send(self, status: int, body: bytes, etag: str | None) -> None:
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            if etag:
                self.send_header("etag", etag)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        one.endpoint = f"http://127.0.0.1:{server.server_port}"
        Thread(target=server.serve_forever, daemon=True).start()
        yield one
        server.shutdown()


def _body(answer: Any, query: str) -> bytes:
    if isinstance(answer, str):
        return answer.encode()
    if "page=" in query and isinstance(answer, list):
        answer = {"items": answer, "page_count": 1, "total_count": len(answer)}
    return json.dumps(answer).encode()
