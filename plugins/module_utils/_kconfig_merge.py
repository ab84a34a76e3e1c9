# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Make a kernel's configuration in a build folder: a base, what profiles, hardware and the task want, settled by the tree.

Beside ``.config`` lies ``.oneimage-config.json``: what it was made from, so that make runs only when that changed.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _atomic,
    _hardware,
    _hardware_makefiles,
    _kconfig,
    _kconfig_dropped,
    _kconfig_make,
    _kconfig_tree,
    _kconfig_wishes,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import KernelConfig, Rule
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_options import KernelTree
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig_wishes import Wish

STAMP = ".oneimage-config.json"
TARGET = re.compile(r"[A-Za-z0-9][\w.+-]*config", re.A)
RUNNING = "running"
FORMAT = 1
"""Of the stamp; another one is as good as none."""


@dataclass(frozen=True)
class Request:
    """``base`` is a file's absolute path, ``running``, or a target of the tree's make such as ``defconfig``."""

    source: Path
    build: Path
    base: str
    rules: Sequence[Rule] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    hardware: Sequence[Mapping[str, Any]] = ()
    modules_folder: Path | None = None
    architecture: str | None = None
    cross_compile: str = ""
    cc: str = ""


@dataclass(frozen=True)
class Outcome:
    """``text`` is the settled configuration, ``before`` what lies in the build folder, none where nothing does."""

    config: KernelConfig
    text: str
    before: str | None
    inputs: str
    wishes: Sequence[Wish]
    hopeless: Mapping[str, str]
    problems: Sequence[str]
    report: _kconfig.Report
    dropped: Sequence[_kconfig_dropped.Dropped]
    hardware: Sequence[Mapping[str, Any]]
    version: str

    @property
    def changed(self) -> bool:
        if self.before is None or self.before == self.text:
            return self.before is None
        try:
            return _kconfig.parse(self.config.path, self.before) != self.config.symbols
        except ClusterError:
            return True  # torn or no configuration at all: replaced

    def message(self, written: bool) -> str:
        if not self.problems:
            return f"{self.config.path} has all that is wanted of it"
        sentences = "; ".join(f"[{number}] {one}" for number, one in enumerate(self.problems, start=1))
        lead = "lacks what is wanted" if written else "is not made, it would lack what is wanted"
        return f"{self.config.path} {lead}: {sentences}"

    def as_result(self, written: bool) -> dict[str, Any]:
        return {
            **self.report.as_result(),
            "path": str(self.config.path),
            "version": self.version,
            "ok": not self.problems,
            "msg": self.message(written),
            "dropped": [one.as_result() for one in self.dropped],
            "hardware": list(self.hardware),
            "hardware_table": _hardware.text_table(self.hardware) if self.hardware else [],
        }

    def stamp(self) -> bytes:
        """What ``read_stamp`` wants to find beside the configuration that ``publish`` leaves there."""
        stamp = {
            "inputs": self.inputs,
            "config": digest(self.text if self.changed else self.before or ""),
            "wishes": [asdict(wish) for wish in self.wishes],
            "hopeless": dict(self.hopeless),
        }
        return (json.dumps(stamp, sort_keys=True, indent=1) + "\n").encode()

    def diff(self) -> dict[str, str]:
        path = str(self.config.path)
        lines = difflib.unified_diff(
            (self.before or "").splitlines(keepends=True),
            self.text.splitlines(keepends=True),
            path if self.before is not None else "/dev/null",
            path,
        )
        return {"prepared": "".join(lines)}


def merge(request: Request) -> Outcome:
    """Touches nothing; ``publish`` writes what comes out.

    Raises ClusterError for bad input before make runs, and where make fails.
    """
    tree = _kconfig_tree.read_tree(request.source, request.architecture)
    check_places(request, tree)
    toolchain = _kconfig_make.Toolchain(tree.architecture, request.cross_compile, request.cc)
    explicit = _kconfig_wishes.explicit_wishes(tree, request.options)
    base = read_base(request.base)
    found = find_hardware(request, tree)
    inputs = fingerprint(request, tree, base, found, toolchain)
    path = request.build / ".config"
    before = read_text(path)
    stamp = read_stamp(request.build, inputs, before)
    if stamp is not None and before is not None:
        text, wishes, hopeless = before, [Wish(**one) for one in stamp["wishes"]], stamp["hopeless"]
    else:
        with _kconfig_make.workshop(tree, request.build, toolchain) as workshop:
            if base is None:
                workshop.start(request.base)
                base = _kconfig.read_config(workshop.config)
            from_rules, hopeless = _kconfig_wishes.rule_wishes(tree, request.rules, base)
            wishes = [*from_rules, *_hardware.wishes(tree, found), *explicit]
            workshop.config.write_text(_kconfig_wishes.apply(tree, base.symbols, wishes), encoding="utf-8")
            workshop.settle()
            text = workshop.config.read_text(encoding="utf-8")
    config = KernelConfig(path, "text", _kconfig.parse(path, text))
    report = _kconfig.check(config, request.rules)
    dropped = _kconfig_dropped.dropped(tree, config, unmet_wishes(report, wishes))
    return Outcome(
        config=config,
        text=text,
        before=before,
        inputs=inputs,
        wishes=wishes,
        hopeless=hopeless,
        problems=[*problems(report, dropped, hopeless), *_hardware.unknown_drivers(tree, found)],
        report=report,
        dropped=dropped,
        hardware=_hardware.rows(config, found),
        version=tree.version,
    )


def check_places(request: Request, tree: KernelTree) -> None:
    if tree.legacy and request.build.resolve() != tree.path.resolve():
        raise ClusterError(
            f"build: Linux {tree.version} is configured and built in its tree; set build to {tree.path}"
        )
    if not request.build.parent.is_dir():
        raise ClusterError(f"build: {request.build.parent} does not exist; create it first")
    if not request.base.startswith("/") and request.base != RUNNING and not TARGET.fullmatch(request.base):
        raise ClusterError(
            f"base: {request.base!r} is neither an absolute path, nor running, nor a target of make such as defconfig"
        )


def read_base(base: str) -> KernelConfig | None:
    """None for a target of make."""
    if base == RUNNING:
        release = os.uname().release
        places = ("/proc/config.gz", f"/boot/config-{release}")
        place = next((path for path in map(Path, places) if path.exists()), None)
        if place is None:
            raise ClusterError(
                f"base: the running kernel {release} shows no configuration; looked for {' and '.join(places)}"
            )
        return _kconfig.read_config(place)
    return _kconfig.read_config(Path(base)) if base.startswith("/") else None


def find_hardware(request: Request, tree: KernelTree) -> list[_hardware.Found]:
    if not request.hardware:
        return []
    needs = _hardware.collect(request.hardware, request.modules_folder)
    drivers = _hardware_makefiles.read_drivers(tree.path, tree.source_folder)
    return _hardware.find_options(tree, drivers, needs)


def unmet_wishes(report: _kconfig.Report, wishes: Sequence[Wish]) -> list[Wish]:
    """Without those whose rule is met, be it in another way than was wished."""
    unmet = {option for one in report.unmet for option in one.rule.options}
    return [wish for wish in wishes if not wish.of_rule or _kconfig.PREFIX + wish.option in unmet]


def problems(
    report: _kconfig.Report, dropped: Sequence[_kconfig_dropped.Dropped], hopeless: Mapping[str, str]
) -> list[str]:
    """What was dropped or is not there, and the unmet rules that this does not tell of already."""
    told = {f"{_kconfig.PREFIX}{one.wish.option}" for one in dropped}.union(hopeless)
    unmet = [one.sentence() for one in report.unmet if not told.intersection(one.rule.options)]
    return [*hopeless.values(), *(one.sentence() for one in dropped), *unmet]


def fingerprint(
    request: Request,
    tree: KernelTree,
    base: KernelConfig | None,
    found: Sequence[_hardware.Found],
    toolchain: _kconfig_make.Toolchain,
) -> str:
    """Of all that the configuration is made from."""
    parts = {
        "format": FORMAT,
        "tree": tree.fingerprint,
        "base": [request.base, *default_files(tree)] if base is None else dict(base.symbols),
        "rules": [[list(rule.options), list(rule.values)] for rule in request.rules],
        "options": dict(request.options),
        "hardware": [[one.need.level, list(one.options)] for one in found],
        "toolchain": toolchain.identity(),
    }
    return digest(json.dumps(parts, sort_keys=True))


def default_files(tree: KernelTree) -> list[str]:
    """What the targets of make take their configurations from, one digest for each file."""
    places = (
        f"arch/{tree.source_folder}/configs/*",
        f"arch/{tree.source_folder}/defconfig",
        "kernel/configs/*",
    )
    files = sorted(path for place in places for path in tree.path.glob(place) if path.is_file())
    return [hashlib.sha256(path.read_bytes()).hexdigest() for path in files]


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ClusterError(f"cannot read the present configuration {path}: {error.strerror}") from error


def read_stamp(build: Path, inputs: str, before: str | None) -> dict[str, Any] | None:
    """What an earlier run noted, where the configuration is still what that made of the same inputs."""
    try:
        stamp = json.loads((build / STAMP).read_bytes())
    except (OSError, ValueError):
        return None
    fits = isinstance(stamp, dict) and stamp.get("inputs") == inputs and before is not None
    return stamp if fits and stamp.get("config") == digest(before or "") else None


def publish(outcome: Outcome) -> None:
    """Write the configuration, then the stamp, each by one rename."""
    build = outcome.config.path.parent
    build.mkdir(exist_ok=True)
    if outcome.changed:
        _atomic.write_file(outcome.config.path, outcome.text.encode())
    stamp, data = build / STAMP, outcome.stamp()
    if not stamp.is_file() or stamp.read_bytes() != data:
        _atomic.write_file(stamp, data)
