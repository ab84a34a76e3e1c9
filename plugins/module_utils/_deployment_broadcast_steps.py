# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""The micro-steps that write an image to a node as it arrives: nothing is kept that is not written, nothing counts unverified.

RECEIVE | sha256 beside | decompress | tar or dd. All that is received is read to its end even when it cannot be written, so
that its checksum is known and the nodes behind this one in a chain get it all the same.
"""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.oneimage.cluster.plugins.module_utils import _deployment_disk_steps as _disk
from ansible_collections.oneimage.cluster.plugins.module_utils._deployment_order import (
    Image,
    MicroStep,
    StepFailed,
    Work,
)
from ansible_collections.oneimage.cluster.plugins.module_utils._image_compress import DECOMPRESSORS
from ansible_collections.oneimage.cluster.plugins.module_utils._image_unpack import TAR

RUN_A_FILE = """mkdir -p /run/oneimage
cat >/run/oneimage/receive.sh && exec sh /run/oneimage/receive.sh </dev/null"""
"""A script that is longer than dropbear lets a command be (9000 bytes) comes by standard input."""

STREAM = r"""
state=/run/oneimage/receive
rm -rf $state
mkdir -p $state
mkfifo $state/stream

stage() { # $1: its name; the rest: what it runs, after whose end all that still comes is read
    name=$1
    shift
    "$@" 2>$state/$name.said
    echo $? >$state/$name.code
    [ "$name" = receive ] || cat >/dev/null
}

sha256sum <$state/stream >$state/sha256 &
stage receive receive | tee $state/stream | stage decompress decompress | stage write write >/dev/null
wait
read -r digest rest <$state/sha256
echo "sha256=$digest"
for name in receive decompress write; do
    echo "$name=$(cat $state/$name.code)"
    echo "$name said=$(tail -n 4 $state/$name.said | tr -s '\n\r' '  ')"
done
rm -rf $state
"""

PLACES = {
    "tar": r"""
awk -v place="$target" '$2 == place { found = 1 } END { exit !found }' /proc/mounts ||
    { echo "nothing is mounted at $target" >&2; exit 1; }
# what an earlier attempt wrote of the image, or of a damaged one; never what is mounted below
find "$target" -xdev -mindepth 1 ! -type d -exec rm -f {} +
find "$target" -xdev -depth -mindepth 1 -type d ! -path "$target/lost+found" -exec rmdir {} + 2>/dev/null
""",
    "dd": r"""
[ -b "$target" ] || { echo "there is no device $target" >&2; exit 1; }
""",
}
"""What makes the place ready, by the image's kind."""


@dataclass(frozen=True)
class Fault:
    """One thing that can go wrong on the way: what its stage is called in the result, what a message says, and what to do."""

    stage: str
    message: str
    advice: str


RECEIVE = Fault(
    "receive",
    "the image did not arrive",
    "look whether the node reaches the boot server and the nodes beside it, and whether the image is still served",
)
DECOMPRESS = Fault(
    "decompress", "the image cannot be decompressed", "its description says another compression than it has"
)
WRITE = Fault("write", "the image cannot be written", "look at the disk of this node")
FULL = "No space left"
ROOM = "give the partition more room than the unpacked image takes"


def send_environment(work: Work) -> None:
    """Receive the image and write it as it comes. Raises StepFailed unless every byte was right and is written."""
    if work.broadcast is None:
        raise StepFailed("there is no broadcast for this node: its nodes did not begin together")
    work.notes.pop("image_sha256", None)
    image = work.order.image
    target = _disk.MOUNTED if image.kind == "tar" else _disk.deploy_device(work)
    if image.kind == "dd":
        # an earlier attempt may have mounted what it wrote
        _disk.run(work, _disk.FREE, target)
    script = stream_script(image, target, work.broadcast.receive_script(work.node.name), store(work))
    began = time.monotonic()
    said = work.channel.run(RUN_A_FILE, timeout=work.deadline.left(), stdin=script.encode())
    took = time.monotonic() - began
    judge(image, parse(said))
    work.notes["image_sha256"] = image.sha256
    rate = image.size / 2**20 / max(took, 0.001)
    work.say(f"{image.size} bytes in {took:.1f} s ({rate:.1f} MiB/s), sha256 {image.sha256[:12]} is right")


def decompress_environment(work: Work) -> None:
    """The image was decompressed as it came: make sure that it is there, on the disk as a whole, before it is used."""
    wanted = work.notes.get("image_sha256")
    if wanted != work.order.image.sha256:
        raise StepFailed("the image was not sent to this node", advice="begin with send_environment")
    if work.order.image.kind == "dd":
        work.channel.run(SETTLE.format(shlex.quote(_disk.deploy_device(work))), timeout=work.deadline.left())


SETTLE = """
sync
blockdev --rereadpt {0} 2>/dev/null || blockdev --flushbufs {0}
"""
"""Partitions inside the image show up, and nobody reads what was there before from a cache."""


def store(work: Work) -> str:
    """Where a method may keep the image on the node until it is whole; empty for the node's memory."""
    if any(partition.role == "tmp" for partition in work.order.layout.partitions):
        return _disk.TMP
    return _disk.MOUNTED if work.order.image.kind == "tar" else ""


def stream_script(image: Image, target: str, receive: str, folder: str = "") -> str:
    """The whole of what runs on the node; it ends with 0 wherever it can say what happened. Raises StepFailed."""
    if image.kind not in PLACES:
        raise StepFailed(f"an image of kind {image.kind} cannot be streamed; there are {', '.join(PLACES)}")
    if image.compression not in DECOMPRESSORS:
        raise StepFailed(f"nobody here can undo the compression {image.compression}")
    write = shlex.join([*TAR, f"--directory={target}"])
    if image.kind == "dd":
        write = f"dd of={shlex.quote(target)} bs=1M iflag=fullblock conv=fsync status=none"
    choices = "".join(
        f"    if command -v {argv[0]} >/dev/null; then {shlex.join(argv)}; return; fi\n"
        for argv in DECOMPRESSORS[image.compression]
    )
    lines = [
        "umask 022",
        f"target={shlex.quote(target)}",
        *([f"export ONEIMAGE_STORE={shlex.quote(folder)}"] if folder else []),
        f"receive() {{\n{receive}\n}}",
        f"decompress() {{\n{choices}    echo 'no program for {image.compression} is here' >&2; return 127\n}}",
        f"write() {{\n    {write}\n}}",
        PLACES[image.kind],
        STREAM,
    ]
    return "\n".join(lines)


def parse(said: str) -> dict[str, str]:
    """The lines ``name=value`` of the script."""
    return dict(line.partition("=")[::2] for line in said.splitlines() if "=" in line)


def judge(image: Image, result: Mapping[str, str]) -> None:
    """Raises StepFailed for the first cause: what did not arrive is also not decompressed, and its sum is wrong."""
    if result.get("receive") != "0":
        raise failed(RECEIVE, result)
    if result.get("sha256") != image.sha256:
        raise StepFailed(
            f"the checksum of the image is wrong: what arrived has sha256 {result.get('sha256') or 'none'},"
            f" and {image.sha256} was promised",
            advice="if other nodes got it right, look at this node's memory and network; if none did, register the image again",
        )
    # its writer's end ends the decompression, too
    for fault in (WRITE, DECOMPRESS) if result.get("decompress") in ("0", "141") else (DECOMPRESS, WRITE):
        if result.get(fault.stage) != "0":
            raise failed(fault, result)


def failed(fault: Fault, result: Mapping[str, str]) -> StepFailed:
    said = result.get(f"{fault.stage} said", "").strip()
    how = said or f"exit code {result.get(fault.stage, 'unknown')}"
    return StepFailed(
        f"{fault.message}: {how}",
        evidence=[f"{key}: {value}" for key, value in result.items() if value.strip()],
        advice=ROOM if fault is WRITE and FULL in said else fault.advice,
    )


MICRO_STEPS: Mapping[str, MicroStep] = {
    "send_environment": send_environment,
    "decompress_environment": decompress_environment,
}
