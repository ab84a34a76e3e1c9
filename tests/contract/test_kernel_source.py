# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""kernel_source: a patched tree or the one from before, whatever its source is and whatever goes wrong."""

from __future__ import annotations

import functools
import hashlib
import http.server
import io
import json
import os
import shutil
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, snapshot, start_module
from kernel_trees import make_tree, pack

MARK = ".oneimage-source.json"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "origin").mkdir()
    return make_tree(tmp_path / "origin/linux-6.1.7", "6.x")


@pytest.fixture
def archive(tree: Path, tmp_path: Path) -> Path:
    return pack(tree, tmp_path / "linux-6.1.7.tar.xz")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder in which trees are made."""
    (tmp_path / "src").mkdir()
    return tmp_path / "src"


@pytest.fixture
def patches(tree: Path, tmp_path: Path) -> dict[str, Path]:
    """One as git makes it, one to be applied with -p0 from the folder above, one that wants another source."""
    texts = {
        "returns": difference(tree, "kernel/sched.c", "return 1", "return 11", "a/{}", "b/{}"),
        "parent": difference(tree, "kernel/fork.c", "2;", "22;", "linux-6.1.7/{}", "linux-6.1.7/{}"),
        "torn": difference(tree, "kernel/sched.c", "return 1", "return 11", "a/{}", "b/{}").replace(
            "return 1;", "return 7;"
        ),
        "lost": difference(tree, "kernel/sched.c", "return 1", "return 11", "a/old/{}", "b/old/{}"),
        "beside": "--- /dev/null\n+++ linux-6.1.8/new.c\n@@ -0,0 +1 @@\n+int x;\n",
        "outside": "--- /dev/null\n+++ b/../../evil\n@@ -0,0 +1 @@\n+evil\n",
        "garbage": "nothing that patch would know\n",
    }
    found = {}
    for name, text in texts.items():
        found[name] = tmp_path / f"{name}.patch"
        found[name].write_text(text)
    return found


def difference(tree: Path, path: str, old: str, new: str, left: str, right: str) -> str:
    before = tree / path
    after = tree.parent / "after"
    after.write_text(before.read_text().replace(old, new))
    labels = [f"--label={left.format(path)}", f"--label={right.format(path)}"]
    return subprocess.run(
        ["diff", "-u", *labels, before, after], capture_output=True, text=True, check=False
    ).stdout


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content(tree: Path) -> dict[str, str]:
    return {
        str(path.relative_to(tree)): path.read_text()
        for path in tree.rglob("*")
        if path.is_file() and path.name not in (MARK, ".lock")
    }


def proven(module: Run, options: dict[str, Any], place: Path) -> dict[str, Any]:
    """Check mode touches nothing and foresees what then happens once."""
    before = snapshot(place)
    foreseen = module("kernel_source", options, check=True)
    assert foreseen.get("msg") is None and snapshot(place) == before
    made = module("kernel_source", options)
    assert made.get("msg") is None and made["changed"] and foreseen["changed"]
    assert foreseen["diff"] == made["diff"] and foreseen["reason"] == made["reason"]
    after = snapshot(place)
    for check in (True, False):
        again = module("kernel_source", options, check=check)
        assert not again["changed"] and again["reason"] is None and "diff" not in again
        assert again["fingerprint"] == made["fingerprint"] == foreseen["fingerprint"]
    assert snapshot(place) == after and sorted(os.listdir(place)) == [".lock", Path(options["path"]).name]
    return made


@pytest.mark.parametrize("suffix", ["xz", "bz2", "gz", "zst", ""])
def test_an_archive_of_every_compression(
    suffix: str, module: Run, tree: Path, place: Path, tmp_path: Path
) -> None:
    archive = pack(tree, tmp_path / f"source.tar{suffix and '.'}{suffix}")
    made = proven(module, {"path": str(place / "linux"), "archive": str(archive)}, place)
    assert content(place / "linux") == content(tree) and made["version"] == "6.1.7"
    assert made["source"] == {"kind": "archive", "sha256": sha256(archive)}


def test_an_archive_without_a_folder_of_its_own(module: Run, tree: Path, place: Path, tmp_path: Path) -> None:
    subprocess.run(["tar", "-czf", tmp_path / "flat.tgz", "-C", tree, "."], check=True)
    proven(module, {"path": str(place / "linux"), "archive": str(tmp_path / "flat.tgz")}, place)
    assert content(place / "linux") == content(tree)


@pytest.mark.parametrize("suffix", ["", ".gz", ".bz2", ".xz", ".zst"])
def test_patches_are_applied_in_order(
    suffix: str, module: Run, archive: Path, place: Path, patches: dict[str, Path]
) -> None:
    tools = {".gz": "gzip", ".bz2": "bzip2", ".xz": "xz", ".zst": "zstd"}
    for name in ("returns", "parent"):
        if suffix:
            subprocess.run([tools[suffix], "-q", patches[name]], check=True)
    declared = [
        {"src": f"{patches['returns']}{suffix}", "sha256": sha256(Path(f"{patches['returns']}{suffix}"))},
        {"src": f"{patches['parent']}{suffix}", "strip": 0, "directory": ".."},
    ]
    options = {"path": str(place / "linux"), "archive": str(archive), "patches": declared}
    made = proven(module, options, place)
    assert "return 11;" in (place / "linux/kernel/sched.c").read_text()
    assert "22;" in (place / "linux/kernel/fork.c").read_text()
    assert [patch["name"] for patch in made["patches"]] == [Path(one["src"]).name for one in declared]
    fewer = proven(module, {**options, "patches": declared[1:]}, place)
    assert fewer["reason"] == "the patches are others" and fewer["fingerprint"] != made["fingerprint"]
    assert "return 1;" in (place / "linux/kernel/sched.c").read_text()
    assert f"-patch: returns.patch{suffix}" not in fewer["diff"]["after"]
    assert f"patch: returns.patch{suffix} -p1 in ." in fewer["diff"]["before"]


def test_a_patch_in_a_folder_of_the_tree(
    module: Run, archive: Path, place: Path, patches: dict[str, Path]
) -> None:
    declared = [{"src": str(patches["returns"]), "strip": 2, "directory": "kernel"}]
    proven(module, {"path": str(place / "linux"), "archive": str(archive), "patches": declared}, place)
    assert "return 11;" in (place / "linux/kernel/sched.c").read_text()


FAULTS = {
    "torn": ({}, "hunk #1 of kernel/sched.c at line 1 (@@ -1,4 +1,4 @@) does not fit"),
    "lost": ({}, "b/old/kernel/sched.c names a file that is not there"),
    "beside": ({"strip": 0, "directory": ".."}, "linux-6.1.8 would come to lie beside the tree"),
    "outside": ({}, "outside.patch"),
    "garbage": ({}, "Only garbage was found in the patch input"),
    "returns": ({"directory": "no/such"}, "the tree has no folder no/such"),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("there", [False, True])
def test_a_patch_that_does_not_apply_leaves_the_tree_as_it_was(
    fault: str, there: bool, module: Run, archive: Path, place: Path, patches: dict[str, Path], tmp_path: Path
) -> None:
    options = {"path": str(place / "linux"), "archive": str(archive)}
    if there:
        module("kernel_source", options)
    before = content(place)
    settings, said = FAULTS[fault]
    declared = [
        {"src": str(patches["parent"]), "strip": 0, "directory": ".."},
        {"src": str(patches[fault]), **settings},
    ]
    failed = module("kernel_source", {**options, "patches": declared})
    assert failed["failed"] and said in failed["msg"] and "\n" not in failed["msg"]
    assert content(place) == before and not (tmp_path / "evil").exists()
    assert sorted(os.listdir(place)) == [".lock", *(["linux"] if there else [])]


def test_a_patch_that_is_already_in_the_source_is_no_success(
    module: Run, archive: Path, place: Path, patches: dict[str, Path]
) -> None:
    twice = [{"src": str(patches["returns"])}] * 2
    failed = module(
        "kernel_source", {"path": str(place / "linux"), "archive": str(archive), "patches": twice}
    )
    assert "patch 2 of 2" in failed["msg"] and "kernel/sched.c is already in the source" in failed["msg"]


def test_a_patch_that_fits_only_nearly_is_told(
    module: Run, archive: Path, place: Path, patches: dict[str, Path]
) -> None:
    patches["returns"].write_text(patches["returns"].read_text().replace(" int schedule", " long schedule"))
    declared = [{"src": str(patches["returns"])}]
    made = module(
        "kernel_source", {"path": str(place / "linux"), "archive": str(archive), "patches": declared}
    )
    assert made["changed"] and "1 of its hunks fit only" in str(made["warnings"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"archive": "/no/such.tar.xz"}, "archive: cannot read /no/such.tar.xz: No such file"),
        ({"sha256": "0" * 64}, "archive: the sha256 of"),
        ({"sha256": "abc"}, "sha256: 'abc' is no SHA-256 sum"),
        ({"archive": "https://kernel.invalid/linux.tar.xz"}, "sha256: it is missing"),
        ({"path": "/no/such/folder/linux"}, "the folder /no/such/folder does not exist"),
        ({"path": "linux"}, "path: linux is no absolute path"),
        ({"patches": [{"src": "/no/such.patch"}]}, "patches: element 1: cannot read /no/such.patch"),
        ({"patches": [{"src": "{patch}", "sha256": "0" * 64}]}, "patches: element 1: the sha256 of"),
        ({"patches": [{"src": "{patch}", "strip": -1}]}, "patches: element 1: strip -1"),
        ({"patches": [{"src": "{patch}", "directory": "../.."}]}, "neither inside the tree nor '..'"),
        ({"patches": [{"src": "{patch}", "directory": "/etc"}]}, "neither inside the tree nor '..'"),
        ({"archive": None, "git": "--upload-pack=x"}, "git: '--upload-pack=x' cannot be meant"),
        ({"archive": None, "package": "../etc"}, "package: '../etc' is no name"),
        ({"archive": None, "package": "linux-source-0.0"}, "apt knows no package linux-source-0.0"),
        ({"archive": None}, "one of the following is required: package, archive, git"),
        ({"package": "linux-source-6.1"}, "mutually exclusive"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    change: dict[str, Any], said: str, module: Run, archive: Path, place: Path, patches: dict[str, Path]
) -> None:
    change = json.loads(json.dumps(change).replace("{patch}", str(patches["returns"])))
    wanted = {"path": str(place / "linux"), "archive": str(archive), **change}
    wanted = {name: value for name, value in wanted.items() if value is not None}
    for check in (True, False):
        failed = module("kernel_source", wanted, check=check)
        assert failed["failed"] and said in failed["msg"] and os.listdir(place) == []


def test_a_folder_of_others_is_never_replaced(module: Run, tree: Path, archive: Path, place: Path) -> None:
    shutil.copytree(tree, place / "linux")
    before = snapshot(place)
    failed = module("kernel_source", {"path": str(place / "linux"), "archive": str(archive)})
    assert "was not made by kernel_source" in failed["msg"] and snapshot(place) == before


def test_a_truncated_archive_is_one_clear_error(module: Run, archive: Path, place: Path) -> None:
    archive.write_bytes(archive.read_bytes()[:-300])
    failed = module("kernel_source", {"path": str(place / "linux"), "archive": str(archive)})
    assert f"cannot unpack {archive}" in failed["msg"] and "fetch it again" in failed["msg"]
    assert os.listdir(place) == [".lock"]


def test_what_is_no_kernel_is_refused(module: Run, place: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other/Makefile").write_text("all:\n")
    archive = pack(tmp_path / "other", tmp_path / "other.tar.gz")
    failed = module("kernel_source", {"path": str(place / "linux"), "archive": str(archive)})
    assert "does not set VERSION and PATCHLEVEL" in failed["msg"] and os.listdir(place) == [".lock"]


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, 0o644
    info.size = len(b"evil") if kind == tarfile.REGTYPE else 0
    return info


HOSTILE = {
    "above": [member("linux/../../evil")],
    "absolute": [member("/{}/evil")],
    "link out": [member("linux/link", tarfile.SYMTYPE, "../../..")],
    "through a link": [
        member("linux/link", tarfile.SYMTYPE, "../.."),
        member("linux/link/evil"),
    ],
    "link to the root": [member("linux/link", tarfile.SYMTYPE, "/etc")],
    "hard link": [member("linux/link", tarfile.LNKTYPE, "../../evil")],
    "pipe": [member("linux/pipe", tarfile.FIFOTYPE)],
}


@pytest.mark.parametrize("case", HOSTILE)
def test_an_archive_that_leads_out_is_refused(
    case: str, module: Run, tree: Path, place: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "hostile.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tree, "linux")
        for info in HOSTILE[case]:
            info = member(info.name.format(str(tmp_path).strip("/")), info.type, info.linkname)
            tar.addfile(info, io.BytesIO(b"evil") if info.size else None)
    failed = module("kernel_source", {"path": str(place / "linux"), "archive": str(archive)})
    # tar itself never opens what lies behind a link of the archive
    assert "unsafe" in failed["msg"] or "linux/link/evil: Cannot open: Not a directory" in failed["msg"]
    assert os.listdir(place) == [".lock"] and not list(tmp_path.rglob("evil"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Its address and what it was asked; a name with ``cut`` is promised whole and sent in part."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:  # noqa: N802
            asked.append(self.path)
            if "cut" not in self.path:
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Length", "1000000")
            self.end_headers()
            self.wfile.write(b"x" * 1000)

        def log_message(self, *_arguments: Any) -> None:
            pass

    serving = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path))
    )
    thread = threading.Thread(target=serving.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{serving.server_port}", asked
    serving.shutdown()
    thread.join()
    serving.server_close()


def test_an_archive_is_fetched_once(
    module: Run, archive: Path, place: Path, server: tuple[str, list[str]], tmp_path: Path
) -> None:
    address, asked = server
    options = {
        "path": str(place / "linux"),
        "archive": f"{address}/{archive.name}",
        "sha256": sha256(archive),
        "cache": str(tmp_path / "cache"),
    }
    proven(module, options, place)
    shutil.rmtree(place / "linux")
    proven(module, options, place)
    assert asked == [f"/{archive.name}"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("{archive}", "nothing of it was kept"),
        ("missing.tar.xz", "cannot fetch"),
        ("cut.tar.xz", "ended after 1000 of 1000000 bytes"),
    ],
)
def test_what_the_network_gave_is_proven(
    name: str,
    said: str,
    module: Run,
    archive: Path,
    place: Path,
    server: tuple[str, list[str]],
    tmp_path: Path,
) -> None:
    address = f"{server[0]}/{name.format(archive=archive.name)}"
    cache = tmp_path / "cache"
    options = {
        "path": str(place / "linux"),
        "archive": address,
        "sha256": "ab" * 32,
        "cache": str(cache),
    }
    failed = module("kernel_source", options)
    assert failed["failed"] and said in failed["msg"] and address in failed["msg"]
    assert os.listdir(place) == [".lock"] and os.listdir(cache) == []


@pytest.fixture
def repository(tree: Path) -> Path:
    git(tree, "init", "--quiet", "--initial-branch=main")
    git(tree, "add", ".")
    git(tree, "commit", "--quiet", "--message=one")
    git(tree, "tag", "--annotate", "--message=one", "v6.1.7")
    (tree / "Makefile").write_text((tree / "Makefile").read_text().replace("SUBLEVEL = 7", "SUBLEVEL = 8"))
    git(tree, "commit", "--quiet", "--all", "--message=two")
    return tree


def git(tree: Path, *words: str) -> str:
    who = {f"GIT_{role}_{what}": "a@b" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return subprocess.run(
        ["git", *words], cwd=tree, check=True, capture_output=True, text=True, env={**os.environ, **who}
    ).stdout.strip()


@pytest.mark.parametrize(
    ("ref", "version"), [("v6.1.7", "6.1.7"), ("main", "6.1.8"), ("HEAD", "6.1.8"), ("v6.1.7^{}", "6.1.7")]
)
def test_a_git_tree(ref: str, version: str, module: Run, repository: Path, place: Path) -> None:
    commit = git(repository, "rev-parse", f"{ref}^{{commit}}" if "^" not in ref else ref)
    wanted = commit if "^" in ref else ref
    made = proven(module, {"path": str(place / "linux"), "git": f"file://{repository}", "ref": wanted}, place)
    assert made["version"] == version and made["source"] == {"kind": "git", "commit": commit}
    assert not (place / "linux/.git").exists()


def test_a_branch_moves_on(module: Run, repository: Path, place: Path) -> None:
    options = {"path": str(place / "linux"), "git": str(repository), "ref": "main"}
    proven(module, options, place)
    git(repository, "commit", "--quiet", "--allow-empty", "--message=three")
    assert proven(module, options, place)["reason"].endswith("was made from another source")


@pytest.mark.parametrize(
    ("address", "ref"), [("{}", "nothing"), ("{}/missing", "main"), ("ext::true", "main")]
)
def test_a_git_tree_that_is_not_there(
    address: str, ref: str, module: Run, repository: Path, place: Path
) -> None:
    options = {"path": str(place / "linux"), "git": address.format(repository), "ref": ref}
    failed = module("kernel_source", options)
    assert failed["failed"] and "\n" not in failed["msg"] and os.listdir(place) == []


@pytest.mark.root
def test_no_space_is_one_clear_error(module: Run, tree: Path, place: Path, tmp_path: Path) -> None:
    (tree / "large").write_bytes(bytes(1 << 20))
    archive = pack(tree, tmp_path / "large.tar.gz")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", place], check=True)
    try:
        failed = module("kernel_source", {"path": str(place / "linux"), "archive": str(archive)})
        assert "No space left" in failed["msg"] and "make room" in failed["msg"]
        assert os.listdir(place) == [".lock"]
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize("moment", [".linux.partial", ".linux.partial/linux-6.1.7/large", ".linux.new"])
@pytest.mark.parametrize("there", [False, True])
def test_a_kill_leaves_the_old_tree_or_the_new_one(
    moment: str, there: bool, module: Run, tree: Path, place: Path, patches: dict[str, Path], tmp_path: Path
) -> None:
    (tree / "large").write_bytes(os.urandom(24 << 20))
    archive = pack(tree, tmp_path / "large.tar.gz")
    options: dict[str, Any] = {"path": str(place / "linux"), "archive": str(archive)}
    if there:
        assert module("kernel_source", options)["changed"]
    wanted = {**options, "patches": [{"src": str(patches["returns"])}]}
    process = start_module("kernel_source", wanted)
    deadline = time.monotonic() + 60
    while not (place / moment).exists() and process.poll() is None:
        assert time.monotonic() < deadline, f"never came to {moment}"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert there or not (place / "linux").exists() or (place / "linux" / MARK).exists()
    if (place / "linux").exists():
        mark = json.loads((place / "linux" / MARK).read_text())
        patched = "return 11;" in (place / "linux/kernel/sched.c").read_text()
        assert patched == bool(mark["patches"])
        assert (place / "linux/large").read_bytes() == (tree / "large").read_bytes()
    again = module("kernel_source", wanted)
    assert again.get("msg") is None and not module("kernel_source", wanted)["changed"]
    assert "return 11;" in (place / "linux/kernel/sched.c").read_text()
    assert sorted(os.listdir(place)) == [".lock", "linux"]


def test_a_package_is_taken_without_installing_it(module: Run, tree: Path, place: Path) -> None:
    """Debian's real tools on a package of our own, from apt's own lists to the archive inside."""
    failed = module("kernel_source", {"path": str(place / "linux"), "package": "coreutils"})
    assert "coreutils holds 0 archives in /usr/src instead of one" in failed["msg"]
    assert set(os.listdir(place)) <= {".lock"}
