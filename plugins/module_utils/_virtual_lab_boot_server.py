# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The lab's boot server: a podman container that runs systemd in the lab's network, made from the host's packages."""

from __future__ import annotations

import fcntl
import hashlib
import json
import resource
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils import _virtual_lab_process as process
from ansible_collections.oneimage.cluster.plugins.module_utils._atomic import partial_file
from ansible_collections.oneimage.cluster.plugins.module_utils._command import run
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._virtual_lab import BootServer, Lab, Step
from ansible_collections.oneimage.cluster.plugins.module_utils._virtual_lab_network import (
    NAMESPACES,
    inside,
    mount_points,
)

REPOSITORY = "localhost/oneimage-lab-boot-server"
CGROUP = Path("/sys/fs/cgroup")
TIMEOUT = 120
BUILD_TIMEOUT = 1500
SSH_TIMEOUT = 90
CAP_SYS_RESOURCE = 24
OPEN_FILES = 20000

# DAC_READ_SEARCH is what an NFS server in user space needs to open a file by its handle.
CAPABILITIES = "NET_ADMIN,NET_RAW,DAC_READ_SEARCH"

# What the stock configuration of these would serve is nobody's wish: the role that manages the boot server configures
# and enables them.
DISABLED_UNITS = "dnsmasq nginx nfs-ganesha rpcbind.service rpcbind.socket nfs-client.target"
# A container can neither mount the kernel's file systems nor trim disks, and the lab reaches no mirror.
MASKED_UNITS = "run-rpc_pipefs.mount apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer"
BUILD_HOOKS = (
    'rm -f "$1"/etc/ssh/ssh_host_*',  # host keys come from the lab, never from the image
    f'for unit in {DISABLED_UNITS}; do chroot "$1" systemctl disable --quiet $unit 2>/dev/null || true; done',
    f'chroot "$1" systemctl mask --quiet {MASKED_UNITS}',
)
# Documentation is a third of the image and read by nobody.
DPKG_OPTIONS = (
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/locale/*",
)


def boot_server_steps(lab: Lab, server: BootServer) -> Iterator[Step]:
    """Image and container as declared; a container that is stopped or lives in a lost namespace is started again."""
    image = image_of(server, sources(server))
    command = run_command(lab, server, image)
    found = container(lab.boot_namespace)
    if found and found["Config"]["Labels"].get("oneimage.command") != digest(command):
        yield Step(
            f"remove the outdated container {lab.boot_namespace}",
            remove_container,
            lab.boot_namespace,
        )
        found = None
    if not found:
        if not image_exists(image):
            archive = lab.cache / f"boot-server-{image.rpartition(':')[2]}.tar"
            if not archive.exists():
                yield Step(f"build the boot server's root {archive}", build, server, archive)
            yield Step(
                f"import {image}",
                run,
                ["podman", "import", str(archive), image],
                timeout=BUILD_TIMEOUT,
            )
        labels = (
            "--label",
            f"oneimage.lab={lab.directory}",
            "--label",
            f"oneimage.command={digest(command)}",
        )
        yield Step(
            f"run the container {lab.boot_namespace}",
            start_container,
            lab,
            server,
            [*command[:3], *labels, *command[3:]],
        )
    elif not in_lab_network(lab, found):
        yield Step(f"restart the container {lab.boot_namespace}", restart_container, lab, server)


def container_removal_steps(lab: Lab) -> Iterator[Step]:
    """Remove the container in whatever state it is."""
    if container(lab.boot_namespace):
        yield Step(f"remove the container {lab.boot_namespace}", remove_container, lab.boot_namespace)


def image_removal_steps(lab: Lab, purge: bool) -> Iterator[Step]:
    """Remove the images that no other lab uses; the cache too if ``purge``."""
    for image in unused_images(besides=lab.boot_namespace):
        yield Step(
            f"remove the image {image}",
            run,
            ["podman", "image", "rm", image],
            timeout=TIMEOUT,
        )
    if purge:
        for path in sorted(lab.cache.glob("*")):
            yield Step(f"remove {path}", shutil.rmtree if path.is_dir() else Path.unlink, path)


def storage_steps() -> Iterator[Step]:
    """Unmount podman's storage, which it binds onto itself for the first container and leaves so after the last."""
    if (
        not shutil.which("podman")
        or run(["podman", "ps", "--all", "--quiet"], timeout=TIMEOUT).stdout.strip()
    ):
        return
    fields = "{{.Store.GraphRoot}}/{{.Store.GraphDriverName}}"
    path = run(["podman", "info", "--format", fields], timeout=TIMEOUT).stdout.decode().strip()
    if path in mount_points():
        yield Step(f"unmount {path}", run, ["umount", path], timeout=TIMEOUT)


def image_of(server: BootServer, apt_sources: Sequence[str]) -> str:
    """The image's name; its tag is the digest of everything that the image is made from."""
    made_from = [release(server), sorted(server.packages), list(apt_sources), BUILD_HOOKS, DPKG_OPTIONS]
    return f"{REPOSITORY}:{digest(made_from)}"


def release(server: BootServer) -> str:
    """The declared distribution release, or else the one of this machine."""
    if server.release:
        return server.release
    for line in Path("/etc/os-release").read_text(encoding="utf-8").splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise ClusterError("boot_server: /etc/os-release names no release of this machine; set the release")


def sources(server: BootServer) -> list[str]:
    """The package sources as one-line apt entries: the declared mirror, or what this machine's own apt uses."""
    if server.mirror:
        return [f"deb {server.mirror} {release(server)} main"]
    fields = "$(ORIGIN)|$(REPO_URI)|$(CODENAME)|$(COMPONENT)"
    listed = run(["apt-get", "indextargets", "--format", fields, "Created-By: Packages"], timeout=TIMEOUT)
    entries = set()
    for line in listed.stdout.decode().splitlines():
        origin, address, suite, component = line.split("|")
        if origin in ("Debian", "Ubuntu") and suite.partition("-")[0] == release(server):
            entries.add(f"deb {address} {suite} {component}")
    if not entries:
        raise ClusterError(
            f"boot_server: this machine's apt knows no packages of {release(server)}: run apt-get update, or set the mirror"
        )
    return sorted(entries)


def build(server: BootServer, archive: Path) -> None:
    """Make the boot server's root with mmdebstrap; unpacking happens in the cache, so that no /tmp fills up."""
    archive.parent.mkdir(parents=True, exist_ok=True)
    work = archive.parent / "work"
    with (archive.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another lab may build the same root
        if archive.exists():
            return
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(mode=0o755)
        with partial_file(archive) as temporary:
            options = [f"--dpkgopt={option}" for option in DPKG_OPTIONS] + [
                f"--customize-hook={hook}" for hook in BUILD_HOOKS
            ]
            argv = [
                "mmdebstrap",
                "--mode=root",
                "--variant=minbase",
                "--format=tar",
                f"--include={','.join(server.packages)}",
            ]
            argv += [*options, release(server), str(temporary), *sources(server)]
            run(argv, timeout=BUILD_TIMEOUT, environment={"TMPDIR": str(work)})
        shutil.rmtree(work, ignore_errors=True)


def run_command(lab: Lab, server: BootServer, image: str) -> list[str]:
    """The ``podman run`` that makes the container; only what this machine cannot do by default is spelt out."""
    options = [
        "--name",
        lab.boot_namespace,
        "--hostname",
        server.hostname,
        *host_options(),
        "--systemd=always",
    ]
    options += ["--tmpfs", "/run", "--tmpfs", "/tmp", "--network", f"ns:{NAMESPACES / lab.boot_namespace}"]
    options += ["--cap-add", CAPABILITIES, "--volume", f"{lab.storage}:{lab.storage}"]
    consoles = lab.directory / "nodes"
    options += ["--volume", f"{consoles}:{consoles}:ro"]
    mounts = {
        "authorized_keys": "/root/.ssh/authorized_keys",
        "ssh_host_ed25519_key": "/etc/ssh/ssh_host_ed25519_key",
    }
    mounts["ssh_host_ed25519_key.pub"] = "/etc/ssh/ssh_host_ed25519_key.pub"
    for name, target in mounts.items():
        options += ["--volume", f"{lab.directory}/boot/{name}:{target}:ro"]
    return ["podman", "run", "--detach", *options, image, "/sbin/init"]


def host_options() -> list[str]:
    """Options for machines with the old control groups or without the right to raise limits."""
    options = []
    if not (CGROUP / "cgroup.controllers").exists():
        options += ["--volume", f"{CGROUP}:{CGROUP}:ro"]
        if shutil.which("runc"):
            options += ["--runtime", "runc"]  # crun refuses version 1 and hybrid control groups
    if not has_capability(CAP_SYS_RESOURCE):
        for name, number in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
            hard = resource.getrlimit(number)[1]
            limit = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
            options += ["--ulimit", f"{name}={limit}:{limit}"]
    return options


def has_capability(number: int) -> bool:
    """Whether this process has the capability effectively."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> number & 1)
    return False


def start_container(lab: Lab, server: BootServer, command: Sequence[str]) -> None:
    """Run the container and wait until it takes connections."""
    for folder in (lab.storage, lab.directory / "nodes"):
        folder.mkdir(parents=True, exist_ok=True)
    run(command, timeout=TIMEOUT)
    wait_for_ssh(lab, server)


def restart_container(lab: Lab, server: BootServer) -> None:
    """Start a container that ended, or move one that lives in a lost namespace into today's."""
    run(["podman", "stop", "--time", "10", lab.boot_namespace], timeout=TIMEOUT)
    run(["podman", "start", lab.boot_namespace], timeout=TIMEOUT)
    wait_for_ssh(lab, server)


def wait_for_ssh(lab: Lab, server: BootServer) -> None:
    """Wait until the boot server's sshd answers from the nodes' side of the network."""
    deadline = time.monotonic() + SSH_TIMEOUT
    probe = inside(lab.namespace, "nc", "-z", "-w", "2", server.address, "22")
    while run(probe, timeout=TIMEOUT, accept=(0, 1)).returncode != 0:
        if time.monotonic() > deadline:
            state = run(
                ["podman", "exec", lab.boot_namespace, "systemctl", "--failed", "--plain"],
                timeout=TIMEOUT,
                accept=range(256),
            )
            told = (state.stdout or state.stderr).decode("utf-8", "replace").strip()
            raise ClusterError(
                f"{lab.boot_namespace} does not answer on port 22 after {SSH_TIMEOUT} s: {told}"
            )
        time.sleep(0.2)


def remove_container(name: str) -> None:
    """Remove a container in whatever state."""
    run(["podman", "rm", "--force", "--time", "10", name], timeout=TIMEOUT)


def container(name: str) -> dict[str, Any] | None:
    """What podman knows about container ``name``; None where there is none, or no podman."""
    if not shutil.which("podman"):
        return None
    found = run(["podman", "container", "inspect", name], timeout=TIMEOUT, accept=(0, 125))
    return json.loads(found.stdout)[0] if found.returncode == 0 else None


def check_owner(lab: Lab) -> None:
    """Raise ClusterError where another lab, or anybody else, has a container of this lab's name."""
    found = container(lab.boot_namespace)
    owner = found and (found["Config"]["Labels"] or {}).get("oneimage.lab")
    if found and owner != str(lab.directory):
        raise ClusterError(
            f"name: the container {lab.boot_namespace} belongs to {owner or 'no lab'}; choose another lab name"
        )


def in_lab_network(lab: Lab, found: dict[str, Any]) -> bool:
    """Whether a container runs, in today's namespace."""
    pid = found["State"]["Pid"]
    return pid > 0 and process.network_of(pid) == process.identity(NAMESPACES / lab.boot_namespace)


def image_exists(image: str) -> bool:
    """Whether podman holds ``image``."""
    return run(["podman", "image", "exists", image], timeout=TIMEOUT, accept=(0, 1)).returncode == 0


def unused_images(besides: str) -> list[str]:
    """Boot server images that no container but ``besides`` uses."""
    if not shutil.which("podman"):
        return []
    listed = run(
        ["podman", "images", "--filter", f"reference={REPOSITORY}", "--format", "{{.Repository}}:{{.Tag}}"],
        timeout=TIMEOUT,
    )
    users = run(
        ["podman", "ps", "--all", "--format", "{{.Names}} {{.Image}}"], timeout=TIMEOUT
    ).stdout.decode()
    used = {line.split()[1] for line in users.splitlines() if line.split()[0] != besides}
    return sorted(set(listed.stdout.decode().split()) - used)


def digest(value: object) -> str:
    """The first 12 digits of the sha256 of ``value`` as JSON."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:12]
