# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _image_publish as subject
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def put(target: Path, text: str, signature: tuple[str, bytes] | None = None) -> None:
    with subject.drafting(target, 0o640) as draft:
        draft.write(text.encode())
        subject.publish(draft, text.encode(), signature, 0o640)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("unnamed", [True, False])
def test_image_manifest_and_signature_appear_together(
    unnamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not unnamed:  # as on NFS, where open(2) has no O_TMPFILE: EOPNOTSUPP, here by the folder's own EISDIR
        monkeypatch.setattr(os, "O_TMPFILE", os.O_DIRECTORY)
    target = tmp_path / "image"
    put(target, "one", (".asc", b"signed one"))
    assert names(tmp_path) == ["image", "image.asc", "image.manifest.json"]
    put(target, "two", (".minisig", b"signed two"))
    assert names(tmp_path) == ["image", "image.manifest.json", "image.minisig"]
    put(target, "three")
    assert names(tmp_path) == ["image", "image.manifest.json"]
    assert target.read_text() == "three" and target.stat().st_mode & 0o777 == 0o640


def test_a_failure_leaves_the_old_ones(tmp_path: Path) -> None:
    target = tmp_path / "image"
    put(target, "one")
    with pytest.raises(ClusterError, match="stop"), subject.drafting(target, 0o600) as draft:
        draft.write(b"half")
        raise ClusterError("stop")
    with (
        pytest.raises(ClusterError, match="cannot write .*No space left.*untouched"),
        subject.drafting(target, 0o600),
    ):
        raise OSError(28, "No space left on device")
    assert names(tmp_path) == ["image", "image.manifest.json"] and target.read_text() == "one"


def test_leftovers_of_killed_runs_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".oneimage-partial-image-0a1b2c3d").touch()
    (tmp_path / ".oneimage-partial-image.manifest.json-0a1b2c3d").touch()
    (tmp_path / ".oneimage-partial-other-0a1b2c3d").touch()
    put(tmp_path / "image", "one")
    assert names(tmp_path) == [".oneimage-partial-other-0a1b2c3d", "image", "image.manifest.json"]


def test_readers_never_see_the_manifest_of_another_image(tmp_path: Path) -> None:
    """A reader that takes the manifest between two looks at the same image."""
    target, beside = tmp_path / "image", tmp_path / "image.manifest.json"
    put(target, "0")
    faults, seen, over = [], set(), threading.Event()

    def read() -> None:
        while not over.is_set():
            with target.open() as before:
                try:
                    said = beside.read_text()
                except FileNotFoundError:
                    continue
                with target.open() as after:
                    if os.fstat(before.fileno()).st_ino == os.fstat(after.fileno()).st_ino:
                        seen.add(said)
                        if before.read() != said:
                            faults.append(said)

    readers = [threading.Thread(target=read) for _number in range(4)]
    for reader in readers:
        reader.start()
    for number in range(1, 60):
        put(target, str(number))
    over.set()
    for reader in readers:
        reader.join()
    assert not faults and len(seen) > 1


@pytest.mark.parametrize("folder", ["missing", "file"])
def test_a_wrong_folder_is_one_error(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(ClusterError, match="cannot write"),
        subject.drafting(tmp_path / folder / "image", 0o600),
    ):
        pass
