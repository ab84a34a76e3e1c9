"""hardware_info reads this machine as a process, and what it finds makes a configuration."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import Run, snapshot


@pytest.mark.parametrize("check", [False, True], ids=["run", "check"])
def test_it_reads_this_machine_and_says_the_same_twice(module: Run, check: bool) -> None:
    first, second = (module("hardware_info", {}, check=check) for _run in range(2))
    assert first == second
    assert first["changed"] is False
    assert {device["modalias"] for device in first["devices"]} == set(first["modaliases"])
    assert set(first["network_drivers"]) | set(first["storage_drivers"]) <= {
        *first["drivers"],
        *os.listdir("/sys/module"),
    }


def test_pci_devices_are_those_of_lspci(module: Run) -> None:
    if not shutil.which("lspci"):
        pytest.skip("needs lspci (package pciutils)")
    listed = subprocess.run(["lspci", "-n"], capture_output=True, text=True, check=True).stdout.splitlines()
    shown = [re.sub(r" \(prog-if.*", "", line) for line in listed]
    assert module("hardware_info", {})["pci"] == shown


def test_another_folder_must_be_a_sysfs(module: Run, tmp_path: Path) -> None:
    before = snapshot(tmp_path)
    result = module("hardware_info", {"sysfs": str(tmp_path)})
    assert result["failed"] is True
    assert f"sysfs: {tmp_path} has no folder bus" in result["msg"]
    assert snapshot(tmp_path) == before
