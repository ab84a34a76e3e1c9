# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""kernel_build: kernels of three build systems, built when something changed, installed whole or not at all."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from adhoc import ENVIRONMENT
from conftest import Run, snapshot, start_module
from kernel_trees import CONFIG, make_tree

sys.path.insert(0, str(Path(__file__).parents[1] / "fixtures"))
import debian_source

from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_build_expected import expected_files
from ansible_collections.oneimage.cluster.plugins.module_utils._kernel_image import read_kernel_image

RELEASES = {"2.4": "2.4.22-om1-site", "2.6": "2.6.20-site", "6.x": "6.1.7-site"}
STAMP, LOG = ".oneimage-build.json", ".oneimage-build.log"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return make_tree(tmp_path / "linux", "6.x")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


def wanted(tree: Path, root: Path | None, **more: Any) -> dict[str, Any]:
    """Options for ``tree``; what they do not name is what the module chooses itself."""
    config = tree.with_name("site.config")
    if not config.exists():
        config.write_text(CONFIG)
    options = {"source": str(tree), "config": str(config), "localversion": "-site", "jobs": 2}
    return {**options, **({"root": str(root)} if root else {}), **more}


def built(module: Run, options: dict[str, Any]) -> dict[str, Any]:
    done = module("kernel_build", options)
    assert done.get("msg") is None, done["msg"]
    return done


def unchanged(module: Run, options: dict[str, Any], *folders: Path) -> None:
    before = [snapshot(folder) for folder in folders]
    for check in (True, False):
        again = module("kernel_build", options, check=check)
        assert again.get("msg") is None and not again["changed"] and again["reason"] is None
        assert "diff" not in again and again["files"] == 0
    assert [snapshot(folder) for folder in folders] == before


@pytest.mark.parametrize("style", RELEASES)
def test_every_build_system_from_source_to_root(style: str, module: Run, root: Path, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "linux", style)
    build = tree if style == "2.4" else tmp_path / "linux-build"
    options = wanted(tree, root)
    before = snapshot(tmp_path)
    foreseen = module("kernel_build", options, check=True)
    assert foreseen["changed"] and foreseen["built"] and foreseen["release"] is None
    assert snapshot(tmp_path) == before
    done = built(module, options)
    release = RELEASES[style]
    assert done["changed"] and done["built"] and done["release"] == release and done["build"] == str(build)
    assert done["reason"] == foreseen["reason"] == f"nothing was built in {build} yet"
    assert "architecture:" in foreseen["diff"]["after"] and foreseen["diff"]["before"] == ""
    assert done["files"] == 4 and "gcc" in done["toolchain"]["cc"] and done["seconds"]["total"] > 0
    assert (root / f"boot/vmlinuz-{release}").read_bytes() == Path(done["image"]).read_bytes()
    assert "do_fork" in (root / f"boot/System.map-{release}").read_text()
    assert "CONFIG_NEW=y" in (root / f"boot/config-{release}").read_text()
    modules = root / "lib/modules" / release
    assert (modules / "modules.dep").read_text() == "kernel/drivers/net/fast.ko:\n"
    assert not (modules / "build").is_symlink() and not (modules / "source").is_symlink()
    stripped = b".debug_info" not in (modules / "kernel/drivers/net/fast.ko").read_bytes()
    assert stripped and sorted(os.listdir(root / "lib/modules")) == [release]
    assert done["installed"] == {
        "kernel": str(root / f"boot/vmlinuz-{release}"),
        "system_map": str(root / f"boot/System.map-{release}"),
        "config": str(root / f"boot/config-{release}"),
        "modules": str(modules),
        "headers": None,
    }
    unchanged(module, options, tree, build, root)


def test_modules_that_are_wanted_whole(module: Run, tree: Path, root: Path) -> None:
    options = wanted(tree, root)
    built(module, options)
    done = built(module, {**options, "strip_modules": False})
    assert done["changed"] and not done["built"] and done["reason"] == f"not in {root} as built: modules"
    module_file = Path(done["installed"]["modules"]) / "kernel/drivers/net/fast.ko"
    assert b".debug_info" in module_file.read_bytes()


def test_a_kernel_without_modules(module: Run, tree: Path, root: Path) -> None:
    options = wanted(tree, root)
    Path(options["config"]).write_text("# CONFIG_MODULES is not set\n")
    done = built(module, options)
    assert done["changed"] and "warnings" not in done
    assert (root / "lib/modules/6.1.7-site/modules.dep").read_text() == ""
    unchanged(module, options, tree, root)


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize("style", ["2.4", "6.x"])
def test_an_edit_compiles_what_changed(style: str, module: Run, root: Path, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "linux", style)
    options = wanted(tree, root)
    built(module, options)
    edit(tree / "kernel/sched.c", "return 1", "return 7")
    foreseen = module("kernel_build", options, check=True)
    done = built(module, options)
    assert foreseen["reason"] == done["reason"] == "changed: files" and done["files"] == 1
    assert (root / f"boot/vmlinuz-{RELEASES[style]}").read_bytes() == Path(done["image"]).read_bytes()
    unchanged(module, options, tree, root)


def test_another_option_of_the_configuration(module: Run, tree: Path, root: Path) -> None:
    options = wanted(tree, root)
    built(module, options)
    edit(Path(options["config"]), "CONFIG_SMP=y", "CONFIG_SMP=n")
    done = built(module, options)
    assert done["reason"] == "changed: configuration"
    assert "CONFIG_SMP=n" in Path(done["installed"]["config"]).read_text()
    unchanged(module, options, tree, root)


def test_the_configuration_may_lie_in_the_build_folder(module: Run, tree: Path, root: Path) -> None:
    """As kernel_config leaves it there; that make completes it is no change."""
    build = tree.with_name("linux-build")
    build.mkdir()
    (build / ".config").write_text(CONFIG)
    options = {**wanted(tree, root), "config": None}
    done = built(module, options)
    assert "CONFIG_NEW=y" in (build / ".config").read_text() and done["release"] == "6.1.7-site"
    unchanged(module, options, tree, build, root)
    edit(build / ".config", "CONFIG_SMP=y", "CONFIG_SMP=n")
    assert built(module, options)["reason"] == "changed: configuration"
    unchanged(module, options, tree, build, root)


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"make_variables": {"KCFLAGS": "-DSITE=1"}}, "variables"),
        ({"targets": ["bzImage"]}, "targets"),
        ({"localversion": "-other"}, "variables"),
        ({"cc": "{cc}"}, "toolchain, variables"),
        ({"architecture": "i386"}, "architecture, variables"),
    ],
)
def test_other_options_build_again(
    change: dict[str, Any], part: str, module: Run, tree: Path, root: Path, tmp_path: Path
) -> None:
    options = wanted(tree, root)
    built(module, options)
    compiler = script(tmp_path / "cc", 'case "$1" in --version) echo "site cc 9";; *) exec gcc "$@";; esac')
    change = json.loads(json.dumps(change).replace("{cc}", str(compiler)))
    done = built(module, {**options, **change})
    assert done["built"] and done["reason"] == f"changed: {part}"
    assert done["files"] == (4 if "toolchain" in part or "architecture" in part else 0)
    unchanged(module, {**options, **change}, tree, root)


def test_variables_reach_the_compiler_and_the_environment_does_not(
    module: Run, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "kernel/sched.c").write_text("#if SITE != 7\n#error not told\n#endif\nint schedule;\n")
    monkeypatch.setenv("KCFLAGS", "-DSITE=7")
    failed = module("kernel_build", wanted(tree, None))
    assert "kernel/sched.c:2:2: error: #error not told" in failed["msg"]
    assert built(module, wanted(tree, None, make_variables={"KCFLAGS": "-DSITE=7"}))["built"]


def script(path: Path, body: str) -> Path:
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def test_another_source_starts_afresh(module: Run, tree: Path, root: Path) -> None:
    """A tree whose files got older, as when a patch is taken away: dates alone would not tell make."""
    mark = {"fingerprint": "1" * 64}
    (tree / ".oneimage-source.json").write_text(json.dumps(mark))
    options = wanted(tree, root)
    built(module, options)
    edit(tree / "kernel/sched.c", "return 1", "return 7")
    os.utime(tree / "kernel/sched.c", (0, 0))
    (tree / ".oneimage-source.json").write_text(json.dumps({"fingerprint": "2" * 64}))
    done = built(module, options)
    assert done["reason"] == "changed: source, files" and done["files"] == 4


@pytest.mark.parametrize("there", [False, True])
def test_a_failed_build_is_never_a_finished_one(there: bool, module: Run, tree: Path, root: Path) -> None:
    options = wanted(tree, root)
    if there:
        built(module, options)
    before = snapshot(root)
    edit(tree / "kernel/sched.c", "return 1;", "return undeclared;")
    for attempt in ("first", "second"):
        failed = module("kernel_build", options)
        assert failed["failed"], attempt
        assert "kernel/sched.c:3:16: error: " in failed["msg"] and "undeclared" in failed["msg"]
        assert "\n" not in failed["msg"] and str(tree.with_name("linux-build") / LOG) in failed["msg"]
    assert snapshot(root) == before
    assert "CC      kernel/sched.o" in (tree.with_name("linux-build") / LOG).read_text()
    edit(tree / "kernel/sched.c", "return undeclared;", "return 1;")
    mended = built(module, options)
    assert mended["reason"] == "the last build did not come to its end" and mended["built"]
    unchanged(module, options, tree, root)


def test_a_kernel_that_was_removed_is_built_again(module: Run, tree: Path, root: Path) -> None:
    options = wanted(tree, root)
    done = built(module, options)
    Path(done["image"]).unlink()
    assert built(module, options)["reason"] == f"{done['image']} is not as it was built"
    (root / "boot/vmlinuz-6.1.7-site").write_bytes(b"torn")
    mended = built(module, options)
    assert not mended["built"] and mended["reason"] == f"not in {root} as built: vmlinuz-6.1.7-site"
    unchanged(module, options, tree, root)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"source": "/no/such"}, "/no/such is no source tree of a kernel"),
        ({"config": "/no/such.config"}, "config: cannot read /no/such.config: No such file"),
        ({"config": None}, "make one with kernel_config"),
        ({"root": "/no/such"}, "root: the folder /no/such does not exist"),
        ({"build": "/no/such/folder"}, "build: the folder /no/such does not exist"),
        ({"packages": "/no/such"}, "packages: the folder /no/such does not exist"),
        ({"cc": "gcc-2.95"}, "not found on this host: gcc-2.95; install gcc, or set cc"),
        ({"cross_compile": "no-such-"}, "no-such-gcc, no-such-ld; install binutils-no-such, gcc-no-such"),
        ({"architecture": "vax"}, "architecture: vax is none of those known here: aarch64, arm, i386"),
        ({"localversion": "-a b"}, "localversion: '-a b' may have"),
        ({"localversion": "$(id)"}, "localversion: '$(id)' may have"),
        ({"targets": ["mrproper"]}, "targets: 'mrproper' is not for the building"),
        ({"targets": ["install"]}, "targets: 'install' is not for the building"),
        ({"targets": ["-f/etc/evil"]}, "targets: '-f/etc/evil'"),
        ({"targets": ["modules_install"]}, "targets: there is none that builds a kernel"),
        ({"make_variables": {"CC": "gcc"}}, "make_variables: CC has an option of its own, cc"),
        ({"make_variables": {"A=b": "c"}}, "make_variables: 'A=b' is no name"),
        ({"jobs": 0}, "jobs: 0 is less than 1"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    change: dict[str, Any], said: str, module: Run, tree: Path, root: Path, tmp_path: Path
) -> None:
    options = {**wanted(tree, root), **change}
    before = snapshot(tmp_path)
    for check in (True, False):
        failed = module("kernel_build", options, check=check)
        assert failed["failed"] and said in failed["msg"] and "\n" not in failed["msg"]
    assert snapshot(tmp_path) == before


def test_an_old_tree_is_built_in_itself(module: Run, root: Path, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "linux", "2.4")
    failed = module("kernel_build", wanted(tree, root, build=str(tmp_path / "elsewhere")))
    assert "can only be built in its own tree" in failed["msg"]


def test_the_words_of_a_guide_are_understood(module: Run, root: Path, tmp_path: Path) -> None:
    tree = make_tree(tmp_path / "linux", "2.4")
    options = wanted(tree, root, targets=["dep", "bzImage", "modules", "modules_install"])
    assert built(module, options)["release"] == RELEASES["2.4"]
    missing = wanted(make_tree(tmp_path / "other", "2.4"), root, targets=["bzImage", "modules"])
    assert "no dependencies, run make dep" in module("kernel_build", missing)["msg"]


def test_a_kernel_of_others_is_never_replaced(module: Run, tree: Path, root: Path) -> None:
    (root / "boot").mkdir()
    (root / "boot/vmlinuz-6.1.7-site").write_bytes(b"a distribution's")
    before = snapshot(root)
    failed = module("kernel_build", wanted(tree, root))
    assert "was not installed by kernel_build" in failed["msg"] and "set localversion" in failed["msg"]
    assert snapshot(root) == before
    other = built(module, wanted(tree, root, localversion="-ours"))
    assert (root / "boot/vmlinuz-6.1.7-site").read_bytes() == b"a distribution's"
    assert other["release"] == "6.1.7-ours"


def test_a_merged_usr_is_followed_inside_the_root(module: Run, tree: Path, root: Path) -> None:
    (root / "usr/lib").mkdir(parents=True)
    (root / "lib").symlink_to("/usr/lib")
    built(module, wanted(tree, root))
    assert (root / "usr/lib/modules/6.1.7-site/modules.dep").is_file()


def test_headers_for_modules_of_others(module: Run, tree: Path, root: Path) -> None:
    options = wanted(tree, root, headers=True)
    done = built(module, options)
    headers = root / "usr/src/linux-headers-6.1.7-site"
    assert done["installed"]["headers"] == str(headers)
    assert os.readlink(root / "lib/modules/6.1.7-site/build") == "/usr/src/linux-headers-6.1.7-site"
    for path in (
        "include/linux/sched.h",
        "arch/x86/include/asm/page.h",
        "scripts/sign",
        "Makefile",
        ".config",
    ):
        assert (headers / path).is_file(), path
    assert (headers / "include/config/kernel.release").read_text() == "6.1.7-site\n"
    unchanged(module, options, tree, root)
    shutil.rmtree(headers)
    assert built(module, options)["reason"] == f"not in {root} as built: headers"


def test_packages(module: Run, tree: Path, tmp_path: Path) -> None:
    folder = tmp_path / "packages"
    folder.mkdir()
    options = wanted(tree, None, packages=str(folder))
    done = built(module, options)
    name = "linux-image-6.1.7-site_1_all.deb"
    assert done["packages"] == [str(folder / name)] and done["installed"] is None
    assert sorted(os.listdir(folder)) == [
        name,
        "linux-upstream_1_all.buildinfo",
        "linux-upstream_1_all.changes",
    ]
    assert not list(tmp_path.glob("*.deb"))
    unchanged(module, options, tree, folder)
    (folder / name).unlink()
    again = built(module, options)
    assert not again["built"] and again["reason"] == f"packages are missing in {folder}"


@pytest.mark.root
@pytest.mark.parametrize("place", ["linux-build", "root"])
def test_no_space_is_one_clear_error(place: str, module: Run, tree: Path, root: Path, tmp_path: Path) -> None:
    (tree / "kernel/fork.c").write_text("int do_fork[1 << 18] = {1};\n")
    (tmp_path / "linux-build").mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "none", tmp_path / place], check=True)
    try:
        failed = module("kernel_build", wanted(tree, root))
        assert "No space left" in failed["msg"] and "\n" not in failed["msg"]
        assert not list(root.glob("boot/vmlinuz*"))
    finally:
        subprocess.run(["umount", tmp_path / place], check=True)
    assert built(module, wanted(tree, root))["changed"]


def stop_at(path: Path, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 60
    while not os.path.lexists(path) and process.poll() is None:
        assert time.monotonic() < deadline, f"never came to {path}"
    process.send_signal(signal.SIGKILL)
    process.communicate()


@pytest.mark.parametrize("moment", ["scripts/sign", "init/main.o", "arch/x86/boot/bzImage"])
@pytest.mark.parametrize("inside", [False, True])
def test_a_killed_build_goes_on(
    moment: str, inside: bool, module: Run, tree: Path, root: Path, tmp_path: Path
) -> None:
    """Also with its configuration in the build folder, which cleaning removes."""
    build = tmp_path / "linux-build"
    slow = script(tmp_path / "cc", 'case "$1" in --version) ;; *) sleep 0.2;; esac\nexec gcc "$@"')
    options = wanted(tree, root, cc=str(slow))
    if inside:
        build.mkdir()
        Path(options.pop("config")).rename(build / ".config")
    stop_at(build / moment, start_module("kernel_build", options))
    assert not list(root.glob("boot/vmlinuz*"))
    stamp = json.loads((build / STAMP).read_text())
    done = built(module, options)
    assert done["changed"] and (stamp["state"] == "building") == done["built"]
    assert (root / "boot/vmlinuz-6.1.7-site").read_bytes() == Path(done["image"]).read_bytes()
    unchanged(module, options, tree, build, root)


@pytest.mark.parametrize(
    "moment",
    ["lib/modules/.6.1.7-site.partial", "lib/modules/6.1.7-site", "boot/config-6.1.7-site"],
)
def test_a_killed_installation_is_finished_by_the_next_run(
    moment: str, module: Run, tree: Path, root: Path
) -> None:
    options = wanted(tree, root)
    built(module, wanted(tree, None))
    stop_at(root / moment, start_module("kernel_build", options))
    modules = root / "lib/modules/6.1.7-site"
    assert not modules.exists() or (modules / "modules.dep").is_file()
    assert not (root / "boot/vmlinuz-6.1.7-site").exists() or modules.exists()
    done = module("kernel_build", options)
    assert done.get("msg") is None and not done["built"]
    unchanged(module, options, tree, root)
    assert sorted(os.listdir(root / "lib/modules")) == ["6.1.7-site"]


def test_two_builds_in_one_folder_do_not_meet(module: Run, tree: Path, root: Path, tmp_path: Path) -> None:
    slow = script(tmp_path / "cc", 'case "$1" in --version) ;; *) sleep 0.2;; esac\nexec gcc "$@"')
    options = wanted(tree, root, cc=str(slow))
    processes = [start_module("kernel_build", options) for _number in range(2)]
    results = [json.loads(process.communicate(timeout=120)[0]) for process in processes]
    assert all(result.get("msg") is None for result in results), results
    assert sorted(result["files"] for result in results) == [0, 4]
    unchanged(module, options, tree, root)


def through_ansible(options: dict[str, Any], folder: Path) -> tuple[str, dict[str, Any]]:
    """What was printed on the way, and the result."""
    argv = [sys.executable, "-m", "ansible", "adhoc", "localhost", "-m", "oneimage.cluster.kernel_build"]
    done = subprocess.run(
        [*argv, "-a", json.dumps(options)],
        capture_output=True,
        text=True,
        cwd=folder,
        timeout=300,
        check=False,
        env={**os.environ, **ENVIRONMENT},
    )
    printed, arrow, text = done.stdout.partition("localhost | ")
    assert arrow, done.stdout + done.stderr
    return printed, json.JSONDecoder().raw_decode(text.partition(" => ")[2])[0]


def test_the_controller_prints_how_far_it_is(tree: Path, root: Path, tmp_path: Path) -> None:
    slow = script(tmp_path / "cc", 'case "$1" in --version) ;; *) sleep 2;; esac\nexec gcc "$@"')
    options = wanted(tree, root, cc=str(slow), progress=1, jobs=1)
    printed, done = through_ansible(options, tmp_path)
    assert done["changed"] and done["release"] == "6.1.7-site" and done["files"] == 4, done
    # 3 in the kernel, 1 module and what kernels add to every module
    assert "compiling: 2 of about 5 files" in printed
    assert not {"ansible_job_id", "results_file", "finished", "started"} & set(done)
    printed, done = through_ansible(options, tmp_path)
    assert not done["changed"] and printed == ""


def test_the_controller_shows_the_first_error(tree: Path, tmp_path: Path) -> None:
    edit(tree / "kernel/sched.c", "return 1;", "return undeclared;")
    for progress in (0, 1):
        failed = through_ansible(wanted(tree, None, progress=progress), tmp_path)[1]
        assert "kernel/sched.c:3:16: error: " in failed["msg"], failed


@pytest.mark.slow
@pytest.mark.root
def test_a_kernel_from_debians_source(module: Run, root: Path, tmp_path: Path) -> None:
    """The smallest that there is; its tree and its build are kept, for they take minutes to make."""
    tree = debian_source.unpack()
    if isinstance(tree, str):
        pytest.skip(tree)
    build = debian_source.CACHE / "tiny" / "build"
    build.parent.mkdir(exist_ok=True)
    source = module("kernel_source", {"path": str(tree), "package": debian_source.package()})
    assert source.get("msg") is None, source["msg"]
    assert not source["changed"]
    argv = ["make", "-s", f"O={tmp_path / 'tiny'}", "tinyconfig"]
    subprocess.run(argv, cwd=tree, check=True, capture_output=True)
    options = {
        "source": str(tree),
        "config": str(tmp_path / "tiny/.config"),
        "build": str(build),
        "localversion": "-tiny",
        "architecture": "x86_64",
        "root": str(root),
    }
    done = built(module, options)
    assert done["changed"] and done["release"] == f"{source['version']}-tiny"
    kernel = read_kernel_image(Path(done["installed"]["kernel"]))
    assert kernel.release == done["release"]
    if done["files"] > 300:  # not only the few that an earlier build had left
        config = Path(done["installed"]["config"]).read_text()
        assert expected_files(tree, "x86", config) == pytest.approx(done["files"], rel=0.2)
    unchanged(module, options, root)
