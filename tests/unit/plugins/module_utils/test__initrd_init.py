"""The shell text of the initrds: checked by shellcheck, and its parsers run by the busybox that will run them."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils import _initrd_generators as generators
from ansible_collections.oneimage.cluster.plugins.module_utils import _initrd_init as init
from ansible_collections.oneimage.cluster.plugins.module_utils import _initrd_system

SOURCE = ". /lib/oneimage/root.sh"
NATIVE = init.NATIVE_INIT.replace(SOURCE, init.ROOT_FUNCTIONS)
FUNCTIONS = NATIVE.replace(". /lib/oneimage/built.sh", ":").replace('\nmain "$@"\n', "\n")
SCRIPTS = {
    "init": NATIVE,
    "dhcp": _initrd_system.DHCP_SCRIPT,
    "enter": generators.ENTER_SCRIPT.replace(SOURCE, init.ROOT_FUNCTIONS),
    "namespace": generators.NAMESPACE_SCRIPT,
    "initramfs-tools hook": generators.INITRAMFS_TOOLS_HOOK,
    "initramfs-tools script": generators.INITRAMFS_TOOLS_SCRIPT,
    "dracut hook": generators.DRACUT_HOOK,
}


@pytest.mark.parametrize("name", SCRIPTS)
def test_shellcheck_has_nothing_to_say(name: str) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    done = subprocess.run(
        ["shellcheck", "-s", "dash", "-"], input=SCRIPTS[name], text=True, capture_output=True, check=False
    )
    assert done.stdout == ""


def test_shellcheck_has_nothing_to_say_about_the_dracut_module() -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    text = generators.DRACUT_SETUP.replace("@MODULES@", "nfs overlay")
    done = subprocess.run(
        ["shellcheck", "-s", "bash", "-"], input=text, text=True, capture_output=True, check=False
    )
    assert done.stdout == ""


def shell(command: str, *arguments: str) -> str:
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed")
    program = f'{FUNCTIONS}\nfail() {{ echo "FAILED $*"; exit 0; }}\n{command}\n'
    done = subprocess.run(
        ["busybox", "sh", "-c", program, "sh", *arguments],
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("word", "mac"),
    [
        ("01-52-54-00-AB-00-01", "52:54:00:ab:00:01"),
        ("52-54-00-ab-00-01", "52:54:00:ab:00:01"),
        ("52:54:00:ab:00:01", "52:54:00:ab:00:01"),
        ("01:52:54:00:ab:00:01", "52:54:00:ab:00:01"),
    ],
)
def test_bootif(word: str, mac: str) -> None:
    assert shell('mac_of_bootif "$1"', word) == mac


@pytest.mark.parametrize(
    ("word", "meaning"),
    [
        ("", "||||"),
        ("dhcp", "||||"),
        ("10.0.0.5::10.0.0.1:255.255.255.0:n5:eth1:off", "10.0.0.5|10.0.0.1|255.255.255.0|n5|eth1"),
        ("10.0.0.5:::255.0.0.0", "10.0.0.5||255.0.0.0||"),
        ("::::n7:eth0:dhcp", "|||n7|eth0"),
        ("off", "FAILED ip=off gives the node no network; say ip=dhcp or give an address"),
        ("none", "FAILED ip=none gives the node no network; say ip=dhcp or give an address"),
    ],
)
def test_ip(word: str, meaning: str) -> None:
    command = 'ip_word=$1; read_ip_word; echo "$ip_client|$ip_gateway|$ip_mask|$node_name|$ip_device"'
    assert shell(command, word) == meaning


def test_resolvers_of_a_static_address() -> None:
    command = 'ip_word=$1; read_ip_word; echo "$resolvers"'
    assert shell(command, "10.0.0.5::::::off:10.0.0.1:10.0.0.2") == "10.0.0.1 10.0.0.2"


@pytest.mark.parametrize(
    ("nfsroot", "root", "rootpath", "meaning"),
    [
        ("10.0.0.1:/srv/root,vers=4.2,rsize=8192", "/dev/nfs", "", "10.0.0.1|/srv/root|vers=4.2,rsize=8192"),
        ("/srv/root", "/dev/nfs", "", "10.9.9.9|/srv/root|"),
        ("", "10.0.0.1:/srv/root", "", "10.0.0.1|/srv/root|"),
        ("", "nfs:10.0.0.1:/srv/root,vers=3", "", "10.0.0.1|/srv/root|vers=3"),
        ("", "/dev/nfs", "10.0.0.2:/from/dhcp", "10.0.0.2|/from/dhcp|"),
        ("auto", "/dev/nfs", "/from/dhcp", "10.9.9.9|/from/dhcp|"),
        ("", "/dev/nfs", "", "FAILED no root: neither nfsroot= nor a root-path by DHCP names one"),
        ("boot:/srv", "", "", "FAILED the NFS server 'boot' of 'boot:/srv' must be a numeric address"),
    ],
)
def test_where_the_root_is(nfsroot: str, root: str, rootpath: str, meaning: str) -> None:
    command = """
lease() { case $1 in rootpath) echo "$dhcp_path" ;; siaddr) echo 10.9.9.9 ;; esac; }
nfsroot=$1 root=$2 dhcp_path=$3 ip_server=''
find_root
echo "$server|$path|$options"
"""
    assert shell(command, nfsroot, root, rootpath) == meaning


@pytest.mark.parametrize(
    ("words", "mode"),
    [
        ("root=/dev/nfs nfsroot=10.0.0.1:/srv/root", "nfs_ro"),
        ("root=/dev/nfs rw", "nfs_rw"),
        ("root=/dev/ram0 nfsroot=/srv/root rw", "nfs_rw"),
        ("root=/dev/ram0 rw", "nfs_rw"),  # the root is what DHCP says
        ("root=UUID=1-2 ro", "disk"),
        ("root=LABEL=deploy rw", "disk"),
        ("root=/dev/vda3 ro", "disk"),
        ("root=/dev/nvme0n1p3", "disk"),
        ("", "nfs_ro"),
    ],
)
def test_a_root_on_a_disk_is_known_by_its_name(words: str, mode: str) -> None:
    line = next(line for line in NATIVE.splitlines() if "root_mode=disk ;;" in line)
    words_of = """
root='' nfsroot='' root_mode=nfs_ro
for word in $1; do
    case $word in
        root=*) root=${word#*=} ;;
        nfsroot=*) nfsroot=${word#*=} ;;
        rw) root_mode=nfs_rw ;;
    esac
done
"""
    assert shell(f"{words_of}{line}\necho $root_mode", words) == mode


def test_a_stage_is_reported_over_http() -> None:
    asked = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Host"]))
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    authority = f"127.0.0.1:{server.server_port}"
    shell("report_url=$1 mac=$2; report root", f"http://{authority}/report", "52:54:00:00:00:01")
    server.shutdown()
    assert asked == [("/report/52:54:00:00:00:01/root", authority)]


def test_a_machine_id_is_the_node_s_own_and_stays(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/resolv.conf").symlink_to("/run/elsewhere")
    command = """
FACTS=$1/facts; mkdir -p "$FACTS"
hostname() { :; }
ln() { :; }
mkdir() { case $* in *systemd*) ;; *) busybox mkdir "$@" ;; esac; }
mac=$2 node_name=n5 resolvers='10.0.0.1 10.0.0.2' domain=lab.example root_mode=nfs_ro
set_identity "$1"
"""
    shell(command, str(tmp_path), "52:54:00:00:00:01")
    assert (tmp_path / "etc/machine-id").read_text() == "99693c832d5bad7bd26e7c3605f8fe8d\n"
    assert (tmp_path / "etc/hostname").read_text() == "n5\n"
    resolvers = "search lab.example\nnameserver 10.0.0.1\nnameserver 10.0.0.2\n"
    assert not (tmp_path / "etc/resolv.conf").is_symlink()
    assert (tmp_path / "etc/resolv.conf").read_text() == resolvers


def test_a_machine_that_nobody_named_is_called_by_its_address(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    command = """
FACTS=$1/facts; busybox mkdir -p "$FACTS"
hostname() { echo "$1" >"$FACTS/kernel"; }
ln() { :; }
mkdir() { case $* in *systemd*) ;; *) busybox mkdir "$@" ;; esac; }
mac=$2 node_name='' address=10.77.0.100 resolvers='' domain='' root_mode=nfs_ro
set_identity "$1"
"""
    shell(command, str(tmp_path), "52:54:00:00:00:01")
    assert (tmp_path / "etc/hostname").read_text() == "node-10-77-0-100\n"
    assert (tmp_path / "facts/kernel").read_text() == "node-10-77-0-100\n"


def test_busybox_has_every_applet_that_the_scripts_use() -> None:
    if shutil.which("busybox") is None:
        pytest.skip("busybox is not installed")
    there = subprocess.run(["busybox", "--list"], capture_output=True, text=True, check=True).stdout.split()
    assert set(init.APPLETS.split()) <= set(there)
