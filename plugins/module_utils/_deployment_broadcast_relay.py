# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

"""How a node gets an image by HTTP, from the server or from the nodes before it in a chain, and gives it to the next.

A node keeps the last pieces of the stream in memory, no more, and serves them by busybox's nc, in HTTP, so that curl tells
its successor when nothing comes any more. When a node dies its successor goes to the one before, which still has what is
missing: it keeps some pieces that were taken already, and waits a while for somebody to take the others. What nobody has
any more, the server has. A node that is slow slows the chain; one that takes nothing at all is left behind after a while.

The scripts need curl, and of a POSIX shell's surroundings what busybox has.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

PIECE = 1 << 20
"""Bytes of a piece; a chain is as many of them behind as it has nodes."""
KEPT = 40
"""Pieces that a node keeps at most."""
BEHIND = 12
"""How many of them are those that the successor took already, for the one after it."""
ASKED = 256
"""Pieces for which a node asks at once; then it looks again whether it can go to a nearer one."""
HELP = 8
"""Pieces for which it asks the server, when the nodes before it do not have them."""
PREDECESSORS = 4
"""How many of the nodes before it a node knows."""
PATIENCE = 5.0
"""Seconds after which one that gives, or takes, nothing is left behind."""
RIPPLE = 0.05
"""Seconds by which a node is more patient than the next: else the whole chain would lose patience over its last node."""
PORT = 7086
"""Where nodes serve each other; nothing else listens in the deployment environment but ssh."""
FOLDER = "/run/oneimage/relay"

GIVE = r"""#!/bin/sh
cd "${0%/*}" || exit
. ./sizes
answer() { printf 'HTTP/1.0 %s\r\n\r\n' "$1"; }
read -r method path version
end=$(printf '\r')
# what were left unread would make the kernel, at the end, drop what is still to be sent
while read -r line && [ -n "${line%"$end"}" ]; do :; done
n=${path#"/$token?"}
case $n in
    bye) : >bye; answer '204 No Content'; exit ;;
    '' | *[!0-9]*) answer '404 Not Found'; exit ;;
esac
until read -r low <low; do [ -e low ] || exit; done
if [ "$n" -lt "$low" ]; then answer '410 Gone'; exit; fi
answer '200 OK'
end=$((n + asked))
[ $end -le $count ] || end=$count
while [ "$n" -lt $end ]; do
    until read -r next <next && [ "$next" -gt "$n" ]; do
        [ -e next ] || exit
        sleep 0.03
    done
    cat "$n" || exit
    # cut short while it was read: the one who asked must not take it for a whole one
    until read -r low <low; do [ -e low ] || exit; done
    [ "$low" -le "$n" ] || exit
    n=$((n + 1))
    echo $n >taken
done
"""
"""What busybox's nc runs for each connection: HTTP that gives the pieces from the one asked for on, as they come."""

RELAY = r"""
quit() { trap '' EXIT INT TERM; [ -z "$server" ] || kill "$server" 2>/dev/null; rm -rf "$folder"; exit "$1"; }

fail() { echo "$*" >&2; exit 1; }

now() { date +%s; }

# wait until another piece has its place, and forget what nobody needs any more
place() {
    while :; do
        read -r new <out && out=$new
        if read -r new <taken && [ "$new" != "$taken" ]; then taken=$new idle=0; fi
        floor=$out
        if [ $last = no ] && [ "$taken" != "$left" ] && [ "$taken" -lt "$floor" ]; then floor=$taken; fi
        [ $((n - floor)) -ge $((kept - behind)) ] || break
        idle=$((idle + 1))
        if [ $idle -ge $patience ]; then left=$taken; echo "$left" >left; fi
        sleep 0.05
    done
    while [ "$low" -lt $((floor - behind)) ]; do
        low=$((low + 1))
        echo $low >low
        : >$((low - 1))
    done
}

# keep the stream on standard input, piece by piece; what is no whole piece is not kept
store() {
    read -r low <low; read -r left <left
    out=0 taken=0 idle=0
    while [ "$n" -lt $count ]; do
        place
        dd bs=65536 count=$((piece / 65536)) iflag=fullblock of="$n" 2>said || break
        read -r took <said
        if [ "$took" != "$((piece / 65536))+0 records in" ]; then
            [ $((n + 1)) = $count ] && [ "$(wc -c <"$n")" = $tail ] || break
        fi
        n=$((n + 1))
        echo "$n" >next
        echo "$n"
    done
}

pull() {
    curl -q -s -f -g --noproxy '*' --connect-timeout 2 --speed-limit 1 --speed-time 5 \
        -w '%{stderr}%{http_code}' "$@" 2>code | store
    read -r n <next
    read -r code <code
}

forget() {
    rest=
    for one in $peers; do [ "$one" = "$1" ] || rest="$rest $one"; done
    peers=$rest
}

from_peers() {
    for peer in $peers; do
        pull "http://$peer:$port/$token?$n"
        [ "$n" = "$before" ] || return
        while [ "$code" = 000 ] && [ "$n" = 0 ] && [ "$(now)" -lt "$late" ]; do
            sleep 0.2
            pull "http://$peer:$port/$token?$n"
            [ "$n" = "$before" ] || return
        done
        [ "$code" != 000 ] || forget "$peer"
    done
}

from_server() {
    end=$size
    [ -z "$peers" ] || [ $((n + help)) -ge $count ] || end=$(((n + help) * piece))
    pull -r $((n * piece))-$((end - 1)) "$url"
    case $code in
        206) [ "$n" != "$before" ] && misses=0 ;;
        200) fail "$url: the server sends the whole file where a part was asked for" ;;
        4??) fail "$url: the server answers $code" ;;
    esac
    [ "$n" = "$before" ] || return
    misses=$((misses + 1))
    [ $misses -lt 4 ] ||
        fail "$url: the server sends nothing (HTTP code $code), no other node has more than $n of $count pieces"
    sleep 1
}

fetch() {
    n=0 misses=0 peer=
    late=$(($(now) + 5))
    while [ "$n" -lt $count ]; do
        before=$n
        from_peers
        [ "$n" != "$before" ] || from_server
    done
    # the one that gave the last piece need not wait any more
    [ -z "$peer" ] || curl -q -s -g --noproxy '*' -m 2 "http://$peer:$port/$token?bye" || :
}

pass() {
    while read -r n; do
        cat $((n - 1)) || exit
        echo "$n" >out
    done
}

# stay until the successor has everything, as long as it takes anything
stay() {
    idle=0 taken=0
    until [ -e bye ] || [ $idle -ge $patience ]; do
        if read -r new <taken && [ "$new" != "$taken" ]; then taken=$new idle=0; fi
        idle=$((idle + 1))
        sleep 0.05
    done
}

relay() {
    folder=$home/$token server=
    rm -rf "$folder"
    mkdir -p "$folder" || fail "cannot make $folder"
    trap 'quit $?' EXIT
    trap 'quit 143' INT TERM
    cd "$folder" || exit
    for name in low next out taken; do echo 0 >$name; done
    echo none >left
    echo "count=$count asked=$asked token=$token" >sizes
    printf '%s' "$give" >give
    chmod 755 give
    if [ $last = no ]; then
        busybox nc -ll -p "$port" -e "$folder/give" </dev/null >/dev/null 2>&1 &
        server=$!
    fi
    fetch </dev/null | pass
    read -r out <out
    [ "$out" = $count ] || exit 1
    exec >&-
    [ $last = yes ] || stay
    exit 0
}
( relay )
"""


@dataclass(frozen=True)
class Relay:
    """One node's part. ``before`` are the addresses of the nodes before it, the nearest first; ``after`` is how many follow."""

    url: str
    size: int
    token: str
    before: Sequence[str] = ()
    after: int = 0

    def script(self) -> str:
        """The shell snippet that writes the image to standard output."""
        count = -(-self.size // PIECE)
        settings = {
            "url": self.url,
            "size": self.size,
            "piece": PIECE,
            "count": count,
            "tail": self.size - (count - 1) * PIECE,
            "kept": KEPT,
            "behind": BEHIND,
            "asked": ASKED,
            "help": HELP,
            "patience": round((PATIENCE + RIPPLE * self.after) / 0.05),
            "port": PORT,
            "token": self.token,
            "home": FOLDER,
            "last": "no" if self.after else "yes",
            "peers": " ".join(self.before[:PREDECESSORS]),
            "give": GIVE,
        }
        lines = [f"{name}={shlex.quote(str(value))}" for name, value in settings.items()]
        return "\n".join([*lines, RELAY])
