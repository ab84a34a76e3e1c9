"""Every format is told from every other; what is no list of nodes is refused with its source, its line and its fault."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_formats import (
    FORMATS,
    parse,
    recognise,
)

RECORDINGS = Path(__file__).parents[3] / "fixtures" / "node_lists"
EMPTY = "file nodes: no node in it: is the reservation over?"
SITE1 = {"node-1.site1.grid5000.fr": 1, "node-2.site1.grid5000.fr": 1}


def nodes(text: str | bytes, **options: Any) -> dict[str, int]:
    (allocation,) = parse(text, source="file nodes", **options)
    return allocation.nodes


def fault(text: str | bytes, **options: Any) -> str:
    with pytest.raises(ClusterError) as caught:
        parse(text, source="file nodes", **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_sample_of_each_format_is_told_from_all_others(name: str) -> None:
    known = FORMATS[name]
    assert recognise(known.sample) == (known.same_as or name)
    assert parse(known.sample, source="s", format=name) == [
        type(found)(**{**vars(found), "format": name}) for found in parse(known.sample, source="s")
    ]


@pytest.mark.parametrize("name", FORMATS)
def test_line_ends_and_byte_order_mark_change_nothing(name: str) -> None:
    sample = FORMATS[name].sample
    windows = b"\xef\xbb\xbf" + sample.replace("\n", "\r\n").encode()
    assert parse(windows, source="s") == parse(sample, source="s")


@pytest.mark.parametrize(
    "file, format, expected",
    [
        ("oar_node_file.txt", "hosts", {"node-1.site1.grid5000.fr": 4, "node-2.site1.grid5000.fr": 4}),
        (
            "oar_properties.txt",
            "oar_properties",
            {"node-1.site1.grid5000.fr": 2, "node-2.site1.grid5000.fr": 1},
        ),
        ("oarstat_properties.txt", "oar_properties", dict.fromkeys(SITE1, 4)),
        ("oarstat_job.json", "oarstat", SITE1),
        ("oarstat_job.txt", "oarstat_text", SITE1),
    ],
)
def test_recordings_of_oar(file: str, format: str, expected: dict[str, int]) -> None:  # noqa: A002
    (allocation,) = parse((RECORDINGS / file).read_bytes(), source=file)
    assert (allocation.source, allocation.format, allocation.nodes) == (file, format, expected)


@pytest.mark.parametrize(
    "text, format, expected",
    [
        # plain lists and node files
        ("localhost\n", "hosts", {"localhost": 1}),
        ("n1\n\n\nn2\nn1", "hosts", {"n1": 2, "n2": 1}),
        ("# mine\n  n1\n\tn2  \n", "hosts", {"n1": 1, "n2": 1}),
        (
            "n1.nancy.example.org\n\n\nn1.lyon.example.org\n",
            "hosts",
            {"n1.nancy.example.org": 1, "n1.lyon.example.org": 1},
        ),
        # hostlists
        ("n[1-2],n2", "hostlist", {"n1": 1, "n2": 1}),
        ("n1,n2", "hostlist", {"n1": 1, "n2": 1}),
        ("n[08-10]\nm[1-2]-ib\n", "hostlist", {"n08": 1, "n09": 1, "n10": 1, "m1-ib": 1, "m2-ib": 1}),
        # Kadeploy
        ("# a\nn[01-02].x\n#n[03]\nn9.x\nn9.x\n", "kadeploy", {"n01.x": 1, "n02.x": 1, "n9.x": 1}),
        # nodesets
        ("n[1-5]!n[2-4]", "nodeset", {"n1": 1, "n5": 1}),
        ("n[1-3]&n[2-9]", "nodeset", {"n2": 1, "n3": 1}),
        ("n[1-2]^n[2-3]", "nodeset", {"n1": 1, "n3": 1}),
        ("n[1-7/3]", "nodeset", {"n1": 1, "n4": 1, "n7": 1}),
        ("n1\nn[1-2]!n1\n", "nodeset", {"n1": 1, "n2": 1}),
        # Slurm
        ("42 n[1-2]\n", "squeue", {"n1": 1, "n2": 1}),
        ("42_7 gpu[1,3]\n", "squeue", {"gpu1": 1, "gpu3": 1}),
        ("JOBID NODELIST(REASON)\n42    login\n", "squeue", {"login": 1}),
        # PBS
        ("n1/0+n1/1+n2/0", "pbs_exec_host", {"n1": 2, "n2": 1}),
        ("n1/0*4+n2/1*2\n", "pbs_exec_host", {"n1": 4, "n2": 2}),
        ("n1/0-3+n2/0,2,4-5", "pbs_exec_host", {"n1": 4, "n2": 4}),
        ("    exec_host = n1/0*4\n\t+n2/0*4\n", "pbs_exec_host", {"n1": 4, "n2": 4}),
        ("(n1:ncpus=2+n2:ncpus=1:mem=2gb)+(n1:mem=1gb:ncpus=3)", "pbs_exec_vnode", {"n1": 5, "n2": 1}),
        ("exec_vnode = (n1[0]:ncpus=8)+(n1[1]:ncpus=8)", "pbs_exec_vnode", {"n1": 16}),
        ("(n1:mpiprocs=9)", "pbs_exec_vnode", {"n1": 1}),
        # Grid Engine
        ("n1 4 all.q@n1 <NULL>\nn1 2 big.q@n1 0,0:0,1\n", "sge", {"n1": 6}),
        ("n1 4 all.q UNDEFINED\n", "sge", {"n1": 4}),
        # LSF
        ("h1 2 h2 1", "lsf_mcpu", {"h1": 2, "h2": 1}),
        ("h1 16", "lsf_mcpu", {"h1": 16}),
        ("h1 2\nh2 1\nh1 2\n", "lsf_mcpu", {"h1": 4, "h2": 1}),
        ("h1 h2 h1", "lsf_hosts", {"h1": 2, "h2": 1}),
        # MPI
        ("n1:4\nn2:2\nn3\n", "machinefile", {"n1": 4, "n2": 2, "n3": 1}),
        ("n1 slots = 4 # fast\nalice@n2 max-slots=8 slots=2\n", "machinefile", {"n1": 4, "n2": 2}),
        ("# all\nn1 slots=1\nn1 slots=2\nn2\nn2\n", "machinefile", {"n1": 3, "n2": 2}),
    ],
)
def test_forms_of_each_format(text: str, format: str, expected: dict[str, int]) -> None:  # noqa: A002
    (allocation,) = parse(text, source="s")
    assert (allocation.format, allocation.nodes) == (format, expected)
    assert list(allocation.nodes) == list(expected)


@pytest.mark.parametrize(
    "text",
    [
        "Job id    S User     Duration\n--------- - -------- ----------\n1 R alice 0:00:03\n",
        "bash: line 1: oarstat: command not found",
        "No such job",
        "job 42 is done",
        "Host key verification failed.",
        "42",
        "42 7",
        "42 7 8 9",
        "h1 2 h2",
        "n1 ansible_host=192.0.2.1",
        "n1 slots=many",
        "[nodes]\nn1 ansible_host=192.0.2.1\n",
        "---\nnodes:\n  - n1\n",
        "name,mac\nn1,52:54:00:00:00:01\n",
        "<html><body>moved</body></html>",
        "state: Running",
        "/var/lib/oar/1",
    ],
)
def test_no_guess_where_the_text_is_none_of_the_formats(text: str) -> None:
    assert fault(text).startswith("file nodes, line ")


@pytest.mark.parametrize(
    "text, expected",
    [
        (b"\x7fELF\x02\x01\n", "line 1: "),
        (b"n1\nn2\n\xff\xfen\x003\n", "line 3: binary data (byte 0xff is no UTF-8), not a list of nodes"),
        (b"n1\nn2\0\n", "line 2: binary data (a zero byte), not a list of nodes"),
        ("n1\nnode[1-\n", 'line 2: "node[1-": the bracket is not closed'),
        ("n1,n2\nnode[3-1]\n", 'line 2: "node[3-1]": the range "3-1" runs backwards'),
        ("# k\nn[1-2]\nn[3-1]\n", 'line 3: "n[3-1]": the range 3-1 is reversed, which Kadeploy takes as no node: write 1-3'),
        ("node[1-99999999999]", 'line 1: "node[1-99999999999]" makes 99999999999 nodes or more'),
        ("n1\nn1\nn{{ 7*7 }}\n", 'line 3: host name "n{{ 7*7 }}" holds "{"'),
        ("n1\n$(reboot)\n", 'line 2: host name "$(reboot)" holds "$"'),
        ("n1\nn2;reboot\n", 'line 2: host name "n2;reboot" holds ";"'),
        ("n1,n2;reboot", 'line 1: host name "n1,n2;reboot" holds'),
        ("n10\n-n1\nn1\n", 'line 2: host name "-n1" has a part'),
        ("n1 4 q@n1 UNDEFINED\n{{x}} 4 q@n1 UNDEFINED\n", 'line 2: host name "{{x}}" holds "{"'),
        ("n1 slots=4\n`id` slots=4\n", 'line 2: host name "`id`" holds "`"'),
        ("n1/0+a;b/0", 'line 1: host name "a;b" holds ";"'),
        ("(n1:ncpus=4)+(a;b:ncpus=4)", 'line 1: host name "a;b" holds ";"'),
        ("core = '1' , network_address = 'a{{b'", 'line 1: host name "a{{b" holds "{"'),
        ('{"1": {"state": "Running", "assigned_network_address": ["n1",\n"a b"]}}', 'line 2: host name "a b" holds " "'),
        ("", "no node in it: is the reservation over?"),
        ("# only a comment\n\n", "no node in it: is the reservation over?"),
        ("n1!n1", "no node in it: is the reservation over?"),
    ],
)  # fmt: skip
def test_bad_texts_are_refused_with_line_and_fault(text: str | bytes, expected: str) -> None:
    message = fault(text)
    assert message.removeprefix("file nodes").lstrip(",: ").startswith(expected)
    assert len(message) < 300


def test_texts_that_are_too_long_or_deep_are_refused() -> None:
    assert "no JSON that can be read" in fault("[" * 100_000, format="oarstat")
    assert fault("n1\n" + "n" * 10_000_000) == (
        "file nodes, line 2: the line is longer than the limit of 1048576 characters"
    )
    assert fault(b"\n" * (65 << 20)) == (
        "file nodes: 68157440 bytes are no list of nodes; the limit is 67108864"
    )
    assert "Kadeploy knows one bracket group" in fault("# no end\n" + "[" * 1_000_000)
    assert nodes("n1\n" * 1_000_000) == {"n1": 1_000_000}


@pytest.mark.parametrize("name", FORMATS)
def test_empty_text_is_an_error_in_every_format(name: str) -> None:
    assert fault(b"\xef\xbb\xbf\r\n \n", format=name) == EMPTY


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("sge", "n1 4 all.q\n", '"n1 4 all.q" is not of the form host slots queue processors'),
        ("machinefile", "n1 slots=4\nn2 rank=0\n", '"n2 rank=0" is not of the form host slots=N or host:N'),
        ("machinefile", "n1 slots=4\nn2 slots=x\n", '"n2 slots=x": slots is no number of up to six digits'),
        ("squeue", "42 n1\nn2\n", '"n2" is not of the form JOBID NODELIST'),
        ("lsf_mcpu", "h1 2 h2", 'host "h2" is followed by "", not by a count'),
        ("lsf_mcpu", "h1 2 h2 h3", 'host "h2" is followed by "h3", not by a count'),
        ("kadeploy", "r[1-2]n[1-2]\n", '"r[1-2]n[1-2]": Kadeploy knows one bracket group per line'),
        ("kadeploy", "n1,n2\n", '"n1,n2": Kadeploy knows one name or bracket group per line'),
        ("pbs_exec_host", "n1/0+n2", '"n2" in exec_host is not of the form host/INDEX or host/INDEX*CPUS'),
        ("pbs_exec_vnode", "(n1:ncpus=4)+(n2:ncpus)", '"n2:ncpus" in exec_vnode is not of the form vnode:ncpus=N'),
        ("oar_properties", "core = '1' , cpuset = '0'", "has no network_address"),
        ("oarstat", "n1\n", "no JSON: Expecting value"),
        ("oarstat", "[1]", "JSON, but not of oarstat"),
        ("oarstat", "null", "there is no job: it never was, or oarstat has forgotten it"),
        ("oarstat", "{}", "there is no job: it never was, or oarstat has forgotten it"),
        ("oarstat", '{"1": {"state": ["R"]}}', "job 1 is in a state that OAR does not know"),
        ("oarstat", '{"1": {"state": "Running", "assigned_network_address": "n1"}}', "is no list of names"),
        ("qstat", "Job Id: 1.s\n    job_state = ?\n", "job 1.s is in a state that PBS does not know"),
        ("qstat", "Job Id: {{x}}\n", '"Job Id: {{x}}" names no job'),
        ("oarstat_text", "Job_Id: {{x}}\n", '"Job_Id: {{x}}" names no job'),
        ("cobalt", "n1\n", 'unknown format "cobalt"; known: auto, oarstat, '),
    ],
)  # fmt: skip
def test_format_that_was_named_says_what_is_wrong_with_the_text(name: str, text: str, expected: str) -> None:
    assert expected in fault(text, format=name)


def test_job_of_oar_has_state_and_expiry() -> None:
    (job,) = parse((RECORDINGS / "oarstat_job.json").read_bytes(), source="command oarstat")
    assert (job.job, job.state, job.expires) == ("1", "Running", 1795250709 + 1800)
    (job,) = parse((RECORDINGS / "oarstat_job.txt").read_bytes(), source="command oarstat")
    assert (job.job, job.state, job.expires) == ("1", "Running", None)
    (job,) = parse((RECORDINGS / "real_oarstat_job_short.json").read_bytes(), source="command oarstat")
    assert (job.job, job.state, job.expires) == ("1", "Running", 1795271174 + 95405)


@pytest.mark.parametrize(
    "state, expected",
    [
        ("Waiting", "has not started"),
        ("Hold", "has not started"),
        ("toLaunch", "has not started"),
        ("Suspended", "is suspended"),
        ("Finishing", "is over"),
        ("Terminated", "is over"),
        ("toError", "is over"),
        ("Error", "is over"),
    ],
)
def test_jobs_that_do_not_run_are_refused(state: str, expected: str) -> None:
    for file in ("oarstat_job.json", "oarstat_job.txt"):
        text = (RECORDINGS / file).read_text().replace("Running", state)
        assert fault(text) == f"file nodes: job 1 {expected} (state {state})"


def test_outputs_of_oar_without_nodes_say_what_to_ask_instead() -> None:
    assert fault((RECORDINGS / "oarstat_state.json").read_bytes()).endswith("ask with oarstat -J -j JOB")
    assert fault((RECORDINGS / "oarnodes.json").read_bytes()).endswith("it belongs under facts")
    assert fault((RECORDINGS / "oarstat_table.txt").read_bytes()).endswith("say which format it is")


def test_job_without_nodes_is_an_error() -> None:
    assert (
        fault('{"1": {"state": "Running"}}') == "file nodes: job 1: no node in it: is the reservation over?"
    )
    assert "job 42 has no nodes" in fault("JOBID NODELIST\n42\n")
    assert "job 42 has no nodes" in fault("JOBID NODELIST(REASON)\n42 (Resources)\n")


def test_expiry_that_is_not_known_or_absurd() -> None:
    job = '{"1": {"state": "Launching", "assigned_network_address": ["n1"], "startTime": %s, "walltime": %s}}'
    assert parse(job % (0, 1800), source="s")[0].expires is None
    assert parse(job % ('"soon"', 1800), source="s")[0].expires is None
    assert parse(job % (10**30, 1800), source="s")[0].expires == 253402300799


def test_several_jobs_give_several_allocations() -> None:
    text = "JOBID NODELIST\n42 n[1-2]\n43 n3\n44\n"
    assert "job 44 has no nodes" in fault(text)
    (chosen,) = parse(text, source="s", job="43")
    assert (chosen.job, chosen.nodes) == ("43", {"n3": 1})
    assert [found.job for found in parse("42 n[1-2]\n43 n3\n", source="s")] == ["42", "43"]
    assert fault(text, job="7") == 'file nodes: job "7" is not in it, but "42, 43, 44"'


def test_caller_may_know_the_job() -> None:
    (found,) = parse("n1\n", source="s", job="42")
    assert found.job == "42"


def test_qstat_wraps_lines_within_names() -> None:
    text = (RECORDINGS / "qstat.txt").read_text()
    assert fault(text) == "file nodes: job 69302.server has not started (state H)"
    (found,) = parse(text, source="s", job="69301")
    assert parse(text, source="s", job="69301.server") == [found]
    assert (found.format, found.job, found.state) == ("qstat", "69301.server", "R")
    assert found.nodes == dict.fromkeys(("b141", "b142", "b143", "b144"), 16)
    torque = "Job Id: 7[2].server\n    job_state = R\n    exec_host = r2i4n13/0-23+r1i2n12/0-23\n"
    assert nodes(torque) == {"r2i4n13": 24, "r1i2n12": 24}


def test_properties_of_resources_that_are_no_nodes_are_passed_over() -> None:
    text = " type = 'kavlan' , network_address = '' \n type = 'default' , network_address = 'n1' \n"
    assert nodes(text) == {"n1": 1}


@pytest.mark.parametrize(
    "tasks, expected",
    [
        ("2(x3),1", {"n1": 2, "n2": 2, "n3": 2, "n7": 1}),
        ("4(x4)", {"n1": 4, "n2": 4, "n3": 4, "n7": 4}),
        ("1,2,3,4", {"n1": 1, "n2": 2, "n3": 3, "n7": 4}),
    ],
)
def test_tasks_per_node_of_slurm_are_slots(tasks: str, expected: dict[str, int]) -> None:
    assert nodes("n[1-3,7]", format="slurm", tasks=tasks) == expected


@pytest.mark.parametrize(
    "tasks, expected",
    [
        ("2(x3)", "do not count as many nodes as the list, 4"),
        ("2(x999999999)", "do not count as many nodes as the list, 4"),
        ("2x3", "are not spelled like 2(x3),1"),
        ("{{ 2 }}", "are not spelled like 2(x3),1"),
    ],
)
def test_tasks_that_do_not_fit_are_refused(tasks: str, expected: str) -> None:
    assert fault("n[1-3,7]", format="slurm", tasks=tasks).endswith(expected)
