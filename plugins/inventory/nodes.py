# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: nodes
short_description: Reserved nodes as inventory
version_added: 0.1.0
author: The oneimage.cluster founders (@oneimage)
description:
  - The nodes of a reservation, and only those, become hosts. They are read from what a scheduler says (its node file,
    its environment variables, its commands), from files, and from lists.
  - The file's name must end in C(nodes.yml) or C(nodes.yaml).
  - Every host is in the groups C(reserved), O(group), C(site_SITE), C(cluster_CLUSTER) and C(job_JOB), as far as these
    are known. Its variables are C(node_slots) (how many cores, or whatever the scheduler counts, it was given), C(node_job),
    C(node_expires) (when the job ends, in Unix seconds), C(node_site) and C(node_cluster), as far as they are known.
    What a whole group shares is the group's variable.
  - A node that several sources give has the sum of their slots; a source that does not count slots,
    such as C(oarstat), adds none to what another says of the same job. A node that two jobs claim is an error.
  - A reservation that is over or empty, or whose file has gone, is an error which ends Ansible, whatever
    C(any_unparsed_is_failed) says. It is never an empty play.
  - What node files, commands and fact files say is never evaluated as a template.
  - With C(-v) it says for each source in which format it was read, and how many nodes and slots it gave.
options:
  plugin:
    description: Marks the file as one for this plugin.
    type: str
    required: true
    choices: [oneimage.cluster.nodes]
  sources:
    description:
      - Where the nodes are said. Each element has exactly one of the keys V(file), V(glob), V(env), V(nodes), V(command),
        V(auto).
      - None are needed where there are O(leases).
    type: list
    elements: dict
    default: []
    suboptions:
      file:
        description: A file; a relative path starts at the inventory file's folder, C(~) is the home folder.
        type: str
      glob:
        description: All files that match, each as with O(sources[].file). C(**) matches folders within folders.
        type: str
      env:
        description: An environment variable that holds a path or a list of nodes.
        type: str
      nodes:
        description:
          - The nodes themselves, as one text or as a list. Folded lists such as C(griffon-[1-4,7].nancy.example.org) are
            expanded.
        type: raw
      command:
        description:
          - A program and its arguments, whose output lists the nodes. It runs without a shell, a terminal or standard
            input, in the inventory file's folder.
        type: list
        elements: str
      auto:
        description:
          - V(true) takes the first scheduler whose variable is set. The variables are, in this order, E(OAR_NODEFILE),
            E(OAR_NODE_FILE), E(OAR_FILE_NODES), E(OAR_RESOURCE_FILE), E(OAR_RESOURCE_PROPERTIES_FILE), E(SLURM_JOB_NODELIST),
            E(SLURM_NODELIST), E(PBS_NODEFILE), E(PE_HOSTFILE), E(LSB_DJOB_HOSTFILE), E(LSB_MCPU_HOSTS), E(LSB_HOSTS),
            E(FLUX_JOB_HOSTLIST), and E(FLUX_URI), by which C(flux hostlist local) is asked.
        type: bool
      format:
        description:
          - The format of the text. By default that of the scheduler whose variable it is, else it is recognised.
          - One of V(auto), V(oar), V(oarstat), V(oarstat_text), V(oar_properties), V(oargrid), V(slurm), V(squeue), V(flux),
            V(pbs), V(qstat), V(pbs_exec_host), V(pbs_exec_vnode), V(sge), V(lsf_hostfile), V(lsf_hosts), V(lsf_mcpu),
            V(machinefile), V(kadeploy), V(nodeset), V(hostlist), V(hosts).
        type: str
        default: auto
      job:
        description: The job's id. In a text that lists several jobs it chooses one.
        type: str
      job_env:
        description:
          - The environment variable that holds the job's id. It need not be said for O(sources[].auto), nor for
            O(sources[].env) with a variable that O(sources[].auto) knows.
        type: str
      optional:
        description: Whether the source may be absent (no such file, variable or program) without an error. C(-v) says so then.
        type: bool
        default: false
      timeout:
        description: Seconds that a command may take before it is ended with all that it started.
        type: float
        default: 30
  leases:
    description:
      - Where a DHCP server recorded machines that nobody declared, and that joined by themselves. Those that hold an
        address become hosts called C(node-10-77-0-100) by it, as their initrd calls them, in the group C(joined) alone.
        They have the variables C(ansible_host), C(node_address) and C(node_mac).
      - No lease is no error, since nobody need have joined.
    type: list
    elements: dict
    default: []
    suboptions:
      file:
        description: The file that dnsmasq keeps, C(/var/lib/misc/dnsmasq.leases) on the boot server.
        type: str
      command:
        description: A program and its arguments that prints that file.
        type: list
        elements: str
      range:
        description:
          - The addresses of machines that nobody declared, as in V(10.77.0.100-10.77.0.199).
          - It is needed, as nodes that are declared have leases too.
        type: str
        required: true
      optional:
        description: Whether the file or program may be absent.
        type: bool
        default: false
      timeout:
        description: Seconds that a command may take.
        type: float
        default: 30
  facts:
    description:
      - Files of facts about nodes, which become variables of the hosts of that name. Facts about other nodes are ignored.
    type: list
    elements: dict
    default: []
    suboptions:
      file:
        description: A file; a relative path starts at the inventory file's folder.
        type: str
      glob:
        description: All files that match.
        type: str
      format:
        description: The format of the files.
        type: str
        choices: [auto, yaml, csv, json]
        default: auto
      map:
        description:
          - Which field becomes which variable, a mapping of variables to JMESPath expressions, or the name of a ready-made map,
            V(grid5000) for the Grid'5000 reference API or V(oarnodes) for C(oarnodes -J).
          - Without it the fields whose names begin with C(node_) are taken, if they hold plain values.
        type: raw
      name:
        description: JMESPath expression for the node's name in a record.
        type: str
      records:
        description: JMESPath expression for the list of records in the document.
        type: str
  group:
    description: A group that every host is put into, where this collection's playbooks look for nodes. An empty text is none.
    type: str
    default: nodes
  user:
    description: The C(ansible_user) of the hosts, V(root) for most images that one deploys oneself.
    type: str
  location:
    description:
      - Regular expressions that tell from a node's name where it stands, with the named groups C(site), C(cluster) or both.
        The first that matches the whole name counts.
      - By default C(node-3.cluster.site.domain), C(node-3.site.domain), C(cluster-3.site.domain) and C(cluster-3) are
        understood. A first label that is C(node), C(compute), C(host), C(cn) or C(n) with a number does not name a cluster.
        A domain is more than a top level domain, so that C(node-1.site1.example.org) is in C(site1), and C(griffon-1.example.org)
        on no site.
    type: list
    elements: str
extends_documentation_fragment:
  - constructed
  - inventory_cache
notes:
  - The values of O(sources) and O(facts) may hold templates, which see the extra variables (C(-e)) alone. What C(ssh) is given
    goes through a shell on the other side, so that a job's number is best made one by the filter P(ansible.builtin.int#filter).
  - A cache keeps what the sources said; whether the reservation is over is still checked, and another job in the environment
    is another reservation. Fact files are read every time.
  - The folder C(inventories/schedulers) of the collection has an example for each scheduler.
"""

EXAMPLES = r"""
---
# jobs.nodes.yml: whatever scheduler's job this runs in
plugin: oneimage.cluster.nodes
sources:
  - auto: true
user: root

---
# sites.nodes.yml: two sites at once, with facts from files
plugin: oneimage.cluster.nodes
sources:
  - env: OAR_NODE_FILE
    format: oar
  - command: [ssh, rennes, oarstat, -J, -j, "{{ rennes_job | int }}"]
    timeout: 20
  - nodes: "griffon-[1-4,7].nancy.example.org"
  - file: ~/more-nodes
    optional: true
facts:
  - glob: reference/*.json
    map: grid5000
  - file: bmc.csv
    map:
      node_mac: mac
keyed_groups:
  - key: node_slots | string
    prefix: slots

---
# joined.nodes.yml: machines that joined an SSI cluster by themselves
plugin: oneimage.cluster.nodes
leases:
  - command: [ssh, boot, cat, /var/lib/misc/dnsmasq.leases]
    range: 10.77.0.100-10.77.0.149
user: root
"""

import os
import re
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleParserError, ExitCode
from ansible.inventory.helpers import get_group_vars
from ansible.inventory.host import Host
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable

from ansible_collections.oneimage.cluster.plugins.module_utils._error import ClusterError
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation import Allocation
from ansible_collections.oneimage.cluster.plugins.plugin_utils._allocation_sources import (
    Place,
    identity,
    read_sources,
)
from ansible_collections.oneimage.cluster.plugins.plugin_utils._dhcp_leases import read_leases
from ansible_collections.oneimage.cluster.plugins.plugin_utils._inventory_hosts import (
    add_hosts,
    add_to_group,
    collection_paused,
    plain_value,
    untagged,
)
from ansible_collections.oneimage.cluster.plugins.plugin_utils._node_facts import load_facts
from ansible_collections.oneimage.cluster.plugins.plugin_utils._reservation import (
    LOCATION,
    Reservation,
    folded,
    locate,
    location_patterns,
    merge,
)

FILE_NAMES = ("nodes.yml", "nodes.yaml")
RESERVED = "reserved"
JOINED = "joined"
OWN_VARIABLES = frozenset({"node_slots", "node_job", "node_expires", "node_site", "node_cluster"})
"""What the reservation says; facts must not contradict what the guard of the roles reads."""


class InventoryModule(BaseInventoryPlugin, Constructable, Cacheable):
    NAME = "oneimage.cluster.nodes"

    def verify_file(self, path: str) -> bool:
        return bool(super().verify_file(path)) and path.endswith(FILE_NAMES)

    def parse(self, inventory: Any, loader: Any, path: str, cache: bool = True) -> None:
        super().parse(inventory, loader, path, cache)
        config = loader.load_from_file(path, cache="none")
        if not isinstance(config, Mapping) or config.get("plugin") != self.NAME:
            raise AnsibleParserError(f"{path} is no inventory of {self.NAME}")
        try:
            with collection_paused():
                self._fill(path, cache)
        except Exception as error:
            # Ansible makes a warning of an inventory that fails and goes on without its hosts, unless any_unparsed_is_failed
            # is set. Whoever deploys a reservation that is over must not be told that there was nothing to do.
            self.display.vvv(traceback.format_exc())
            self.display.error(AnsibleParserError(f"{path}: {error}"))
            raise SystemExit(int(ExitCode.PARSER_ERROR)) from error

    def _fill(self, path: str, cache: bool) -> None:
        foreign = sorted(set(self._read_config_data(path)) - set(self._options))
        if foreign:
            raise ClusterError(f"unknown option {foreign[0]!r}; known: {', '.join(sorted(self._options))}")
        patterns = location_patterns(untagged(self.get_option("location")) or LOCATION)
        joined = self._joined(Path(path).parent)
        if self.get_option("sources") or not self.get_option("leases"):
            self._fill_reserved(path, cache, patterns)
        self._construct(joined)

    def _fill_reserved(self, path: str, cache: bool, patterns: Sequence[re.Pattern[str]]) -> None:
        reservation = merge(self._allocations(path, cache), time.time())
        facts = self._facts(reservation, Path(path).parent)
        hosts = add_hosts(self.inventory, list(reservation.slots))
        self._set_groups(hosts, reservation, patterns)
        self._set_variables(hosts, reservation, facts)
        self._construct(hosts)

    def _joined(self, folder: Path) -> list[Host]:
        """Machines that got an address though nobody declared them, as hosts of their own group."""
        leases = read_leases(
            self._declarations("leases"), Place(folder, os.environ, self._report), time.time()
        )
        hosts = add_hosts(self.inventory, [lease.name for lease in leases])
        for host, lease in zip(hosts, leases):
            host.vars |= {
                name: plain_value(value)
                for name, value in (
                    ("ansible_host", lease.address),
                    ("node_address", lease.address),
                    ("node_mac", lease.mac),
                )
            }
            if self.get_option("user"):
                host.vars["ansible_user"] = self.get_option("user")
        if self.get_option("leases"):
            add_to_group(self.inventory, JOINED, hosts)
        return hosts

    def _allocations(self, path: str, cache: bool) -> list[Allocation]:
        """What the sources say, or said when they were cached for this very job."""
        declarations = self._declarations("sources")
        place = Place(Path(path).parent, os.environ, self._report)
        if not self.get_option("cache"):
            return read_sources(declarations, place)
        key, job = self.get_cache_key(path), identity(declarations, os.environ)
        cached = self._cache.get(key) if cache else None
        if isinstance(cached, Mapping) and cached.get("identity") == job:
            self._report("the sources' answers come from the cache")
            return [Allocation(**one) for one in untagged(cached["allocations"])]
        allocations = read_sources(declarations, place)
        self._cache[key] = {"identity": job, "allocations": [asdict(one) for one in allocations]}
        return allocations

    def _declarations(self, option: str) -> list[dict[str, Any]]:
        """The option's value, in which the admin's own templates see the extra variables."""
        self.templar.available_variables = self._vars
        declarations: list[dict[str, Any]] = untagged(self.templar.template(self.get_option(option)))
        return declarations

    def _facts(self, reservation: Reservation, folder: Path) -> Mapping[str, Mapping[str, Any]]:
        declarations = self._declarations("facts")
        if not declarations:
            return {}
        joined = load_facts(declarations, folder).join(reservation.slots)
        for node, variables in joined.variables.items():
            for name in OWN_VARIABLES & variables.keys():
                raise ClusterError(
                    f"{joined.origins[node][name]} says {name} of {node}, which is the reservation's to say; "
                    "leave it out, or map it to another name"
                )
        none = f", none about {folded(joined.missing)}" if joined.missing else ""
        self._report(f"facts about {len(joined.variables)} of {len(reservation.slots)} nodes{none}")
        return joined.variables

    def _set_groups(
        self, hosts: Sequence[Host], reservation: Reservation, patterns: Sequence[re.Pattern[str]]
    ) -> None:
        for group in filter(None, (RESERVED, self.get_option("group"))):
            add_to_group(self.inventory, group, hosts)
        places, known = locate(reservation.slots, patterns), self.inventory.hosts
        for kind, found in (*places.items(), ("job", reservation.jobs)):
            for value, nodes in found.items():
                members = hosts if len(nodes) == len(hosts) else [known[node] for node in nodes]
                group = add_to_group(self.inventory, self._sanitize_group_name(f"{kind}_{value}"), members)
                variable = f"node_{kind}"
                if self.inventory.groups[group].vars.get(variable, value) == value:
                    self.inventory.set_variable(group, variable, plain_value(value))
                else:  # two names that differ only in what a group's name cannot hold
                    for host in members:
                        self.inventory.set_variable(host.name, variable, plain_value(value))

    def _set_variables(
        self, hosts: Sequence[Host], reservation: Reservation, facts: Mapping[str, Mapping[str, Any]]
    ) -> None:
        user = self.get_option("user")
        for host, slots in zip(hosts, reservation.slots.values()):
            host.vars["node_slots"] = slots  # set_variable would check the name once per host
            if user:
                host.vars["ansible_user"] = user
            if host.name in reservation.expires:
                host.vars["node_expires"] = reservation.expires[host.name]
        for node, variables in facts.items():
            for name, value in variables.items():
                self.inventory.set_variable(node, name, plain_value(value))

    def _construct(self, hosts: Sequence[Host]) -> None:
        """What the options of the fragment ``constructed`` make; costs templates per host, so only if there are any."""
        compose, groups, keyed = map(self.get_option, ("compose", "groups", "keyed_groups"))
        if not (compose or groups or keyed):
            return
        strict = self.get_option("strict")
        for host in hosts:
            variables = {**get_group_vars(host.get_groups()), **host.get_vars()}
            self._set_composite_vars(compose, variables, host.name, strict)
            variables |= host.vars
            self._add_host_to_composed_groups(groups, variables, host.name, strict, fetch_hostvars=False)
            self._add_host_to_keyed_groups(keyed, variables, host.name, strict, fetch_hostvars=False)

    def _compose(self, *arguments: Any, **options: Any) -> Any:
        return plain_value(super()._compose(*arguments, **options))

    def _report(self, message: str) -> None:
        self.display.v(f"{self.NAME}: {message}")
