# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import copy
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_check import complete
from ansible_collections.oneimage.cluster.plugins.module_utils._environment_formats import (
    FORMATS,
    latest,
    read,
    recognise,
    write,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

KADEPLOY2 = """ name = tpexpert
 version = 1
 filebase = file://home/x/old.tgz
 kernelpath = /old

 name = tpexpert
 version = 2
 description = image en noyau 2.6.15
 author = prenom.nom@monlabo.fr
 filebase = file://home/orsay/login/image_tpexpert.tgz   # a comment
 filesite = file://grid5000/postinstalls/post4all.tgz
 size = 1200
 initrdpath = /boot/initrd.img-2.6.15
 kernelpath = /boot/vmlinuz-2.6.15
 kernelparam = console=ttyS0,38400n8
 fdisktype = 83
 filesystem = ext2
"""

KADEPLOY31 = """name : squeeze-x64-base
version : 5
description : Debian Squeeze (AMD64), minimal image
author : support-staff@lists.grid5000.fr
tarball : /grid5000/images/squeeze-x64-base-1.1.tgz|tgz
postinstall : /grid5000/p/a.tgz|tgz|traitement.ash /rambin,/grid5000/p/b.tbz2|tbz2|none
kernel : /boot/vmlinuz-2.6.32-5-amd64
kernel_params : quiet
initrd : /boot/initrd.img-2.6.32-5-amd64
fdisktype : 83
filesystem : ext3
environment_kind : linux
visibility : public
demolishing_env : 1
"""

MODERN = """---
name: centosstream9-nfs
alias: centosstream9-x64-nfs        # name-<arch>-variant, deployable by alias
arch: x86_64
version: 1111111111
description: centos-stream 9 (9) for x86_64 - nfs
author: support-staff@lists.grid5000.fr
visibility: shared
destructive: false
os: linux
image:
  file: server:///grid5000/images/debian12-x64-min-2024090216.tar.zst
  kind: tar
  compression: zstd
postinstalls:
- archive: server:///grid5000/postinstalls/g5k-postinstall.tgz
  compression: gzip
  script: g5k-postinstall --net redhat --fstab nfs --restrict-user current --disk-aliases
boot:
  kernel: /vmlinuz
  initrd: /initramfs.img
  kernel_params: "crashkernel=no"
filesystem: ext4
partition_type: 131
multipart: false
custom_variables:
  BOOTLOADER_NO_GRUB_FROM_DEST: '1'
options:
  kexec: false
  trust_previous_env: false         # kexec wants it
"""

PLAIN: dict[str, Any] = complete(
    {
        "name": "plain",
        "version": 3,
        "visibility": "shared",
        "os": "linux",
        "image": {"file": "/images/plain.tgz", "kind": "tar", "compression": "gzip"},
        "boot": {"kernel": "/vmlinuz", "initrd": "/initrd.img", "kernel_params": "quiet a=b"},
        "postinstalls": [{"archive": "/p/a.tgz", "compression": "gzip", "script": "traitement.ash /rambin"}],
        "filesystem": "ext4",
        "partition_type": 0x83,
    }
)
"""What every generation can hold."""


def one(text: str, name: str = "auto") -> dict[str, Any]:
    return latest(read(text, name, "x")).description


def lost(description: dict[str, Any], target: str) -> dict[str, bool]:
    """The fields that ``target`` cannot hold, and whether it refuses what is left."""
    return {loss.field: loss.refused for loss in write(description, target).losses}


def plain(**changes: Any) -> dict[str, Any]:
    description = copy.deepcopy(PLAIN)
    for path, value in changes.items():
        group, _two, name = path.rpartition("__")
        (description[group] if group else description)[name] = value
    return description


@pytest.mark.parametrize(
    ("text", "name"),
    [(KADEPLOY2, "kadeploy2"), (KADEPLOY31, "3.1"), (MODERN, "current"), ("name: x\n", "current")],
)
def test_recognised(text: str, name: str) -> None:
    assert recognise(text) == name


@pytest.mark.parametrize("target", FORMATS)
def test_what_every_generation_holds_comes_back_from_each(target: str) -> None:
    written = write(PLAIN, target)
    assert written.losses == ()
    assert complete(one(written.text, target)) == PLAIN
    assert write(one(written.text, target), target).text == written.text


@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("target", FORMATS)
def test_every_direction(source: str, target: str) -> None:
    start = one(write(PLAIN, source).text, source)
    assert complete(one(write(start, target).text, target)) == PLAIN


def test_the_last_version_of_a_kadeploy_2_listing() -> None:
    found = one(KADEPLOY2)
    assert found["version"] == 2
    assert found["image"] == {
        # the official migrator writes home/orsay/..., which is relative
        "file": "/home/orsay/login/image_tpexpert.tgz",
        "kind": "tar",
        "compression": "gzip",
    }
    assert found["postinstalls"] == [
        {
            "archive": "/grid5000/postinstalls/post4all.tgz",
            "compression": "gzip",
            "script": "traitement.ash /rambin",
        }
    ]
    assert found["partition_type"] == 0x83
    assert found["visibility"] == "shared"
    assert found["oneimage"] == {"kadeploy2": {"size": "1200"}}
    assert "size = 1200\n" in write(found, "kadeploy2").text
    assert latest(read(KADEPLOY2), 1).description["image"]["file"] == "/home/x/old.tgz"


def test_a_path_of_the_official_migrator_is_refused_with_the_path_that_was_meant() -> None:
    text = KADEPLOY31.replace("/grid5000/images", "grid5000/images")
    with pytest.raises(
        ClusterError, match="image/file .* is relative; give the absolute path, such as '/grid5000/"
    ):
        write(one(text), "current")


def test_what_the_official_migrator_loses_from_31() -> None:
    found = one(KADEPLOY31)
    assert found["destructive"] is True
    assert found["visibility"] == "public"
    assert found["partition_type"] == 131
    assert found["postinstalls"][1] == {
        "archive": "/grid5000/p/b.tbz2",
        "compression": "bzip2",
        "script": "none",
    }
    unsaid = one("name : x\ntarball : /x.tgz|tgz\nenvironment_kind : other\nfdisktype : b\n")
    assert unsaid["visibility"] == "shared" and unsaid["version"] == 0
    assert unsaid["destructive"] is False and unsaid["partition_type"] == 11
    assert (
        "visibility: shared\ndestructive: false\n"
        in write(unsaid | {"boot": {"kernel": "/k"}, "filesystem": "vfat"}, "3.3").text
    )


@pytest.mark.parametrize(
    ("line", "warning"),
    [
        (
            "kernel: /vmlinuz",
            "x, line 2: Kadeploy 3.1 ignores kernel, which has not one blank on each side of its colon",
        ),
        ("kernel :/vmlinuz", "has not one blank on each side"),
        ("kernel  : /vmlinuz", "has not one blank on each side"),
        ("initrd : ", "x, line 2: Kadeploy 3.1 ignores initrd, which has no value"),
        ("what is this", "x, line 2: Kadeploy 3.1 ignores 'what is this'"),
    ],
)
def test_a_31_line_that_kadeploy_ignores_is_named(line: str, warning: str) -> None:
    (reading,) = read(f"name : x\n{line}\n# comment\n\n", "3.1", "x")
    assert len(reading.warnings) == 1 and warning in reading.warnings[0]
    assert "boot" not in reading.description


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("color : red\n", "x, line 1: color is an invalid attribute"),
        ("tarball : /x.tgz\n", "x: tarball '/x.tgz' must be PATH|KIND"),
        ("tarball : /x.tgz|zip\n", "tarball has the kind 'zip'; known: tgz, tbz2"),
        ("postinstall : /x|ddgz|none\n", "an archive is tgz, tbz2 or txz"),
        ("fdisktype : linux\n", "fdisktype 'linux' is no hexadecimal number"),
        ("version : two\n", "version 'two' is no whole number"),
    ],
)
def test_a_31_file_that_kadeploy_refuses(text: str, fault: str) -> None:
    with pytest.raises(ClusterError) as caught:
        read(text, "3.1", "x")
    assert fault in str(caught.value)


def test_xen_of_kadeploy_2() -> None:
    text = (
        "name = x\nfilebase = file://i/x.tgz\nkernelpath = /boot/mboot\n"
        "initrdpath = /boot/xen.gz dom0_mem=1000000 --- /boot/vmlinuz root=/dev/hda3 --- /boot/initrd\n"
    )
    found = one(text)
    assert found["os"] == "xen"
    assert found["boot"] == {
        "hypervisor": "/boot/xen.gz",
        "hypervisor_params": "dom0_mem=1000000",
        "kernel": "/boot/vmlinuz",
        "kernel_params": "root=/dev/hda3",
        "initrd": "/boot/initrd",
    }
    assert one(write(found, "kadeploy2").text)["boot"] == found["boot"]


def test_a_chain_loaded_image_of_kadeploy_2() -> None:
    found = one("name = w\nfilebase = file://i/w.dd.gz\nkernelpath = chainload\nfdisktype = 7\n")
    assert found["image"]["kind"] == "dd" and "boot" not in found
    written = write(found, "kadeploy2")
    assert "kernelpath = chainload\n" in written.text and written.losses == ()


def test_no_compression_in_a_name_of_kadeploy_2() -> None:
    (reading,) = read(
        "name = w\nfilebase = file://i/w\nkernelpath = /k\nodd line\nkernelparm = x\n", where="x"
    )
    assert [warning for warning in reading.warnings if "os is not" not in warning] == [
        "x, line 4: Kadeploy 2 ignores 'odd line'",
        "x, line 5: kernelparm means nothing to Kadeploy 2",
        "x: the name of filebase /i/w tells no compression; gzip is assumed",
    ]


def test_a_modern_description_on_33() -> None:
    found = one(MODERN)
    written = write(found, "3.3")
    assert {loss.field: loss.refused for loss in written.losses} == {
        "alias": False,
        "arch": False,
        "custom_variables": False,
        "options/kexec": False,
        "options/trust_previous_env": False,
        "image/compression": True,
    }
    # version 3.3 refuses options without partitions
    assert not {"alias", "arch", "custom_variables", "options"} & set(one(written.text))
    assert write(found, "current").losses == ()
    assert complete(one(write(found, "current").text)) == complete(found)


@pytest.mark.parametrize(
    ("description", "target", "expected"),
    [
        (plain(image__compression="zstd", image__file="/x.tar.zst"), "3.1", {"image/compression": True}),
        (plain(image__compression="xz", image__file="/x.tar.xz"), "kadeploy2", {"image/compression": True}),
        (plain(image__file="/images/x.bin"), "kadeploy2", {}),
        (plain(image__compression="bzip2"), "kadeploy2", {"image/compression": True}),
        (plain(image__kind="fsa", image__compression=3), "3.1", {}),
        (plain(image__file="server:///x.tgz"), "3.1", {"image/file": False}),
        (plain(image__file="http://h/x.tgz"), "3.1", {}),
        (plain(image__file="https://h/x.tgz"), "3.1", {"image/file": True}),
        (plain(image__file="http://h/x.tgz"), "kadeploy2", {"image/file": True}),
        (plain(visibility="private"), "kadeploy2", {"visibility": False}),
        (plain(visibility="private"), "3.1", {}),
        (plain(destructive=True), "kadeploy2", {"destructive": False}),
        (plain(version=0), "kadeploy2", {"version": True}),
        (plain(os="other"), "kadeploy2", {"os": True}),
        (plain(description="two\nlines"), "3.1", {"description": False}),
        (plain(description="issue #4"), "kadeploy2", {"description": True}),
        (plain(boot__kernel_params="a #b"), "kadeploy2", {"boot/kernel_params": True}),
        (plain(preinstall={"archive": "/p.tgz", "compression": "gzip"}), "kadeploy2", {"preinstall": False}),
        (plain(postinstalls=[{"archive": "/p.tgz", "compression": "gzip", "script": "go"}]), "kadeploy2",
         {"postinstalls[0]/script": True}),
        (plain(postinstalls=PLAIN["postinstalls"] * 2), "kadeploy2", {"postinstalls[1]": True}),
        (plain(postinstalls=[{"archive": "/p.tgz", "compression": "gzip", "script": "go a,b"}]), "3.1",
         {"postinstalls[0]/script": True}),
        (plain(postinstalls=[{"archive": "/p.tgz", "compression": "gzip", "script": "go a,b"}]), "3.3",
         {"postinstalls[0]/script": False}),
        (plain(postinstalls=[{"archive": "/p.tar.zst", "compression": "zstd"}]), "3.3",
         {"postinstalls[0]/compression": True}),
        (plain(author="a" * 57), "3.3", {"author": False}),
        (plain(author="a" * 57), "current", {}),
        (plain(partition_type=0x8300), "3.1", {"partition_type": True}),
        (plain(image__kind="dd", boot={}, filesystem=""), "3.1", {"boot/kernel": True, "filesystem": True}),
        (plain(oneimage={"sha256": "0"}), "3.3", {"oneimage": False}),
        (plain(future=1), "3.3", {"future": False}),
        (plain(future=1), "3.1", {"future": False}),
        (plain(future=1), "current", {}),
        (plain(multipart=True, boot={"kernel": "/k", "block_device": "sda", "partition": 1},
               options={"partitions": [{"id": 1, "device": "sda1"}]}), "3.1",
         {"multipart": True, "options": False, "boot/block_device": False, "boot/partition": False}),
        (plain(multipart=True, boot={"kernel": "/k", "block_device": "sda", "partition": 1},
               options={"partitions": [{"id": 1, "device": "sda1"}]}), "3.3", {}),
    ],
)  # fmt: skip
def test_what_a_target_cannot_hold(
    description: dict[str, Any], target: str, expected: dict[str, bool]
) -> None:
    assert lost(description, target) == expected


def test_documents_of_several_architectures() -> None:
    both = MODERN + MODERN.replace("x86_64", "aarch64")
    with pytest.raises(ClusterError, match="several descriptions with version 1111111111; give one of them"):
        latest(read(both), where="x")
    with pytest.raises(ClusterError, match="no version 7 in it; there are 1111111111"):
        latest(read(MODERN), 7)


def test_nothing_to_read() -> None:
    with pytest.raises(ClusterError, match="x: "):
        read("", "kadeploy2", "x")
