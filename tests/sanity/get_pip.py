# Stand-in for the get-pip.py that ansible-test would download: ensurepip brings the same pip without a network.
# SPDX-License-Identifier: GPL-3.0-or-later
import subprocess
import sys

packages = [argument for argument in sys.argv[1:] if argument not in ("--no-setuptools", "--no-wheel")]
# A child process, since ensurepip leaves PIP_CONFIG_FILE=/dev/null behind in its own.
subprocess.check_call([sys.executable, "-m", "ensurepip"])
subprocess.check_call([sys.executable, "-m", "pip", "install"] + packages)
