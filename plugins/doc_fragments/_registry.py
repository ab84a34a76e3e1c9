# Copyright (c) 2026, The oneimage.cluster founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# PRIVATE to the collection: may change without notice.

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  registry:
    description: The registry.
    type: dict
    required: true
    suboptions:
      kind:
        description:
          - What it is made of. V(directory) is a directory of descriptions and images.
          - V(kadeploy) is a Kadeploy server, through C(kaenv3) on one of its frontends, where the module then runs, or through
            its REST API if O(registry.url) is given. It keeps no images and knows no holders. O(registry.target) says what its
            descriptions can hold.
        type: str
        choices: [directory, kadeploy]
        default: directory
      path:
        description:
          - The directory. Mandatory for V(directory). M(oneimage.cluster.environment) makes it if it is not there.
          - Root publishes for anybody, and files become the owner's. Others publish for themselves, where they may write.
        type: path
      url:
        description:
          - Of a V(directory), where a web server serves it. Public and shared images are then described by their URL, private
            ones, and all of them without it, by their path (C(server://)).
          - Of V(kadeploy), where its REST API is, for example V(https://kadeploy.example.org:25300).
        type: str
      user:
        description: Whom the REST API of V(kadeploy) takes the module for. The user that runs it without this.
        type: str
      password:
        description: The password of that user where the server wants one (HTTP Basic). It goes over https only.
        type: str
      ca_file:
        description: PEM file with the certificate of the authority that signed the server's, if this host does not trust it.
        type: path
      validate_certs:
        description:
          - Whether the server's certificate is verified. Kadeploy's own clients never do, so that its servers often have one
            that nobody signed. O(registry.ca_file) then takes that certificate itself.
        type: bool
        default: true
      server:
        description: Which server of its configuration C(kaenv3) asks. Its default without this.
        type: str
      program:
        description: The name or path of C(kaenv3).
        type: str
        default: kaenv3
      target:
        description:
          - What the descriptions of V(kadeploy) can hold. V(auto) asks for the server's version.
          - What V(3.3) cannot hold is left out with a warning (alias, architecture, custom variables), or refused if the
            environment would not deploy the same without it (zstd).
        type: str
        choices: [auto, "3.3", current]
        default: auto
      notes:
        description:
          - Directory in which the module notes what the files of an environment were like when V(kadeploy) noted their
            checksums. Kadeploy tells these to nobody, so that only such a note can say, in check mode, that a file has changed
            and deployments would fail. Give it where the host sees the files that the server sees.
        type: path
"""
