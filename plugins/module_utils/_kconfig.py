# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Read kernel configurations, wherever they lie, and hold them against rules.

A configuration is lines ``CONFIG_X=VALUE`` and ``# CONFIG_X is not set``. It is found in a text file, gzip'd, or in a
kernel built with IKCONFIG, between the marks ``IKCFG_ST`` and ``IKCFG_ED``.
"""

from __future__ import annotations

import operator
import re
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

from ansible_collections.oneimage.cluster.plugins.module_utils import _initrd_read, _kernel_image
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

PREFIX = "CONFIG_"
NOT_SET = "not-set"
ABSENT = "absent"
"""The configuration does not speak of the option: another version of the kernel, or what it depends on is off."""

EMBEDDED_START = b"IKCFG_ST"
GZIP_MAGIC = b"\x1f\x8b"
GZIP_WINDOW = 31
PAYLOAD_MAGIC = re.compile(
    rb"\x1f\x8b\x08|BZh[1-9]1AY&SY|\xfd7zXZ\0|\x5d\0\0..\xff{8}|\x89LZO\0\r\n|\x02\x21\x4c\x18|\x28\xb5\x2f\xfd",
    re.S,
)
"""Where a payload may begin in a kernel whose header does not say where."""

VALUE = r'(?:[ymn]|-?\d+|0[xX][0-9a-fA-F]+|"(?:[^"\\\n]|\\.)*")'
SETTING = re.compile(rf"\n({PREFIX}\w+)=({VALUE})(?=\n)", re.A)
UNSET = re.compile(rf"\n# ({PREFIX}\w+) is not set(?=\n)", re.A)
STRAY = re.compile(rf"\n(?!#|\n|\Z|{PREFIX}\w+={VALUE}\n)(.*)", re.A)
UNSET_CUT_OFF = re.compile(rf"\n(# {PREFIX}\w*(.*))\n\Z", re.A)
BLANKS_AT_END = re.compile(r"[ \t\r]+$", re.M)
ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True)
class KernelConfig:
    """``symbols`` has each option, with its prefix, and its value as written; ``not-set`` for those that are off."""

    path: Path
    source: str
    symbols: Mapping[str, str]

    def value(self, option: str) -> str:
        return plain(self.symbols.get(with_prefix(option), ABSENT))

    def enabled(self, option: str) -> bool:
        """Built in or a module."""
        return self.value(option) in ("y", "m")


def read_config(path: Path) -> KernelConfig:
    """Raises ClusterError where ``path`` is unreadable, holds no configuration, or holds a torn one."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ClusterError(f"cannot read the kernel configuration {path}: {error.strerror}") from error
    if not data:
        raise ClusterError(f"kernel configuration {path} is empty; copy it again")
    text, source = extract(path, data)
    return KernelConfig(path, source, parse(path, text))


def extract(path: Path, data: bytes) -> tuple[str, str]:
    """The configuration's text in the bytes of ``path``, and in words where it was found."""
    source = "text"
    if data.startswith(GZIP_MAGIC):
        data, source = gunzip(path, data), "gzip'd text"
    if b"\0" not in data[:4096]:
        return decode(path, data), source
    damaged = None
    for kernel in (data, *payloads(path, data)):
        mark = kernel.find(EMBEDDED_START + GZIP_MAGIC)
        if mark < 0:
            continue
        try:
            return decode(path, gunzip(path, kernel[mark + len(EMBEDDED_START) :])), "embedded in the kernel"
        except ClusterError as error:
            damaged = damaged or error  # packed data may show parts of what they hold: look behind them first
    if damaged:
        raise damaged
    if data.startswith(b"\x7fELF") or _kernel_image.is_kernel_image(data):
        raise ClusterError(
            f"{path} holds no configuration (a kernel built without CONFIG_IKCONFIG, or no kernel); "
            "give its configuration file, usually /boot/config-VERSION"
        )
    raise ClusterError(
        f"{path} is neither a kernel configuration nor a kernel (it begins {data[:4].hex(' ')}); "
        "give a configuration file, /proc/config.gz, a vmlinuz or a vmlinux"
    )


def gunzip(path: Path, data: bytes) -> bytes:
    decompressor = zlib.decompressobj(wbits=GZIP_WINDOW)
    try:
        content = decompressor.decompress(data)
    except zlib.error as error:
        raise ClusterError(f"the gzip data in {path} are damaged ({error}); copy the file again") from error
    if not decompressor.eof:
        raise ClusterError(f"the gzip data in {path} are truncated; copy the file again")
    return content


def payloads(path: Path, data: bytes) -> Iterator[bytes]:
    """What a kernel unpacks when it starts: the header says where, in older and other kernels a magic number does."""
    place = (
        _kernel_image.parse_kernel_image(path, data).payload if _kernel_image.is_kernel_image(data) else None
    )
    if place:
        yield unpack(path, data, *place)
        return
    for found in PAYLOAD_MAGIC.finditer(data):
        try:
            yield unpack(path, data, found.start(), len(data))
        except ClusterError:
            continue  # a magic number by chance


def unpack(path: Path, data: bytes, start: int, end: int) -> bytes:
    packed = memoryview(data)[start:end]
    kind = _initrd_read.recognise(packed)
    if kind is None:
        raise ClusterError(
            f"kernel {path} is packed in an unknown way (its payload begins {packed[:4].hex(' ')})"
        )
    if kind.name != "gzip" and end != len(data):
        packed = packed[:-4]  # the size of the unpacked kernel, behind every format that does not carry it
    try:
        return bytes(_initrd_read.decompress(kind, packed)[0])
    except ClusterError as error:
        raise ClusterError(f"kernel {path}: {error}") from error


def decode(path: Path, data: bytes) -> str:
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ClusterError(
            f"kernel configuration {path}: line {line} is no text; copy the file again"
        ) from error
    return BLANKS_AT_END.sub("", text) if any(blank in text for blank in (" \n", "\t\n", "\r\n")) else text


def parse(path: Path, text: str) -> dict[str, str]:
    """Every option of a configuration. Each line is looked for from the newline before it: that is what is fast."""
    body = f"\n{text}\n"
    settings, unset = SETTING.findall(body), UNSET.findall(body)
    torn = stray_line(body, len(settings)) or cut_off(body)
    if torn:
        line = body.count("\n", 0, torn.start(1))
        raise ClusterError(
            f"kernel configuration {path}: line {line} is torn or foreign ({torn[1][:60]!r}); "
            "expected CONFIG_NAME=VALUE or # CONFIG_NAME is not set"
        )
    symbols, values = dict.fromkeys(unset, NOT_SET), dict(settings)
    twice = symbols.keys() & values.keys()
    symbols.update(values)
    symbols.update((name, NOT_SET) for name in twice if body.rfind(f"\n# {name} ") > body.rfind(f"\n{name}="))
    if not symbols:
        raise ClusterError(f"{path} holds no kernel option; give a kernel configuration")
    return symbols


def stray_line(body: str, settings: int) -> re.Match[str] | None:
    """The first line that is neither one of the settings nor a comment nor blank; mere counting shows most have none."""
    harmless = settings + body.count("\n#") + body.count("\n\n")
    return STRAY.search(body) if harmless < body.count("\n") - 1 else None


def cut_off(body: str) -> re.Match[str] | None:
    """A last line that began as ``# CONFIG_X is not set``: to all other checks it is a comment."""
    found = UNSET_CUT_OFF.search(body, body.rfind("\n", 0, -1))
    rest = " is not set"
    return found if found and found[2] != rest and rest.startswith(found[2]) else None


def plain(value: str) -> str:
    if value[:1] == '"':
        return ESCAPE.sub(r"\1", value[1:-1])
    return NOT_SET if value == "n" else value


def with_prefix(option: str) -> str:
    return option if option.startswith(PREFIX) else PREFIX + option


COMPARISON = re.compile(r"(>=|<=|>|<)\s*(-?\d+|0[xX][0-9a-fA-F]+)")
COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
OPTION_NAME = re.compile(rf"(?:{PREFIX})?[A-Za-z0-9_]+")
RULE_FIELDS = {"options", "values", "why", "remedy", "profile"}
BOOLEANS = {"True": "y", "False": NOT_SET, "yes": "y", "no": NOT_SET, "n": NOT_SET}


@dataclass(frozen=True)
class Rule:
    """Met where any of ``options`` has any of ``values``."""

    options: tuple[str, ...]
    values: tuple[str, ...]
    why: str
    remedy: str
    profile: str

    def verdict(self, config: KernelConfig) -> Verdict:
        found = {option: config.value(option) for option in self.options}
        return Verdict(
            self, found, any(accepts(value, seen) for value in self.values for seen in found.values())
        )


@dataclass(frozen=True)
class Verdict:
    rule: Rule
    found: Mapping[str, str]
    ok: bool

    def as_result(self) -> dict[str, Any]:
        return {
            "options": list(self.rule.options),
            "wanted": list(self.rule.values),
            "found": dict(self.found),
            "ok": self.ok,
            "why": self.rule.why,
            "remedy": self.rule.remedy,
            "profile": self.rule.profile,
        }

    def sentence(self) -> str:
        """``CONFIG_NFS_FS is not-set, wanted y or m (profile netboot_initrd): set it …``."""
        found = ", ".join(f"{option} is {value or 'empty'}" for option, value in self.found.items())
        wanted = " or ".join(value or "empty" for value in self.rule.values)
        origin = f" (profile {self.rule.profile})" if self.rule.profile else ""
        return f"{found}; wanted {wanted}{origin}: {self.rule.remedy}"


def accepts(value: str, found: str) -> bool:
    """Whether what the configuration has is what a rule accepts; numbers are compared as numbers."""
    if value == NOT_SET:
        return found in (NOT_SET, ABSENT)
    comparison = COMPARISON.fullmatch(value)
    if comparison:
        number = as_number(found)
        return number is not None and COMPARISONS[comparison[1]](number, int(comparison[2], 0))
    number = as_number(value)
    return found == value or (number is not None and number == as_number(found))


def as_number(text: str) -> int | None:
    try:
        return int(text, 0)
    except ValueError:
        return None


def parse_rules(rules: Sequence[Any], where: str = "rules", profile: str = "") -> list[Rule]:
    """Rules from plain data; raises ClusterError naming the rule, by its place in ``where``, and the field."""
    return [
        parse_rule(rule, f"{where}: rule {number}", profile) for number, rule in enumerate(rules, start=1)
    ]


def parse_rule(rule: Any, where: str, profile: str) -> Rule:
    if not isinstance(rule, Mapping):
        raise ClusterError(f"{where} is no mapping; it needs options, values and why")
    foreign = sorted(set(map(str, rule)) - RULE_FIELDS)
    if foreign:
        raise ClusterError(
            f"{where} has the unknown field {foreign[0]!r}; known: {', '.join(sorted(RULE_FIELDS))}"
        )
    options = strings(rule, "options", where)
    for option in options:
        if not OPTION_NAME.fullmatch(option):
            raise ClusterError(f"{where}: {option!r} in options is no kernel option such as CONFIG_NFS_FS")
    values = strings(rule, "values", where)
    for value in values:
        check_value(value, where)
    why = rule.get("why")
    if not isinstance(why, str) or not why.strip():
        raise ClusterError(f"{where} lacks why: say in a sentence what breaks without it")
    full = tuple(with_prefix(option) for option in options)
    remedy = rule.get("remedy") or default_remedy(full, values)
    return Rule(
        full, values, " ".join(why.split()), " ".join(str(remedy).split()), rule.get("profile") or profile
    )


def strings(rule: Mapping[str, Any], name: str, where: str) -> tuple[str, ...]:
    given = rule.get(name)
    entries = given if isinstance(given, (list, tuple)) else [given]
    if (
        given is None
        or not entries
        or any(isinstance(entry, (Mapping, list, type(None))) for entry in entries)
    ):
        raise ClusterError(f"{where} lacks {name}: give one or a list of several")
    return tuple(str(entry) for entry in entries)


def check_value(value: str, where: str) -> None:
    if value in BOOLEANS:
        raise ClusterError(f"{where}: {value} in values is no kernel value; write {BOOLEANS[value]}")
    if value[:1] in ("<", ">") and not COMPARISON.fullmatch(value):
        raise ClusterError(f"{where}: {value!r} in values is no comparison with a number, such as >=16")


def default_remedy(options: Sequence[str], values: Sequence[str]) -> str:
    remedies = [f"set {' or '.join(options)} to {value}" for value in values if value not in (NOT_SET, "m")]
    if values[0] == NOT_SET:
        remedies.insert(0, f"switch {' and '.join(options)} off")
    return f"{(remedies or [f'set {options[0]} to m'])[0]} and build the kernel again"


@dataclass(frozen=True)
class Report:
    config: KernelConfig
    verdicts: Sequence[Verdict]

    @property
    def unmet(self) -> list[Verdict]:
        return [verdict for verdict in self.verdicts if not verdict.ok]

    def message(self) -> str:
        if not self.unmet:
            return f"{self.config.path} meets all {len(self.verdicts)} rules"
        sentences = "; ".join(
            f"[{number}] {one.sentence()}" for number, one in enumerate(self.unmet, start=1)
        )
        return (
            f"{self.config.path} does not meet {len(self.unmet)} of {len(self.verdicts)} rules: {sentences}"
        )

    def as_result(self) -> dict[str, Any]:
        return {
            "ok": not self.unmet,
            "msg": self.message(),
            "rules": [verdict.as_result() for verdict in self.verdicts],
            "unmet": list(dict.fromkeys(option for verdict in self.unmet for option in verdict.rule.options)),
            "config_source": self.config.source,
            "symbols": len(self.config.symbols),
        }


def check(config: KernelConfig, rules: Iterable[Rule]) -> Report:
    return Report(config, [rule.verdict(config) for rule in rules])
