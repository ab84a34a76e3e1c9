"""The inventory plugin ``nodes`` as users meet it: ansible-inventory, ansible-playbook, and the import of AWX."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from inventory_run import CHECKOUT, ansible, inventory_of

TWO_SITES = CHECKOUT / "inventories" / "grid5000" / "two_sites.nodes.yml"
GRIFFONS = [f"griffon-{number}.nancy.grid5000.fr" for number in (1, 2, 4)]
PARAPIDES = [f"parapide-{number}.rennes.grid5000.fr" for number in (2, 3)]
PLAY = [
    {
        "hosts": "nodes",
        "gather_facts": False,
        "tasks": [{"ansible.builtin.debug": {"msg": "{{ node_note }}"}}],
    }
]


def declare(folder: Path, *sources: Any, name: str = "test.nodes.yml", **options: Any) -> Path:
    """An inventory file with ``sources``; JSON is YAML."""
    file = folder / name
    file.write_text(json.dumps({"plugin": "oneimage.cluster.nodes", "sources": list(sources), **options}))
    return file


def refusal(file: Path, environment: Mapping[str, str] | None = None) -> str:
    """The one line with which ansible-inventory refuses ``file``."""
    done = ansible("ansible-inventory", "-i", file, "--list", environment=environment)
    assert done.returncode == 4, done.stdout + done.stderr
    assert not done.stdout
    errors = done.stderr.splitlines()
    assert len(errors) == 1, done.stderr
    assert errors[0].startswith(f"[ERROR]: {file}: ")
    return errors[0].removeprefix(f"[ERROR]: {file}: ")


def test_two_sites() -> None:
    found = inventory_of(TWO_SITES)
    variables = found["_meta"]["hostvars"]
    assert found["reserved"]["hosts"] == found["nodes"]["hosts"] == GRIFFONS + PARAPIDES
    assert found["site_nancy"]["hosts"] == found["cluster_griffon"]["hosts"] == found["job_1234567"]["hosts"]
    assert found["job_1234567"]["hosts"] == GRIFFONS
    assert found["site_rennes"]["hosts"] == found["cluster_parapide"]["hosts"] == PARAPIDES
    assert variables[GRIFFONS[0]]["node_mac"] == "00:00:5e:00:53:00"
    assert {name: of["node_slots"] for name, of in variables.items()} == {
        **dict.fromkeys(GRIFFONS, 8),
        **dict.fromkeys(PARAPIDES, 4),
    }
    assert {of["ansible_user"] for of in variables.values()} == {"root"}
    assert {(of["node_site"], of["node_cluster"], of["node_job"]) for of in variables.values()} == {
        ("nancy", "griffon", "1234567"),
        ("rennes", "parapide", "7654321"),
    }
    assert "__ansible_unsafe" not in json.dumps(found)


def test_what_awx_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As its inventory updates do: through ansible-runner, with group variables apart (--export)."""
    ansible_runner = pytest.importorskip(
        "ansible_runner", reason="ansible-runner is in requirements-test.txt"
    )
    environment = {
        "ANSIBLE_COLLECTIONS_PATH": str(CHECKOUT / ".collections"),
        "ANSIBLE_INVENTORY_EXPORT": "true",
        "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
    }
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    found, errors = ansible_runner.get_inventory(
        action="list",
        inventories=[str(TWO_SITES)],
        response_format="json",
        quiet=True,
        envvars=environment,
        private_data_dir=str(tmp_path),
    )
    assert errors == ""
    assert found["reserved"]["hosts"] == GRIFFONS + PARAPIDES
    assert found["site_rennes"]["vars"] == {"node_site": "rennes"}
    assert found["job_1234567"]["vars"] == {"node_job": "1234567"}
    assert "__ansible_unsafe" not in json.dumps(found)


def test_verbose_says_format_and_count_of_each_source(tmp_path: Path) -> None:
    (tmp_path / "machines").write_text("n1 slots=4\nn2 slots=2\n")
    file = declare(
        tmp_path,
        {"file": "machines", "job": 7},
        {"nodes": "griffon-[1-3]"},
        {"file": "none", "optional": True},
        {"env": "NO_SUCH_VARIABLE", "optional": True},
        {"glob": "no*.such", "optional": True},
        {"command": ["no-such-program-anywhere"], "optional": True},
    )
    done = ansible("ansible-inventory", "-i", file, "--list", "-v")
    assert done.returncode == 0, done.stderr
    said = [line.partition(": ")[2] for line in done.stdout.splitlines() if line.startswith("oneimage.")]
    left = "left out, it is optional"
    assert said == [
        f"file {tmp_path}/machines: format machinefile, 2 nodes, 6 slots, job 7",
        "nodes of source 2: format hostlist, 3 nodes, 3 slots, no job known",
        f"file {tmp_path}/none: does not exist; is the reservation over?; {left}",
        f"environment variable NO_SUCH_VARIABLE: is not set; is this inside a job?; {left}",
        f"glob {tmp_path}/no*.such: no file matches; is the reservation over?; {left}",
        "command no-such-program-anywhere: cannot be run: no-such-program-anywhere was not found on this host; "
        + left,
    ]
    assert list(inventory_of(file)["_meta"]["hostvars"]) == [
        "griffon-1",
        "griffon-2",
        "griffon-3",
        "n1",
        "n2",
    ]


def test_duplicates_merge_and_their_slots_are_added(tmp_path: Path) -> None:
    (tmp_path / "a.list").write_text("n1\nn1\nn2\n")
    (tmp_path / "b.list").write_text("n2\nn3\n")
    found = inventory_of(declare(tmp_path, {"glob": "*.list", "job": 42}, {"nodes": ["n1"]}))
    slots = {name: of["node_slots"] for name, of in found["_meta"]["hostvars"].items()}
    assert slots == {"n1": 3, "n2": 2, "n3": 1}


def oarstat(expires: int) -> str:
    described = {
        "state": "Running",
        "startTime": expires - 60,
        "walltime": 60,
        "assigned_network_address": ["node-1.s1.grid5000.fr"],
    }
    return json.dumps({"42": described})


@pytest.mark.parametrize(
    "source, expected",
    [
        ({"file": "gone"}, "file {folder}/gone: does not exist; is the reservation over?"),
        ({"file": "gone", "optional": True}, "no source gives a node; is this inside a job?"),
        ({"file": "over.json"}, "file {folder}/over.json: job 42 is over since 2001-09-09 01:46:40 UTC"),
        (
            {"command": ["sleep", "600"], "timeout": 0.2},
            "command sleep 600: gave no answer within 0.2 s and was ended",
        ),
        (
            {"file": "evil"},
            'file {folder}/evil, line 2: host name "n1{{{{1+1}}}}" holds "{{": only letters, digits, hyphen, underscore '
            "and dot may stand in it; if this is no list of names, say which format it is",
        ),
    ],
)  # more of them in the unit tests of _allocation_sources
def test_a_bad_source_is_one_error(source: dict[str, Any], expected: str, tmp_path: Path) -> None:
    (tmp_path / "over.json").write_text(oarstat(1_000_000_000))
    (tmp_path / "evil").write_text("n0\nn1{{1+1}}\n")
    assert refusal(declare(tmp_path, source)) == expected.format(folder=tmp_path)


@pytest.mark.parametrize(
    "options, expected",
    [
        ({"grop": "x"}, "unknown option 'grop'; known: "),
        ({"sources": []}, "no source gives a node; is this inside a job?"),
        ({"sources": {"file": "x"}}, "Config 'sources' for "),
        ({"sources": ["n1"]}, "source 1 is no mapping"),
        ({"location": ["(?P<site>"]}, "location 1: '(?P<site>' is no regular expression: "),
        (
            {"location": ["n(.*)"]},
            "location 1: 'n(.*)' has neither a group (?P<site>...) nor (?P<cluster>...)",
        ),
        ({"facts": [{"file": "none.csv"}]}, ""),
        ({"strict": True, "compose": {"x": "no_such_variable"}}, "Could not set x for host n1: "),
    ],
)
def test_bad_options_are_one_error(options: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert refusal(declare(tmp_path, {"nodes": "n1"}, **options)).startswith(expected)


def test_a_node_of_two_jobs_is_an_error_that_names_both(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("n1\nn2\nn3\n")
    file = declare(tmp_path, {"file": "nodes", "job": 42}, {"nodes": "n[2-9]", "job": 43})
    assert refusal(file) == (
        f"nodes are claimed by two jobs: n[2-3] by job 42 (file {tmp_path}/nodes) and job 43 (nodes of source 2); "
        "leave one of the sources out"
    )


def test_a_play_on_a_reservation_that_is_over_fails_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(json.dumps(PLAY))
    other = tmp_path / "other.ini"
    other.write_text("[nodes]\nlocalhost ansible_connection=local node_note=reached\n")
    file = declare(tmp_path, {"file": "gone"})
    done = ansible("ansible-playbook", "-i", other, "-i", file, tmp_path / "play.yml")
    assert done.returncode == 4
    assert "reached" not in done.stdout
    assert done.stderr == f"[ERROR]: {file}: file {tmp_path}/gone: does not exist; is the reservation over?\n"


def test_another_file_of_that_name_is_left_to_other_plugins(tmp_path: Path) -> None:
    file = tmp_path / "static_nodes.yml"
    file.write_text("nodes: {hosts: {n1: {}}}\n")
    settings = {**os.environ, "ANSIBLE_INVENTORY_ENABLED": "oneimage.cluster.nodes,yaml"}
    assert inventory_of(file, settings)["nodes"]["hosts"] == ["n1"]


def test_foreign_templates_stay_text(tmp_path: Path) -> None:
    """In a play, in a composed variable, and in what AWX imports, where only such a value is marked."""
    evil = "{{ lookup('pipe', 'touch " + str(tmp_path / "pwned") + "') }}"
    (tmp_path / "facts.json").write_text(json.dumps([{"name": "n1", "note": evil, "kind": "plain"}]))
    (tmp_path / "play.yml").write_text(json.dumps(PLAY))
    file = declare(
        tmp_path,
        {"nodes": "n1"},
        facts=[{"file": "facts.json", "map": {"node_foreign": "note", "node_kind": "kind"}}],
        compose={"node_note": "node_foreign ~ '!'", "node_sum": "node_kind ~ '?'"},
        keyed_groups=[{"key": "node_foreign", "prefix": "note"}],
    )
    done = ansible("ansible-playbook", "-i", file, tmp_path / "play.yml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.dumps(f"{evil}!") in done.stdout
    variables = inventory_of(file)["_meta"]["hostvars"]["n1"]
    assert variables["node_foreign"] == {"__ansible_unsafe": evil}
    assert variables["node_kind"] == "plain"
    assert variables["node_sum"] == "plain?"
    assert not (tmp_path / "pwned").exists()


def test_extra_variables_say_which_job(tmp_path: Path) -> None:
    file = declare(tmp_path, {"nodes": "n[1-{{ count }}]", "job": "{{ job }}"})
    done = ansible("ansible-inventory", "-i", file, "--list", "-e", "job=42", "-e", "count=3")
    assert json.loads(done.stdout)["job_42"]["hosts"] == ["n1", "n2", "n3"]
    assert "'count' is undefined" in refusal(file)


def test_facts_may_not_contradict_the_reservation(tmp_path: Path) -> None:
    (tmp_path / "facts.csv").write_text("name,node_expires\nn1,9999999999\n")
    error = refusal(declare(tmp_path, {"nodes": "n1"}, facts=[{"file": "facts.csv"}]))
    assert "says node_expires of n1, which is the reservation's to say" in error


def test_constructed_groups_and_variables(tmp_path: Path) -> None:
    file = declare(
        tmp_path,
        {"nodes": "griffon-[1-2].nancy.example.org"},
        {"nodes": "node-3", "job": 42},
        group="",
        compose={"where": "node_site | default('nowhere')", "twice": "node_slots * 2"},
        groups={"placed": "node_site is defined", "doubled": "twice == 2"},
        keyed_groups=[
            {"key": "where", "separator": ""},
            {"key": "node_cluster", "prefix": "c", "parent_group": "p"},
        ],
        leading_separator=False,
    )
    found = inventory_of(file)
    griffons = ["griffon-1.nancy.example.org", "griffon-2.nancy.example.org"]
    assert found["placed"]["hosts"] == found["nancy"]["hosts"] == found["c_griffon"]["hosts"] == griffons
    assert found["doubled"]["hosts"] == [*griffons, "node-3"]
    assert found["nowhere"]["hosts"] == ["node-3"]
    assert found["p"]["children"] == ["c_griffon"]
    assert "nodes" not in found


def test_location_expressions_of_the_user(tmp_path: Path) -> None:
    found = inventory_of(
        declare(
            tmp_path,
            {"nodes": "r1-n1,r2-n1,x"},
            location=[r"r(?P<cluster>\d)-.*", "(?P<site>x)"],
        )
    )
    assert found["cluster_1"]["hosts"] == ["r1-n1"]
    assert found["site_x"]["hosts"] == ["x"]


def test_names_that_are_one_group_keep_their_own_variables(tmp_path: Path) -> None:
    found = inventory_of(declare(tmp_path, {"nodes": "a-1.x-y.site.org,a-2.x_y.site.org"}))
    assert found["site_x_y"]["hosts"] == ["a-1.x-y.site.org", "a-2.x_y.site.org"]
    assert [of["node_site"] for of in found["_meta"]["hostvars"].values()] == ["x-y", "x_y"]


def test_a_second_inventory_adds_to_the_groups(tmp_path: Path) -> None:
    ini = tmp_path / "rack.ini"
    ini.write_text("[nodes]\nspare\n[racks:children]\nnodes\nsite_nancy\n[site_nancy]\n")
    one = declare(tmp_path, {"nodes": "griffon-1.nancy.example.org", "job": 1}, name="one.nodes.yml")
    two = declare(tmp_path, {"nodes": "griffon-2.nancy.example.org", "job": 2}, name="two.nodes.yml")
    done = ansible("ansible-inventory", "-i", ini, "-i", one, "-i", two, "--list")
    found = json.loads(done.stdout)
    both = ["griffon-1.nancy.example.org", "griffon-2.nancy.example.org"]
    assert found["reserved"]["hosts"] == found["site_nancy"]["hosts"] == both
    assert found["nodes"]["hosts"] == ["spare", *both]
    assert sorted(found["all"]["children"]) == [
        *("cluster_griffon", "job_1", "job_2", "racks", "reserved", "ungrouped")
    ]
    done = ansible("ansible", "-i", ini, "-i", one, "-i", two, "racks", "--list-hosts")
    assert done.stdout.split() == ["hosts", "(3):", "spare", *both]


def cached(tmp_path: Path, *sources: Any) -> Path:
    options = {
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(tmp_path / "cache"),
    }
    return declare(tmp_path, *sources, **options)


def test_the_cache_keeps_what_the_sources_said(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("n1\n")
    file = cached(tmp_path, {"file": "nodes", "job_env": "MY_JOB"})
    environment = {**os.environ, "MY_JOB": "1"}
    first = inventory_of(file, environment)
    (tmp_path / "nodes").write_text("n2\n")
    assert inventory_of(file, environment) == first
    assert first["job_1"]["hosts"] == ["n1"]
    other_job = inventory_of(file, {**os.environ, "MY_JOB": "2"})
    assert other_job["job_2"]["hosts"] == ["n2"]
    done = ansible("ansible-inventory", "-i", file, "--flush-cache", "--list", environment=environment)
    assert json.loads(done.stdout)["job_1"]["hosts"] == ["n2"]


def test_a_reservation_ends_in_the_cache_too(tmp_path: Path) -> None:
    end = int(time.time()) + 3600
    (tmp_path / "job.json").write_text(oarstat(end))
    file = cached(tmp_path, {"file": "job.json"})
    assert inventory_of(file)["job_42"]["hosts"] == ["node-1.s1.grid5000.fr"]
    (kept,) = (tmp_path / "cache").iterdir()
    assert str(end) in kept.read_text()
    kept.write_text(kept.read_text().replace(str(end), "1000000000"))
    assert refusal(file) == f"file {tmp_path}/job.json: job 42 is over since 2001-09-09 01:46:40 UTC"


def test_a_playbook_that_reads_the_inventory_again_stops_when_the_job_is_over(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("n1\n")
    tasks: list[dict[str, Any]] = [
        {
            "ansible.builtin.file": {"path": str(tmp_path / "nodes"), "state": "absent"},
            "delegate_to": "localhost",
            "vars": {"ansible_connection": "local", "ansible_python_interpreter": sys.executable},
        },
        {"ansible.builtin.meta": "refresh_inventory"},
        {"ansible.builtin.debug": {"msg": "went on"}},
    ]
    (tmp_path / "play.yml").write_text(
        json.dumps([{"hosts": "nodes", "gather_facts": False, "tasks": tasks}])
    )
    done = ansible("ansible-playbook", "-i", declare(tmp_path, {"file": "nodes"}), tmp_path / "play.yml")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "is the reservation over?" in done.stderr
    assert "went on" not in done.stdout


def test_machines_that_joined_by_themselves(tmp_path: Path) -> None:
    """They are nobody's reservation: without sources there is none, so that declared nodes stay free to be powered."""
    (tmp_path / "dnsmasq.leases").write_text(
        "0 52:54:00:77:02:01 10.77.0.100 * 01:52:54:00:77:02:01\n0 52:54:00:77:01:01 10.77.0.11 node1 *\n"
    )
    leases = [{"file": "dnsmasq.leases", "range": "10.77.0.100-10.77.0.109"}]
    found = inventory_of(declare(tmp_path, leases=leases, user="root", compose={"node_session": "2"}))
    assert found["joined"]["hosts"] == ["node-10-77-0-100"]
    assert "reserved" not in found and "nodes" not in found
    variables = found["_meta"]["hostvars"]["node-10-77-0-100"]
    assert variables["ansible_host"] == variables["node_address"] == "10.77.0.100"
    assert variables["node_mac"] == "52:54:00:77:02:01"
    assert (variables["ansible_user"], variables["node_session"]) == ("root", 2)

    both = inventory_of(declare(tmp_path, {"nodes": "n[1-2]"}, leases=leases))
    assert both["reserved"]["hosts"] == both["nodes"]["hosts"] == ["n1", "n2"]
    assert both["joined"]["hosts"] == ["node-10-77-0-100"]

    (tmp_path / "dnsmasq.leases").write_text("")
    assert "joined" not in inventory_of(declare(tmp_path, leases=leases))
    (tmp_path / "dnsmasq.leases").unlink()
    assert "does not exist" in refusal(declare(tmp_path, leases=leases))
    assert "no source gives a node" in refusal(declare(tmp_path))
