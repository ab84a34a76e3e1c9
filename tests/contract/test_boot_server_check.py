"""boot_server_check against real daemons that run the role's own templates, each side in a network namespace of its own."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import snapshot

jinja2 = pytest.importorskip("jinja2")

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_plan import boot_plan

TEMPLATES = Path(__file__).resolve().parents[2] / "roles" / "boot_server" / "templates"
SERVER_SIDE, CLIENT_SIDE = f"bst-server-{os.getpid()}", f"bst-client-{os.getpid()}"
SERVER = "10.79.0.1"
NODES = [
    {"name": "n1", "mac": "52:54:00:79:00:11", "address": "10.79.0.11"},
    {"name": "n2", "mac": "52:54:00:79:00:12", "address": "10.79.0.12", "firmware": "uefi"},
    {"name": "n3", "mac": "52:54:00:79:00:13", "address": "10.79.0.13", "loader": "pxelinux"},
    {"name": "n4", "mac": "52:54:00:79:00:14", "address": "10.79.0.14", "firmware": "uefi", "loader": "grub"},
]
DEFAULTS = {
    "address": SERVER, "subnet": "10.79.0.0/24", "interface": "eth0", "gateway": "", "dns": [], "ntp": "", "domain": "lab.test",
    "range": "", "unknown_nodes": "deny", "mac_prefixes": [],
    "storage": "/srv/oneimage", "nodes": NODES, "dhcp": "dnsmasq", "http_port": 80,
    "lease_time": "1h", "exports": [], "exports_outside_subnet": False, "nfs": "ganesha",
}  # fmt: skip

pytestmark = pytest.mark.root


def run(*argv: str) -> None:
    subprocess.run(argv, check=True, capture_output=True, timeout=90)


def inside(namespace: str, *argv: str) -> list[str]:
    return ["ip", "netns", "exec", namespace, *argv]


@pytest.fixture(scope="module")
def network() -> Iterator[None]:
    """Two namespaces and a wire."""
    try:
        for namespace in (SERVER_SIDE, CLIENT_SIDE):
            run("ip", "netns", "add", namespace)
        run(
            "ip",
            "link",
            "add",
            "eth0",
            "netns",
            SERVER_SIDE,
            "type",
            "veth",
            "peer",
            "name",
            "eth0",
            "netns",
            CLIENT_SIDE,
        )
        for namespace, address in ((SERVER_SIDE, SERVER), (CLIENT_SIDE, "10.79.0.9")):
            run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", "eth0")
            for link in ("lo", "eth0"):
                run("ip", "-n", namespace, "link", "set", link, "up")
        yield
    finally:
        for namespace in (SERVER_SIDE, CLIENT_SIDE):
            subprocess.run(["ip", "netns", "delete", namespace], check=False, capture_output=True)


def declare(storage: Path, **changes: Any) -> dict[str, Any]:
    """The role's variables and its plan, under the names that the templates use."""
    declared = {**DEFAULTS, "storage": str(storage), **changes}
    variables = {f"boot_server_{name}": value for name, value in declared.items()}
    nfs = {"exports": str(storage / "exports.conf")}
    plan = boot_plan(declared)
    return {
        **variables,
        "__boot_server_plan": plan,
        "__boot_server_tree": f"{storage}/boot",
        "__boot_server_nfs": nfs,
    }


def render(template: str, variables: dict[str, Any], target: Path) -> Path:
    """The role's template as Ansible renders it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
    )
    target.write_text(
        environment.get_template(template).render(ansible_managed="Ansible managed", **variables)
    )
    return target


@contextlib.contextmanager
def daemon(*argv: str, ready: Callable[[], bool]) -> Iterator[None]:
    """Run ``argv`` on the server's side until the block ends."""
    process = subprocess.Popen(
        inside(SERVER_SIDE, *argv), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        deadline = time.monotonic() + 90
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                process.kill()
                pytest.fail(f"{argv[0]} does not start: {process.communicate()[0]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        try:
            process.wait(2)
        except subprocess.TimeoutExpired:
            process.kill()


def listens(port: int, flag: str = "-tln") -> bool:
    """Whether anybody on the server's side listens on ``port``."""
    shown = subprocess.run(
        inside(SERVER_SIDE, "ss", "-H", flag, f"sport = :{port}"),
        capture_output=True,
        timeout=90,
        check=False,
    )
    return bool(shown.stdout.strip())


@contextlib.contextmanager
def dnsmasq(storage: Path, variables: dict[str, Any]) -> Iterator[Path]:
    configuration = render("etc/dnsmasq.d/oneimage.conf.j2", variables, storage / "dnsmasq.conf")
    run("dnsmasq", "--test", f"--conf-file={configuration}")
    leases = storage / "leases"
    argv = [
        "dnsmasq",
        "-k",
        f"--conf-file={configuration}",
        f"--dhcp-leasefile={leases}",
        "--user=root",
        "--pid-file",
    ]
    with daemon(*argv, "--log-facility=-", ready=functools.partial(listens, 69, "-uln")):
        yield leases


@pytest.fixture
def storage(network: None, tmp_path: Path) -> Path:
    """A boot tree, one file of it larger than a block number can count in TFTP's smallest blocks."""
    for name, content in {
        "pxelinux.0": b"loader",
        "pxelinux.cfg/01-52-54-00-79-00-13": b"DEFAULT a",
        "ipxe/boot.ipxe": b"#!ipxe\n",
        "images/a b+c%20/vmlinuz": os.urandom(1428 * 40),
        "images/a/initrd": os.urandom(100_001),
        "empty": b"",
    }.items():
        path = tmp_path / "boot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return tmp_path


@contextlib.contextmanager
def web(storage: Path) -> Iterator[None]:
    """Python's own server stands in for nginx, which has a test of its own below."""
    argv = [sys.executable, "-m", "http.server", "--bind", SERVER, "--directory", str(storage / "boot"), "80"]
    with daemon(*argv, ready=functools.partial(listens, 80)):
        yield


def tree(storage: Path) -> list[dict[str, Any]]:
    """The boot tree as the role hands it to the module."""
    return [
        {
            "path": str(path.relative_to(storage / "boot")),
            "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size": path.stat().st_size,
        }
        for path in sorted((storage / "boot").rglob("*"))
        if path.is_file()
    ]


def check(options: dict[str, Any], namespace: str = CLIENT_SIDE, check_mode: bool = False) -> dict[str, Any]:
    """Run the module on one side of the wire."""
    arguments = {"server": SERVER, "timeout": 1, **options, "_ansible_check_mode": check_mode}
    name = "ansible_collections.oneimage.cluster.plugins.modules.boot_server_check"
    done = subprocess.run(
        inside(namespace, sys.executable, "-m", name),
        input=json.dumps({"ANSIBLE_MODULE_ARGS": arguments}),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    result = json.loads(done.stdout)
    assert "Traceback" not in done.stderr + str(result.get("msg"))
    return result


@pytest.mark.parametrize(
    "side", [CLIENT_SIDE, SERVER_SIDE], ids=["from another host", "on the boot server itself"]
)
@pytest.mark.parametrize("check_mode", [False, True], ids=["run", "check"])
def test_a_whole_server_passes(storage: Path, side: str, check_mode: bool) -> None:
    variables = declare(storage)
    answers = variables["__boot_server_plan"]["answers"]
    with dnsmasq(storage, variables) as leases, web(storage):
        before = snapshot(storage / "boot")
        result = check({"answers": answers, "files": tree(storage)}, side, check_mode)
        assert result.get("failed") is None, result["msg"]
        assert result["tried"] == {"dhcp": 8, "tftp": 6, "http": 6}
        assert result["changed"] is False
        assert snapshot(storage / "boot") == before
        assert not leases.exists() or leases.read_text() == ""


def test_interface_need_not_be_named(storage: Path) -> None:
    variables = declare(storage, interface="")
    with dnsmasq(storage, variables):
        result = check({"answers": variables["__boot_server_plan"]["answers"]})
    assert result.get("failed") is None, result["msg"]


def damaged_file(storage: Path) -> None:
    (storage / "boot" / "images" / "a" / "initrd").write_bytes(b"torn")


def missing_file(storage: Path) -> None:
    (storage / "boot" / "pxelinux.0").unlink()


@pytest.mark.parametrize(
    ("damage", "told"),
    [
        (
            missing_file,
            ["TFTP pxelinux.0: the server answered error 1", "HTTP pxelinux.0: the server answered 404"],
        ),
        (
            damaged_file,
            ["TFTP images/a/initrd: what arrives has the sha256", "HTTP images/a/initrd: what arrives"],
        ),
    ],
)
def test_a_file_that_is_not_served_names_itself(
    storage: Path, damage: Callable[[Path], None], told: list[str]
) -> None:
    files = tree(storage)
    with dnsmasq(storage, declare(storage)), web(storage):
        damage(storage)
        result = check({"files": files})
    assert result["failed"]
    assert len(result["problems"]) == len(told)
    for problem, beginning in zip(result["problems"], told):
        assert problem.startswith(beginning)
        assert problem in result["msg"]


def test_large_files_are_not_fetched_over_tftp(storage: Path) -> None:
    with dnsmasq(storage, declare(storage)):
        result = check({"files": tree(storage), "tftp_max_size": 1000, "http_port": 0})
    assert result["tried"] == {"tftp": 4}


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (
            {"expect": {"address": "10.79.0.99"}},
            "address 10.79.0.11 where 10.79.0.99 was declared (offer of 10.79.0.1)",
        ),
        ({"expect": {"next_server": "10.79.0.2"}}, "next server 10.79.0.1 where 10.79.0.2 was declared"),
        ({"expect": {"file": "pxelinux.0"}}, "file undionly.kpxe where pxelinux.0 was declared"),
        ({"architecture": 11, "expect": {"file": "snponly.efi"}}, "file none where snponly.efi was declared"),
        ({"mac": "52:54:00:79:00:99", "expect": {}}, "no offer on eth0"),
    ],
)
def test_a_wrong_answer_names_itself(storage: Path, answer: dict[str, Any], told: str) -> None:
    with dnsmasq(storage, declare(storage)):
        result = check({"answers": [{"mac": NODES[0]["mac"], "architecture": 0, **answer}]})
    assert result["failed"]
    assert result["problems"][0].startswith(f"DHCP {answer.get('mac', NODES[0]['mac'])} (architecture ")
    assert told in result["problems"][0]


def test_every_missing_daemon_names_itself(storage: Path) -> None:
    result = check({
        "answers": [{"mac": NODES[0]["mac"], "architecture": 0, "expect": {}}],
        "files": [{"path": "pxelinux.0", "sha256": "0"}],
        "exports": [{"path": "/srv/root"}],
        "nfs_client": "libnfs",
        "nfs_versions": [3],
    })  # fmt: skip
    assert result["failed"]
    dhcp, tftp, http, nfs = result["problems"]
    assert "no offer" in dhcp
    assert tftp.startswith("TFTP pxelinux.0:")
    assert "HTTP pxelinux.0: cannot fetch from port 80" in http
    assert nfs.startswith("NFS version 3 /srv/root: nfs-ls failed")


def test_unknown_nodes_by_the_beginning_of_their_mac(storage: Path) -> None:
    joining = {
        "unknown_nodes": "allow",
        "range": "10.79.0.100-10.79.0.101",
        "mac_prefixes": ["52-54-00-7A", "02"],
    }
    with dnsmasq(storage, declare(storage, **joining)) as leases:
        result = check({
            "timeout": 5,  # dnsmasq looks first whether anybody has the address
            "answers": [
                {"mac": "52:54:00:7a:00:01", "architecture": 0, "expect": {"file": "undionly.kpxe", "next_server": SERVER}},
                {"mac": "02:00:00:00:00:01", "architecture": 0, "ipxe": True, "expect": {}},
                {"mac": NODES[0]["mac"], "architecture": 0, "expect": {"address": "10.79.0.11"}},
            ],
        })  # fmt: skip
        assert result.get("failed") is None, result["msg"]
        refused = check({
            "answers": [{"mac": "52:54:00:79:00:99", "architecture": 0, "expect": {}}],
        })  # fmt: skip
        assert "DHCP 52:54:00:79:00:99" in refused["problems"][0]
        assert "no offer" in refused["problems"][0]
        assert not leases.exists() or leases.read_text() == ""


def test_unknown_nodes_where_they_are_allowed(storage: Path) -> None:
    stranger = {"mac": "52:54:00:79:00:99", "architecture": 0}
    with dnsmasq(storage, declare(storage, unknown_nodes="allow", range="10.79.0.100-10.79.0.100")):
        result = check({
            "timeout": 5,  # dnsmasq looks first whether anybody has the address
            "answers": [
                {**stranger, "expect": {"address": "10.79.0.100", "file": "undionly.kpxe"}},
                {**stranger, "ipxe": True, "expect": {"file": f"http://{SERVER}/ipxe/boot.ipxe"}},
                {**stranger, "architecture": 16, "expect": {"file": f"http://{SERVER}/snponly.efi"}},
                {"mac": NODES[2]["mac"], "architecture": 0, "ipxe": True, "expect": {"file": "pxelinux.0"}},
            ],
        })  # fmt: skip
    assert result.get("failed") is None, result["msg"]


def test_where_dhcp_is_someone_elses_tftp_is_served_all_the_same(storage: Path) -> None:
    with dnsmasq(storage, declare(storage, dhcp="none")):
        result = check({"files": tree(storage), "http_port": 0})
        assert result.get("failed") is None, result["msg"]
        silent = check({"answers": [{"mac": NODES[0]["mac"], "architecture": 0, "expect": {}}]})
    assert "no offer" in silent["msg"]


def test_names_of_the_nodes(storage: Path) -> None:
    question = b"\0\1\1\0\0\1\0\0\0\0\0\0\2n1\3lab\4test\0\0\1\0\1"
    program = (
        "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(5); "
        f"s.sendto({question!r}, ({SERVER!r}, 53)); sys.stdout.write(socket.inet_ntoa(s.recv(512)[-4:]))"
    )
    with dnsmasq(storage, declare(storage)):
        answer = subprocess.run(
            inside(CLIENT_SIDE, sys.executable, "-c", program),
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )
    assert answer.stdout == "10.79.0.11"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"server": "boot"}, '"boot" is no IPv4 address'),
        ({"http_port": 70000}, "http_port: 70000 is no port"),
        ({"answers": [{"mac": "52:54", "architecture": 0, "expect": {}}]}, '"52:54" is no MAC address'),
        (
            {"server": "10.80.0.1", "answers": [{"mac": NODES[0]["mac"], "architecture": 0, "expect": {}}]},
            "no interface of this host",
        ),
        (
            {"interface": "nix0", "answers": [{"mac": NODES[0]["mac"], "architecture": 0, "expect": {}}]},
            "DHCP client on nix0",
        ),
        ({"nfs_client": "nix"}, "value of nfs_client must be one of"),
    ],
)
def test_bad_input_is_one_clear_error(network: None, options: dict[str, Any], told: str) -> None:
    result = check(options)
    assert result["failed"]
    assert told in result["msg"]
    assert "problems" not in result


def test_nginx_serves_the_tree_and_takes_reports(storage: Path) -> None:
    if not shutil.which("nginx"):
        pytest.skip("nginx is not on this machine; the lab's boot server has it")
    configuration = render("etc/nginx/oneimage-check.conf.j2", declare(storage), storage / "nginx.conf")
    configuration.write_text(configuration.read_text().replace("/var/log/nginx", str(storage)))
    (storage / "boot" / ".oneimage-partial-x").write_text("secret")
    for path in (storage, *storage.parents):  # nginx reads as a user of its own
        if path.stat().st_mode & 0o055 != 0o055:
            path.chmod(0o755)
    settings = f"daemon off; pid {storage}/pid; error_log {storage}/error.log;"
    with daemon("nginx", "-c", str(configuration), "-g", settings, ready=functools.partial(listens, 80)):
        result = check(
            {"files": [file for file in tree(storage) if "partial" not in file["path"]], "tftp": False}
        )
        assert result.get("failed") is None, result["msg"]
        wanted = {
            "/report/52:54:00:79:00:11/initrd": 204,
            "/report/52:54:00:79:00:11/two%0alines": 404,
            "/report/nobody/initrd": 404,
            "/.oneimage-partial-x": 404,
            "/images/": 404,
        }
        program = (
            f"import http.client, json, sys; c = http.client.HTTPConnection({SERVER!r}, timeout=5); found = {{}}\n"
            f"for path in {list(wanted)!r}: c.request('GET', path); r = c.getresponse(); r.read(); found[path] = r.status\n"
            "print(json.dumps(found))"
        )
        answered = subprocess.run(
            inside(CLIENT_SIDE, sys.executable, "-c", program),
            capture_output=True,
            text=True,
            timeout=90,
            check=True,
        )
        assert json.loads(answered.stdout) == wanted
    reports = (storage / "oneimage-report.log").read_text().splitlines()
    assert [line.split()[1:] for line in reports] == [["52:54:00:79:00:11", "initrd", "10.79.0.9"]]


@pytest.fixture
def ganesha(storage: Path) -> Iterator[Path]:
    """nfs-ganesha and rpcbind with the role's configuration; a mount namespace keeps their sockets off this machine's /run."""
    if not shutil.which("ganesha.nfsd"):
        pytest.skip("nfs-ganesha is not on this machine; the lab's boot server has it")
    exports = [{"path": str(storage / "ro")}, {"path": str(storage / "rw"), "mode": "rw"}]
    for export in exports:
        Path(export["path"], "etc/oneimage").mkdir(parents=True)
        Path(export["path"], "etc/oneimage/image.json").write_text("{}")
    variables = declare(storage, exports=exports)
    render("etc/ganesha/oneimage-exports.conf.j2", variables, storage / "exports.conf")
    render("etc/ganesha/ganesha.conf.j2", variables, storage / "ganesha.conf")
    script = storage / "start"
    script.write_text(
        "mount -t tmpfs none /run && mkdir /run/ganesha && rpcbind -w && "
        f"exec ganesha.nfsd -F -f {storage}/ganesha.conf -L {storage}/ganesha.log -p {storage}/ganesha.pid\n"
    )
    with daemon(
        "unshare",
        "--mount",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "sh",
        str(script),
        ready=functools.partial(listens, 2049),
    ):
        yield storage


def test_exports_are_mounted_and_a_missing_one_names_itself(ganesha: Path) -> None:
    sha256 = hashlib.sha256(b"{}").hexdigest()
    good = [
        {"path": str(ganesha / name), "file": "etc/oneimage/image.json", "sha256": sha256}
        for name in ("ro", "rw")
    ]
    listed = {"path": str(ganesha / "ro")}
    options = {"nfs_client": "libnfs", "timeout": 3}
    deadline = time.monotonic() + 90
    result = check({**options, "exports": [*good, listed]})
    while result.get("failed") and time.monotonic() < deadline:  # it listens before it serves
        result = check({**options, "exports": [*good, listed]})
    assert result.get("failed") is None, result["msg"]
    assert result["tried"] == {"nfs": 6}
    bad = [
        {"path": str(ganesha / "nix")},
        {**good[0], "sha256": "0" * 64},
        {**good[1], "file": "etc/nix"},
    ]
    result = check({**options, "exports": bad, "nfs_versions": [3]})
    unknown, differs, absent = result["problems"]
    assert unknown.startswith(f"NFS version 3 {ganesha}/nix: nfs-ls failed")
    assert differs.startswith(
        f"NFS version 3 {ganesha}/ro etc/oneimage/image.json: what arrives has the sha256 {sha256[:12]}"
    )
    assert absent.startswith(f"NFS version 3 {ganesha}/rw etc/nix: nfs-cat failed")


def test_read_only_is_read_only_and_root_is_root(ganesha: Path) -> None:
    source = ganesha / "source"
    source.write_text("x")

    def write(export: str) -> int:
        url = f"nfs://{SERVER}{ganesha}/{export}/file?version=3"
        return subprocess.run(
            inside(CLIENT_SIDE, "nfs-cp", str(source), url), capture_output=True, timeout=90, check=False
        ).returncode

    deadline = time.monotonic() + 90
    while write("rw") != 0 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert (ganesha / "rw" / "file").stat().st_uid == 0
    assert write("ro") != 0
    assert not (ganesha / "ro" / "file").exists()


def test_kernel_client_says_what_mount_said(network: None) -> None:
    if not shutil.which("mount.nfs"):
        pytest.skip("nfs-common is not on this machine")
    result = check({"exports": [{"path": "/srv/root"}], "nfs_client": "kernel", "nfs_versions": [3]})
    assert result["problems"][0].startswith("NFS version 3 /srv/root: mount ")
    assert "/srv/root" not in Path("/proc/mounts").read_text()
