from __future__ import annotations

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_proof import mismatches, parse_answers
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

QUESTIONS = ["cmdline", "root", "kernel", "image_id", "machine_id"]
ROOT = "10.0.0.1:/srv/oneimage/roots/debian12/0123456789ab"
PARAMETERS = ["root=/dev/nfs", f"nfsroot={ROOT}", "oneimage.image=debian12-0123456789ab"]
ANSWERS = {
    "cmdline": f"BOOT_IMAGE=vmlinuz {' '.join(PARAMETERS)} BOOTIF=01-52-54-00-00-00-01",
    "root": "overlay oneimage",
    "kernel": "6.1.0-44-amd64",
    "image_id": "debian12-0123456789ab",
    "machine_id": "a" * 32,
}
DECLARED = {
    "image_id": "debian12-0123456789ab",
    "kernel": "6.1.0-44-amd64",
    "root_mode": "nfs_ro",
    "root": ROOT,
    "parameters": PARAMETERS,
}


def printed(answers: dict[str, str]) -> str:
    return "".join(f"{name} {text}\r\n" for name, text in answers.items())


def test_answers_are_read_from_lines() -> None:
    assert parse_answers("Warning: added a key\r\n" + printed(ANSWERS), QUESTIONS) == ANSWERS


@pytest.mark.parametrize("lost", [name for name in QUESTIONS if name != "image_id"])
def test_a_missing_answer_is_named(lost: str) -> None:
    with pytest.raises(ClusterError, match=f"did not answer: {lost}$"):
        parse_answers(printed({**ANSWERS, lost: ""}), QUESTIONS)


def test_a_foreign_root_need_not_say_what_it_is() -> None:
    answers = parse_answers(printed({**ANSWERS, "image_id": ""}), QUESTIONS)
    assert mismatches(answers, {**DECLARED, "image_id": ""}) == []
    assert mismatches(answers, DECLARED) == ["image id is unknown, declared debian12-0123456789ab"]


def test_a_silent_node_is_no_proof() -> None:
    with pytest.raises(ClusterError, match="cmdline, root, kernel, image_id, machine_id"):
        parse_answers("", QUESTIONS)


def test_the_declared_boot_is_proven() -> None:
    assert mismatches(ANSWERS, DECLARED) == []


@pytest.mark.parametrize("filesystem", ["nfs", "nfs4"])
def test_a_root_read_and_written_over_nfs_is_proven(filesystem: str) -> None:
    assert (
        mismatches({**ANSWERS, "root": f"{filesystem}    {ROOT}"}, {**DECLARED, "root_mode": "nfs_rw"}) == []
    )


@pytest.mark.parametrize(
    ("answers", "declared", "said"),
    [
        ({"image_id": "debian12-ffffffffffff"}, {}, "image id is debian12-ffffffffffff"),
        ({"kernel": "6.1.0-43-amd64"}, {}, "kernel is 6.1.0-43-amd64"),
        ({"root": f"nfs {ROOT}"}, {}, "/ is nfs, declared an overlay"),
        ({}, {"root_mode": "nfs_rw"}, "/ is overlay from oneimage, declared NFS"),
        ({"root": "nfs 10.0.0.9:/other"}, {"root_mode": "nfs_rw"}, "/ is nfs from 10.0.0.9:/other"),
        ({"cmdline": "root=/dev/nfs"}, {}, f"lacks nfsroot={ROOT}"),
    ],
)
def test_each_difference_is_named(answers: dict[str, str], declared: dict[str, str], said: str) -> None:
    found = mismatches({**ANSWERS, **answers}, {**DECLARED, **declared})
    assert len(found) == 1
    assert said in found[0]
