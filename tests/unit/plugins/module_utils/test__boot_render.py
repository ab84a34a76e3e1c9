from __future__ import annotations

import shutil
import subprocess

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _boot_render as render
from ansible_collections.oneimage.cluster.plugins.module_utils._boot_render import Boot, Entry

LINUX = Entry("deb", kernel="images/k", initrd=("images/i", "images/j"))
AWKWARD = ("ip=dhcp", 'dyndbg="file nfs.c +p"', "a=$b;c|{d}", "e&f", "g#h")
BOOTS = [
    Boot("node n1", LINUX, AWKWARD, mac="52:54:00:12:34:56"),
    Boot("node n1", LINUX, AWKWARD, mac="52:54:00:12:34:56", spent="0123456789ab"),
    Boot("cluster c", Entry("bare", kernel="k")),
    Boot("default", Entry("disk", local=True)),
]


def test_pxelinux() -> None:
    assert render.render_pxelinux(BOOTS[0], "me", "").splitlines() == [
        "# oneimage.cluster me: do not edit",
        "# node n1",
        "# entry deb",
        "DEFAULT deb",
        "PROMPT 0",
        "TIMEOUT 100",
        "LABEL deb",
        "  KERNEL images/k",
        "  INITRD images/i,images/j",
        '  APPEND ip=dhcp dyndbg="file nfs.c +p" a=$b;c|{d} e&f g#h',
        "  IPAPPEND 2",
    ]


def test_ipxe() -> None:
    lines = render.render_ipxe(BOOTS[0], "me", "http://10.0.0.1/").splitlines()
    assert lines[:2] == ["#!ipxe", "# oneimage.cluster me: do not edit"]
    assert (
        'kernel http://10.0.0.1/images/k ip=dhcp dyndbg="file nfs.c +p" a=$b;c|{d} e&f g#h'
        " BOOTIF=01-${netX/mac:hexhyp} initrd=initrd0 initrd=initrd1 || goto failed"
    ) in lines
    assert "initrd --name initrd1 http://10.0.0.1/images/j || goto failed" in lines
    assert lines[-1] == "reboot"


def test_grub() -> None:
    lines = render.render_grub(BOOTS[0], "me", "").splitlines()
    assert (
        "linux /images/k ip=dhcp 'dyndbg=file nfs.c +p' 'a=$b;c|{d}' 'e&f' 'g#h' BOOTIF=01-52-54-00-12-34-56"
        in lines
    )
    assert "initrd /images/i /images/j" in lines
    assert lines[-1] == "reboot"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("pxelinux", ["  LOCALBOOT 0"]),
        ("ipxe", ["iseq ${platform} efi && exit 1 ||", "sanboot --no-describe --drive 0x80 || goto failed"]),
        ("grub", ["exit"]),
    ],
)
def test_local_disk(name: str, wanted: list[str]) -> None:
    text = render.LOADERS[name].render(BOOTS[3], "me", "http://10.0.0.1/")
    assert set(wanted) <= set(text.splitlines())
    assert "kernel" not in text.lower().replace("do not", "")


@pytest.mark.parametrize("name", render.LOADERS)
@pytest.mark.parametrize("boot", BOOTS)
def test_every_file_says_whose_it_is(name: str, boot: Boot) -> None:
    text = render.LOADERS[name].render(boot, "me.2", "http://10.0.0.1/")
    assert render.MARKER.findall(text) == ["me.2"]
    assert render.SUBJECT.findall(text) == [boot.subject]
    assert render.ENTRY.findall(text) == [boot.entry.name]
    assert render.SPENT.findall(text) == ([boot.spent] if boot.spent else [])
    assert text.endswith("\n") and text.isascii()


@pytest.mark.parametrize("name", render.LOADERS)
def test_shared_files_belong_to_no_owner_of_a_user(name: str) -> None:
    for text in render.LOADERS[name].shared.values():
        assert render.MARKER.findall(text) == [render.SHARED_OWNER]


def ipxe_labels_hold(text: str) -> bool:
    """Every goto has its label, and no command is one that iPXE does not know."""
    known = {
        "boot",
        "chain",
        "dhcp",
        "echo",
        "exit",
        "imgfree",
        "inc",
        "initrd",
        "iseq",
        "isset",
        "kernel",
        "reboot",
    }
    known |= {"goto", "sanboot", "set", "sleep"}
    labels, gotos = set(), set()
    for line in text.splitlines():
        if line.startswith(":"):
            labels.add(line[1:])
        elif line and not line.startswith("#"):
            words = line.split()
            gotos |= {after for word, after in zip(words, words[1:]) if word == "goto"}
            assert words[0] in known, line
    return gotos <= labels


@pytest.mark.parametrize("boot", BOOTS)
def test_ipxe_scripts_are_whole(boot: Boot) -> None:
    assert ipxe_labels_hold(render.render_ipxe(boot, "me", "http://10.0.0.1/"))


def test_shared_ipxe_script_is_whole() -> None:
    assert ipxe_labels_hold(render.IPXE_SHARED)


@pytest.mark.skipif(
    shutil.which("grub-script-check") is None, reason="grub-script-check (grub-common) is not installed"
)
@pytest.mark.parametrize(
    "text", [render.GRUB_SHARED, *(render.render_grub(boot, "me", "") for boot in BOOTS)]
)
def test_grub_reads_its_files(text: str) -> None:
    done = subprocess.run(["grub-script-check"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
