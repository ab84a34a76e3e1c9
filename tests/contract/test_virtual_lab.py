"""A lab with real namespaces, BMCs and machines: made, found unchanged, killed, mended, removed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import Run, snapshot, start_module

pytestmark = pytest.mark.root

NAMESPACE = "oneimage-contract"
NAMESPACES = Path("/run/netns")
DEFAULTS = Path(__file__).parents[2] / "roles" / "virtual_lab" / "defaults" / "main.yml"


def node(number: int, **changes: Any) -> dict[str, Any]:
    bmc = {"address": f"10.78.0.20{number}", "password": "secret"}
    return {
        "name": f"n{number}",
        "mac": f"52:54:00:78:00:0{number}",
        "memory": 128,
        "disk": 0,
        "bmc": bmc,
        **changes,
    }


@pytest.fixture
def lab(tmp_path: Path, module: Run) -> Iterator[dict[str, Any]]:
    """Options of a lab with two nodes and no boot server; whatever a test leaves of it is removed."""
    options = {"name": "contract", "directory": str(tmp_path / "lab"), "subnet": "10.78.0.0/24"}
    options.update(acceleration="tcg", nodes=[node(1), node(2, firmware="uefi")])
    yield options
    module("virtual_lab", {**options, "state": "absent"})


def traces(options: dict[str, Any]) -> dict[str, Any]:
    """Everything that a lab leaves on the machine outside its cache."""
    directory = options["directory"]
    mounts = [line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    return {
        "namespaces": sorted(path.name for path in NAMESPACES.glob(f"{NAMESPACE}*")),
        "processes": processes(directory),
        "mounts": [path for path in mounts if directory in path or NAMESPACE in path],
        "directory": Path(directory).exists(),
    }


NOTHING = {"namespaces": [], "processes": [], "mounts": [], "directory": False}


def processes(path: str) -> list[int]:
    """Processes with ``path`` in their command line, this test's own excepted."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if path.encode() in command and int(entry.name) != os.getpid():
            found.append(int(entry.name))
    return sorted(found)


def power(action: str, number: int = 1) -> str:
    """What a real ipmitool on the lab's network says."""
    address = f"10.78.0.20{number}"
    command = [
        "ipmitool",
        "-C",
        "3",
        "-I",
        "lanplus",
        "-H",
        address,
        "-U",
        "admin",
        "-P",
        "secret",
        "chassis",
        "power",
    ]
    inside = ["nsenter", f"--net={NAMESPACES / NAMESPACE}", *command, action]
    done = subprocess.run(inside, capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def eventually(truth: Any, wanted: Any, patience: float = 90) -> None:
    """Wait until ``truth()`` equals ``wanted``."""
    deadline = time.monotonic() + patience
    while truth() != wanted:
        assert time.monotonic() < deadline, f"still {truth()!r}, not {wanted!r}"
        time.sleep(0.2)


def machines(options: dict[str, Any], name: str = "n1") -> int:
    """How many machines of a node run."""
    return len(processes(f"{options['directory']}/nodes/{name}/qemu.pid"))


def test_check_mode_predicts_and_touches_nothing(module: Run, lab: dict[str, Any]) -> None:
    predicted = module("virtual_lab", lab, check=True)
    assert predicted["changed"]
    assert "make network namespace oneimage-contract" in predicted["diff"]["prepared"]
    assert traces(lab) == NOTHING
    assert module("virtual_lab", lab)["actions"] == predicted["actions"]
    before = (snapshot(Path(lab["directory"])), traces(lab))
    assert module("virtual_lab", {**lab, "state": "absent"}, check=True)["changed"]
    assert not module("virtual_lab", lab, check=True)["changed"]
    assert (snapshot(Path(lab["directory"])), traces(lab)) == before


def test_a_node_is_powered_by_ipmi_and_a_second_run_lets_it_run(module: Run, lab: dict[str, Any]) -> None:
    assert module("virtual_lab", lab)["changed"]
    for number in (1, 2):
        assert power("status", number) == "Chassis Power is off"
        power("on", number)
        eventually(lambda n=number: (power("status", n), machines(lab, f"n{n}")), ("Chassis Power is on", 1))
    console = Path(lab["directory"], "nodes", "n1", "console.log")
    eventually(lambda: b"iPXE" in console.read_bytes(), True, 120)
    running = processes(lab["directory"])
    assert not module("virtual_lab", lab)["changed"]
    assert processes(lab["directory"]) == running
    power("cycle")
    eventually(lambda: machines(lab) == 1 and processes(lab["directory"]) != running, True)
    power("off")
    eventually(lambda: (power("status"), machines(lab)), ("Chassis Power is off", 0))
    assert module("virtual_lab", {**lab, "state": "absent"})["changed"]
    assert traces(lab) == NOTHING
    assert not module("virtual_lab", {**lab, "state": "absent"})["changed"]


def test_what_died_is_mended(module: Run, lab: dict[str, Any]) -> None:
    module("virtual_lab", lab)
    power("on")
    eventually(lambda: machines(lab), 1)
    for pid in processes(lab["directory"]):
        os.kill(pid, signal.SIGKILL)
    assert module("virtual_lab", lab)["changed"]
    assert power("status", 1) == power("status", 2) == "Chassis Power is off"
    power("on")
    subprocess.run(["ip", "netns", "del", NAMESPACE], check=True)  # the machine still lives in it, nameless
    assert module("virtual_lab", lab)["changed"]
    assert (power("status"), machines(lab)) == ("Chassis Power is off", 0)
    assert not module("virtual_lab", lab)["changed"]


def test_a_changed_declaration_reaches_its_node_alone(module: Run, lab: dict[str, Any]) -> None:
    module("virtual_lab", lab)
    first = processes(f"{lab['directory']}/nodes/n1/")
    changed = {**lab, "nodes": [node(1), node(2, firmware="uefi", memory=256)]}
    done = module("virtual_lab", changed)
    assert done["actions"] == ["node n2: write power-on", "node n2: start its BMC"]
    assert processes(f"{lab['directory']}/nodes/n1/") == first
    fewer = module("virtual_lab", {**lab, "nodes": [node(1)]})
    assert fewer["changed"]
    assert not Path(lab["directory"], "nodes", "n2").exists()
    assert not processes(f"{lab['directory']}/nodes/n2/")
    assert not module("virtual_lab", {**lab, "nodes": [node(1)]})["changed"]


def test_a_disk_is_made_grows_and_never_shrinks(module: Run, lab: dict[str, Any]) -> None:
    disk = Path(lab["directory"], "nodes", "n1", "disk.raw")
    assert module("virtual_lab", {**lab, "nodes": [node(1, disk=64)]})["changed"]
    assert disk.stat().st_size == 64 * 2**20
    disk.write_bytes(b"somebody's data" + bytes(64 * 2**20 - 15))
    larger = {**lab, "nodes": [node(1, disk=128)]}
    assert module("virtual_lab", larger)["actions"] == ["node n1: give it a disk of 128 MiB"]
    assert not module("virtual_lab", larger)["changed"]
    assert disk.stat().st_size == 128 * 2**20
    before = snapshot(Path(lab["directory"], "nodes", "n1"))
    refused = module("virtual_lab", {**lab, "nodes": [node(1, disk=64)]})
    assert "would shrink to 64" in refused["msg"]
    assert snapshot(Path(lab["directory"], "nodes", "n1")) == before


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_kill_at_any_moment_is_mended(module: Run, lab: dict[str, Any], state: str) -> None:
    if state == "absent":
        module("virtual_lab", lab)
    for delay in (0.2, 0.3, 0.4, 0.5, 0.6):
        process = start_module("virtual_lab", {**lab, "state": state})
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    assert not module("virtual_lab", lab).get("failed")
    assert power("status", 1) == power("status", 2) == "Chassis Power is off"
    assert not module("virtual_lab", lab)["changed"]
    assert module("virtual_lab", {**lab, "state": "absent"})["changed"]
    assert traces(lab) == NOTHING


def test_bad_input_is_one_error_before_anything_is_made(module: Run, lab: dict[str, Any]) -> None:
    refused = module("virtual_lab", {**lab, "nodes": [node(1), node(2, mac="52:54:00:78:00:01")]})
    assert (
        refused["msg"] == "mac 52:54:00:78:00:01 is used twice: by node n1 and by node n2; each needs its own"
    )
    assert traces(lab) == NOTHING


@pytest.mark.parametrize("state", ["present", "absent"])
def test_a_foreign_directory_is_never_touched(
    module: Run, lab: dict[str, Any], tmp_path: Path, state: str
) -> None:
    home = tmp_path / "home"
    (home / "nodes" / "n1").mkdir(parents=True)
    before = snapshot(home)
    refused = module("virtual_lab", {**lab, "directory": str(home), "state": state})
    assert f"{home} holds something that is no lab" in refused["msg"]
    assert snapshot(home) == before


def test_a_directory_holds_one_lab(module: Run, lab: dict[str, Any]) -> None:
    module("virtual_lab", {**lab, "nodes": []})
    refused = module("virtual_lab", {**lab, "name": "contract2", "state": "absent"})
    assert "holds the lab contract" in refused["msg"]


def test_removal_unmounts_instead_of_emptying_what_is_mounted(
    module: Run, lab: dict[str, Any], tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("kept")
    module("virtual_lab", {**lab, "nodes": []})
    target = Path(lab["directory"], "srv", "proc")
    target.mkdir(parents=True)
    subprocess.run(["mount", "--bind", str(precious), str(target)], check=True)
    assert module("virtual_lab", {**lab, "state": "absent"})["changed"]
    assert traces(lab) == NOTHING
    assert (precious / "file").read_text() == "kept"


def test_what_is_no_kernel_proves_no_kvm(module: Run, lab: dict[str, Any], tmp_path: Path) -> None:
    picture = tmp_path / "vmlinuz"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(4096))
    made = module("virtual_lab", {**lab, "acceleration": "auto", "probe_kernel": str(picture)})
    assert made["acceleration"] == "tcg"
    assert "vmlinuz" in made["acceleration_reason"] or "/dev/kvm" in made["acceleration_reason"]
    assert not module("virtual_lab", {**lab, "acceleration": "auto", "probe_kernel": str(picture)})["changed"]


@pytest.fixture
def containers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A storage of containers and images of the test's own, so that a demonstration on the same machine is left alone."""
    folder = tmp_path / "containers"
    folder.mkdir()
    lines = ["[storage]", 'driver = "overlay"', f'graphroot = "{folder}/graph"', f'runroot = "{folder}/run"']
    (folder / "storage.conf").write_text("\n".join(lines) + "\n")
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
    return folder


@pytest.mark.slow
def test_the_boot_server_is_a_host_that_is_restarted_when_it_dies(
    module: Run, lab: dict[str, Any], containers: Path
) -> None:
    packages = yaml.safe_load(DEFAULTS.read_text())["virtual_lab_boot_server_packages"]
    options = {**lab, "nodes": [], "boot_server": {"address": "10.78.0.1", "packages": packages}}
    try:
        assert module("virtual_lab", options)["changed"]
        assert not module("virtual_lab", options)["changed"]
        assert login(lab, "cat /proc/1/comm") == "systemd"
        Path(lab["directory"], "srv", "file").write_text("shared")
        assert login(lab, f"cat {lab['directory']}/srv/file") == "shared"
        subprocess.run(["podman", "kill", f"{NAMESPACE}-boot"], check=True, capture_output=True, timeout=60)
        assert module("virtual_lab", options)["actions"] == [f"restart the container {NAMESPACE}-boot"]
        for namespace in (f"{NAMESPACE}-boot", NAMESPACE):  # the container still lives in the nameless one
            subprocess.run(["ip", "netns", "del", namespace], check=True)
            assert module("virtual_lab", options)["changed"]
            assert login(lab, "hostname") == "boot"
            assert not module("virtual_lab", options)["changed"]
        other = module("virtual_lab", {**options, "directory": f"{lab['directory']}2"}, check=True)
        assert f"belongs to {lab['directory']}; choose another lab name" in other["msg"]
    finally:
        module("virtual_lab", {**options, "state": "absent"})
    assert traces(lab) == NOTHING
    assert not [
        line for line in Path("/proc/self/mountinfo").read_text().splitlines() if str(containers) in line
    ]


def login(options: dict[str, Any], command: str) -> str:
    """What ``command`` prints on the boot server, reached as the inventory reaches it, its host key checked."""
    keys = f"{options['directory']}/ssh"
    proxy = f"ProxyCommand=ip netns exec {NAMESPACE} nc %h %p"
    trust = [
        "-o",
        f"UserKnownHostsFile={keys}/known_hosts",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "BatchMode=yes",
    ]
    argv = ["ssh", "-F", "none", "-i", f"{keys}/id_ed25519", "-o", proxy, *trust, "root@10.78.0.1", command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=60, check=True).stdout.strip()
