# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  servers:
    description:
      - The Kadeploy servers, one for each site. With O(servers[].url) through the REST API, from anywhere. Without it through
        Kadeploy's commands, on one of its frontends, where the module then runs.
      - A server that gives no answer is an error, and never left out.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: How the site is called in results and errors.
        type: str
        required: true
      url:
        description: Where its REST API is, for example V(https://kadeploy.site1.example.org:25300).
        type: str
      user:
        description: Whom the REST API takes the module for. The user that runs it without this.
        type: str
      password:
        description: The password of that user where the server wants one (HTTP Basic). It goes over https only.
        type: str
      ca_file:
        description: PEM file with the certificate of the authority that signed the server's, if this host does not trust it.
        type: path
      validate_certs:
        description: Whether the server's certificate is verified, which Kadeploy's own clients never do.
        type: bool
        default: true
      server:
        description: Which server of their configuration the commands ask. Their default without this.
        type: str
      programs:
        description: Directory that holds the commands. They are looked for in E(PATH) without this.
        type: path
      notes:
        description: As O(oneimage.cluster.environment#module:registry.notes) of M(oneimage.cluster.environment).
        type: path
"""
