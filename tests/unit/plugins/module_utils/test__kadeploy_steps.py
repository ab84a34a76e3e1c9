from __future__ import annotations

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._kadeploy_steps import (
    chain_of,
    custom_steps,
    force_steps,
    resumed,
    split_point,
)

CONFIGURED = {
    "clsite1": {
        "SetDeploymentEnv": [{"name": "SetDeploymentEnvUntrusted", "retries": 0, "timeout": 60}],
        "BroadcastEnv": [{"name": "BroadcastEnvChain", "retries": 0, "timeout": 60}],
        "BootNewEnv": [{"name": "BootNewEnvClassical", "retries": 0, "timeout": 60}],
    }
}
OTHER = {**CONFIGURED["clsite1"], "BootNewEnv": [{"name": "BootNewEnvKexec", "retries": 0, "timeout": 9}]}
ALL = {"SetDeploymentEnv": None, "BroadcastEnv": None, "BootNewEnv": None}


def test_a_chain_as_recorded() -> None:
    steps = {
        "SetDeploymentEnv": [{"implementation": "Untrusted", "retries": 1, "timeout": 450}],
        "BroadcastEnv": [{"implementation": "BroadcastEnvChain", "retries": 1, "timeout": 1200}],
        "BootNewEnv": [
            {"implementation": "Kexec", "retries": 1, "timeout": 250},
            {"implementation": "HardReboot", "timeout": 250},
        ],
    }
    chain = chain_of(steps, CONFIGURED, "site1")
    assert chain is not None
    assert force_steps(chain) == (
        "SetDeploymentEnv|SetDeploymentEnvUntrusted:1:450&BroadcastEnv|BroadcastEnvChain:1:1200"
        "&BootNewEnv|BootNewEnvKexec:1:250,BootNewEnvHardReboot:0:250"
    )


def test_what_is_not_given_is_as_configured() -> None:
    chain = chain_of({"BootNewEnv": [{"implementation": "Classical", "retries": "2"}]}, CONFIGURED, "site1")
    assert chain is not None and chain["BroadcastEnv"] == CONFIGURED["clsite1"]["BroadcastEnv"]
    assert chain["BootNewEnv"] == [{"name": "BootNewEnvClassical", "retries": 2, "timeout": 60}]
    assert chain_of(None, CONFIGURED, "site1") is None


def test_an_implementation_that_only_the_server_knows() -> None:
    known = {"c": {**OTHER, "BroadcastEnv": [{"name": "BroadcastEnvNew", "retries": 0, "timeout": 7}]}}
    chain = chain_of({"BroadcastEnv": [{"implementation": "New"}]}, known, "site1")
    assert chain is not None and chain["BroadcastEnv"][0]["timeout"] == 7


@pytest.mark.parametrize(
    ("steps", "fault"),
    [
        ({"Boot": []}, "Boot: no macro-step"),
        ({"BootNewEnv": []}, "give a list"),
        ({"BootNewEnv": [{"implementation": "Hop"}]}, "'Hop' is no implementation"),
        ({"BootNewEnv": [{"timeout": 5}]}, "'' is no implementation"),
        ({"BootNewEnv": [{"implementation": "Kexec"}]}, "give timeout"),
        ({"BootNewEnv": [{"implementation": "Classical", "timeout": "n*2"}]}, "no whole number"),
        ({"BootNewEnv": [{"implementation": "Classical", "tries": 1}]}, "tries is no field"),
    ],
)
def test_bad_steps(steps: dict, fault: str) -> None:
    with pytest.raises(ClusterError, match=fault):
        chain_of(steps, CONFIGURED, "site1")


def test_clusters_that_differ_need_the_macro_step() -> None:
    with pytest.raises(ClusterError, match="BootNewEnv is not given"):
        chain_of({"BroadcastEnv": [{"implementation": "Chain"}]}, {**CONFIGURED, "b": OTHER}, "site1")


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("BroadcastEnv", ("BroadcastEnv", None, None)),
        ("BroadcastEnv:send_key", ("BroadcastEnv", None, "send_key")),
        ("BroadcastEnvKastafior:sync", ("BroadcastEnv", "BroadcastEnvKastafior", "sync")),
    ],
)
def test_points(text: str, found: tuple) -> None:
    assert split_point("breakpoint", text) == found


@pytest.mark.parametrize("text", ["", "Foo", "BroadcastEnvFoo", "BroadcastEnv:nope", "BroadcastEnv:a:b"])
def test_bad_points(text: str) -> None:
    with pytest.raises(ClusterError, match="^breakpoint: "):
        split_point("breakpoint", text)


def test_resume_as_proven_on_a_real_server() -> None:
    chain = chain_of(ALL, CONFIGURED, "site1")
    assert chain is not None
    found, custom = resumed(chain, "BroadcastEnv:manage_user_post_install", {})
    assert force_steps(found) == (
        "SetDeploymentEnv|SetDeploymentEnvDummy:0:100&BroadcastEnv|BroadcastEnvChain:0:60"
        "&BootNewEnv|BootNewEnvClassical:0:60"
    )
    nothing = {"substitute": [{"name": "already-done", "action": "exec", "command": "true"}]}
    before = ("send_environment", "decompress_environment", "manage_admin_post_install")
    assert custom == {"BroadcastEnvChain": dict.fromkeys(before, nothing)}


def test_resume_at_a_macro_step_needs_no_substitutes() -> None:
    found, custom = resumed(CONFIGURED["clsite1"], "BootNewEnv", {})
    assert [found[macro][0]["name"] for macro in found] == [
        "SetDeploymentEnvDummy",
        "BroadcastEnvDummy",
        "BootNewEnvClassical",
    ]
    assert custom == {}


@pytest.mark.parametrize("point", ["BroadcastEnvKastafior:send_key", "BootNewEnv:send_key"])
def test_resume_where_there_is_no_such_step(point: str) -> None:
    with pytest.raises(ClusterError, match="no step of this deployment"):
        resumed(CONFIGURED["clsite1"], point, {})


def test_resume_behind_ones_own_steps() -> None:
    custom = {"BroadcastEnv": {"send_environment": {"pre-ops": []}}}
    with pytest.raises(ClusterError, match="send_environment of BroadcastEnvChain is before"):
        resumed(CONFIGURED["clsite1"], "BroadcastEnv:sync", custom)


OPERATION = {"name": "x", "action": "exec", "command": "true", "timeout": 5}


def test_custom_steps_are_kept() -> None:
    given = {"BroadcastEnvChain": {"send_key": {"post-ops": [OPERATION], "override": True}}}
    assert custom_steps(given) == given
    assert custom_steps(None) == {}


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"Foo": {"sync": {}}}, "'Foo' is no macro-step"),
        ({"BroadcastEnv": {}}, "is no mapping, or empty"),
        ({"BroadcastEnv": {"nope": {"pre-ops": [OPERATION]}}}, "'nope' is no micro-step"),
        ({"BroadcastEnv": {"sync": {"before": [OPERATION]}}}, "give lists called"),
        ({"BroadcastEnv": {"sync": {"pre-ops": [{"action": "hop"}]}}}, "needs an action"),
        ({"BroadcastEnv": {"sync": {"pre-ops": ["true"]}}}, "needs an action"),
        ({"BroadcastEnv": {"sync": {"pre-ops": [{"action": "exec", "name": "x"}]}}}, "command is missing"),
        ({"BroadcastEnv": {"sync": {"pre-ops": [{**OPERATION, "file": "/x"}]}}}, "file is no field of exec"),
    ],
)
def test_bad_custom_steps(given: dict, fault: str) -> None:
    with pytest.raises(ClusterError, match=fault):
        custom_steps(given)
