# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

from typing import Any

import pytest
import yaml

from ansible_collections.oneimage.cluster.plugins.module_utils._environment_yaml import (
    read_documents,
    read_mapping,
    write_document,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError

RECORDED = """---
name: squeeze-mine
version: 1
description: My squeeze
author: prenom.nom@monlabo.fr
visibility: private
destructive: false
os: linux
image:
  file: server:///srv/img/my.tgz
  kind: tar
  compression: gzip
postinstalls:
- archive: server:///srv/img/my.tgz
  compression: gzip
  script: traitement.ash /rambin
boot:
  kernel: "/boot/vmlinuz"
  initrd: "/boot/initrd.img"
filesystem: ext4
partition_type: 131
multipart: false
"""
"""What Kadeploy 3.3.11's kaenv3 -p printed."""

WRITTEN_BY_PEOPLE = {
    "comments": "# on top\na: b # behind\n\n  # indented\nc: d#e\n",
    "quotes": 'a: \'it\'\'s # no comment\'\n"b : c": "tab\\tquote\\" \\u00e9"\n',
    "lists at the column of their key, and deeper": "a:\n- 1\n- x: 1\n  y: 2\nb:\n  - - 1\n    - 2\n  -\n    z: 3\n",
    "flow": "a: [1, {b: c, d: 'e, f'}, \"g\"]\nh: {}\ni: [ # why\n  j,\n  k l\n   m]\n",
    "numbers": "a: 0x83\nb: 010\nc: -3\nd: 1_000\ne: 1.5\nf: 0b11\ng: 09\n",
    "words": "a: yes\nb: Off\nc: ~\nd: null\ne:\nf: TRUE\ng: y\n",
    "folded by the printer": 'a: console=ttyS0,38400n8 quiet\n  splash\n\n  more\nb: "one\n  two \\\n  \\ three"\n',
    "literal": "a: |\n  one\n   two\n\n  three\nb: |-\n  x\n\nc: >-\n  x\n  y\n\n  z\n    deep\n  w\nd: |+\n  k\n\n",
    "Windows line ends": "a: b\r\nc:\r\n  d: e\r\n",
    "several documents": "---\na: 1\n---\nb: 2\n...\n",
    "a URL": "a: http://host:80/x?y#z\nb: server:///x\n",
    "empty": "# nothing\n---\n",
}


@pytest.mark.parametrize("text", WRITTEN_BY_PEOPLE.values(), ids=WRITTEN_BY_PEOPLE)
def test_reads_as_a_yaml_library_does(text: str) -> None:
    reference = [document for document in yaml.safe_load_all(text) if document is not None]
    assert read_documents(text, "x") == reference


def test_reads_what_kaenv3_prints() -> None:
    assert read_mapping(RECORDED, "x") == [yaml.safe_load(RECORDED)]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("a:\n\tb: 1\n", "x, line 2: a tab in the indentation; YAML wants spaces"),
        ("a:\tb\n", "x, line 1: a tab where YAML wants spaces"),
        ("a: b\tc\n", "x, line 1: a tab where YAML wants spaces"),
        ("a: b: c\n", "x, line 1: a second colon in 'b: c'; put the value in quotes"),
        ("a: 1\nb: 2\na: 3\n", "x, line 3: 'a' is there twice"),
        ("a: {b: 1, b: 2}\n", "x, line 1: 'b' is there twice"),
        ("a: &anchor 1\n", "starts with '&'"),
        ("a: *anchor\n", "starts with '*'"),
        ("a: !ruby/object:File {}\n", "starts with '!'"),
        ('a: "b\n', 'x, line 1: the quote " is never closed'),
        ('a: "b" c\n', "'c' stands behind the closing quote"),
        ('a: "\\q"\n', "\\q is no escape"),
        ("a: [1, 2\n", "x, line 1: the bracket [ is never closed"),
        ("a: [1 [2]]\n", "expected , or ] before '[2]]"),
        ("a: 1\n   b: 2\n", "a second colon"),
        ("a:\n    b: 1\n  c: 2\n", "x, line 3: indented unlike anything above it"),
        ("a: 1\njust words\n", "x, line 2: no \"key: value\" but 'just words'"),
        ("a: |2\n  b\n", "is not read here"),
        ("--- a: 1\n", "on a line below the ---"),
        ("a: \x00\n", "does not belong in text"),
        ("a: " + "[" * 30 + "]" * 30, "nested deeper"),
        ("- " * 30 + "a", "nested deeper"),
        ("a: " + "b" * 20000, "longer than"),
        ("a: b\n" * 100000, "longer than"),
    ],
)
def test_one_clear_error(text: str, fault: str) -> None:
    with pytest.raises(ClusterError) as caught:
        read_documents(text, "x")
    assert fault in str(caught.value)


@pytest.mark.parametrize("text", ["", "- a\n", "words\n"])
def test_only_mappings_are_descriptions(text: str) -> None:
    with pytest.raises(ClusterError, match="^x: "):
        read_mapping(text, "x")


def test_writes_what_people_expect() -> None:
    fields = {
        "name": "x y",
        "version": 2,
        "script": "g5k-postinstall --net debian",
        "no": "no",
        "zero": "0",
        "list": [{"a": 1, "b": [True, None]}, []],
        "deep": {"k": {"v": 1.5}},
        "lines": "a\nb",
    }
    assert write_document(fields) == (
        '---\nname: x y\nversion: 2\nscript: g5k-postinstall --net debian\n"no": "no"\nzero: "0"\n'
        'list:\n- a: 1\n  b:\n  - true\n  - null\n- []\ndeep:\n  k:\n    v: 1.5\nlines: "a\\nb"\n'
    )


@pytest.mark.parametrize(
    "value",
    ["yes", "Null", "1e3", "0x83", "1:30", "2026-01-02", ":symbol", "a: b", "a #b", "a:", " a", "a ", "", "é", "-", "=",
     "<<", "[a]", "{{ x }}", "\x7f\x85\u2028", "#", "@x", "y", '"', "'", "\\", "\U0001f600", None, 0, -1, True, 1.5, {}],
)  # fmt: skip
def test_every_value_comes_back(value: Any) -> None:
    text = write_document({"key": value, "list": [value, {"a": value}]})
    expected = {"key": value, "list": [value, {"a": value}]}
    assert read_documents(text, "x") == [expected]
    assert yaml.safe_load(text) == expected
