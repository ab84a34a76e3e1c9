# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import importlib
import os
import re
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._root_customise import (
    installed_packages,
    kernels,
    tree_size,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._root_declaration import (
    all_packages,
    base_fingerprint,
    complete,
    file_entries,
    load_files,
    version,
    without_secrets,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._root_sharing import (
    RULES,
    active_rules,
    apply_rules,
    volatile_folders,
    volatile_mounts,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._root_shelf import Shelf
from ansible_collections.oneimage.cluster.plugins.module_utils._root_sources import Source

CHECKOUT = Path(__file__).resolve().parents[4]
SOURCES = [Source("http://m/debian", "bookworm", ("main",))]


def declared(**more: Any) -> dict[str, Any]:
    fixed: dict[str, Any] = {
        **{"name": "compute", "suite": "bookworm", "architecture": None, "tool": "mmdebstrap", "slim": True},
        **{
            "variant": "minbase",
            "packages": ["udev"],
            "kernel_package": None,
            "revision": "",
            "keyring": None,
        },
        **{"components": ["main"], "sources": [], "mirror": None, "security_mirror": None, "proxy": None},
        **{
            "locale": "C.UTF-8",
            "timezone": "Etc/UTC",
            "users": [],
            "root_password_hash": None,
            "shared": "ro",
        },
        **{
            "root_authorized_keys": [],
            "files": [],
            "hosts": [],
            "mounts": [],
            "services": {},
            "skip_rules": [],
        },
    }
    return complete({**fixed, **more}, "amd64")


def file(path: str, content: str) -> dict[str, Any]:
    return {"path": path, "content": content, "src": None, "mode": "0644", "owner": "root", "group": "root"}


def version_of(**more: Any) -> str:
    made = declared(**more)
    return version(made, load_files(made), SOURCES)


def test_version_is_twelve_digits_and_stays_the_same() -> None:
    assert re.fullmatch("[0-9a-f]{12}", version_of())
    assert version_of() == version_of(keep=7, storage="/elsewhere", keyring="/k")


@pytest.mark.parametrize(
    "more",
    [
        {"suite": "trixie"},
        {"packages": ["udev", "dbus"]},
        {"kernel_package": ""},
        {"revision": "2"},
        {"shared": "rw"},
        {"skip_rules": ["hostname"]},
        {"root_password_hash": "$6$x$y"},
        {"users": [{"name": "a"}]},
        {"files": [file("/etc/motd", "a")]},
        {"hosts": [{"address": "10.0.0.1", "names": ["a"]}]},
    ],
)
def test_version_follows_every_field(more: dict[str, Any]) -> None:
    assert version_of(**more) != version_of()


def test_version_follows_content_and_sources_but_not_the_order_of_packages(tmp_path: Path) -> None:
    source = tmp_path / "x"
    source.write_text("a")
    by_src = {**file("/x", ""), "content": None, "src": str(source)}
    first = version_of(files=[by_src])
    source.write_text("b")
    assert version_of(files=[by_src]) != first
    made = declared()
    other = [Source("http://other/debian", "bookworm", ("main",))]
    assert version(made, {}, other) != version(made, {}, SOURCES)
    both = [base_fingerprint(declared(packages=names), SOURCES) for names in (["a1", "b1"], ["b1", "a1"])]
    assert both[0] == both[1]


def test_base_is_shared_by_roots_that_differ_in_accounts_and_files() -> None:
    users = declared(users=[{"name": "a"}], files=[file("/x", "y")], hosts=[], name="other", shared="rw")
    assert base_fingerprint(users, SOURCES) == base_fingerprint(declared(), SOURCES)


@pytest.mark.parametrize(
    ("more", "packages"),
    [
        ({}, ["linux-image-amd64", "udev"]),
        ({"architecture": "arm64"}, ["linux-image-arm64", "udev"]),
        ({"kernel_package": ""}, ["udev"]),
        (
            {"kernel_package": "", "timezone": "Europe/Paris", "locale": "fr_FR.UTF-8"},
            ["locales", "tzdata", "udev"],
        ),
    ],
)
def test_all_packages(more: dict[str, Any], packages: list[str]) -> None:
    assert all_packages(declared(**more)) == packages


def test_secrets_are_not_shown() -> None:
    users = [{"name": "a", "password_hash": "$6$secret"}, {"name": "b"}]
    made = declared(root_password_hash="$6$secret", users=users, files=[file("/x", "secret words")])
    shown = without_secrets(made, load_files(made))
    assert "secret" not in str(shown)
    assert shown["root_password_hash"] == "(set)" and shown["users"][1]["password_hash"] is None
    assert shown["files"] == file_entries(made, load_files(made))


def test_rules_have_one_name_and_a_reason_each_and_are_documented() -> None:
    names = [rule.name for rule in RULES]
    assert len(set(names)) == len(names) and all(rule.reason for rule in RULES)
    module = importlib.import_module("ansible_collections.oneimage.cluster.plugins.modules.root_tree")
    readme = (CHECKOUT / "roles/nfs_chroot/README.md").read_text(encoding="utf-8")
    for name in names:
        assert f"V({name})" in module.DOCUMENTATION, name
        assert f"`{name}`" in readme, name


def test_role_has_the_options_of_the_module() -> None:
    module = importlib.import_module("ansible_collections.oneimage.cluster.plugins.modules.root_tree")
    spec = (CHECKOUT / "roles/nfs_chroot/meta/argument_specs.yml").read_text(encoding="utf-8")
    tasks = (CHECKOUT / "roles/nfs_chroot/tasks/main.yml").read_text(encoding="utf-8")
    readme = (CHECKOUT / "roles/nfs_chroot/README.md").read_text(encoding="utf-8")
    spec = spec.partition("\n  existing:")[0]  # another entry point, which builds nothing
    declared_by_role = set(re.findall(r"^ {6}nfs_chroot_(\w+):", spec, re.MULTILINE))
    # the role's own, which become the module's keep, image, packages and files
    declared_by_role -= {"install_tools", "keep_all", "tree", "tree_secrets", "additions"}
    assert declared_by_role == set(module.OPTIONS)
    for name in module.OPTIONS:
        assert re.search(rf'\b{name}: (>-\s+|")\{{\{{.*\bnfs_chroot_{name}\b', tasks), name
        assert f"`nfs_chroot_{name}`" in readme, name


def test_a_wanted_unit_is_never_masked(tmp_path: Path) -> None:
    apply_rules(tmp_path, [rule for rule in RULES if rule.name == "needless_units"], {"fstrim.timer"})
    units = tmp_path / "etc/systemd/system"
    assert not (units / "fstrim.timer").is_symlink() and (units / "apt-daily.timer").is_symlink()


def test_rule_without_its_path_does_nothing(tmp_path: Path) -> None:
    apply_rules(tmp_path, [rule for rule in RULES if rule.only_if != "/"], ())
    assert list(tmp_path.iterdir()) == []


def test_volatile_mounts_only_where_nodes_write() -> None:
    assert volatile_mounts(active_rules((), "ro"), ()) == []
    assert [path for path, _options in volatile_mounts(active_rules((), "rw"), ["/tmp"])] == [
        "/var/tmp",
        "/var/log",
    ]
    assert volatile_mounts(active_rules(["volatile_folders"], "rw"), ()) == []


def test_volatile_folders_are_made_again(tmp_path: Path) -> None:
    folder = tmp_path / "var/log/nginx"
    folder.mkdir(parents=True)
    folder.chmod(0o750)
    (tmp_path / "var/log/a b").mkdir()
    owner = f"{folder.stat().st_uid} {folder.stat().st_gid}"
    assert volatile_folders(tmp_path, ["/var/log", "/missing"]) == f"d /var/log/nginx 0750 {owner} -\n"


def test_kernels_newest_first(tmp_path: Path) -> None:
    (tmp_path / "boot").mkdir()
    for name in ("6.1.0-9-amd64", "6.1.0-10-amd64", "5.10.0-32-amd64", "6.12.117+deb13-amd64"):
        (tmp_path / f"boot/vmlinuz-{name}").touch()
    assert kernels(tmp_path) == ["6.12.117+deb13-amd64", "6.1.0-10-amd64", "6.1.0-9-amd64", "5.10.0-32-amd64"]


def test_installed_packages_and_size(tmp_path: Path) -> None:
    assert installed_packages(tmp_path) == {}
    status = tmp_path / "var/lib/dpkg/status"
    status.parent.mkdir(parents=True)
    status.write_text(
        "Package: b\nStatus: install ok installed\nVersion: 2\nDescription: x\n Package: not\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n\n"
        "Package: a\nStatus: install ok installed\nVersion: 1:1-1\n"
    )
    assert installed_packages(tmp_path) == {"a": "1:1-1", "b": "2"}
    os.link(status, tmp_path / "link")
    assert tree_size(tmp_path) == status.stat().st_size


def shelve(folder: Path, *versions: str) -> Shelf:
    """A shelf with versions, the oldest first."""
    for age, name in enumerate(versions):
        manifest = folder / name / "etc/oneimage/image.json"
        manifest.parent.mkdir(parents=True)
        manifest.write_text("{}")
        os.utime(manifest, (1000 + age, 1000 + age))
    return Shelf(folder)


@pytest.mark.parametrize(
    ("current", "keep", "in_use", "surplus"),
    [
        ("c", 1, (), ["b", "a"]),
        ("c", 2, (), ["a"]),
        ("c", 3, (), []),
        ("c", 1, ("a",), ["b"]),
        ("a", 2, (), ["b"]),
        ("d", 2, (), ["b", "a"]),
    ],
)
def test_surplus(
    tmp_path: Path, current: str, keep: int, in_use: tuple[str, ...], surplus: list[str]
) -> None:
    shelf = shelve(tmp_path, "a", "b", "c")
    assert shelf.surplus(current, keep, in_use) == surplus


def test_shelf_switches_removes_and_sweeps(tmp_path: Path) -> None:
    shelf = shelve(tmp_path, "a", "b")
    assert shelf.current() is None and shelf.versions() == ["b", "a"]
    shelf.switch("a")
    shelf.switch("b")
    assert shelf.current() == "b"
    shelf.remove("a")
    shelf.remove("a")
    assert shelf.versions() == ["b"]
    (tmp_path / ".c.removed").mkdir()
    (tmp_path / ".c.partial").mkdir()
    assert shelf.half_removed()
    shelf.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "current"]


def test_foreign_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(ClusterError, match="x is no root that was published here"):
        Shelf(tmp_path).manifest("x")
