# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""STAND-IN for the REST API of a Kadeploy server, on loopback. It is not Kadeploy: see kadeploy_server.py.

Routes, headers and bodies as recorded of 3.3.11. What is not recorded is answered with status 501, which Kadeploy
never uses.
"""

from __future__ import annotations

import base64
import gzip
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus, urlsplit

from kadeploy_server import VERSIONS, Failure, NotRecorded, Server, Settings
from kadeploy_workflows import Workflows, statistics

PREFIX = "X-Kadeploy-"
KINDS = {"deployment": "deploy", "reboot": "reboot", "power": "power"}


@dataclass(frozen=True)
class Table:
    """CSV, which goes compressed."""

    text: str


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "WEBrick/1.8.1", "(Ruby/3.1.2/2022-04-12)"
    kadeploy: Server
    password: str | None
    workflows: Workflows | None

    def log_message(self, *arguments: Any) -> None:
        pass

    def answer(self) -> None:
        try:
            body = self.routed()
            if isinstance(body, Table):
                packed = gzip.compress(body.text.encode())
                self.send(200, packed, "text/csv", {"Content-Encoding": "gzip"})
            elif isinstance(body, str):
                self.send(200, body + "\n", "text/plain")
            else:
                self.send(200, json.dumps(body, indent=2), "application/json")
        except Failure as failure:
            headers = {}
            if failure.number is not None:
                headers["X-Application-Error-Code"] = str(failure.number)
                headers["X-Application-Error-Info"] = base64.b64encode(str(failure).encode()).decode()
            self.send(failure.status, f"{failure}\n", "text/plain", headers)
        except NotRecorded as error:
            self.send(501, f"stand-in: not recorded: {error}\n", "text/plain")

    do_GET = do_POST = do_PUT = do_DELETE = answer

    def send(self, status: int, body: str | bytes, kind: str, headers: dict[str, str] | None = None) -> None:
        data = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", f'{kind}; charset="UTF-8"')
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def routed(self) -> Any:
        url = urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        text = self.rfile.read(length).decode()
        parts = [unquote_plus(part) for part in url.path.strip("/").split("/")]
        if self.command == "GET" and parts == ["version"]:
            return VERSIONS[self.kadeploy.settings.version]
        if self.command == "GET" and parts == ["auth_headers_prefix"]:
            return PREFIX
        if text and self.headers.get("Content-Type", "").split(";")[0] != "application/json":
            raise NotRecorded("a body that is not JSON")
        query = {key: one if one[1:] else one[0] for key, one in parse_qs(url.query).items()}
        params = {**(json.loads(text) if text else {}), **query}
        if parts[0] == "environments":
            return self.environments(parts[1:], params)
        if self.workflows is None:
            raise NotRecorded(f"{self.command} {self.path}")
        if parts == ["info"]:
            return self.workflows.info()
        if parts[0] in ("nodes", "stats"):
            return self.database(self.workflows, parts, params)
        if parts[0] in KINDS:
            return self.workflow(self.workflows, parts, params)
        raise NotRecorded(f"{self.command} {self.path}")

    def database(self, site: Workflows, parts: list[str], params: dict[str, Any]) -> Any:
        self.user()
        if parts[0] == "stats":
            if "gzip" not in self.headers.get("Accept-Encoding", ""):
                raise NotRecorded("status 406: Content-Encoding: gzip")
            return Table(statistics(site, parts[1] if parts[1:] else None, params.get("wid")))
        if params.get("list"):
            return site.nodes
        states = site.states()
        return states[parts[1]] if parts[1:] else states

    def workflow(self, site: Workflows, parts: list[str], params: dict[str, Any]) -> Any:
        kind, user = KINDS[parts[0]], self.user()
        if parts[1:]:
            return self.running(site, parts[1], parts[2:])
        if self.command == "GET" and kind == "power":
            params = {"nodes": params["nodes"], "status": "status"}
        elif self.command != ("PUT" if kind == "power" else "POST"):
            raise NotRecorded(f"{self.command} {self.path}")
        work = site.create(kind, user, params)
        place = f"/{parts[0]}/{work.wid}/"
        names = {"log": "logs", "state": "state", "status": "status", "error": "error"}
        return {
            "wid": work.wid,
            "resources": {
                "resource": place,
                "logs": {work.cluster: f"{place}logs/{work.cluster}?user={user}"},
                **{name: place + path for name, path in names.items()},
            },
        }

    def running(self, site: Workflows, wid: str, path: list[str]) -> Any:
        work = site.get(wid)
        if self.command == "DELETE":
            del site.running[wid]
            return {"wid": wid}
        if not path:
            return work.shown()
        failed = work.failure if work.polls <= 0 else None
        if path == ["logs"]:
            return "" if failed else work.popped()
        if path == ["state"]:
            return "" if failed else work.states_now()
        if path == ["error"]:
            if failed:
                raise failed
            return ""
        raise NotRecorded(f"{self.command} {self.path}")

    def environments(self, path: list[str], params: dict[str, Any]) -> Any:
        user = self.user()
        if self.command == "GET" and not path:
            return self.kadeploy.get(user, params)
        if self.command == "POST" and not path:
            return self.kadeploy.post(user, params)
        if self.command == "PUT":
            return self.kadeploy.put(user, path, params)
        if self.command == "DELETE":
            return self.kadeploy.delete(user, path, params)
        raise NotRecorded(f"{self.command} {self.path}")

    def user(self) -> str:
        user = self.headers.get(f"{PREFIX}User")
        if not user:
            raise NotRecorded("a request without a user")
        if self.password is not None:
            expected = "Basic " + base64.b64encode(f"{user}:{self.password}".encode()).decode()
            if self.headers.get("Authorization") != expected:
                raise Failure(401, "Invalid authentication credentials")
        return user


@contextmanager
def serve(
    settings: Settings,
    *,
    password: str | None = None,
    certificate: str | None = None,
    site: str | None = None,
) -> Iterator[str]:
    """The base URL of a server; ``certificate`` is a PEM file with key and certificate, for https; ``site`` has nodes."""
    workflows = Workflows(settings, site) if site else None
    inside = {"kadeploy": Server(settings), "password": password, "workflows": workflows}
    bound = type("Bound", (Handler,), inside)
    httpd = ThreadingHTTPServer(("127.0.0.1", 0), bound)
    scheme = "http"
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        httpd.socket = context.wrap_socket(httpd.socket, server_side=True)
        scheme = "https"
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"{scheme}://127.0.0.1:{httpd.server_address[1]}"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
