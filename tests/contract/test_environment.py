"""The modules environment and environment_info as processes of their own, on registries in a temporary folder."""

from __future__ import annotations

import copy
import hashlib
import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from adhoc import run_task
from conftest import Run, snapshot
from environment_case import DESCRIBED, make_image, options, registered


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return make_image(tmp_path / "x.tgz")


def described(**fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(DESCRIBED), **fields}


def warned(result: dict[str, Any]) -> list[str]:
    """The warnings of a module, which newer versions of Ansible wrap."""
    return [one if isinstance(one, str) else one["event"]["msg"] for one in result["warnings"]]


def shown(module: Run, registry: Path, **more: Any) -> list[tuple[str, str, int]]:
    found = module("environment_info", options(registry, **more))
    return [(one["owner"], one["name"], one["version"]) for one in found["environments"]]


def test_first_run_second_run_and_check(module: Run, registry: Path, image: Path) -> None:
    before = snapshot(registry.parent)
    predicted = module("environment", registered(registry, image), check=True)
    assert snapshot(registry.parent) == before
    first = module("environment", registered(registry, image))
    written = snapshot(registry)
    second = module("environment", registered(registry, image))
    assert snapshot(registry) == written
    assert predicted == first
    assert (first["changed"], first["action"], first["version"]) == (True, "created", 1)
    assert (second["changed"], second["action"], second["version"]) == (False, "none", 1)
    assert first["diff"][0]["before"] == "" and "name: x\n" in first["diff"][0]["after"]
    assert second["diff"] == []
    description = yaml.safe_load(Path(first["file"]).read_text())
    assert description == first["description"] == second["description"]
    assert description["oneimage"]["sha256"] == hashlib.sha256(image.read_bytes()).hexdigest()
    stored = Path(description["image"]["file"][len("server://") :])
    assert stored.read_bytes() == image.read_bytes()
    assert stored.stat().st_ino != image.stat().st_ino


def test_a_change_is_a_new_version(module: Run, registry: Path, image: Path) -> None:
    module("environment", registered(registry, image))
    changed = registered(registry, image, description=described(filesystem="xfs"))
    predicted = module("environment", changed, check=True)
    result = module("environment", changed)
    assert predicted == result
    assert (result["action"], result["version"], result["differences"]) == ("created", 2, ["filesystem"])
    assert not module("environment", changed)["changed"]
    assert shown(module, registry, all_versions=True) == [("root", "x", 1), ("root", "x", 2)]
    assert shown(module, registry) == [("root", "x", 2)]


def test_another_image_is_a_new_version_and_both_are_kept(module: Run, registry: Path, image: Path) -> None:
    module("environment", registered(registry, image))
    make_image(image, b"other")
    result = module("environment", registered(registry, image))
    assert result["version"] == 2 and result["differences"] == ["oneimage/sha256"]
    images = [path for path in (registry / "images").rglob("*") if path.is_file()]
    assert len(images) == 2


def test_visibility_and_destructiveness_change_in_place(module: Run, registry: Path, image: Path) -> None:
    module("environment", registered(registry, image))
    public = registered(registry, image, visibility="public", description=described(destructive=True))
    predicted = module("environment", public, check=True)
    result = module("environment", public)
    assert predicted == result
    assert (result["action"], result["version"]) == ("altered", 1)
    assert result["differences"] == ["destructive", "visibility"]
    # the image went with it, and nothing of it is left where it was private
    assert Path(result["description"]["image"]["file"][9:]).parent == registry / "images"
    assert len([path for path in (registry / "images").rglob("*") if path.is_file()]) == 1
    assert not module("environment", public)["changed"]


def test_a_named_version_is_replaced_only_if_asked(module: Run, registry: Path, image: Path) -> None:
    one = registered(registry, image, version=1)
    module("environment", one)
    other = {**one, "description": described(filesystem="xfs")}
    before = snapshot(registry)
    refused = module("environment", other)
    assert refused["msg"].startswith("x@root:1 is there and differs in filesystem; leave version out")
    assert snapshot(registry) == before
    result = module("environment", {**other, "on_change": "replace"})
    assert (result["action"], result["version"]) == ("replaced", 1)
    assert "ext4" in result["diff"][0]["before"] and "xfs" in result["diff"][0]["after"]
    assert shown(module, registry, all_versions=True) == [("root", "x", 1)]


def test_derived_from_the_latest_version(module: Run, registry: Path, image: Path) -> None:
    first = described(alias="x-min", author="me")
    module("environment", registered(registry, image, visibility="public", description=first))
    module(
        "environment", registered(registry, image, visibility="public", description={**first, "author": "we"})
    )
    derive = options(
        registry, base="x", name="y", description={"boot": {"kernel_params": "quiet"}, "author": None}
    )
    result = module("environment", derive)
    found = result["description"]
    assert (found["name"], found["version"], found["visibility"]) == ("y", 1, "private")
    assert "alias" not in found and "author" not in found
    assert found["boot"] == {**DESCRIBED["boot"], "kernel_params": "quiet"}
    assert found["oneimage"]["base"] == "x@root:2"
    # private, so that its image has a private name of its own
    assert "/private/root/" in found["image"]["file"]
    assert not module("environment", derive)["changed"]
    # the base goes, its image stays for what was derived
    module("environment", options(registry, name="x", state="absent"))
    (left,) = module("environment_info", options(registry, verify=True))["environments"]
    assert left["name"] == "y" and left["verified"]


def test_back_to_an_earlier_version(module: Run, registry: Path, image: Path) -> None:
    for filesystem in ("ext3", "ext4", "xfs"):
        module("environment", registered(registry, image, description=described(filesystem=filesystem)))
    back = options(registry, base="x:1")
    assert module("environment", back, check=True)["version"] == 4
    result = module("environment", back)
    assert (result["version"], result["description"]["filesystem"]) == (4, "ext3")
    assert result["description"]["oneimage"]["base"] == "x@root:1"
    assert not module("environment", back)["changed"]


def test_keep_and_collect(module: Run, registry: Path, image: Path) -> None:
    for number in range(3):
        make_image(image, str(number).encode())
        module("environment", registered(registry, image))
    module("environment", options(registry, name="x", version=1, state="held", holder="boot entry c1"))
    make_image(image, b"3")
    thin = registered(registry, image, keep=2)
    predicted = module("environment", thin, check=True)
    result = module("environment", thin)
    assert predicted == result
    assert result["removed"] == ["x@root:2"] and len(result["collected"]) == 1
    assert warned(result) == ["x@root:1 is kept, since it is in use by boot entry c1"]
    assert shown(module, registry, all_versions=True) == [("root", "x", number) for number in (1, 3, 4)]
    assert not module("environment", thin)["changed"]


def test_what_is_in_use_stays(module: Run, registry: Path, image: Path) -> None:
    one = registered(registry, image, version=1)
    module("environment", one)
    hold = options(registry, name="x", state="held", holder="deployment/42")
    assert module("environment", hold, check=True)["holders"] == ["deployment/42"]
    assert module("environment", hold)["changed"] and not module("environment", hold)["changed"]
    before = snapshot(registry)
    absent = options(registry, name="x", state="absent")
    refused = module("environment", absent)
    assert refused["msg"] == (
        "cannot be removed while in use: x@root:1 by deployment/42; release it first (state released)"
    )
    replaced = {**one, "on_change": "replace", "description": described(filesystem="xfs")}
    assert (
        "cannot be changed while in use: x@root:1 by deployment/42" in module("environment", replaced)["msg"]
    )
    assert "cannot be changed while in use" in module("environment", {**one, "visibility": "public"})["msg"]
    assert snapshot(registry) == before
    release = {**hold, "state": "released"}
    assert module("environment", release)["holders"] == [] and not module("environment", release)["changed"]
    assert module("environment", absent)["removed"] == ["x@root:1"]


def test_absent(module: Run, registry: Path, image: Path) -> None:
    for filesystem in ("ext3", "ext4"):
        module("environment", registered(registry, image, description=described(filesystem=filesystem)))
    one = options(registry, name="x", version=1, state="absent")
    assert module("environment", one)["removed"] == ["x@root:1"]
    every = options(registry, name="x", state="absent")
    before = snapshot(registry)
    predicted = module("environment", every, check=True)
    assert snapshot(registry) == before
    result = module("environment", every)
    assert predicted == result and result["removed"] == ["x@root:2"] and len(result["collected"]) == 1
    assert not module("environment", every)["changed"]
    assert not (registry / "environments" / "root").exists()


def test_manifest_and_signature_come_along(module: Run, registry: Path, image: Path) -> None:
    data = image.read_bytes()
    manifest = {
        "manifest": 1, "file": image.name, "kind": "tar", "compression": "gzip", "size": len(data),
        "uncompressed_size": 10240, "sha256": hashlib.sha256(data).hexdigest(), "md5": hashlib.md5(data).hexdigest(),
        "architecture": "x86_64", "distribution": None, "kernels": [{"path": "/boot/vmlinuz", "version": "6.1"}],
        "initrds": [{"path": "/boot/initrd.img", "version": "6.1"}], "tools": {}, "derived_from": "n1",
        "partition_size": None, "hygiene": [], "omitted": [],
    }  # fmt: skip
    beside = image.with_name("x.tgz.manifest.json")
    beside.write_text(json.dumps(manifest))
    image.with_name("x.tgz.minisig").write_text("signature")
    result = module("environment", registered(registry, image))
    stored = Path(result["description"]["image"]["file"][9:])
    assert json.loads(stored.with_name(stored.name + ".manifest.json").read_text()) == {
        **manifest,
        "file": stored.name,
    }
    assert stored.with_name(stored.name + ".minisig").read_text() == "signature"
    assert result["description"]["oneimage"]["derived_from"] == "n1"
    assert not module("environment", registered(registry, image))["changed"]
    beside.write_text(json.dumps({**manifest, "sha256": "0" * 64}))
    before = snapshot(registry)
    lied = module("environment", registered(registry, image, name="y"))
    assert "is not what its manifest says, or changed while it was copied" in lied["msg"]
    assert list(snapshot(registry)) == list(before)
    beside.write_text(json.dumps({**manifest, "size": 5}))
    assert (
        f"has {len(data)} bytes, its manifest says 5"
        in module("environment", registered(registry, image))["msg"]
    )


def test_verify_finds_a_changed_and_a_missing_image(module: Run, registry: Path, image: Path) -> None:
    result = module("environment", registered(registry, image))
    stored = Path(result["description"]["image"]["file"][9:])
    look = options(registry, verify=True)
    (entry,) = module("environment_info", look)["environments"]
    assert entry["verified"] is True and entry["problems"] == [] and entry["image"] == str(stored)
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    (entry,) = module("environment_info", look)["environments"]
    assert entry["verified"] is False
    assert [problem.split()[2] for problem in entry["problems"]] == ["sha256", "md5"]
    stored.unlink()
    (entry,) = module("environment_info", look)["environments"]
    assert entry["problems"] == [f"image {stored} is missing"]
    # registering the same image again mends it
    predicted = module("environment", registered(registry, image), check=True)
    result = module("environment", registered(registry, image))
    assert predicted == result and (result["action"], result["version"]) == ("mended", 1)
    assert module("environment_info", look)["environments"][0]["verified"]
    assert not module("environment", registered(registry, image))["changed"]


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"description": described(boot={"kernel": "/nope"})}, "the kernel /nope is not in the image; it holds /boot/vmlinuz"),
        ({"description": described(boot={"kernel": "/boot/vmlinuz", "initrd": "/i"})}, "the initrd /i is not in the image"),
        ({"description": described(image={"compression": "zstd"})}, "the description says compression zstd, but it is gzip"),
        ({"description": described(image={"kind": "dd"})}, "the description says kind dd, but it is tar"),
        ({"description": {"boot": "x"}}, "os is mandatory; allowed: linux, xen, other"),
        ({"name": None}, "environment without a name: name is mandatory"),
        ({"image": "/nowhere.tgz"}, "cannot read the image /nowhere.tgz: No such file or directory"),
        ({"base": "nothing"}, "there is no environment 'nothing' that root can see"),
        ({"owner": "../x"}, "owner '../x' is no user's name"),
        ({"version": -1}, "version -1 must lie between"),
        ({"content": "name: x\n\tos: linux\n"}, "content, line 2: a tab in the indentation"),
        ({"content": "name: x\n", "src": "x"}, "mutually exclusive"),
        ({"keep": 0}, "keep is 0"),
        ({"name": "x" * 201}, "too long for a directory"),
        ({"registry": {"path": None}}, "registry.path is mandatory"),
        ({"state": "held"}, "holder is mandatory for state held"),
        ({"state": "absent", "name": None}, "name is mandatory for state absent"),
        ({"state": "held", "holder": "h"}, "there is no environment 'x' that root can see"),
        ({"src": "x.yml"}, "call the module by its full name"),
    ],
)  # fmt: skip
def test_bad_input_touches_nothing(
    module: Run, registry: Path, image: Path, changes: dict[str, Any], fault: str
) -> None:
    before = snapshot(registry.parent)
    result = module("environment", {**registered(registry, image), **changes})
    assert fault in result["msg"], result
    assert snapshot(registry.parent) == before


def test_a_truncated_image(module: Run, registry: Path, image: Path) -> None:
    image.write_bytes(image.read_bytes()[:100])
    before = snapshot(registry.parent)
    assert module("environment", registered(registry, image))["failed"]
    assert snapshot(registry.parent) == before


def test_unknown_fields_are_reported_and_kept(module: Run, registry: Path, image: Path) -> None:
    result = module("environment", registered(registry, image, description=described(colour="red")))
    assert warned(result) == ["unknown field colour is kept; Kadeploy warns of it and does without"]
    assert result["description"]["colour"] == "red"


def test_a_line_that_kadeploy_31_ignores(module: Run, registry: Path, image: Path) -> None:
    text = "name : x\nkernel : /boot/vmlinuz\ninitrd: /boot/initrd.img\nfilesystem : ext3\nenvironment_kind : linux\n"
    result = module("environment", registered(registry, image, content=text, description=None))
    assert "content, line 3: Kadeploy 3.1 ignores initrd" in warned(result)[0]
    assert "initrd" not in result["description"]["boot"]


def test_a_name_that_is_no_file_name(module: Run, registry: Path, image: Path) -> None:
    for name in ("../../escape", "50% é", ".hidden", "a b"):
        module("environment", registered(registry, image, name=name))
    assert [name for _owner, name, _version in shown(module, registry)] == sorted(
        ["../../escape", "50% é", ".hidden", "a b"]
    )
    assert not (registry.parent / "escape").exists()
    assert shown(module, registry, name="a%") == [("root", "a b", 1)]


def test_an_image_that_stays_where_it_is(module: Run, registry: Path, image: Path) -> None:
    outside = described(image={"file": f"server://{image}", "kind": "tar", "compression": "gzip"})
    here = options(registry, name="x", description=outside)
    assert module("environment", here)["changed"] and not module("environment", here)["changed"]
    assert not (registry / "images").exists()
    away = described(image={"file": "server:///not/here.tgz", "kind": "tar", "compression": "gzip"})
    result = module("environment", options(registry, name="y", description=away))
    assert warned(result) == ["image server:///not/here.tgz is not on this host, so it was not looked into"]
    wrong = described(
        image={"file": f"server://{image}", "kind": "tar", "compression": "gzip"}, boot={"kernel": "/nope"}
    )
    assert (
        "the kernel /nope is not in the image"
        in module("environment", options(registry, name="z", description=wrong))["msg"]
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """A web server of ``tmp_path``, on the loopback."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

        def log_message(self, *args: Any) -> None:
            """Not into the tests' output."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{running.server_address[1]}"
        running.shutdown()


def test_an_image_at_a_url(module: Run, registry: Path, image: Path, server: str) -> None:
    def at(url: str, **more: Any) -> dict[str, Any]:
        return registered(
            registry, image, store_image=False, description=described(image={"file": url}), **more
        )

    missing = module("environment", at(f"{server}/nope.tgz"))
    assert f"{server}/nope.tgz answers 404" in missing["msg"]
    nobody = module("environment", at("http://127.0.0.1:9/x.tgz"))
    assert "http://127.0.0.1:9/x.tgz does not answer" in nobody["msg"]
    (image.parent / "short.tgz").write_bytes(b"short")
    assert (
        f"{server}/short.tgz has 5 bytes, promised are"
        in module("environment", at(f"{server}/short.tgz"))["msg"]
    )
    (image.parent / "same.tgz").write_bytes(bytes(image.stat().st_size))
    content = at(f"{server}/same.tgz", check_url_content=True)
    assert f"{server}/same.tgz has sha256" in module("environment", content)["msg"]
    right = at(f"{server}/x.tgz", check_url_content=True)
    assert module("environment", right)["action"] == "created"
    assert not module("environment", right)["changed"]
    assert module("environment_info", options(registry, verify=True))["environments"][0]["verified"]
    image.with_name("x.tgz").write_bytes(b"gone bad")
    (entry,) = module("environment_info", options(registry, verify=True))["environments"]
    assert f"{server}/x.tgz has 8 bytes" in entry["problems"][0]


def test_a_served_registry(module: Run, tmp_path: Path, registry: Path, image: Path, server: str) -> None:
    place = {"path": str(registry), "url": f"{server}/registry/"}
    result = module("environment", {**registered(registry, image, visibility="shared"), "registry": place})
    uri = result["description"]["image"]["file"]
    assert uri.startswith(f"{server}/registry/images/") and uri.endswith(".tar.gz")
    again = {**registered(registry, image, visibility="shared"), "registry": place}
    assert not module("environment", again)["changed"]
    # what only its owner may read is not served
    private = module("environment", {**registered(registry, image, name="y"), "registry": place})
    assert private["description"]["image"]["file"].startswith("server:///")


def test_a_file_of_the_controller_in_an_old_format(tmp_path: Path, registry: Path, image: Path) -> None:
    (tmp_path / "old.dsc").write_text(
        f"name : old\nversion : 4\ntarball : {image}|tgz\nkernel : /boot/vmlinuz\ninitrd: /boot/initrd.img\n"
        "fdisktype : 83\nfilesystem : ext3\nenvironment_kind : linux\ndemolishing_env : 1\n"
    )
    task = options(registry, src="old.dsc")
    result = run_task("oneimage.cluster.environment", task, tmp_path)
    assert result["changed"] and result["version"] == 4
    assert result["description"]["destructive"] is True
    assert result["description"]["visibility"] == "shared"
    assert result["description"]["partition_type"] == 0x83
    assert not run_task("oneimage.cluster.environment", task, tmp_path)["changed"]
    missing = run_task("oneimage.cluster.environment", options(registry, src="nope.yml"), tmp_path)
    assert missing["msg"].startswith("cannot read src nope.yml: ")
