# make demo       boot a virtual diskless cluster on this machine, print a table of its nodes
# make demo-down  remove everything that the demo made
# make test       every check and test; each of the targets below also runs alone
# make deploy     deploy images to the disks of nodes on another lab and test them; not part of make test
# make ssi        boot an SSI cluster of three nodes on another lab and test it; make molecule does so too
# make bench      compare with the field's tools, write build/benchmarks.json; BENCH="image nodeset" runs some
SHELL := /bin/bash
.DELETE_ON_ERROR:

PYTHON       = $(shell setup/find-python 14 13 12 11)
NODE_PYTHON := $(shell setup/find-python 9 2>/dev/null)
BIN          = $(abspath .venv-test/bin)
# Real programs on a busy machine are not always in time: what fails runs once more, a few tests at most, counted and printed.
AGAIN        = --reruns 1 --max-suite-reruns 3 --rerun-show-tracebacks
COLLECTION   = .collections/ansible_collections/oneimage/cluster

export ANSIBLE_COLLECTIONS_PATH := $(abspath .collections)
export ANSIBLE_CONFIG           := $(abspath ansible.cfg)
# The tests start thousands of processes: none is to compile anew what it imports.
unexport PYTHONDONTWRITEBYTECODE
PLAYBOOK     = .venv/bin/ansible-playbook -i inventories/lab

.PHONY: demo demo-down test lint sanity units units-node kernel contract aside molecule deploy ssi boot bench purge packages test-packages runtime checkers

demo: runtime
	$(PLAYBOOK) playbooks/lab.yml
	$(PLAYBOOK) playbooks/diskless.yml

demo-down: runtime
	$(PLAYBOOK) playbooks/lab_down.yml

# Nodes that boot leave a core idle half of the time: what needs no lab runs beside them, and is printed at the end.
test: lint units-node units kernel
	@$(MAKE) --no-print-directory --keep-going --jobs=2 aside molecule; code=$$?; cat build/aside.log; exit $$code

aside:
	@mkdir -p build
	@nice -n 5 $(MAKE) --no-print-directory --jobs=1 sanity contract >build/aside.log 2>&1

lint: checkers
	$(BIN)/yamllint .
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.collections $(BIN)/mypy plugins/module_utils plugins/plugin_utils plugins/filter plugins/action plugins/inventory plugins/callback
	MYPYPATH=roles/ssi_cluster/files/mainline $(BIN)/mypy -p ssi
	shellcheck setup/find-python setup/debian-packages setup/virtual-environment setup/sanity setup/molecule .ci/run
	PATH=$(BIN):$$PATH $(BIN)/ansible-lint --offline --profile production
	PATH=$(BIN):$$PATH $(BIN)/antsibull-changelog lint
	PATH=$(BIN):$$PATH $(BIN)/antsibull-docs lint-collection-docs --plugin-docs .

sanity: checkers
	setup/sanity .venv-test

units: checkers
	$(BIN)/python -m pytest $(AGAIN) tests/unit

# The modules run on the nodes' Python, from 3.9 on.
units-node: test-packages
ifeq ($(NODE_PYTHON),)
	@echo "SKIPPED: no Python 3.9 on this machine, the unit tests run on the newest Python only"
else
	setup/virtual-environment .venv-node $(NODE_PYTHON) requirements-test-node.txt
	.venv-node/bin/python -m pytest --reruns 1 tests/unit/plugins/module_utils tests/unit/roles
endif

# One worker per core; the tests of one file share what it starts.
contract: checkers
	$(BIN)/python -m pytest $(AGAIN) --numprocesses 2 --dist loadfile tests/contract

# The lab's own kernel: compiled once into /var/cache/oneimage/kernels, again only when source, configuration or toolchain change.
kernel: checkers
ifdef ONEIMAGE_SKIP_KERNEL
	@echo "SKIPPED: ONEIMAGE_SKIP_KERNEL says that no kernel is to be compiled"
else
	$(BIN)/ansible-playbook -i inventories/lab playbooks/kernel.yml -e oneimage_storage=$(abspath build/kernel)
endif

# Two labs, one after the other: three diskless nodes; three nodes that are an SSI cluster, and a fourth one that nobody declared.
molecule: checkers
	PATH=$(BIN):$$PATH setup/molecule $(BIN)/molecule default ssi

# Images onto the disks of nodes: a lab that make test has no time for.
deploy ssi: checkers
	PATH=$(BIN):$$PATH setup/molecule $(BIN)/molecule $@

# What molecule asks of its own lab, asked of the demo's, which must be up.
boot: checkers
	$(BIN)/python -m pytest tests/boot

bench: checkers
	$(BIN)/python tests/benchmarks/run.py build/benchmarks.json $(BENCH)

purge: demo-down
	rm -rf /var/cache/oneimage .venv .venv-test .venv-node .collections .cache

packages:
	@setup/debian-packages requirements-debian.txt

test-packages: packages
	@setup/debian-packages requirements-debian-test.txt

runtime: packages $(COLLECTION)
	@setup/virtual-environment .venv $(PYTHON) requirements.txt

checkers: test-packages $(COLLECTION)
	@setup/virtual-environment .venv-test $(PYTHON) requirements.txt requirements-test.txt

$(COLLECTION):
	@mkdir -p $(@D)
	@ln -sfn $(CURDIR) $@
