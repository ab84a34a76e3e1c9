"""The stand-ins answer as Kadeploy 3.3.11 was recorded to answer: texts, exit codes, headers and bodies."""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kadeploy_case import Settings, serve, wrapper

Kaenv = Callable[..., "tuple[int, str]"]

MY = """\
---
name: squeeze-mine
version: 1
description: My squeeze
author: prenom.nom@monlabo.fr
visibility: private
destructive: false
os: linux
image:
  file: server://{image}
  kind: tar
  compression: gzip
postinstalls:
- archive: server://{image}
  compression: gzip
  script: traitement.ash /rambin
boot:
  kernel: "/boot/vmlinuz"
  initrd: "/boot/initrd.img"
filesystem: ext4
partition_type: 131
multipart: false
"""
"""Byte for byte what kaenv3 -p printed, but for the path."""

MODERN = {
    "name": "centosstream9-nfs",
    "alias": "centosstream9-x64-nfs",
    "arch": "x86_64",
    "version": 2024090216,
    "description": "modern",
    "os": "linux",
    "image": {"kind": "tar", "compression": "gzip"},
    "boot": {"kernel": "/vmlinuz", "initrd": "/initramfs.img"},
    "filesystem": "ext4",
    "partition_type": 131,
    "custom_variables": {"BOOTLOADER_NO_GRUB_FROM_DEST": "1"},
}

INVALID = "Invalid environment specification (error #7)\nError[environment description] "


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "my.tgz"
    path.write_bytes(b"image")
    return path


@pytest.fixture
def kaenv(tmp_path: Path) -> Kaenv:
    program = wrapper(tmp_path, Settings(tmp_path / "state"))

    def run(*arguments: str, user: str = "alice") -> tuple[int, str]:
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", "KADEPLOY_STAND_IN_USER": user}
        done = subprocess.run(
            [str(program), *arguments], env=environment, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout + done.stderr

    return run


def written(folder: Path, description: Any) -> str:
    file = folder / "e.yaml"
    file.write_text(description if isinstance(description, str) else yaml.safe_dump(description))
    return str(file)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"os": None}, "The field is mandatory [field: os]"),
        ({"options": {"kexec": False}}, "The field is mandatory [field: options/partitions]"),
        (
            {"image": {"compression": "zstd"}},
            "Invalid value 'zstd', allowed values are: 'gzip', 'bzip2' or 'xz' [field: image/compression]",
        ),
        (
            {"image": {"kind": "qcow2"}},
            "Invalid value 'qcow2', allowed values are: 'tar', 'dd' or 'fsa' [field: image/kind]",
        ),
        ({"version": "1"}, "The field should have the type Integer [field: version]"),
    ],
)
def test_refusals_of_the_client(
    kaenv: Kaenv, tmp_path: Path, image: Path, change: dict[str, Any], said: str
) -> None:
    described = {**yaml.safe_load(MY.format(image=image))}
    for name, value in change.items():
        described[name] = {**described[name], **value} if name == "image" else value
    described = {name: value for name, value in described.items() if value is not None}
    assert kaenv("-a", written(tmp_path, described)) == (1, f"{INVALID}{said}\n")


def test_what_is_no_yaml(kaenv: Kaenv, tmp_path: Path) -> None:
    file = written(tmp_path, "a: [1, 2")
    code, said = kaenv("-a", file)
    assert code == 1 and said.startswith(f"Invalid YAML file '{file}'\n({file}): ")
    assert " while parsing a flow sequence at line 1 column 4" in said


@pytest.mark.parametrize(
    ("arguments", "answer"),
    [
        (("-S", "site9", "-l"), (1, "The server 'site9' does not exist\n")),
        (("--bogus",), (1, "Option parsing error: invalid option: --bogus\n")),
        (("-p", "nothere"), (1, "Resource not found /environments\n")),
    ],
)
def test_refusals_without_an_environment(
    kaenv: Kaenv, arguments: tuple[str, ...], answer: tuple[int, str]
) -> None:
    assert kaenv(*arguments) == answer


def test_added_printed_and_added_again(kaenv: Kaenv, tmp_path: Path, image: Path) -> None:
    file = written(tmp_path, MY.format(image=image))
    assert kaenv("-a", file) == (0, "")
    assert kaenv("-p", "squeeze-mine") == (0, MY.format(image=image))
    assert kaenv("-a", file) == (
        10,
        "Element already exists -- An environment with the name squeeze-mine and the version 1 has already been "
        "recorded for the user alice\n[Kadeploy Error #10]\n",
    )


def test_modern_files_lose_fields_with_a_warning(kaenv: Kaenv, tmp_path: Path, image: Path) -> None:
    file = written(tmp_path, {**MODERN, "image": {**MODERN["image"], "file": f"server://{image}"}})
    code, said = kaenv("-a", file)
    assert code == 0 and set(said.splitlines()) == {
        "Warning[env_desc]: Unused field 'alias'",
        "Warning[env_desc]: Unused field 'arch'",
        "Warning[env_desc]: Unused field 'custom_variables/BOOTLOADER_NO_GRUB_FROM_DEST'",
    }
    assert kaenv("-l", "centos%") == (
        0,
        "Name                  Version User        Description\n"
        "####                  ####### ####        ###########\n"
        "centosstream9-nfs     2024090216 alice       modern\n",
    )


def test_checksums_are_updated_or_the_same(kaenv: Kaenv, tmp_path: Path, image: Path) -> None:
    kaenv("-a", written(tmp_path, MY.format(image=image)))
    same = (14, "No element has been modified\n[Kadeploy Error #14]\n")
    assert kaenv("--update-image-checksum", "squeeze-mine") == same
    image.write_bytes(b"changed")
    assert kaenv("--update-image-checksum", "squeeze-mine") == (0, "")
    (record,) = json.loads((tmp_path / "state" / "environments.json").read_text())
    assert record["checksums"]["image"] == [hashlib.md5(b"changed", usedforsecurity=False).hexdigest()]


def test_private_ones_of_others_are_not_there(kaenv: Kaenv, tmp_path: Path, image: Path) -> None:
    kaenv("-a", written(tmp_path, MY.format(image=image)))
    assert kaenv("-p", "squeeze-mine", "-u", "alice", user="bob") == (1, "Resource not found /environments\n")
    assert kaenv("--set-visibility-tag", "squeeze-mine", "-t", "shared") == (0, "")
    assert kaenv("-p", "squeeze-mine", "-u", "alice", user="bob")[0] == 0
    code, said = kaenv("--set-visibility-tag", "squeeze-mine", "-t", "public")
    assert code == 2 and 'Only administrators can use the "public" tag' in said


def ask(url: str, path: str, method: str = "GET", body: Any = None) -> tuple[int, dict[str, str], str]:
    headers = {"X-Kadeploy-User": "alice", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return answer.status, dict(answer.headers), answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, dict(error.headers), error.read().decode()


def test_rest(tmp_path: Path, image: Path) -> None:
    mine = yaml.safe_load(MY.format(image=image))
    with serve(Settings(tmp_path / "state")) as url:
        assert ask(url, "/version")[2] == "3.3.11.stable\n"
        assert ask(url, "/auth_headers_prefix")[2] == "X-Kadeploy-\n"
        assert ask(url, "/environments", "POST", {"environment": mine})[0] == 200
        status, headers, body = ask(url, "/environments?last=true&name=squeeze%25")
        assert status == 200 and headers["Content-Type"] == 'application/json; charset="UTF-8"'
        assert json.loads(body) == [{**mine, "user": "alice"}]
        status, _headers, body = ask(
            url, "/environments/alice/squeeze-mine", "PUT", {"visibility": "shared", "last": True}
        )
        assert (status, json.loads(body)) == (200, {**mine, "visibility": "shared"})


@pytest.mark.parametrize(
    ("file", "number", "said"),
    [
        ("server:///nope", 5, "Invalid file -- Unable to grab the file /nope"),
        (
            "/home/x.tgz",
            3,
            "Invalid client's export -- There is no way to retrieve /home/x.tgz from the Kadeploy server. "
            "Consider using a server:// or a http:// URL",
        ),
    ],
)
def test_refusals_of_rest(tmp_path: Path, file: str, number: int, said: str) -> None:
    environment = {
        "name": "n",
        "os": "linux",
        "image": {"file": file, "kind": "tar", "compression": "gzip"},
        "boot": {"kernel": "/k"},
        "filesystem": "ext4",
    }
    with serve(Settings(tmp_path / "state")) as url:
        status, headers, body = ask(url, "/environments", "POST", {"environment": environment})
    assert (status, body) == (400, f"{said}\n")
    assert headers["X-Application-Error-Code"] == str(number)
    assert base64.b64decode(headers["X-Application-Error-Info"]).decode() == said
    assert headers["Content-Type"] == 'text/plain; charset="UTF-8"'


def test_what_was_never_recorded_is_refused_loudly(kaenv: Kaenv, tmp_path: Path, image: Path) -> None:
    mine = yaml.safe_load(MY.format(image=image))
    code, said = kaenv("-a", written(tmp_path, "just text"))
    assert (code, said.startswith("stand-in: not recorded:")) == (99, True)
    with serve(Settings(tmp_path / "state")) as url:
        assert ask(url, "/deployment", "POST", {})[0] == 501
        assert ask(url, "/environments", "POST", {"environment": {**mine, "user": "bob"}})[0] == 501
