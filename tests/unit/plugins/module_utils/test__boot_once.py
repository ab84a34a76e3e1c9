from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _boot_once as once
from ansible_collections.oneimage.cluster.plugins.module_utils import _cpio
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

TOKEN = "0123456789ab"


@pytest.mark.parametrize(
    ("line", "address", "spent"),
    [
        (f'10.77.0.11 - - [21/Nov/2026] "GET /once/{TOKEN}.cpio HTTP/1.1" 200 512', "10.77.0.11", True),
        (
            f"Nov 21 dnsmasq-tftp[7]: sent /srv/oneimage/boot/once/{TOKEN}.cpio to 10.77.0.11",
            "10.77.0.11",
            True,
        ),
        (f"Nov 21 in.tftpd[7]: RRQ from 10.77.0.11 filename once/{TOKEN}.cpio", "10.77.0.11", True),
        (f'10.77.0.11 - - "GET /report/52-54-00/root?once={TOKEN} HTTP/1.1" 204', "10.77.0.11", True),
        (f'10.77.0.1 - - "GET /once/{TOKEN}.cpio HTTP/1.1" 200', "10.77.0.11", False),
        (f'10.77.0.110 - - "GET /once/{TOKEN}.cpio HTTP/1.1" 200', "10.77.0.11", False),
        (f'110.77.0.11 - - "GET /once/{TOKEN}.cpio HTTP/1.1" 200', "10.77.0.11", False),
        (f'10.77.0.99 - - "GET /once/{TOKEN}.cpio HTTP/1.1" 200', None, True),
        (f'10.77.0.11 - - "GET /once/{TOKEN}0.cpio HTTP/1.1" 404', "10.77.0.11", False),
        (f'10.77.0.11 - - "GET /{TOKEN} HTTP/1.1" 404', "10.77.0.11", False),
        ("", "10.77.0.11", False),
    ],
)
def test_what_a_line_proves(tmp_path: Path, line: str, address: str | None, spent: bool) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(b"\xff\xfe something before\n" + line.encode() + b"\nand after")
    assert once.seen_tokens([log], {TOKEN: address}) == ({TOKEN} if spent else set())


def test_a_log_that_does_not_exist_yet_says_nothing(tmp_path: Path) -> None:
    assert once.seen_tokens([tmp_path / "none"], {TOKEN: None}) == set()


def test_a_log_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match=f"evidence {tmp_path}: cannot be read"):
        once.seen_tokens([tmp_path], {TOKEN: None})


def test_the_token_is_the_same_in_every_run() -> None:
    assert once.token("n1", "deploy", "") == once.token("n1", "deploy", "")
    assert len({once.token(*words) for words in (("n1", "ab", ""), ("n1", "a", "b"), ("n2", "ab", ""))}) == 3


def test_its_file_is_an_archive_that_kernels_unpack() -> None:
    members, _end = _cpio.unpack(memoryview(once.token_file("# mark")))
    assert [(member.name, bytes(member.data)) for member in members] == [("oneimage-once", b"\n# mark\n")]
