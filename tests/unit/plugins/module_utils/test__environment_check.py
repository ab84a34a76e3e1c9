# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_check import (
    check,
    check_owner,
    check_version,
    complete,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

RIGHT: dict[str, Any] = {
    "name": "squeeze mine",
    "os": "linux",
    "image": {"file": "server:///srv/img/my.tgz", "kind": "tar", "compression": "gzip"},
    "boot": {"kernel": "/boot/vmlinuz"},
    "filesystem": "ext4",
}


def changed(path: str, value: Any) -> dict[str, Any]:
    """RIGHT with one field set, or removed where ``value`` is None."""
    description = copy.deepcopy(RIGHT)
    *groups, name = path.split("/")
    inner = description
    for group in groups:
        inner = inner.setdefault(group, {})
    inner[name] = value
    if value is None:
        del inner[name]
    return description


def faults(description: dict[str, Any]) -> str:
    with pytest.raises(ClusterError) as caught:
        check(description, "x.yml")
    return str(caught.value)


def test_a_right_description_has_no_warnings() -> None:
    assert check(RIGHT, "x") == []


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        ("os", None, "os is mandatory; allowed: linux, xen, other"),
        ("name", "", "name is mandatory"),
        ("image", None, "image is mandatory"),
        ("image/kind", "qcow2", "image/kind is 'qcow2'; allowed: tar, dd, fsa"),
        ("image/compression", "lz4", "image/compression is 'lz4'; allowed: gzip, bzip2, xz, zstd"),
        ("image/compression", 3, "image/compression is 3; allowed: gzip"),
        ("image/file", "home/orsay/login/x.tgz", "give the absolute path, such as '/home/orsay/login/x.tgz'"),
        ("image/file", "ftp://h/x", "unknown protocol 'ftp'"),
        ("image/file", "server://x", "image/file 'x' is relative"),
        ("image/file", "http:///x", "names no host"),
        ("image/file", "http://h:99999/x", "names no host"),
        ("image/file", "/a|b.tgz", "corrupts Kadeploy's records"),
        ("image/file", "/a/../b.tgz", "has a .. in it"),
        ("image/file", " /a.tgz", "begins or ends with a blank"),
        ("version", "3", "version is '3' but must be a whole number, so write it without quotes"),
        ("version", True, "version is True but must be a whole number"),
        ("version", -1, "version is -1 but must lie between 0 and 4294967295"),
        ("version", 2**32, "must lie between"),
        ("description", 5, "description is 5 but must be text, so put it in quotes"),
        ("name", "a\nb", "must be one line"),
        ("visibility", "secret", "visibility is 'secret'; allowed: public, shared, private"),
        ("destructive", "no", "destructive is 'no' but must be true or false"),
        ("arch", "i386", "arch is 'i386'; allowed: x86_64, aarch64, ppc64le"),
        ("boot", "/vmlinuz", "boot is '/vmlinuz' but must be a mapping"),
        ("boot/kernel", None, "boot/kernel is mandatory for image/kind tar"),
        ("boot/kernel", "vmlinuz", "boot/kernel 'vmlinuz' is relative; give the absolute path, such as '/vmlinuz'"),
        ("filesystem", None, "filesystem is mandatory for image/kind tar"),
        ("os", "xen", "boot/hypervisor is mandatory for image/kind tar and os xen"),
        ("partition_type", "83", "partition_type is '83' but must be a whole number"),
        ("preinstall", {"archive": "/a.tgz"}, "preinstall/compression is mandatory"),
        ("postinstalls", {"archive": "/a.tgz"}, "postinstalls is {'archive': '/a.tgz'} but must be a list"),
        ("postinstalls", ["/a.tgz"], "postinstalls[0] is '/a.tgz' but must be a mapping"),
        ("postinstalls", [{"archive": "a", "compression": "gzip"}], "postinstalls[0]/archive 'a' is relative"),
        ("multipart", True, "options/partitions is mandatory for multipart true; boot/block_device is mandatory"),
        ("options", {"partitions": [{"id": 1, "device": "a"}, {"id": 1, "device": "b"}]}, "id 1 is there twice"),
        ("options", {"partitions": [{"id": 1, "device": "a"}, {"id": 2, "device": "a"}]}, "device a is there twice"),
        ("options", {"kexec": "false"}, "options/kexec is 'false' but must be true or false"),
    ],
)  # fmt: skip
def test_one_fault(path: str, value: Any, fault: str) -> None:
    message = faults(changed(path, value))
    assert message.startswith("x.yml: ") and fault in message


def test_every_fault_is_named_at_once() -> None:
    message = faults({"version": "1", "os": "hurd", "image": {"kind": "tar"}})
    for part in ("name", "version", "os", "image/file", "image/compression", "boot/kernel", "filesystem"):
        assert f"{part} is" in message


@pytest.mark.parametrize("kind", ["dd", "fsa"])
def test_only_a_tar_image_needs_a_kernel(kind: str) -> None:
    image = {"file": "/x", "kind": kind, "compression": "gzip" if kind == "dd" else 6}
    check({"name": "x", "os": "other", "image": image}, "x")
    assert "boot/kernel is" in faults(
        {"name": "x", "os": "other", "image": {**image, "kind": "tar", "compression": "gzip"}}
    )


def test_a_level_of_fsa() -> None:
    image = {"file": "/x", "kind": "fsa", "compression": 10}
    assert "has a level from 0 to 9" in faults({"name": "x", "os": "other", "image": image})


def test_unknown_fields_are_reported_and_kept() -> None:
    description = changed("boot/colour", "red")
    description["future"] = [1]
    warnings = check(description, "x")
    assert [warning.split(" is kept")[0] for warning in warnings] == [
        "unknown field boot/colour",
        "unknown field future",
    ]
    whole = complete(description)
    assert whole["boot"]["colour"] == "red" and whole["future"] == [1] and list(whole)[-1] == "future"


def test_a_decimal_partition_type_is_a_trap() -> None:
    (warning,) = check(changed("partition_type", 83), "x")
    assert "partition_type 83 is 0x53" in warning and "write 0x83 or 131" in warning
    assert check(changed("partition_type", 0x83), "x") == []


def test_complete_fills_defaults_in_kadeploys_order() -> None:
    assert list(complete(RIGHT).items()) == [
        ("name", "squeeze mine"),
        ("version", 1),
        ("visibility", "private"),
        ("destructive", False),
        ("os", "linux"),
        ("image", RIGHT["image"]),
        ("boot", RIGHT["boot"]),
        ("filesystem", "ext4"),
        ("partition_type", 0),
        ("multipart", False),
    ]
    empty = {**RIGHT, "author": "", "postinstalls": [], "preinstall": None, "options": {}}
    assert complete(empty) == complete(RIGHT) == complete(complete(RIGHT))


@pytest.mark.parametrize("owner", ["", "-a", "../x", "a b", "a\n", ".hidden", "a/b", "x" * 65])
def test_no_user(owner: str) -> None:
    with pytest.raises(ClusterError, match="is no user's name"):
        check_owner(owner)


def test_owner_and_version() -> None:
    assert check_owner("jdoe.ext-1@site") == "jdoe.ext-1@site"
    assert check_version(0) == 0
    with pytest.raises(ClusterError, match="must lie between"):
        check_version(2**32)
