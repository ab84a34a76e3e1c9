# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import io
import random
import shutil
import tarfile
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_read as subject
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

pytestmark = pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv of util-linux is not here")


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, target
    return made


def archive(*members: tarfile.TarInfo, form: int = tarfile.PAX_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form) as packed:
        for one in members:
            one.size = 700 if one.isreg() else 0
            packed.addfile(one, io.BytesIO(b"x" * one.size))
    return target.getvalue()


MEMBERS = (
    member("./"),
    member("etc", tarfile.DIRTYPE),
    member("./usr/bin/dash"),
    member("bin", tarfile.SYMTYPE, "usr/bin"),
    member("usr/bin/sh", tarfile.LNKTYPE, "./usr/bin/dash"),
    member("boot/vmlinuz-6.1"),
    member("vmlinuz", tarfile.SYMTYPE, "/boot/vmlinuz-6.1"),
    member("n" * 90 + "/" + "umläut" * 40),
    member("dev/console", tarfile.CHRTYPE),
)


def read(tmp_path: Path, content: bytes) -> subject.Content:
    (tmp_path / "image").write_bytes(content)
    return subject.read_image(tmp_path / "image")


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_members_links_and_devices(form: int, tmp_path: Path) -> None:
    whole = archive(*MEMBERS[1:], form=form)
    content = read(tmp_path, whole)
    found = content.tar
    assert found and content.kind == "tar" and content.size == len(whole)
    assert found.members == len(MEMBERS) - 1 and found.devices == ["dev/console"] and not found.unsafe
    assert found.head("/bin/sh") == b"x" * 700 and found.head("/vmlinuz") == b"x" * 700
    assert found.head("/" + MEMBERS[7].name) == b"" and found.head("/etc") is None
    assert found.names("/boot") == ["vmlinuz-6.1"] and set(found.names("/")) == {"bin", "vmlinuz"}
    assert found.names("/bin") == ["dash", "sh"] and found.real("/bin/sh") == "/usr/bin/dash"


def test_the_last_of_two_members_of_one_name_counts(tmp_path: Path) -> None:
    found = read(tmp_path, archive(member("boot/x"), member("boot/x", tarfile.SYMTYPE, "y"))).tar
    assert found and found.head("/boot/x") is None and found.links == {"boot/x": "y"}


def test_no_broken_archive_is_more_than_an_error(tmp_path: Path) -> None:
    """Bytes changed at random in headers: each is read, told as unsafe or refused, never a crash or a hang."""
    whole, chance, refused = archive(*MEMBERS[1:]), random.Random(4), 0
    for _round in range(150):
        broken = bytearray(whole)
        for _byte in range(chance.choice((1, 3, 30))):
            broken[chance.randrange(len(broken) // 2)] = chance.randrange(256)
        try:
            read(tmp_path, bytes(broken[: chance.choice((len(broken), chance.randrange(len(broken))))]))
        except ClusterError as error:
            refused += 1
            assert str(tmp_path / "image") in str(error)
    assert refused > 50


@pytest.mark.parametrize(
    ("first", "name", "unsafe"),
    [
        ((), "a/b", False),
        ((), "a..b/..c", False),
        ((), "/a", True),
        ((), "../a", True),
        ((), "a/../../b", True),
        (("lib", "usr/lib"), "lib/x", False),
        (("lib", "/usr/lib"), "lib/x", True),
        (("lib", "../lib"), "lib/deep/x", True),
        (("lib", "../lib"), "library/x", False),
        (("./lib/", "/etc"), "./lib//x", True),
    ],
)
def test_what_leads_out(first: tuple[str, ...], name: str, unsafe: bool, tmp_path: Path) -> None:
    links = [member(first[0], tarfile.SYMTYPE, first[1])] if first else []
    found = read(tmp_path, archive(*links, member(name))).tar
    assert found and bool(found.unsafe) is unsafe


def test_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "MOST_MEMBERS", 3)
    with pytest.raises(ClusterError, match="more than 3 members"):
        read(tmp_path, archive(*(member(str(number)) for number in range(5))))
