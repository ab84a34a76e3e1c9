"""A proxy as a site has one, and behind it a package archive that only the proxy knows.

``package_proxy.py FOLDER ADDRESS PORT``: answers whatever is asked of http://packages.invalid/ from FOLDER, and prints
each path that it was asked for. The name resolves nowhere, so that what was fetched came through the proxy.
"""

from __future__ import annotations

import functools
import http.server
import sys
from http import HTTPStatus

ORIGIN = "http://packages.invalid/"


class Proxy(http.server.SimpleHTTPRequestHandler):
    def do_GET(self) -> None:
        print(self.path, flush=True)
        if not self.path.startswith(ORIGIN):
            self.send_error(HTTPStatus.BAD_GATEWAY)
            return
        self.path = "/" + self.path.removeprefix(ORIGIN)
        super().do_GET()

    def log_message(self, *arguments: object) -> None:
        """Nothing besides the paths."""


if __name__ == "__main__":
    folder, address, port = sys.argv[1:]
    handler = functools.partial(Proxy, directory=folder)
    http.server.ThreadingHTTPServer((address, int(port)), handler).serve_forever()
