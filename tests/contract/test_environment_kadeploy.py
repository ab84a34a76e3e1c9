"""Environments in a Kadeploy: the same tests against the stand-ins behind kaenv3 and REST, and against a real server."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Run, snapshot, start_module
from kadeploy_case import ME, REAL, Kadeploy, real_one, serve, stand_in

SKIP = "KADEPLOY_TEST_SERVER names no real Kadeploy server"


@pytest.fixture(
    params=["kaenv3", "rest", pytest.param("real", marks=pytest.mark.skipif(not REAL, reason=SKIP))]
)
def kadeploy(request: pytest.FixtureRequest, tmp_path: Path, module: Run) -> Iterator[Kadeploy]:
    if request.param != "real":
        # pylint: disable-next=contextmanager-generator-missing-cleanup
        with stand_in(request.param, tmp_path) as found:
            yield found
        return
    found = real_one()
    yield found
    for name in found.names:
        module("environment", {"registry": found.registry, "name": name, "state": "absent"})
    for leftover in found.images.glob("[0-9a-f]*.tgz"):
        leftover.unlink()


@pytest.fixture(params=["kaenv3", "rest"])
def stood(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Kadeploy]:
    """A stand-in, for what needs a look inside, or another user."""
    # pylint: disable-next=contextmanager-generator-missing-cleanup
    with stand_in(request.param, tmp_path) as found:
        yield found


def shown(module: Run, kadeploy: Kadeploy, name: str, **more: Any) -> list[dict[str, Any]]:
    options = {"registry": kadeploy.registry, "name": name, "user": kadeploy.user, **more}
    result = module("environment_info", options)
    assert not result.get("failed"), result
    return result["environments"]


def test_recorded_once_and_read_back_as_described(kadeploy: Kadeploy, module: Run) -> None:
    name, description = kadeploy.name(), kadeploy.described(kadeploy.image())
    options = kadeploy.options(name, description)
    predicted = module("environment", options, check=True)
    assert predicted["changed"] and predicted["action"] == "created", predicted
    assert shown(module, kadeploy, name) == []
    first = module("environment", options)
    assert (first["changed"], first["action"], first["version"]) == (True, "created", 1), first
    assert first["owner"] == kadeploy.user
    assert predicted["diff"] == first["diff"] and "kernel_params: quiet" in first["diff"][0]["after"]
    second = module("environment", options)
    assert (second["changed"], second["action"], second["refreshed"]) == (False, "none", []), second
    assert not module("environment", options, check=True)["changed"]
    (found,) = shown(module, kadeploy, name)
    assert found["description"] == first["description"]
    assert {key: found["description"][key] for key in description} == {
        **description,
        "boot": description["boot"],
    }
    assert found["description"]["partition_type"] == 131 and found["visibility"] == "private"


def test_order_and_spelling_of_the_same_are_no_change(kadeploy: Kadeploy, module: Run) -> None:
    name, description = kadeploy.name(), kadeploy.described(kadeploy.image())
    assert module("environment", kadeploy.options(name, description))["changed"]
    spelled = {
        **dict(reversed(list(description.items()))),
        "visibility": "private",
        "destructive": False,
        "multipart": False,
        "alias": "",
    }
    again = module("environment", kadeploy.options(name, spelled))
    assert not again["changed"], again


def test_any_other_change_is_a_new_version(kadeploy: Kadeploy, module: Run) -> None:
    name, description = kadeploy.name(), kadeploy.described(kadeploy.image())
    module("environment", kadeploy.options(name, description))
    changed = {**description, "boot": {**description["boot"], "kernel_params": "quiet splash"}}
    predicted = module("environment", kadeploy.options(name, changed), check=True)
    second = module("environment", kadeploy.options(name, changed))
    assert (second["action"], second["version"], second["differences"]) == (
        "created",
        2,
        ["boot/kernel_params"],
    )
    assert predicted["version"] == 2 and predicted["diff"] == second["diff"]
    assert not module("environment", kadeploy.options(name, changed))["changed"]
    versions = [found["version"] for found in shown(module, kadeploy, name, all_versions=True)]
    assert sorted(versions) == [1, 2]
    (latest,) = shown(module, kadeploy, name)
    assert latest["version"] == 2


def test_or_by_option_deleted_and_added(kadeploy: Kadeploy, module: Run) -> None:
    name, description = kadeploy.name(), kadeploy.described(kadeploy.image())
    module("environment", kadeploy.options(name, description))
    changed = {**description, "filesystem": "ext3"}
    refused = module("environment", kadeploy.options(name, changed, version=1))
    assert refused["failed"] and "on_change" in refused["msg"] and "filesystem" in refused["msg"]
    result = module("environment", kadeploy.options(name, changed, on_change="replace"))
    assert (result["action"], result["version"]) == ("replaced", 1), result
    (found,) = shown(module, kadeploy, name, all_versions=True)
    assert found["description"]["filesystem"] == "ext3"
    assert not module("environment", kadeploy.options(name, changed, on_change="replace"))["changed"]


def test_visibility_and_destructive_change_in_place(kadeploy: Kadeploy, module: Run) -> None:
    name, description = kadeploy.name(), kadeploy.described(kadeploy.image())
    module("environment", kadeploy.options(name, description))
    wanted = kadeploy.options(name, {**description, "destructive": True}, visibility="shared")
    assert module("environment", wanted, check=True)["action"] == "altered"
    assert shown(module, kadeploy, name)[0]["visibility"] == "private"
    result = module("environment", wanted)
    assert (result["action"], result["version"]) == ("altered", 1), result
    assert result["differences"] == ["destructive", "visibility"]
    (found,) = shown(module, kadeploy, name, all_versions=True)
    assert (found["visibility"], found["description"]["destructive"]) == ("shared", True)
    assert not module("environment", wanted)["changed"]
    assert module("environment", kadeploy.options(name, description))["action"] == "altered"


def test_a_changed_image_is_noted_before_a_deployment_fails_on_it(kadeploy: Kadeploy, module: Run) -> None:
    image = kadeploy.image()
    name, description = kadeploy.name(), kadeploy.described(image)
    options = kadeploy.options(name, description)
    module("environment", options)
    image.write_bytes(b"another image")
    if kadeploy.server:
        assert kadeploy.server.stale(kadeploy.user, name)
    unknown = module("environment", options, check=True)
    assert not unknown["changed"] and "not known in check mode" in str(unknown["warnings"])
    result = module("environment", options)
    assert result["changed"] and result["action"] == "refreshed", result
    assert result["refreshed"] == ["image", "postinstalls"]
    assert "checksum of image: stale" in result["diff"][0]["before"]
    if kadeploy.server:
        assert not kadeploy.server.stale(kadeploy.user, name)
    assert not module("environment", options)["changed"]


def test_notes_tell_a_changed_image_in_check_mode_too(
    kadeploy: Kadeploy, module: Run, tmp_path: Path
) -> None:
    image = kadeploy.image()
    notes = tmp_path / "notes"
    kadeploy.registry["notes"] = str(notes)
    name = kadeploy.name()
    options = kadeploy.options(name, kadeploy.described(image))
    module("environment", options)
    clean = module("environment", options, check=True)
    assert not clean["changed"] and not clean.get("warnings"), clean
    image.touch()
    assert not module("environment", options, check=True)["changed"]
    image.write_bytes(b"IMAGE")
    before = snapshot(notes)
    predicted = module("environment", options, check=True)
    assert predicted["changed"] and predicted["refreshed"] == ["image", "postinstalls"]
    assert snapshot(notes) == before
    (verified,) = shown(module, kadeploy, name, verify=True)
    assert not verified["verified"] and "deployments will fail" in verified["problems"][0]
    done = module("environment", options)
    assert done["refreshed"] == predicted["refreshed"] and done["diff"] == predicted["diff"]
    assert not module("environment", options, check=True)["changed"]
    assert shown(module, kadeploy, name, verify=True)[0]["verified"]


def test_an_image_that_the_server_cannot_read_is_named(kadeploy: Kadeploy, module: Run) -> None:
    missing = kadeploy.images / "missing.tgz"
    name = kadeploy.name()
    result = module("environment", kadeploy.options(name, kadeploy.described(missing)))
    assert result["failed"] and f"Unable to grab the file {missing}" in result["msg"]
    assert "must be able to read the file" in result["msg"]
    assert shown(module, kadeploy, name) == []


def test_an_image_that_is_gone_is_named_when_it_is_looked_after(kadeploy: Kadeploy, module: Run) -> None:
    image = kadeploy.image()
    options = kadeploy.options(kadeploy.name(), kadeploy.described(image))
    module("environment", options)
    image.unlink()
    result = module("environment", options)
    assert result["failed"] and "update the image checksum" in result["msg"] and str(image) in result["msg"]


def test_a_refused_replacement_leaves_the_old_one(kadeploy: Kadeploy, module: Run) -> None:
    name, description = kadeploy.name(), kadeploy.described(kadeploy.image())
    module("environment", kadeploy.options(name, description))
    broken = kadeploy.described(kadeploy.images / "missing.tgz")
    result = module("environment", kadeploy.options(name, broken, on_change="replace"))
    assert result["failed"] and "was put back as it was" in result["msg"]
    (found,) = shown(module, kadeploy, name, all_versions=True)
    assert found["description"]["image"]["file"] == description["image"]["file"]


def test_removed_and_removed_once(kadeploy: Kadeploy, module: Run) -> None:
    name, description = kadeploy.name(), kadeploy.described(kadeploy.image())
    module("environment", kadeploy.options(name, description))
    module("environment", kadeploy.options(name, {**description, "filesystem": "ext3"}))
    absent = {"registry": kadeploy.registry, "name": name, "state": "absent"}
    assert module("environment", absent, check=True)["removed"] == [
        f"{name}@{kadeploy.user}:1",
        f"{name}@{kadeploy.user}:2",
    ]
    one = module("environment", {**absent, "version": 1})
    assert one["changed"] and [found["version"] for found in shown(module, kadeploy, name)] == [2]
    assert module("environment", absent)["removed"] == [f"{name}@{kadeploy.user}:2"]
    assert not module("environment", absent)["changed"]


def test_versions_beyond_those_to_keep_go(kadeploy: Kadeploy, module: Run) -> None:
    name, description = kadeploy.name(), kadeploy.described(kadeploy.image())
    for params in ("one", "two", "three"):
        described = {**description, "boot": {**description["boot"], "kernel_params": params}}
        module("environment", kadeploy.options(name, described, keep=2))
    versions = [found["version"] for found in shown(module, kadeploy, name, all_versions=True)]
    assert sorted(versions) == [2, 3]


def test_derived_from_a_base_in_the_same_registry(kadeploy: Kadeploy, module: Run) -> None:
    name, derived = kadeploy.name(), kadeploy.name()
    module("environment", kadeploy.options(name, kadeploy.described(kadeploy.image())))
    more = {"boot": {"kernel_params": "debug"}}
    options = {**kadeploy.options(derived, more), "base": f"{name}@{kadeploy.user}"}
    assert module("environment", options)["action"] == "created"
    assert not module("environment", options)["changed"]
    (found,) = shown(module, kadeploy, derived)
    assert found["description"]["boot"] == {
        "kernel": "/boot/vmlinuz",
        "initrd": "/boot/initrd.img",
        "kernel_params": "debug",
    }


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        ({"os": None}, "os is mandatory"),
        ({"boot": {"kernel": "vmlinuz"}}, "boot/kernel 'vmlinuz' is relative"),
        ({"version": "1"}, "without quotes"),
        ({"filesystem": ""}, "filesystem is mandatory"),
    ],
)
def test_bad_descriptions_never_reach_kadeploy(
    stood: Kadeploy, module: Run, more: dict[str, Any], fault: str
) -> None:
    result = module("environment", stood.options("x", {**stood.described(stood.image()), **more}))
    assert result["failed"] and fault in result["msg"]
    assert stood.records() == []


def test_zstd_is_refused_before_it_is_sent_to_3_3(stood: Kadeploy, module: Run) -> None:
    described = stood.described(stood.image())
    described["image"] = {**described["image"], "compression": "zstd"}
    result = module("environment", stood.options("x", described))
    assert result["failed"] and "Kadeploy 3.3 unpacks gzip, bzip2, xz" in result["msg"]
    assert stood.records() == []


def test_what_3_3_cannot_hold_is_told_and_is_no_difference(stood: Kadeploy, module: Run) -> None:
    described = {
        **stood.described(stood.image()),
        "alias": "x-x64-min",
        "arch": "x86_64",
        "custom_variables": {"A": "1"},
        "options": {"kexec": False},
        "owned_by": "us",
    }
    first = module("environment", stood.options("x", described))
    assert first["action"] == "created", first
    told = str(first["warnings"])
    assert all(
        f"{name} is lost" in told
        for name in ("alias", "arch", "custom_variables", "options/kexec", "owned_by")
    )
    assert not module("environment", stood.options("x", described))["changed"]


@pytest.mark.parametrize("kind", ["kaenv3", "rest"])
def test_the_current_kadeploy_holds_it(kind: str, tmp_path: Path, module: Run) -> None:
    with stand_in(kind, tmp_path, version="current") as kadeploy:
        described = {
            **kadeploy.described(kadeploy.image()),
            "alias": "x-x64-min",
            "arch": "x86_64",
            "custom_variables": {"A": "1"},
            "options": {"kexec": False, "trust_previous_env": False},
        }
        described["image"] = {**described["image"], "compression": "zstd"}
        first = module("environment", kadeploy.options("x", described))
        assert first["action"] == "created" and not first.get("warnings"), first
        assert first["description"]["custom_variables"] == {"A": "1"}
        assert not module("environment", kadeploy.options("x", described))["changed"]


def test_public_needs_an_administrator(stood: Kadeploy, module: Run) -> None:
    described = stood.described(stood.image())
    for _attempt in range(2):
        result = module("environment", stood.options("x", described, visibility="public"))
        assert result["failed"] and "almighty_users" in result["msg"] and "shared" in result["msg"]
        module("environment", stood.options("x", described))  # the second attempt is a change in place


def test_administrators_publish(tmp_path: Path, module: Run) -> None:
    with stand_in("rest", tmp_path, administrators="alice") as kadeploy:
        options = kadeploy.options("x", kadeploy.described(kadeploy.image()), visibility="public")
        assert module("environment", options)["action"] == "created"
        assert not module("environment", options)["changed"]


def test_nothing_is_recorded_for_somebody_else(stood: Kadeploy, module: Run) -> None:
    result = module("environment", stood.options("x", stood.described(stood.image()), owner="bob"))
    assert result["failed"] and f"for who asks, {stood.user}, not for bob" in result["msg"]


def test_a_public_one_like_it_is_never_changed_in_its_stead(stood: Kadeploy, module: Run) -> None:
    """Kadeploy itself would change that of deploy, since it takes public ones of others first."""
    image = stood.image()
    described = stood.described(image)
    theirs = {**described, "name": "x", "version": 1, "visibility": "public"}
    administrators = stood.settings and type(stood.settings)(stood.settings.state, "3.3", ("deploy",))
    type(stood.server)(administrators).post("deploy", {"environment": theirs})
    module("environment", stood.options("x", described))
    before = [record for record in stood.records() if record["user"] == "deploy"]
    result = module("environment", stood.options("x", described, visibility="shared"))
    assert result["action"] == "altered" and result["description"]["visibility"] == "shared", result
    assert [record for record in stood.records() if record["user"] == "deploy"] == before
    image.write_bytes(b"other")
    warned = module("environment", stood.options("x", described, visibility="shared"))
    assert not warned["changed"] and "give it another version" in str(warned["warnings"])


def test_a_name_that_means_others_too_is_not_removed(stood: Kadeploy, module: Run) -> None:
    """For Kadeploy the _ of a name is any character, and it deletes the first record that fits."""
    described = stood.described(stood.image())
    assert module("environment", stood.options("debian-a", described))["changed"]
    assert stood.server
    with stood.server.records() as records:
        records.append({**records[0], "description": {**records[0]["description"], "name": "debian_a"}})
    before = stood.records()
    result = module("environment", {"registry": stood.registry, "name": "debian_a", "state": "absent"})
    assert result["failed"] and "debian-a" in result["msg"] and "renamed" in result["msg"]
    assert stood.records() == before


def test_of_several_postinstalls_a_later_one_is_refreshed_too(
    stood: Kadeploy, module: Run, tmp_path: Path
) -> None:
    """Kadeploy reads none again if the first is the same."""
    one, two = stood.image(), stood.image()
    stood.registry["notes"] = str(tmp_path / "notes")
    post = {"compression": "gzip", "script": "none"}
    described = stood.described(
        one, postinstalls=[{**post, "archive": f"server://{path}"} for path in (one, two)]
    )
    options = stood.options("x", described)
    module("environment", options)
    two.write_bytes(b"another post-install")
    assert stood.server and stood.server.stale(stood.user, "x")
    assert module("environment", options)["refreshed"] == ["postinstalls"]
    assert not stood.server.stale(stood.user, "x")
    assert not module("environment", options)["changed"]


def test_own_files_are_served_by_kaenv3_and_refused_for_rest(stood: Kadeploy, module: Run) -> None:
    image = stood.image()
    result = module("environment", stood.options("x", stood.described(str(image))))
    if "program" in stood.registry:
        assert result["action"] == "created", result
    else:
        assert result["failed"] and "a file of this host" in result["msg"] and "server:///" in result["msg"]
        assert stood.records() == []


def test_others_are_shown_as_kadeploy_shows_them(stood: Kadeploy, module: Run) -> None:
    assert stood.settings
    administrators = type(stood.server)(type(stood.settings)(stood.settings.state, "3.3", ("deploy",)))
    for name, visibility in (("min", "public"), ("nfs", "shared"), ("secret", "private")):
        described = stood.described(stood.image(), name=name, visibility=visibility)
        administrators.post("deploy", {"environment": described})
    module("environment", stood.options("mine", stood.described(stood.image())))
    names = [(found["name"], found["owner"]) for found in shown(module, stood, "%")]
    assert names == [("min", "deploy"), ("mine", stood.user)]
    theirs = module("environment_info", {"registry": stood.registry, "owner": "deploy", "user": stood.user})
    assert [found["name"] for found in theirs["environments"]] == ["min", "nfs"]


def test_check_mode_touches_nothing(stood: Kadeploy, module: Run, tmp_path: Path) -> None:
    described = stood.described(stood.image())
    module("environment", stood.options("x", described))
    before = stood.records()
    for more in ({"visibility": "shared"}, {"on_change": "replace", "keep": 1}, {}):
        for kernel_params in ("quiet", "debug"):
            wanted = {**described, "boot": {**described["boot"], "kernel_params": kernel_params}}
            module("environment", stood.options("x", wanted, **more), check=True)
    module("environment", {"registry": stood.registry, "name": "x", "state": "absent"}, check=True)
    assert stood.records() == before


def test_holders_are_not_known_to_kadeploy(stood: Kadeploy, module: Run) -> None:
    module("environment", stood.options("x", stood.described(stood.image())))
    held = {"registry": stood.registry, "name": "x", "owner": stood.user, "state": "held", "holder": "node 1"}
    for check in (True, False):
        result = module("environment", held, check=check)
        assert result["failed"] and "kind kadeploy" in result["msg"]


@pytest.mark.parametrize(
    ("registry", "fault"),
    [
        ({"kind": "kadeploy", "path": "/srv/r"}, "registry.path is for a registry of kind directory"),
        ({"kind": "directory", "path": "/srv/r", "user": "alice"}, "registry.user is for a registry of kind"),
        ({"kind": "kadeploy", "password": "secret"}, "registry.password without registry.url"),
        ({"kind": "kadeploy", "url": "http://localhost", "server": "s"}, "registry.server is for kaenv3"),
        ({"kind": "kadeploy", "url": "ftp://k.example"}, "must look like https://"),
        ({"kind": "kadeploy", "url": "http://k.example:25300", "password": "x"}, "https only"),
        ({"kind": "kadeploy", "url": "https://k:99999"}, "registry.url"),
        ({"kind": "kadeploy", "url": "https://k.example", "ca_file": "/none.pem"}, "no PEM file"),
        ({"kind": "kadeploy", "program": "no-such-kaenv3"}, "cannot run no-such-kaenv3"),
        ({"kind": "kadeploy", "url": "http://127.0.0.1:9"}, "no answer"),
    ],
)
def test_wrong_registries_are_refused(registry: dict[str, Any], fault: str, module: Run) -> None:
    described = {"os": "linux", "image": {"file": "server:///i.tgz", "kind": "dd", "compression": "gzip"}}
    options = {"registry": registry, "name": "x", "description": described, "check_image": False}
    result = module("environment", options)
    assert result["failed"] and fault in result["msg"], result["msg"]
    assert "secret" not in result["msg"]


def test_an_unknown_server_of_kaenv3(tmp_path: Path, module: Run) -> None:
    with stand_in("kaenv3", tmp_path) as kadeploy:
        kadeploy.registry["server"] = "site9"
        result = module("environment", kadeploy.options("x", kadeploy.described(kadeploy.image())))
    assert result["failed"] and "The server 'site9' does not exist" in result["msg"]
    assert "exit code 1" in result["msg"]


def test_passwords_and_certificates(tmp_path: Path, module: Run) -> None:
    pem = certificate(tmp_path)
    with stand_in("rest", tmp_path) as kadeploy:
        assert kadeploy.settings
        with serve(kadeploy.settings, password="hidden-word", certificate=str(pem)) as url:
            kadeploy.registry["url"] = url
            options = kadeploy.options("x", kadeploy.described(kadeploy.image()))
            untrusted = module("environment", options)
            assert untrusted["failed"] and "certificate is not trusted" in untrusted["msg"]
            kadeploy.registry["ca_file"] = str(pem)
            for password in (None, "wrong"):
                kadeploy.registry["password"] = password
                refused = module("environment", options)
                assert refused["failed"] and "check user and password" in refused["msg"], refused
            kadeploy.registry["password"] = "hidden-word"
            result = module("environment", options)
            assert result["action"] == "created" and "hidden-word" not in str(result), result
            kadeploy.registry.update(ca_file=None, validate_certs=False)
            assert not module("environment", options)["changed"]


def certificate(folder: Path) -> Path:
    """Key and certificate for 127.0.0.1 in one PEM file."""
    pem = folder / "server.pem"
    argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=kadeploy"]
    argv += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", str(folder / "crt")]
    subprocess.run(argv, check=True, capture_output=True)
    pem.write_text(pem.read_text() + (folder / "crt").read_text())
    return pem


def test_killed_at_any_moment_and_run_again(tmp_path: Path, module: Run) -> None:
    """Old, new, or of a replacement none: never a mix, and the next run completes it."""
    with stand_in("kaenv3", tmp_path) as kadeploy:
        described = kadeploy.described(kadeploy.image())
        module("environment", kadeploy.options("x", described))
        whole = kadeploy.records()[0]["description"]
        for attempt in range(6):
            wanted = {**described, "boot": {**described["boot"], "kernel_params": f"attempt={attempt}"}}
            options = kadeploy.options("x", wanted, on_change="replace")
            process = start_module("environment", options)
            time.sleep(0.3 + 0.35 * attempt)
            process.kill()
            process.communicate()
            found = [record["description"] for record in kadeploy.records()]
            assert len(found) <= 1
            for one in found:
                assert {**one, "boot": whole["boot"]} == whole
            assert (
                module("environment", options)["description"]["boot"]["kernel_params"] == f"attempt={attempt}"
            )


def test_the_user_is_whom_the_server_takes_us_for(tmp_path: Path, module: Run) -> None:
    with stand_in("rest", tmp_path) as kadeploy:
        del kadeploy.registry["user"]
        result = module("environment", kadeploy.options("x", kadeploy.described(kadeploy.image())))
        assert result["owner"] == ME and kadeploy.records()[0]["user"] == ME
