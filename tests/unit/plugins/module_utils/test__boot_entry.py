from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._boot_entry import (
    check_files,
    node_boot,
    parse,
    parse_base_url,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._boot_render import Entry
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

DEB = {"name": "deb", "kernel": "images/k", "initrd": ["images/i"], "parameters": ["ip=dhcp"]}
DISK = {"name": "disk", "local": True}
N1 = {"name": "n1", "mac": "52:54:00:00:00:01", "address": "10.77.0.11", "entry": "deb"}


def declared(**options: Any) -> dict[str, Any]:
    return {"entries": [DEB, DISK], "nodes": [N1], "clusters": [], "default": None, **options}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"entries": [DEB, DEB]}, 'two entries are named "deb"'),
        ({"entries": [{**DEB, "name": "a b"}]}, "entry a b: a name has letters"),
        ({"entries": [{"name": "x"}]}, "entry x needs either a kernel or local: true"),
        ({"entries": [{**DEB, "local": True}]}, "entry deb needs either a kernel or local: true"),
        ({"entries": [{**DISK, "parameters": ["a"]}]}, "entry disk boots from the local disk"),
        ({"entries": [{**DEB, "kernel": "/etc/passwd"}]}, 'entry deb: "/etc/passwd" must be a path below'),
        ({"entries": [{**DEB, "kernel": "a/../../b"}]}, "must be a path below the boot tree"),
        ({"entries": [{**DEB, "kernel": "./a"}]}, "must be a path below the boot tree"),
        ({"entries": [{**DEB, "initrd": ["a,b"]}]}, 'entry deb: "a,b" must be a path'),
        ({"entries": [{**DEB, "initrd": ["a b"]}]}, "must be a path"),
        ({"entries": [{**DEB, "parameters": ["a b"]}]}, 'entry deb: parameter "a b" cannot pass'),
        ({"entries": [{**DEB, "parameters": ["a\nLOCALBOOT 0"]}]}, "cannot pass all loaders"),
        ({"entries": [{**DEB, "parameters": ["a="]}, {**DISK, "name": ""}]}, "a name has letters"),
        ({"entries": [{**DEB, "parameters": [""]}]}, "cannot pass all loaders"),
        ({"entries": [{**DEB, "parameters": ['x="a']}]}, "cannot pass all loaders"),
        ({"entries": [{**DEB, "parameters": ["x='a'"]}]}, "cannot pass all loaders"),
        ({"entries": [{**DEB, "parameters": ["x=${y}"]}]}, "cannot pass all loaders"),
        ({"entries": [{**DEB, "parameters": ["||"]}]}, "cannot pass all loaders"),
        ({"entries": [{**DEB, "parameters": ["#x"]}]}, "cannot pass all loaders"),
        ({"entries": [{**DEB, "parameters": ["\u00e9"]}]}, "cannot pass all loaders"),
        ({"nodes": [N1, {**N1, "name": "n2", "address": "10.77.0.12"}]}, "nodes n1 and n2 have the same MAC"),
        ({"nodes": [{"name": "n1", "entry": "deb"}]}, "node n1 has neither MAC, UUID nor address"),
        ({"nodes": [{**N1, "entry": "ubuntu"}]}, 'node n1 wants the entry "ubuntu", which is not declared'),
        ({"nodes": [{**N1, "parameters": ["a b"]}]}, 'node n1: parameter "a b" cannot pass'),
        ({"nodes": [{**N1, "once": "ubuntu"}]}, 'node n1: once wants the entry "ubuntu"'),
        ({"nodes": [{**N1, "once": "disk"}]}, "node n1: once: a boot from the local disk fetches nothing"),
        ({"clusters": [{"name": "c", "subnet": "10.77.0.1/24", "entry": "deb"}]}, "cluster c: subnet"),
        ({"clusters": [{"name": "c", "subnet": "0.0.0.0/0", "entry": "deb"}]}, "use default"),
        ({"clusters": [{"name": "c d", "subnet": "10.0.0.0/8", "entry": "deb"}]}, "cluster c d: a name"),
        (
            {"clusters": [{"name": "c", "subnet": "10.0.0.0/8", "entry": "x"}]},
            'cluster c wants the entry "x"',
        ),
        (
            {"clusters": [{"name": name, "subnet": "10.0.0.0/8", "entry": "deb"} for name in "cd"]},
            "clusters c and d have the same subnet 10.0.0.0/8",
        ),
        (
            {"clusters": [{"name": "c", "subnet": f"10.{n}.0.0/16", "entry": "deb"} for n in (1, 2)]},
            'two clusters are named "c"',
        ),
        ({"default": {"entry": "x"}}, 'default wants the entry "x"'),
    ],
)
def test_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ClusterError) as caught:
        parse(declared(**options))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value).replace("a\nLOCALBOOT", "")


@pytest.mark.parametrize(
    "parameter",
    [
        "root=/dev/nfs",
        "nfsroot=10.0.0.1:/srv/x,vers=3",
        'dyndbg="file nfs.c +p"',
        "a=$b",
        "ip=:::::eth0:dhcp",
        "x=#1",
    ],
)
def test_parameters_that_pass(parameter: str) -> None:
    assert parse(declared(entries=[{**DEB, "parameters": [parameter]}])).entries["deb"].parameters == (
        parameter,
    )


def test_a_node_takes_its_own_entry_then_the_smallest_cluster_then_the_default() -> None:
    options = declared(
        entries=[{**DEB, "name": name} for name in ("own", "small", "large", "rest")],
        nodes=[
            {
                "name": "n1",
                "mac": "52:54:00:00:00:01",
                "address": "10.77.0.11",
                "entry": "own",
                "parameters": ["n"],
            },
            {"name": "n2", "mac": "52:54:00:00:00:02", "address": "10.77.0.12", "parameters": ["n"]},
            {"name": "n3", "mac": "52:54:00:00:00:03", "address": "10.77.9.13"},
            {"name": "n4", "mac": "52:54:00:00:00:04", "address": "10.99.0.14"},
            {"name": "n5", "mac": "52:54:00:00:00:05"},
        ],
        clusters=[
            {"name": "l", "subnet": "10.77.0.0/16", "entry": "large"},
            {"name": "s", "subnet": "10.77.0.0/24", "entry": "small", "parameters": ["c"]},
        ],
        default={"entry": "rest", "parameters": ["d"]},
    )
    declaration = parse(options)
    found = [
        (boot.entry.name, boot.parameters)
        for boot in (node_boot(declaration, node, set()) for node in declaration.nodes)
    ]
    assert found == [
        ("own", ("ip=dhcp", "n")),
        ("small", ("ip=dhcp", "c", "n")),
        ("large", ("ip=dhcp",)),
        ("rest", ("ip=dhcp", "d")),
        ("rest", ("ip=dhcp", "d")),
    ]


def test_a_node_without_any_entry_is_named() -> None:
    declaration = parse(declared(nodes=[{"name": "n7", "mac": "52:54:00:00:00:07"}]))
    with pytest.raises(ClusterError, match="node n7 has no entry"):
        node_boot(declaration, declaration.nodes[0], set())


def test_once_is_armed_until_it_is_spent() -> None:
    declaration = parse(declared(nodes=[{**N1, "entry": "disk", "once": "deb", "parameters": ["p"]}]))
    node = declaration.nodes[0]
    armed, spent = node_boot(declaration, node, set()), node_boot(declaration, node, {node.token})
    assert armed.entry.initrd == ("images/i", f"once/{node.token}.cpio")
    assert armed.parameters == ("ip=dhcp", "p", f"oneimage.once={node.token}")
    assert (spent.entry.name, spent.spent) == ("disk", node.token)


def test_once_id_makes_another_token() -> None:
    tokens = {
        parse(declared(nodes=[{**N1, "once": "deb", "once_id": once_id}])).nodes[0].token
        for once_id in ("", "a", "b")
    }
    assert len(tokens) == 3


def test_a_line_that_kernels_would_cut_is_refused() -> None:
    declaration = parse(declared(nodes=[{**N1, "parameters": ["x" * 1950]}]))
    with pytest.raises(ClusterError, match="node n1, entry deb: 1958 characters of kernel parameters"):
        node_boot(declaration, declaration.nodes[0], set())


@pytest.mark.parametrize("url", ["http://10.0.0.1", "http://10.0.0.1/", "http://10.0.0.1//"])
def test_base_url(url: str) -> None:
    assert parse_base_url(url) == "http://10.0.0.1/"


@pytest.mark.parametrize(
    "url", [None, "", "10.0.0.1", "/srv", "file:///srv", "http://", "http://a b/", "http://${x}/"]
)
def test_base_url_refused(url: str | None) -> None:
    with pytest.raises(ClusterError, match="is no URL of the boot tree"):
        parse_base_url(url)


def test_files_that_cannot_be_served_are_all_named(tmp_path: Path) -> None:
    tree = tmp_path / "boot"
    tree.mkdir()
    (tmp_path / "outside").write_text("x")
    (tree / "link-out").symlink_to("../outside")
    (tree / "empty").touch()
    (tree / "folder").mkdir()
    (tree / "private").write_text("x")
    (tree / "private").chmod(0o600)
    (tree / "good").write_text("x")
    (tree / "link-in").symlink_to("good")
    check_files(tree, [Entry("fine", "good", ("link-in",)), Entry("disk", local=True)])
    with pytest.raises(ClusterError) as caught:
        check_files(tree, [Entry("e", "missing", ("link-out", "empty", "folder", "private", "good"))])
    for said in (
        f"entry e: {tree}/missing cannot be served: No such file or directory",
        "link-out leads out of the boot tree",
        "empty is empty",
        "folder is no file",
        "private has mode 0600",
    ):
        assert said in str(caught.value)
    assert "good" not in str(caught.value)
