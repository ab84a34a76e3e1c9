"""The parsers, on what Kadeploy 3.3.11 was recorded to print."""

from __future__ import annotations

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_errors import refusal
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_info import (
    failure_rates,
    read_statistics,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_workflow import (
    Log,
    Order,
    failure,
    read_failures,
    read_log,
    read_power,
    refused,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_workflow_client import read_info
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_workflow_rest import (
    body_of,
    plain_log,
)

BREAKPOINT = """\
Performing a Deploy[BroadcastEnvChain] step
  send_environment
   * Broadcast time: 1s
   ~ Time in send_environment: 1s
*** Breakpoint on manage_user_post_install reached for node-1.site2.grid5000.fr
Step Deploy[BroadcastEnvChain] breakpointed
Breakpoint reached for node-1.site2.grid5000.fr
End of deployment on cluster clsite2 after 16s
Deployment #D-ed44e048-57b3-43d0-b448-47ddc085baf2 done

The deployment is successful on nodes
node-1.site2.grid5000.fr
"""
DISCARD = """\
Launching a deployment on node-[2-3].site2.grid5000.fr
The nodes node-2.site2.grid5000.fr are already involved in deployment, let's discard them
"""
FAILURES = """\
The deployment is successful on nodes
node-3.site1.grid5000.fr
The deployment failed on nodes
node-4.site1.grid5000.fr (SetDeploymentEnvUntrusted-format_deploy_part: mkfs: mock failure
)
node-1.site1.grid5000.fr (BroadcastEnvChain-check_kernel_files: Environment kernel file /boot/vmlinuz not found in \
tarball (/mnt/dest//boot/vmlinuz)
)
"""
POWER = """\
   * A power status will be performed
End of power operation on cluster clsite1 after 1s
---
node-3.site1.grid5000.fr: on
---
Power operation #P-e8abcf38-bf00-4b53-9f06-bf1b3c2320cb done
"""
STATISTICS = """\
D-94f0b147-bf7e-49e2-bf42-444a86e84a71,alice,node-1.site1.grid5000.fr,SetDeploymentEnvUntrusted,BroadcastEnvChain,,60,\
60,0,0,0,0,1795250336,16,2,0,squeeze-mine:1,,false,BroadcastEnvChain-manage_user_post_install: sh: 1: \
/rambin/traitement.ash: not found

D-911a082f-7751-4909-8e74-5b576d8f777d,alice,node-1.site1.grid5000.fr,SetDeploymentEnvUntrusted,BroadcastEnvChain,\
BootNewEnvClassical,60,60,60,0,0,0,1795250375,11,11,8,squeeze-mine:1,,true,
D-1b1bb679-0c21-4dd6-a8df-812d379a3636,alice,node-4.site1.grid5000.fr,SetDeploymentEnvUntrusted,,,60,0,0,0,0,0,\
1795250432,9,0,0,squeeze-mine:1,,false,SetDeploymentEnvUntrusted-format_deploy_part: mkfs: mock failure

R-fb18125f-5a83-4a9e-b00f-c048ec5ca2f5,alice,node-3.site1.grid5000.fr,Simple,,,0,0,0,0,0,0,1795250496,6,0,0,,,true,
"""
INFO = """\
Kadeploy server configuration:
  Custom PXE boot method: PXElinux
  Automata configuration:
    clsite1:
      SetDeploymentEnv: SetDeploymentEnvUntrusted,0,60
      BootNewEnv: BootNewEnvKexec,1,250; BootNewEnvHardReboot,0,250
  Deployment environment:
    Supported file systems:
      clsite1: ext2,ext3,ext4
"""
NODE = "node-1.site2.grid5000.fr"


def test_breakpoints() -> None:
    assert read_log(BREAKPOINT).broken == {NODE: ("BroadcastEnvChain", "manage_user_post_install")}
    prefixed = (
        "[1] Step Deploy[BootNewEnvClassical] breakpointed\n[1] Breakpoint reached for node-[1-2].s1.fr\n"
    )
    expected = {f"node-{number}.s1.fr": ("BootNewEnvClassical", None) for number in (1, 2)}
    assert read_log(prefixed).broken == expected


def test_discarded_nodes() -> None:
    assert read_log(DISCARD) == Log(discarded={"node-2.site2.grid5000.fr"})


def test_failures_with_parentheses_and_line_breaks() -> None:
    nodes = ["node-4.site1.grid5000.fr", "node-1.site1.grid5000.fr"]
    found = {node: failure("s", error) for node, error in read_failures(FAILURES, nodes).items()}
    assert [(one.macro, one.micro) for one in found.values()] == [
        ("SetDeploymentEnvUntrusted", "format_deploy_part"),
        ("BroadcastEnvChain", "check_kernel_files"),
    ]
    assert found["node-4.site1.grid5000.fr"].message == "mkfs: mock failure"
    assert found["node-1.site1.grid5000.fr"].message.endswith("(/mnt/dest//boot/vmlinuz)")
    assert read_failures("", nodes) == {}


def test_power() -> None:
    assert read_power(POWER) == {"node-3.site1.grid5000.fr": "on"}


def test_statistics_and_rates() -> None:
    records = read_statistics(STATISTICS)
    assert len(records) == 4
    assert records[0]["error"] == (
        "BroadcastEnvChain-manage_user_post_install: sh: 1: /rambin/traitement.ash: not found"
    )
    assert (records[0]["start"], records[0]["step1_duration"], records[0]["success"]) == (
        1795250336,
        16,
        False,
    )
    rates = failure_rates(records)
    assert {node.partition(".")[0]: one["rate"] for node, one in rates.items()} == {
        "node-1": 0.5,
        "node-4": 1.0,
    }
    assert read_statistics("") == []
    with pytest.raises(ClusterError, match="has not the columns"):
        read_statistics("D-94f0b147-bf7e-49e2-bf42-444a86e84a71,alice\n")


def test_configuration() -> None:
    found = read_info(INFO)
    assert list(found) == ["clsite1"]
    assert found["clsite1"]["BootNewEnv"][1] == {
        "name": "BootNewEnvHardReboot",
        "retries": 0,
        "timeout": 250,
    }


def test_times_are_cut_from_logs() -> None:
    assert plain_log("1795250741.84061|  switch_pxe\n\n1795250741.9|a|b\n") == "  switch_pxe\na|b\n"


def test_a_request() -> None:
    order = Order(
        "deploy", environment={"name": "e"}, block_device="/dev/sdb", no_kexec=True, boot_partition=0
    )
    assert body_of(order, ["n"]) == {
        "nodes": ["n"],
        "verbose_level": 4,
        "block_device": "/dev/sdb",
        "deploy_partition": "",
        "boot_partition": 0,
        "disable_kexec": True,
        "environment": {"name": "e", "kind": "database"},
    }
    assert body_of(Order("power", state="on", level="hard"), ["n"])["level"] == "hard"


def test_a_workflow_that_failed_as_a_whole() -> None:
    gone = refused("s", refusal("x", "All the nodes have been discarded ...", 14), ["a"], Log())
    assert gone["a"].outcome == "discarded" and not gone["a"].again
    mixed = refused("s", ClusterError("no room"), ["a", "b"], Log(discarded={"b"}))
    assert [mixed[node].outcome for node in "ab"] == ["ko", "discarded"]
