# make demo       boot a virtual diskless cluster on this machine, print a table of its nodes
# make demo-down  remove everything that the demo made
# make test       every check and test; each of the targets below also runs alone
# make bench      compare with the field's tools, write build/benchmarks.json; BENCH="image nodeset" runs some
SHELL := /bin/bash
.DELETE_ON_ERROR:

PYTHON       = $(shell setup/find-python 14 13 12 11)
NODE_PYTHON := $(shell setup/find-python 9 2>/dev/null)
BIN          = $(abspath .venv-test/bin)
COLLECTION   = .collections/ansible_collections/oneimage/cluster

export ANSIBLE_COLLECTIONS_PATH := $(abspath .collections)
export ANSIBLE_CONFIG           := $(abspath ansible.cfg)
PLAYBOOK     = .venv/bin/ansible-playbook -i inventories/lab

.PHONY: demo demo-down test lint sanity units units-node kernel contract molecule boot bench purge packages test-packages runtime checkers

demo: runtime
	$(PLAYBOOK) playbooks/lab.yml
	$(PLAYBOOK) playbooks/diskless.yml

demo-down: runtime
	$(PLAYBOOK) playbooks/lab_down.yml

# The boots come before the last tests, so that pytest's summary closes.
test: lint sanity units-node units kernel molecule contract

lint: checkers
	$(BIN)/yamllint .
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=.collections $(BIN)/mypy plugins/module_utils plugins/plugin_utils plugins/filter plugins/action plugins/inventory plugins/callback
	shellcheck setup/find-python setup/debian-packages setup/virtual-environment setup/sanity .ci/run
	PATH=$(BIN):$$PATH $(BIN)/ansible-lint --offline --profile production
	PATH=$(BIN):$$PATH $(BIN)/antsibull-changelog lint
	PATH=$(BIN):$$PATH $(BIN)/antsibull-docs lint-collection-docs --plugin-docs .

sanity: checkers
	setup/sanity .venv-test

units: checkers
	$(BIN)/python -m pytest tests/unit

# The modules run on the nodes' Python, from 3.9 on.
units-node: test-packages
ifeq ($(NODE_PYTHON),)
	@echo "SKIPPED: no Python 3.9 on this machine, the unit tests run on the newest Python only"
else
	setup/virtual-environment .venv-node $(NODE_PYTHON) requirements-test-node.txt
	.venv-node/bin/python -m pytest tests/unit/plugins/module_utils
endif

# One worker per core; the tests of one file share what it starts.
contract: checkers
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/contract

# The lab's own kernel: compiled once into /var/cache/oneimage/kernels, again only when source, configuration or toolchain change.
kernel: checkers
ifdef ONEIMAGE_SKIP_KERNEL
	@echo "SKIPPED: ONEIMAGE_SKIP_KERNEL says that no kernel is to be compiled"
else
	$(BIN)/ansible-playbook -i inventories/lab playbooks/kernel.yml -e oneimage_storage=$(abspath build/kernel)
endif

molecule: checkers
	PATH=$(BIN):$$PATH $(BIN)/molecule test --all

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
