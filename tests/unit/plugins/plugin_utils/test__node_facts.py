"""Facts come from files of three formats, by maps, and meet the nodes by name; foreign data never gets further."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("yaml", reason="facts are read on the controller, where Ansible brings PyYAML")
pytest.importorskip("jmespath", reason="the controller has jmespath, see requirements.txt")

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._node_facts import load_facts

EXAMPLE = Path(__file__).parents[4] / "inventories" / "grid5000"
MAP = {"node_mac": "mac"}


def facts(folder: Path, text: str, file: str = "facts.yml", **declaration: Any) -> dict[str, dict[str, Any]]:
    """The variables of every node that the file ``file`` with ``text`` says something of."""
    (folder / file).write_text(text, encoding="utf-8")
    loaded = load_facts([{"file": file, **declaration}], folder)
    return loaded.join(loaded.sources).variables


@pytest.mark.parametrize(
    "name, text",
    [
        ("f.yml", "- {name: n1, mac: 52:54:00:00:00:11}\n- {name: n2, mac: 00:11:22:33:44:55, rack: 3}\n"),
        ("f.yaml", "n1: {mac: 52:54:00:00:00:11}\nn2:\n  mac: 00:11:22:33:44:55\n"),
        ("f.csv", "name,mac,rack\nn1,52:54:00:00:00:11,\n\nn2, 00:11:22:33:44:55 ,3\n"),
        ("f.csv", "\ufeffhost;mac\r\nn1;52:54:00:00:00:11\r\nn2;00:11:22:33:44:55\r\n"),
        ("f.tsv", 'hostname\tmac\n"n1"\t52:54:00:00:00:11\nn2\t00:11:22:33:44:55\n'),
        ("f.json", '{"n1": {"mac": "52:54:00:00:00:11"}, "n2": {"mac": "00:11:22:33:44:55"}}'),
        (
            "f.json",
            '{"total": 2, "items": [{"name": "n1", "mac": "52:54:00:00:00:11"},'
            ' {"node": "n2", "mac": "00:11:22:33:44:55"}]}',
        ),
        ("f", '[{"name": "n1", "mac": "52:54:00:00:00:11"}, {"name": "n2", "mac": "00:11:22:33:44:55"}]'),
        ("f", "name,mac\nn1,52:54:00:00:00:11\nn2,00:11:22:33:44:55\n"),
        ("f", "n1: {mac: 52:54:00:00:00:11}\nn2: {mac: 00:11:22:33:44:55}\n"),
    ],
)
def test_every_format_and_shape_says_the_same(tmp_path: Path, name: str, text: str) -> None:
    assert facts(tmp_path, text, name, map=MAP) == {
        "n1": {"node_mac": "52:54:00:00:00:11"},
        "n2": {"node_mac": "00:11:22:33:44:55"},
    }


def test_one_document_is_one_record(tmp_path: Path) -> None:
    text = '{"uid": "n1", "deep": {"mac": "00:00:5e:00:53:01"}, "rack": 3}'
    declared = {"name": "uid", "map": {"node_mac": "deep.mac", "node_rack": "rack", "node_no": "no"}}
    assert facts(tmp_path, text, "f.json", **declared) == {
        "n1": {"node_mac": "00:00:5e:00:53:01", "node_rack": 3}
    }


def test_records_lie_where_the_expression_says(tmp_path: Path) -> None:
    text = '{"rooms": [{"nodes": [{"name": "n1", "mac": "a"}]}, {"nodes": [{"name": "n2", "mac": "b"}]}]}'
    found = facts(tmp_path, text, "f.json", records="rooms[].nodes[]", map=MAP)
    assert found == {"n1": {"node_mac": "a"}, "n2": {"node_mac": "b"}}


def test_yaml_scalars_stay_what_they_look_like(tmp_path: Path) -> None:
    text = (
        "n1: {node_a: YES, node_b: 010, node_c: 7, node_d: 1.5, node_e: true, node_f: ~, node_g: 2026-01-02,\n"
        "     node_h: 12:30, node_i: '7', node_j: 0x1f}\n"
    )
    assert facts(tmp_path, text)["n1"] == {
        "node_a": "YES",
        "node_b": "010",
        "node_c": 7,
        "node_d": 1.5,
        "node_e": True,
        "node_g": "2026-01-02",
        "node_h": "12:30",
        "node_i": "7",
        "node_j": 31,
    }


def test_without_a_map_only_plain_node_variables_are_taken(tmp_path: Path) -> None:
    text = "n1: {node_mac: a, ansible_ssh_common_args: -o ProxyCommand=reboot, mac: b}\n"
    assert facts(tmp_path, text) == {"n1": {"node_mac": "a"}}
    nested = "n1: {node_bmc: {driver: command, commands: {on: [reboot]}}}\n"
    with pytest.raises(
        ClusterError, match=r"key n1: node_bmc is no plain value.*map: \{node_bmc: node_bmc\}"
    ):
        facts(tmp_path, nested)
    assert facts(tmp_path, nested, map={"node_bmc": "{driver: 'ipmi', address: node_bmc.driver}"}) == {
        "n1": {"node_bmc": {"driver": "ipmi", "address": "command"}}
    }


def test_templates_are_handed_on_as_they_stand(tmp_path: Path) -> None:
    value = "{{ lookup('pipe', 'reboot') }}"
    assert facts(tmp_path, json.dumps({"n1": {"mac": value}}), "f.json", map=MAP)["n1"]["node_mac"] == value


def test_anchors_and_merges_work_within_reason(tmp_path: Path) -> None:
    text = "base: &base {node_rack: 1, node_mac: x}\nn1: {<<: *base, node_mac: a}\n"
    assert facts(tmp_path, text)["n1"] == {"node_rack": 1, "node_mac": "a"}
    levels = ["a0: &a0 {" + ", ".join(f"k{key}: 1" for key in range(10)) + "}"]
    levels += [f"a{n}: &a{n} {{<<: [{', '.join([f'*a{n - 1}'] * 10)}]}}" for n in range(1, 10)]
    with pytest.raises(ClusterError, match="line 5: a mapping merges more than"):
        facts(tmp_path, "\n".join(levels))


@pytest.mark.parametrize(
    "text",
    ["a: &a [1, *a]\nn1: {mac: *a}", "a: &a [1, *a]\nmac: *a\nname: n1"],
    ids=["keyed", "single"],
)
def test_an_alias_that_holds_itself_ends(tmp_path: Path, text: str) -> None:
    with pytest.raises(ClusterError):
        facts(tmp_path, text, map=MAP)


def test_an_alias_bomb_is_refused_by_its_size(tmp_path: Path) -> None:
    levels = ["- &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"- &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    text = "bomb:\n" + "\n".join(f"  {line}" for line in levels) + "\nname: n1\n"
    with pytest.raises(ClusterError, match="f.yml, record 1: node_x holds more than 10000 values"):
        facts(tmp_path, text, "f.yml", map={"node_x": "bomb"})


@pytest.mark.parametrize(
    "name, content, words",
    [
        ("f.json", '{"n1": {"mac": \n "a",}}', r"f\.json, line 2 column \d+: "),
        ("f.json", '{"n1": {}, "n1": {}}', r"f\.json: the key 'n1' is there twice"),
        ("f.json", '{"n1": {"mac": NaN}}', r"f\.json: NaN is no JSON"),
        ("f.json", "[" * 100_000, r"f\.json is nested too deeply"),
        ("f.json", '["n1"]', r"f\.json, record 1: str where a record should be"),
        ("f.json", "[]", r"f\.json holds no facts"),
        ("f.json", "3", r"f\.json holds no facts"),
        ("f.yml", "", r"f\.yml holds no facts"),
        ("f.yml", "n1:\n  mac: [\n", r"f\.yml, line \d: "),
        ("f.yml", "n1: {mac: a}\nn1: {mac: b}\n", r"f\.yml, line 2: the key 'n1' is there twice"),
        ("f.yml", "n1: !!python/object/apply:os.system [reboot]\n", r"f\.yml, line 1: could not determine"),
        ("f.yml", "[" * 100_000, r"f\.yml"),
        ("f.yml", "- {mac: a}\n", r"f\.yml, record 1 has no node's name: it has none of name, hostname"),
        ("f.yml", "- {name: [n1], mac: a}\n", r"f\.yml, record 1 has no node's name"),
        ("f.csv", "name,mac\nn1,a\nn2\n", r"f\.csv, line 3: 1 fields under a header of 2"),
        ("f.csv", "name,mac,mac\nn1,a,b\n", r"f\.csv, line 1: the header has two columns 'mac'"),
        ("f.csv", "name,\nn1,a\n", r"f\.csv, line 1: the header .* a column without a name"),
        ("f.csv", 'name,mac\nn1,"a\n', r"f\.csv, line 2: "),
        ("f.csv", "name,mac\nn1," + "a" * (1 << 20) + "a\n", r"f\.csv, line 2: field larger than"),
        ("f.csv", "", r"f\.csv"),
    ],
)
def test_a_broken_file_is_one_clear_error(tmp_path: Path, name: str, content: str, words: str) -> None:
    with pytest.raises(ClusterError, match=words):
        facts(tmp_path, content, name, map=MAP)


@pytest.mark.parametrize(
    "declaration, words",
    [
        ({"file": "nosuch.yml"}, r"cannot read the facts in .*/nosuch\.yml: No such file"),
        ({"file": "."}, "is no regular file"),
        ({"file": "loop.yml"}, r"cannot read the facts in .*/loop\.yml: Too many levels of symbolic links"),
        ({"file": "binary.yml"}, r"binary\.yml is no UTF-8 text at byte 1"),
        ({"glob": "nosuch/*.json"}, r"facts 1: no file matches the glob .*/nosuch/\*\.json"),
        ({}, "facts 1: give either file or glob"),
        ({"file": "a", "glob": "b"}, "facts 1: give either file or glob"),
        ({"file": ["a"]}, "facts 1: file is no string"),
        ({"file": "a", "formt": "csv"}, "facts 1: unknown field 'formt'; known: file, glob, format"),
        ({"file": "a", "format": "xml"}, "facts 1: unknown format 'xml'; known: auto, yaml, csv, json"),
        ({"file": "a", "map": "openstack"}, "unknown map 'openstack'; known: grid5000, oarnodes, or give"),
        ({"file": "a", "map": []}, "facts 1: map is neither"),
        ({"file": "a", "map": {"node-mac": "mac"}}, "facts 1: 'node-mac' is no name of a variable"),
        ({"file": "a", "map": {"node_mac": "mac["}}, r"facts 1, node_mac: 'mac\[' is no .* at character 5"),
        ({"file": "a", "map": {"node_mac": "a | | b"}}, "facts 1, node_mac: .* is no .* at character 5"),
        ({"file": "a", "map": {"node_mac": "mac ^"}}, "facts 1, node_mac: .* is no .* at character 5"),
        ({"file": "a", "map": {"node_mac": "a, evil: b"}}, "facts 1, node_mac: .* is no .* at character 2"),
        ({"file": "a", "map": {"node_mac": ""}}, "facts 1, node_mac: '' is no JMESPath expression"),
        ({"file": "a", "map": {"node_mac": 3}}, "facts 1, node_mac: 3 is no JMESPath expression"),
        ({"file": "a", "name": "]"}, "facts 1, name: ']' is no JMESPath expression at character 1"),
    ],
)
def test_a_wrong_declaration_is_one_clear_error(
    tmp_path: Path, declaration: dict[str, Any], words: str
) -> None:
    (tmp_path / "loop.yml").symlink_to("loop.yml")
    (tmp_path / "binary.yml").write_bytes(b"n\xff\x00")
    with pytest.raises(ClusterError, match=words):
        load_facts([declaration], tmp_path)


@pytest.mark.parametrize("expression, fault", [("abs(mac)", "abs"), ("nosuch(mac)", "nosuch")])
def test_an_expression_that_fails_names_variable_and_record(
    tmp_path: Path, expression: str, fault: str
) -> None:
    declared = {"node_a": "mac", "node_b": expression}
    with pytest.raises(ClusterError, match=rf"facts 1, node_b: .* fails on .*f\.yml, key n1: .*{fault}"):
        facts(tmp_path, "n1: {mac: a}\n", "f.yml", map=declared)


def test_a_controller_without_jmespath_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jmespath", None)
    assert facts(tmp_path, "n1: {node_mac: a}\n") == {"n1": {"node_mac": "a"}}
    with pytest.raises(ClusterError, match="need the Python package jmespath .*pip install jmespath"):
        facts(tmp_path, "n1: {mac: a}\n", map=MAP)


@pytest.mark.parametrize(
    "known, wanted, found",
    [
        (["n1.s.org"], ["n1.s.org"], {"n1.s.org": "n1.s.org"}),
        (["n1.s.org"], ["n1"], {"n1": "n1.s.org"}),
        (["n1"], ["n1.s.org"], {"n1.s.org": "n1"}),
        (["n1.s.org", "n1.t.org"], ["n1"], {}),
        (["n1.s.org", "n1.t.org"], ["n1.t.org"], {"n1.t.org": "n1.t.org"}),
        (["n1"], ["n1.s.org", "n1.t.org"], {}),
        (["n1.s.org"], ["n1.t.org"], {}),
        (["n1.s.org", "n2"], ["n2", "n3"], {"n2": "n2"}),
    ],
)
def test_names_meet_when_there_is_one_way_to(
    tmp_path: Path, known: list[str], wanted: list[str], found: dict[str, str]
) -> None:
    (tmp_path / "f.json").write_text(json.dumps([{"name": name, "node_x": name} for name in known]))
    joined = load_facts([{"file": "f.json"}], tmp_path).join(wanted)
    assert {node: variables["node_x"] for node, variables in joined.variables.items()} == found
    assert joined.missing == [node for node in wanted if node not in found]


def test_two_files_complete_each_other(tmp_path: Path) -> None:
    (tmp_path / "api.json").write_text('[{"name": "n1.s.org", "node_mac": "a", "node_rack": 1}]')
    (tmp_path / "console.csv").write_text("name,node_console\nn1,ttyS1\nn9,ttyS9\n")
    joined = load_facts([{"file": "api.json"}, {"glob": "*.csv"}], tmp_path).join(["n1.s.org"])
    assert joined.variables == {"n1.s.org": {"node_mac": "a", "node_rack": 1, "node_console": "ttyS1"}}
    assert joined.origins["n1.s.org"] == {
        "node_mac": f"{tmp_path}/api.json, record 1",
        "node_rack": f"{tmp_path}/api.json, record 1",
        "node_console": f"{tmp_path}/console.csv, line 2",
    }


def test_a_contradiction_names_both_and_only_matters_for_nodes_that_are_wanted(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("n1: {node_mac: a}\nn2: {node_mac: same}\n")
    (tmp_path / "b.yml").write_text("n1: {node_mac: b}\nn2: {node_mac: same}\n")
    loaded = load_facts([{"file": "a.yml"}, {"file": "b.yml"}], tmp_path)
    assert loaded.join(["n2"]).variables == {"n2": {"node_mac": "same"}}
    words = r"a\.yml, key n1 says node_mac of n1 is 'a', .*b\.yml, key n1 says 'b'"
    with pytest.raises(ClusterError, match=words):
        loaded.join(["n2", "n1"])


def test_the_reference_api_by_its_ready_made_map() -> None:
    loaded = load_facts([{"glob": "facts/*.json", "map": "grid5000"}], EXAMPLE)
    joined = loaded.join(["griffon-2.nancy.grid5000.fr", "parapide-3.rennes.grid5000.fr", "griffon-9"])
    assert len(loaded.sources) == 7
    assert joined.missing == ["griffon-9"]
    assert joined.variables["griffon-2.nancy.grid5000.fr"] == {
        "node_mac": "00:00:5e:00:53:08",
        "node_address": "192.0.2.2",
        "node_interface": "eno1",
        "node_rate": 10**9,
        "node_bmc_address": "203.0.113.2",
        "node_architecture": "x86_64",
        "node_cores": 8,
        "node_memory_bytes": 16 << 30,
        "node_drivers": ["igb", "igb", "mlx4_core", "ahci"],
        "node_disks": [
            {
                "name": "disk0",
                "path": "/dev/disk/by-id/wwn-0x00005e00530200",
                "size": 320072933376,
                "interface": "SATA",
            }
        ],
    }
    second = joined.variables["parapide-3.rennes.grid5000.fr"]
    assert (second["node_mac"], second["node_interface"], second["node_rate"]) == (
        "00:00:5e:00:53:51",
        "enp4s0f0",
        10**10,
    )


def test_one_bare_document_of_the_reference_api(tmp_path: Path) -> None:
    """An old one: no adapter is mounted, so that its uid names it; nothing that is missing is made up."""
    text = json.dumps(
        {"uid": "c-1", "type": "node", "architecture": {"smt_size": 2, "platform_type": "x86_64"},
         "network_adapters": [{"device": "eth0", "mac": "00:00:5e:00:53:01", "mounted": False}]}
    )  # fmt: skip
    found = facts(tmp_path, text, "c-1.json", map="grid5000")
    assert found == {"c-1": {"node_architecture": "x86_64", "node_drivers": []}}


def test_oarnodes_count_the_cores_of_each_node(tmp_path: Path) -> None:
    def resource(node: str, kind: str = "default", deploy: str = "YES") -> dict[str, Any]:
        return {"network_address": node, "type": kind, "deploy": deploy, "state": "Alive",
                "site": "site1", "cluster": "clsite1"}  # fmt: skip

    resources = [resource("node-1.s.org"), resource("node-2.s.org", deploy="NO"), resource("node-1.s.org")]
    resources += [resource("", "storage"), resource("node-1.s.org", "licence")]
    text = json.dumps({str(number): one for number, one in enumerate(resources, 1)})
    found = facts(tmp_path, text, "oarnodes.json", map="oarnodes")
    shared = {"node_state": "Alive", "node_oar_site": "site1", "node_oar_cluster": "clsite1"}
    assert found == {
        "node-1.s.org": {"node_cores": 2, "node_deploy": True, **shared},
        "node-2.s.org": {"node_cores": 1, "node_deploy": False, **shared},
    }


def test_oarnodes_say_the_same_in_yaml(tmp_path: Path) -> None:
    text = "---\n10:\n  deploy: YES\n  type: default\n  state: Alive\n  network_address: n1.s.org\n"
    found = facts(tmp_path, text, "oarnodes", map="oarnodes")
    assert found == {"n1.s.org": {"node_cores": 1, "node_deploy": True, "node_state": "Alive"}}
