from __future__ import annotations

from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _owned_files as owned
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError


def owner_of(content: bytes) -> str | None:
    first = content.split(b"\n")[0].decode("utf-8", "replace")
    return first[6:] if first.startswith("owner ") else None


def file(owner: str, text: str = "") -> bytes:
    return f"owner {owner}\n{text}".encode()


def changes(
    tree: Path, wanted: dict[str, bytes], shared: dict[str, bytes] | None = None, **options: bool
) -> list[tuple[str, str]]:
    present = owned.scan(tree, ["a", "b"], owner_of)
    planned = owned.plan(present, wanted, shared or {}, owner="me", shared_owner="all", **options)
    owned.apply(tree, planned)
    return [(change.verb, change.path) for change in planned]


def test_a_life(tmp_path: Path) -> None:
    assert changes(tmp_path, {"a/1": file("me"), "a/2": file("me")}, {"b/s": file("all")}) == [
        ("added", "a/1"),
        ("added", "a/2"),
        ("added", "b/s"),
    ]
    assert changes(tmp_path, {"a/1": file("me"), "a/2": file("me")}, {"b/s": file("all")}) == []
    assert changes(tmp_path, {"a/2": file("me", "new")}) == [
        ("changed", "a/2"),
        ("removed", "a/1"),
        ("removed", "b/s"),
    ]
    assert (tmp_path / "a" / "2").read_bytes() == file("me", "new")
    assert changes(tmp_path, {}) == [("removed", "a/2")]


def test_others_keep_their_files_and_what_they_share(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "foreign").write_text("hello")
    (tmp_path / "a" / "theirs").write_bytes(file("they"))
    (tmp_path / "a" / "link").symlink_to("theirs")
    changes(tmp_path, {"a/1": file("me")}, {"a/s": file("all")})
    assert changes(tmp_path, {}) == [("removed", "a/1")]
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["foreign", "link", "s", "theirs"]


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("a/foreign", "a/foreign was not written by this module"),
        ("a/theirs", 'a/theirs belongs to the owner "they"'),
        ("a/link", "a/link was not written by this module"),
        ("a/folder", "a/folder is no file"),
        ("a/large", "a/large was not written by this module"),
    ],
)
def test_what_is_in_the_way_is_named(tmp_path: Path, path: str, said: str) -> None:
    (tmp_path / "a" / "folder").mkdir(parents=True)
    (tmp_path / "a" / "foreign").write_text("hello")
    (tmp_path / "a" / "theirs").write_bytes(file("they"))
    (tmp_path / "a" / "link").symlink_to("theirs")
    (tmp_path / "a" / "large").write_bytes(file("me") + bytes(owned.LARGEST))
    with pytest.raises(ClusterError) as caught:
        changes(tmp_path, {"a/1": file("me"), path: file("me")})
    assert said in str(caught.value)
    assert "nothing was written" in str(caught.value)
    assert not (tmp_path / "a" / "1").exists()


def test_foreign_files_are_replaced_on_demand_other_owners_never(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "target").write_text("hello")
    (tmp_path / "a" / "link").symlink_to("target")
    assert changes(tmp_path, {"a/link": file("me")}, replace_foreign=True) == [("added", "a/link")]
    assert not (tmp_path / "a" / "link").is_symlink()
    assert (tmp_path / "a" / "target").read_text() == "hello"
    (tmp_path / "a" / "theirs").write_bytes(file("they"))
    with pytest.raises(ClusterError, match="belongs to"):
        changes(tmp_path, {"a/theirs": file("me")}, replace_foreign=True)


def test_what_a_kill_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / ".oneimage-partial-1").write_bytes(b"half")
    (tmp_path / "a" / "whole").write_bytes(b"whole")
    owned.remove_partial([tmp_path / "a", tmp_path / "none"])
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["whole"]


def test_a_failing_write_changes_nothing(tmp_path: Path) -> None:
    """The name of the second file is too long for any file system."""
    changes(tmp_path, {"a/1": file("me")})
    with pytest.raises(ClusterError, match="cannot write .*: File name too long"):
        changes(tmp_path, {"a/1": file("me", "new"), f"a/{'x' * 300}": file("me")})
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["1"]
    assert (tmp_path / "a" / "1").read_bytes() == file("me")
