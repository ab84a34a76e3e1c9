from __future__ import annotations

import random

import pytest

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.module_utils._nodeset import expand

EXPANDED = {
    "n1": "n1",
    "node[01-03,07],gpu-[1-2]": "node01 node02 node03 node07 gpu-1 gpu-2",
    "rack[1-2]n[01-02]": "rack1n01 rack1n02 rack2n01 rack2n02",
    "griffon-[1-3].nancy.grid5000.fr": "griffon-1.nancy.grid5000.fr griffon-2.nancy.grid5000.fr griffon-3.nancy.grid5000.fr",
    "a[1-2]-[8-9].s[5]": "a1-8.s5 a1-9.s5 a2-8.s5 a2-9.s5",
    "n[1-2][3-4]": "n13 n14 n23 n24",
    "n[1-2]05": "n105 n205",
    "n[08-11]": "n08 n09 n10 n11",
    "n[99-101]": "n99 n100 n101",
    "n[098-101]": "n098 n099 n100 n101",
    "n[001-3]": "n001 n002 n003",
    "n[08-101/31]": "n08 n39 n70 n101",
    "n[0,00,000]": "n0 n00 n000",
    "n[5]": "n5",
    "n[1-10/3]": "n1 n4 n7 n10",
    "n[1-9/3,2]": "n1 n4 n7 n2",
    "n[ 1 - 3 , 5 ]": "n1 n2 n3 n5",
    "b,a,b": "b a",
    "n3,n[1-3]": "n3 n1 n2",
    " a, b\tc\r\nd\n": "a b c d",
    "a , n[1-2] b": "a n1 n2 b",
    "n[1-5]!n[2-3],n2": "n1 n4 n5 n2",
    "n[1-5],n9!n[2-3]&n[1-4]": "n1 n4",
    "n[1-5] !\n n3": "n1 n2 n4 n5",
    "n[1-4]^n[3-6]": "n1 n2 n5 n6",
    "n1^n1,n1": "n1",
    "n1!n[1-2]": "",
    "n1&n2": "",
    "10.0.0.[9-10]": "10.0.0.9 10.0.0.10",
    "A_b-C": "A_b-C",
}

REFUSED = {
    "": "the text is empty",
    " \r\n": "the text is empty",
    "node[1-": '"node[1-": the bracket is not closed',
    "a,n[1,2]m[3": '"n[1,2]m[3": the bracket is not closed',
    "node[3-1]": '"node[3-1]": the range "3-1" runs backwards',
    "n[1-02]": 'the range "1-02" are padded differently',
    "n[1-2/0]": "step of 0",
    "n[1/2]": '"1/2" is no number and no range',
    "n[]": '"" is no number and no range',
    "n[1,]": '"" is no number and no range',
    "n[a-b]": '"a-b" is no number and no range',
    "n[-1-3]": '"-1-3" is no number and no range',
    "n[1-2-3]": '"1-2-3" is no number and no range',
    "n[1-٣]": "is no number and no range",
    "n[[1-2]]": "a bracket opens inside a bracket",
    "n1]": '"n1]": "]" closes no bracket',
    "[": '"[": the bracket is not closed',
    "]": '"]" closes no bracket',
    "a,,b": '"a,,b": a node is missing at character 3',
    "a,": "a node is missing at character 3",
    "!a": "a node is missing at character 1",
    "a!!b": "a node is missing at character 3",
    "a,!b": "a node is missing at character 3",
    "a^": "a node is missing at character 3",
    "@rack1": '"@rack1" is a group',
    "n1,@*": '"@*" is a group',
    "n[1-2],n*": 'host name "n*" holds "*"',
    "n[1-3]/n2": 'host name "n3/n2" holds "/"',
    "n1;reboot": 'holds ";"',
    "n[1-2]$(id)": 'holds "$"',
    "{{ n1 }}": 'host name "{{" holds "{"',
    "n[1-2]{{x}}": 'holds "{"',
    "n1\x00": r'host name "n1\x00" holds "\x00"',
    "n1\x1b[0m": r'"\x1b"',
    "n1\u00a0n2": r'"\xa0"',
    "42": "bare number",
    "[1-42]": "bare number",
    "n[1-2].": "a part between dots that is empty",
    "n" * 300: "has 300 characters, 253 at most",
    "n" * 63 + "[9-10]": "longer than 63",
    "n[1-" + "9" * 5000 + "]": "more digits than a host name may have",
}

TOO_MANY = (
    "node[1-99999999999]",
    "node[1-99999999999999999999999999999999999999999]",
    "r[1-2000]c[1-2000]n[1-2000]",
    "r[1-999999999]" * 600,
    "node[1-2000000],x",
    "n[1-1999999],a,n1",
    "node[" + "1," * 2_000_000 + "1]",
    "n1!n[2-99999999999]",
    "a " * 2_000_001,
)


@pytest.mark.parametrize("text", EXPANDED)
def test_expanded(text: str) -> None:
    assert expand(text) == EXPANDED[text].split()


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(ClusterError) as error:
        expand(text)
    assert REFUSED[text] in str(error.value)
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)


@pytest.mark.parametrize("text", TOO_MANY, ids=lambda text: text[:30])
def test_too_many_are_refused_by_their_count(text: str) -> None:
    with pytest.raises(ClusterError, match="2000000 at most are read"):
        expand(text)


def test_the_limit_itself_is_read() -> None:
    assert expand("n[1-3]", limit=3) == expand("n1,n2,n3", limit=3) == ["n1", "n2", "n3"]
    for text in ("n[1-4]", "n1,n2,n3,n4", "n[1-2],n[3-4]", "n[1-2]m[1-2]", "n[1-3],n1", "n[1-3]!n1"):
        with pytest.raises(ClusterError, match=r"makes 4 nodes or more, 3 at most are read"):
            expand(text, limit=3)


def test_whatever_is_written_is_read_or_refused() -> None:
    chance = random.Random(3)
    for _round in range(3000):
        text = "".join(chance.choices("n[]-,!&^0123/ @.\n", k=chance.randrange(16)))
        try:
            names = expand(text, limit=1000)
        except ClusterError:
            continue
        assert len(set(names)) == len(names) <= 1000
