# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""Timelines as one HTML page that needs nothing else: a bar per node and step, coloured by outcome, its evidence on hover.

The page holds no script and fetches nothing; whatever nodes said in it is text.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ansible_collections.oneimage.cluster.plugins.module_utils._timeline import OUTCOMES

STYLE = """
:root { color-scheme: light dark; --ok: #2e7d32; --ko: #c62828; --brk: #b26a00; --open: #1565c0; --discarded: #616161; }
body { font: 14px/1.4 system-ui, sans-serif; margin: 1.5rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1.1rem; margin: 1.5rem 0 .3rem; }
.axis, .row { display: grid; grid-template-columns: 12rem 6rem 5rem 1fr; gap: .5rem; align-items: center; }
.row { padding: 1px 0; } .row:hover { background: #8882; }
.name { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.seconds { text-align: right; font-variant-numeric: tabular-nums; }
.badge { color: #fff; border-radius: 3px; padding: 0 .4rem; text-align: center; }
.lane { position: relative; height: 1.5rem; }
.span { position: absolute; top: 0; bottom: 0; min-width: 3px; color: #fff; box-shadow: inset -1px 0 Canvas; }
.span:nth-child(even) { background-image: linear-gradient(#fff3, #fff3); }
.span > b { display: block; font-weight: normal; font-size: .75rem; line-height: 1.5rem; padding: 0 3px;
            overflow: hidden; white-space: nowrap; }
.tip { display: none; position: absolute; top: 100%; z-index: 1; background: Canvas; color: CanvasText;
       border: 1px solid #888; border-radius: 4px; padding: .5rem; width: max-content; max-width: 40rem;
       white-space: pre-wrap; overflow-wrap: anywhere; }
.left .tip { right: 0; }
.span:hover .tip, .span:focus .tip { display: block; }
.tick { position: absolute; border-left: 1px solid #8888; padding-left: 2px; font-size: .75rem; white-space: nowrap; }
.ok { background: var(--ok); } .ko { background: var(--ko); } .brk { background: var(--brk); }
.open { background: repeating-linear-gradient(45deg, var(--open) 0 6px, #5e92d0 6px 12px); }
.discarded { background: var(--discarded); }
table { border-collapse: collapse; } td, th { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0; }
"""
TICKS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400)
"""Seconds between two marks of the axis; the first that gives at most ten marks is taken."""
NARROW = 4.0
"""Percent of the page's width below which a span has no room for its name."""


def page(records: Sequence[Mapping[str, Any]], heading: str) -> str:
    """The page of ``records`` (see ``_timeline``), the same bytes for the same records."""
    body = "".join(section(one) for one in records)
    title = html.escape(heading)
    return (
        f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n<title>{title}</title>\n'
        f"<style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n{body}</body>\n</html>\n"
    )


def section(one: Mapping[str, Any]) -> str:
    """One boot or deployment: what became of its nodes, those that need a look, and all the bars."""
    counts = Counter(node["outcome"] for node in one["nodes"])
    told = ", ".join(f"{counts[outcome]} {outcome}" for outcome in OUTCOMES if counts[outcome]) or "no nodes"
    length = max(one["ended"] - one["started"], 0.001)
    began = datetime.fromtimestamp(one["started"], timezone.utc).strftime("%Y-%m-%d %H:%M:%S UTC")
    rows = "".join(row(node, one["started"], length) for node in one["nodes"])
    return (
        f"<section>\n<h2>{html.escape(one['title'])}</h2>\n<p>{began}, {length:.1f} s: {told}</p>\n"
        f"{troubles(one['nodes'])}{axis(length)}{rows}</section>\n"
    )


def troubles(nodes: Sequence[Mapping[str, Any]]) -> str:
    """A table of the nodes that are not ok: where it ended, why, and what to do."""
    lines = []
    for node in nodes:
        if node["outcome"] == "ok":
            continue
        last = node["spans"][-1] if node["spans"] else {"name": "", "group": "", "advice": ""}
        cells = (
            node["name"],
            node["outcome"],
            f"{last['group']} {last['name']}",
            node["message"],
            last["advice"],
        )
        lines.append("<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in cells) + "</tr>\n")
    head = "<tr><th>node</th><th>outcome</th><th>step</th><th>message</th><th>advice</th></tr>\n"
    return f'<table class="troubles">\n{head}{"".join(lines)}</table>\n' if lines else ""


def axis(length: float) -> str:
    step = next((seconds for seconds in TICKS if length / seconds <= 10), TICKS[-1])
    marks = "".join(
        f'<span class="tick" style="left:{100 * at / length:.2f}%">{at} s</span>'
        for at in range(0, int(length) + 1, step)
    )
    return f'<div class="axis"><span></span><span></span><span></span><div class="lane">{marks}</div></div>\n'


def row(node: Mapping[str, Any], started: float, length: float) -> str:
    ended = max([started, *(one["end"] for one in node["spans"])])
    spans = "".join(drawn(one, started, length) for one in node["spans"])
    name, outcome = html.escape(node["name"]), node["outcome"]
    return (
        f'<div class="row" data-node="{name}"><span class="name">{name}</span>'
        f'<span class="badge {outcome}">{outcome}</span><span class="seconds">{ended - started:.1f} s</span>'
        f'<div class="lane">{spans}</div></div>\n'
    )


def drawn(one: Mapping[str, Any], started: float, length: float) -> str:
    """One step of one node, with all that is known of it for whoever points at it or comes by the tab key."""
    left = 100 * (one["start"] - started) / length
    width = 100 * (one["end"] - one["start"]) / length
    head = f"{one['group']} {one['name']}: {one['outcome']}, {one['end'] - one['start']:.1f} s"
    tip = "\n".join([head, *one["evidence"], *([f"Advice: {one['advice']}"] if one["advice"] else [])])
    label = f"<b>{html.escape(one['name'])}</b>" if width >= NARROW else ""
    side = " left" if left > 50 else ""
    return (
        f'<div class="span {one["outcome"]}{side}" tabindex="0" data-step="{html.escape(one["name"])}" '
        f'style="left:{left:.2f}%;width:{width:.2f}%">{label}<div class="tip">{html.escape(tip)}</div></div>'
    )
