"""Timelines as a person sees them: the page in a browser, the module that writes it, the callback that keeps it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from adhoc import ENVIRONMENT
from conftest import Run, snapshot, start_module

JOURNAL = [
    {"time": 100.0, "event": "begin", "nodes": ["node1", "node2", "node3"]},
    *(
        {
            "time": 100.0 + at,
            "node": f"node{number}",
            "macro": "BroadcastEnv",
            "implementation": "http",
            **fields,
        }
        for number in (1, 2, 3)
        for at, fields in (
            (number, {"event": "start", "micro": "send_environment"}),
            (number + 1, {"event": "said", "message": f"<i>{number}</i> MiB of 9 are there"}),
            (number + 30, {"event": "failed", "micro": "send_environment", "message": "its disk is full"})
            if number == 2
            else (number + 30, {"event": "ok", "micro": "send_environment"}),
            (number + 30, {"event": "outcome", "outcome": "ko", "advice": "a bigger partition"})
            if number == 2
            else (number + 31, {"event": "outcome", "outcome": "ok"}),
        )
    ),
]


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "journal.jsonl"
    path.write_text("".join(json.dumps({"deployment": "D1", **entry}) + "\n" for entry in JOURNAL))
    return path


def test_a_page_of_a_journal(module: Run, tmp_path: Path, journal: Path) -> None:
    options = {"file": str(tmp_path / "page.html"), "journals": [str(journal)]}
    before = snapshot(tmp_path)
    foreseen = module("timeline_page", options, check=True)
    assert foreseen["changed"] and snapshot(tmp_path) == before
    done = module("timeline_page", options)
    assert done["changed"] and done["diff"] == foreseen["diff"] and "node2" in done["diff"]["after"]
    assert [node["outcome"] for node in done["timelines"][0]["nodes"]] == ["ko", "ok", "ok"]
    assert not module("timeline_page", options)["changed"]
    again = {"file": str(tmp_path / "again.html"), "timelines": done["timelines"]}
    module("timeline_page", again)
    assert (tmp_path / "again.html").read_text() == (tmp_path / "page.html").read_text()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({}, "journals or timelines: name at least one"),
        ({"journals": ["{folder}/none"]}, "cannot read the journal {folder}/none: No such file"),
        ({"journals": ["{folder}/empty"]}, "{folder}/empty is no journal of a deployment: it names no node"),
        ({"timelines": [{"a": 1}]}, "a timeline must be a mapping with timeline: 1"),
        (
            {"journals": ["{folder}/journal.jsonl"], "file": "{folder}/no/page"},
            "cannot write {folder}/no/page",
        ),
        ({"journals": ["{folder}/journal.jsonl"], "page_mode": "rw"}, "page_mode: rw is no octal number"),
    ],
)
def test_bad_input(module: Run, tmp_path: Path, journal: Path, wrong: dict[str, Any], said: str) -> None:
    (tmp_path / "empty").touch()
    filled = json.loads(json.dumps(wrong).replace("{folder}", str(tmp_path)))
    before = snapshot(tmp_path)
    result = module("timeline_page", {"file": str(tmp_path / "page.html"), **filled})
    assert result["failed"] and said.replace("{folder}", str(tmp_path)) in result["msg"]
    assert snapshot(tmp_path) == before


def test_a_kill_leaves_the_old_page(module: Run, tmp_path: Path, journal: Path) -> None:
    options = {"file": str(tmp_path / "page.html"), "journals": [str(journal)]}
    whole = module("timeline_page", options)["diff"]["after"]
    (tmp_path / "page.html").write_text("old")
    for wait in (0.05, 0.15, 0.3, 0.5):
        process = start_module("timeline_page", options)
        try:
            process.communicate(timeout=wait)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.communicate()
        assert (tmp_path / "page.html").read_text() in ("old", whole)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver")
    if shutil.which("chromium") is None or shutil.which("chromedriver") is None:
        pytest.skip("chromium and chromium-driver are not both installed")
    options = webdriver.ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    quiet = ("background-networking", "component-update", "sync", "quic", "gpu")
    for word in ("headless", "no-sandbox", "no-first-run", *(f"disable-{name}" for name in quiet)):
        options.add_argument(f"--{word}")
    options.add_argument(f"--user-data-dir={tmp_path / 'browser'}")
    options.add_argument("--window-size=1200,700")
    service = webdriver.ChromeService("/usr/bin/chromedriver")
    driver = webdriver.Chrome(options, service)
    yield driver
    driver.quit()


def test_a_person_reads_the_page(module: Run, tmp_path: Path, journal: Path, browser: Any) -> None:
    module(
        "timeline_page",
        {"file": str(tmp_path / "page.html"), "journals": [str(journal)], "heading": "Monday"},
    )
    browser.get(f"file://{tmp_path}/page.html")
    assert browser.find_element("css selector", "h1").text == "Monday"
    assert browser.find_element("css selector", "section p").text.endswith("33.0 s: 1 ko, 2 ok")
    trouble = browser.find_element("css selector", "table.troubles").text
    assert "node2 ko" in trouble and "its disk is full" in trouble and "a bigger partition" in trouble
    rows = browser.find_elements("css selector", ".row")
    assert [row.get_attribute("data-node") for row in rows] == ["node2", "node1", "node3"]
    bars = [row.find_element("css selector", ".span") for row in rows]
    colours = [box.value_of_css_property("background-color") for box in bars]
    assert colours[1] == colours[2] != colours[0]
    starts, widths = [box.rect["x"] for box in bars], [box.rect["width"] for box in bars]
    assert (
        starts[1] < starts[0] < starts[2] and max(widths) - min(widths) < 2
    )  # node1 began first, all took as long
    tip = bars[0].find_element("css selector", ".tip")
    assert not tip.is_displayed()
    webdriver = pytest.importorskip("selenium.webdriver")
    webdriver.ActionChains(browser).move_to_element(bars[0]).perform()
    assert (
        tip.is_displayed()
        and "<i>2</i> MiB of 9 are there" in tip.text
        and "Advice: a bigger partition" in tip.text
    )
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0


def test_the_callback_keeps_what_a_playbook_saw(tmp_path: Path, journal: Path) -> None:
    playbook = tmp_path / "show.yml"
    task = {
        "oneimage.cluster.timeline_page": {"file": str(tmp_path / "page.html"), "journals": [str(journal)]}
    }
    hand_on = {"ansible.builtin.set_fact": {"timeline": "{{ shown.timelines[0] }}"}}
    asked = {
        "oneimage.cluster.boot_stage_info": {
            "nodes": [{"name": "n1", "address": "127.0.0.1"}],
            "since": 1795248000,
        }
    }
    tasks = [{**task, "register": "shown"}, hand_on, {**asked, "ignore_errors": True}]
    playbook.write_text(json.dumps([{"hosts": "localhost", "gather_facts": False, "tasks": tasks}]))
    settings = {
        "ANSIBLE_CALLBACKS_ENABLED": "oneimage.cluster.timeline",
        "ONEIMAGE_TIMELINES": str(tmp_path / "kept"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "ansible", "playbook", str(playbook)],
        cwd=tmp_path,
        env={**os.environ, **ENVIRONMENT, **settings},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    shown = re.search(r"^timeline: (\S+)$", done.stdout, re.MULTILINE)
    assert shown and Path(shown[1]).read_text().count('class="row"') == 1
    (record,) = json.loads(Path(shown[1]).with_suffix(".json").read_text())
    assert record["title"] == "boot of n1" and record["nodes"][0]["outcome"] in ("ok", "ko")
