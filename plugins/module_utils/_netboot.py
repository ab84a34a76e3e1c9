# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Would this kernel with this initrd and this root boot from the network? Gathers the three and runs the checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import (
    _netboot_kernel,
    _netboot_parameters,
    _netboot_root,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_modules import (
    ModuleTree,
    installed_versions,
    read_tree,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._initrd_read import read_initrd
from ansible_collections.oneimage.cluster.plugins.module_utils._kconfig import KernelConfig, Rule, read_config
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_image import (
    KernelImage,
    read_kernel_image,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._netboot_boot import (
    ROOT_MODES,
    Boot,
    Finding,
    Parameters,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._root_paths import inside

CHECKS = (*_netboot_kernel.CHECKS, *_netboot_root.CHECKS, *_netboot_parameters.CHECKS)
PROFILES = tuple(_netboot_kernel.PROFILES)


@dataclass(frozen=True)
class Question:
    """What the user asks about, as given."""

    kernel: Path
    root: Path
    parameters: str | Sequence[str]
    firmware: str
    hardware: Sequence[str]
    config: Path | None = None
    initrd: Path | None = None
    root_mode: str | None = None


def gather(question: Question, rules: Mapping[str, Sequence[Rule]]) -> Boot:
    """Read all that is asked about; raises ClusterError on the first thing that cannot be read at all."""
    if not question.root.is_dir():
        raise ClusterError(f"root {question.root} is no folder; give the directory that the nodes get as /")
    parameters = Parameters(question.parameters)
    root_mode = question.root_mode or parameters.root_mode
    if root_mode not in ROOT_MODES:
        raise ClusterError(f"parameters: oneimage.root_mode={root_mode} is none of {', '.join(ROOT_MODES)}")
    kernel = read_kernel_image(question.kernel)
    return Boot(
        kernel=kernel,
        config=find_config(question, kernel),
        initrd=read_initrd(question.initrd) if question.initrd else None,
        root=question.root,
        tree=find_modules(question.root, kernel.release),
        parameters=parameters,
        root_mode=root_mode,
        firmware=question.firmware,
        hardware=question.hardware,
        rules=rules,
    )


def find_config(question: Question, kernel: KernelImage) -> KernelConfig:
    """The configuration that is named, else the root's, else the one in the kernel."""
    if question.config:
        return read_config(question.config)
    beside = inside(question.root, f"/boot/config-{kernel.release}")
    if beside.is_file():
        return read_config(beside)
    try:
        return read_config(question.kernel)
    except ClusterError as error:
        raise ClusterError(
            f"no configuration of the kernel {kernel.release}: there is no {beside}, and {error}"
        ) from error


def find_modules(root: Path, release: str) -> ModuleTree | None:
    if release not in installed_versions(root):
        return None
    try:
        return read_tree(root, release)
    except ClusterError:
        return None  # what is wrong with it is a finding


@dataclass(frozen=True)
class Answer:
    boot: Boot
    findings: Sequence[Finding]

    @property
    def errors(self) -> list[Finding]:
        return [finding for finding in self.findings if finding.severity == "error"]

    def message(self) -> str:
        what = f"the kernel {self.boot.kernel.release} with the root {self.boot.root} ({self.boot.root_mode})"
        sentences = " ".join(finding.sentence() for finding in self.findings)
        if self.errors:
            return f"{what} would not boot from the network: {sentences}"
        return f"{what} is ready to boot from the network" + (f", but: {sentences}" if sentences else "")

    def as_result(self) -> dict[str, Any]:
        return {
            "ok": not self.errors,
            "msg": self.message(),
            "findings": [asdict(finding) for finding in self.findings],
            "kernel_version": self.boot.kernel.release,
            "root_mode": self.boot.root_mode,
            "config_source": f"{self.boot.config.path} ({self.boot.config.source})",
        }


def answer(boot: Boot) -> Answer:
    """What every check finds; something that several checks find is said once."""
    return Answer(boot, list(dict.fromkeys(finding for check in CHECKS for finding in check(boot))))
