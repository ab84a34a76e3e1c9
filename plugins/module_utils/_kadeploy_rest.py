# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Kadeploy through its REST API (port 25300 unless the site says otherwise): requests, and those of environments."""

from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import ssl
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_client import (
    EnvironmentClient,
    Record,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_errors import KadeployError, refusal

TIMEOUT = 900
"""Seconds in which an answer must come: the server reads a whole image when it notes its checksum."""

LARGEST = 64 << 20
"""Bytes of the longest answer that is read."""

LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Access:
    """Where the server is and who asks. The certificate is verified unless ``verify`` is False; ``ca_file`` is a PEM
    file of the authority that signed it, None for those that this host trusts. ``option`` is how errors name all this."""

    url: str
    user: str
    password: str | None = None
    ca_file: str | None = None
    verify: bool = True
    option: str = "registry"


class NoRedirect(urllib.request.HTTPRedirectHandler):
    """A password must not follow a redirection to another host."""

    def redirect_request(self, *arguments: Any, **keywords: Any) -> None:
        return None


class KadeployRest:
    """Requests to a Kadeploy server, and its refusals as errors."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self.url = checked_url(access)
        self.prefix: str | None = None
        handlers: list[urllib.request.BaseHandler] = [NoRedirect()]
        if self.url.startswith("https:"):
            handlers.append(urllib.request.HTTPSHandler(context=tls_context(access)))
        self.opener = urllib.request.build_opener(*handlers)

    def request(
        self,
        method: str,
        path: str,
        what: str,
        query: Mapping[str, Any] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> Any:
        """The decoded answer: JSON, or text where the server sends text. ``what`` is tried is said in errors."""
        target = f"{self.url}{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(target, data=data, method=method, headers=self.headers(path))
        what = f"Kadeploy at {self.url}: cannot {what}"
        try:
            with self.opener.open(request, timeout=TIMEOUT) as answer:
                text = answer.read(LARGEST).decode("utf-8", "replace")
                kind = answer.headers.get_content_type()
        except urllib.error.HTTPError as error:
            raise self.refused(error, what) from error
        except (OSError, http.client.HTTPException) as error:
            raise ClusterError(f"{what}: {reason(error)}") from error
        if kind != "application/json":
            return text
        try:
            return json.loads(text)
        except ValueError as error:
            raise ClusterError(f"{what}: the answer is no JSON; is this a Kadeploy server?") from error

    def csv(self, path: str, what: str, query: Mapping[str, Any]) -> str:
        """The text of a table, which comes compressed or not at all."""
        target = f"{self.url}{path}" + (f"?{urlencode(query, doseq=True)}" if query else "")
        headers = {**self.headers(path), "Accept-Encoding": "gzip"}
        request = urllib.request.Request(target, headers=headers)
        what = f"Kadeploy at {self.url}: cannot {what}"
        try:
            with self.opener.open(request, timeout=TIMEOUT) as answer:
                packed = answer.headers.get("Content-Encoding") == "gzip"
                with gzip.GzipFile(fileobj=answer) if packed else answer as table:
                    return str(table.read(LARGEST), "utf-8", "replace")
        except urllib.error.HTTPError as error:
            raise self.refused(error, what) from error
        except (OSError, EOFError, zlib.error, http.client.HTTPException) as error:
            raise ClusterError(f"{what}: {reason(error)}") from error

    def refused(self, error: urllib.error.HTTPError, what: str) -> KadeployError:
        with error:
            text = error.read(1 << 16).decode("utf-8", "replace")
        if 300 <= error.code < 400:
            text = f"the server sends to {error.headers.get('Location')}; give that address as {self.access.option}.url"
        code = error.headers.get("X-Application-Error-Code", "")
        number = int(code) if error.code == 400 and code.isdigit() else None
        return refusal(what, text, number, error.code)

    def headers(self, path: str) -> dict[str, str]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if path in ("/auth_headers_prefix", "/version"):
            return headers
        if self.prefix is None:
            answer = self.request("GET", "/auth_headers_prefix", "ask for the prefix of its headers")
            self.prefix = str(answer).strip()
        headers[f"{self.prefix}User"] = self.access.user
        if self.access.password is not None:
            pair = f"{self.access.user}:{self.access.password}".encode()
            headers["Authorization"] = "Basic " + base64.b64encode(pair).decode()
        return headers


def checked_url(access: Access) -> str:
    """The URL without a slash at its end; raises ClusterError for one that must not be used."""
    try:
        parts = urlsplit(access.url)
        host, _port = parts.hostname, parts.port
    except ValueError as error:
        raise ClusterError(f"{access.option}.url {access.url!r}: {error}") from error
    if parts.username or parts.password:
        raise ClusterError(f"{access.option}.url has a user in it; give user and password beside it instead")
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment:
        raise ClusterError(
            f"{access.option}.url {access.url!r} must look like https://kadeploy.site.example:25300"
        )
    if access.password is not None and parts.scheme == "http" and host not in LOOPBACK:
        raise ClusterError(f"{access.option}.url {access.url}: a password goes over https only")
    if any(char in access.user for char in "\r\n") or not access.user:
        raise ClusterError(f"{access.option}.user {access.user!r} is no user's name")
    return access.url.rstrip("/")


def tls_context(access: Access) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=access.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise ClusterError(
            f"{access.option}.ca_file {access.ca_file}: no PEM file of certificates: {error}"
        ) from error
    if not access.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def reason(error: Exception) -> str:
    """Why no answer came, in words."""
    cause = getattr(error, "reason", error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"its certificate is not trusted ({cause.verify_message}); give the authority's as ca_file, "
            "or set validate_certs to false if you know what that means"
        )
    if isinstance(cause, (socket.timeout, TimeoutError)):
        return f"no answer within {TIMEOUT} s"
    return f"no answer: {cause or type(error).__name__}"


class RestEnvironments(EnvironmentClient):
    """The routes ``/environments``."""

    exports_files = False

    def __init__(self, access: Access) -> None:
        self.rest = KadeployRest(access)
        self.title = f"Kadeploy at {self.rest.url}"
        self.user = access.user

    def server_version(self) -> str:
        return str(self.rest.request("GET", "/version", "ask for its version")).strip()

    def owners(self, name: str | None, version: int | None = None) -> list[str]:
        return [found.owner for found in self.records(name, None, version)]

    def records(self, name: str | None, owner: str | None, version: int | None = None) -> list[Record]:
        asked = {"name": name, "username": owner, "version": version}
        query = {key: value for key, value in asked.items() if value is not None}
        try:
            answer = self.rest.request("GET", "/environments", f"read {name or 'environments'}", query)
        except KadeployError as error:
            if error.not_found:
                return []
            raise
        if not isinstance(answer, list) or not all(isinstance(found, dict) for found in answer):
            raise ClusterError(f"{self.title}: no list of environments came; is this a Kadeploy server?")
        return [
            Record(
                str(found.get("user") or ""), {key: value for key, value in found.items() if key != "user"}
            )
            for found in answer
        ]

    def add(self, description: Mapping[str, Any], text: str) -> None:
        body = {"environment": dict(description)}
        self.rest.request("POST", "/environments", f"add {description['name']}", body=body)

    def place(self, name: str, owner: str, version: int) -> str:
        return f"/environments/{quote_plus(owner)}/{quote_plus(name)}/{version}"

    def change(self, what: str, name: str, owner: str, version: int, body: Mapping[str, Any]) -> None:
        what = f"{what} {name}, version {version}"
        self.rest.request("PUT", self.place(name, owner, version), what, body=body)

    def delete(self, name: str, owner: str, version: int) -> None:
        self.rest.request("DELETE", self.place(name, owner, version), f"delete {name}, version {version}")

    def set_visibility(self, name: str, owner: str, version: int, visibility: str) -> None:
        self.change(f"make {visibility}", name, owner, version, {"visibility": visibility})

    def toggle_destructive(self, name: str, owner: str, version: int) -> None:
        self.change("change destructive of", name, owner, version, {"toggle_destructive": True})

    def update_checksum(self, name: str, owner: str, version: int, kind: str) -> None:
        body = {f"update_{kind}_checksum": True}
        self.change(f"update the {kind} checksum of", name, owner, version, body)
