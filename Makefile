# make demo    install what the demo needs, run it; WORLD=push_block, pusht or point_navigation for other robots
# make test    install everything, lint, check types, run the tests
# make fuzz-files    open 3000 spoilt files of every kind with the real readers: minutes; FUZZ_FILES, FUZZ_SEED
# make fuzz-peers   2,000 hostile messages, services and parameters against the real nodes; SEED=... repeats one
# make fuzz    attack the publisher with 10,000 random sequences in simulated time, and its real process with a few
# make fuzz-live    attack its real process with 200; SEED=n repeats a run
# make docs    build the pages of doc/ into build/docs; a warning or a broken link is an error
# make reference    write the generated pages of doc/reference anew
# make doc-blocks    run the marked shell blocks of README.md and doc/, scaled down: minutes
# make install-size    what a robot's installation weighs
#
# PIP_ARGS goes to every pip install, for example an index that has torch's CPU build.

PYTHON ?= python3
VENV ?= .venv
WORLD ?= pick_place
# More than two processors: nodes wait for each other, and for time to pass, in half of the tests.
WORKERS ?= 3
SEQUENCES ?= 10000
SEED ?= $(shell $(PYTHON) -c 'import random; print(random.randint(1, 99999))')
SEED := $(SEED)
INSTALL = -m pip install --disable-pip-version-check --quiet $(PIP_ARGS)
# No build isolation: the same setuptools builds everywhere. PEP 517: pip, not setup.cfg, says where scripts go.
BUILD = --no-build-isolation --use-pep517
SETUPTOOLS = setuptools==84.2.1

# Off the network, and in a domain that no other run is likely to have; the tests choose a free one themselves.
export ROS_AUTOMATIC_DISCOVERY_RANGE ?= LOCALHOST
ROS_DOMAIN_ID ?= $(shell $(PYTHON) -c 'import random; print(random.randint(1, 100))')
export ROS_DOMAIN_ID := $(ROS_DOMAIN_ID)
unexport PYTHONPATH

.PHONY: demo test lint types pytest docs reference doc-blocks fuzz-files fuzz-peers fuzz fuzz-live install-size clean

demo: $(VENV)/.demo
	$(VENV)/bin/dp_ros demo --world $(WORLD)

test: $(VENV)/.test
	@# mypy has one core, the tests have another until it is done.
	+@$(MAKE) --no-print-directory --jobs=2 lint types pytest

lint: $(VENV)/.test
	$(VENV)/bin/ruff check .

types: $(VENV)/.test
	$(VENV)/bin/mypy

pytest: $(VENV)/.test
	@# Faults are injected into processes at work, which need most of the machine for themselves.
	$(VENV)/bin/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder --ignore=test/faults
	$(VENV)/bin/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder test/faults

fuzz-files: export FUZZ_FILES ?= 3000
fuzz-files: export FUZZ_SEED ?= 100
fuzz-files: $(VENV)/.test
	$(VENV)/bin/python -m pytest test/fuzz/test_hostile_files.py

fuzz-peers: $(VENV)/.test
	$(VENV)/bin/python test/fuzz/peers.py $(if $(SEED),--seed $(SEED))
	$(VENV)/bin/python test/fuzz/peers.py --composed $(if $(SEED),--seed $(SEED))

fuzz: $(VENV)/.test
	PYTHONPATH=test $(VENV)/bin/python -m fuzz.offline --sequences $(SEQUENCES) --seed $(SEED)
	for kind in several home continuous enable slow; do \
	  PYTHONPATH=test $(VENV)/bin/python -m fuzz.offline --variant $$kind --sequences 100 --seed $(SEED) || exit 1; done
	PYTHONPATH=test $(VENV)/bin/python -m fuzz.live --sequences 5 --seed $(SEED)

fuzz-live: $(VENV)/.test
	PYTHONPATH=test $(VENV)/bin/python -m fuzz.live --sequences 200 --seed $(SEED)

docs: $(VENV)-docs/.made
	$(VENV)-docs/bin/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet -b html doc build/docs
	@echo 'build/docs/index.html'

reference: $(VENV)/.test
	$(VENV)/bin/python doc/generate_reference.py

doc-blocks: $(VENV)/.test
	$(VENV)/bin/python doc/run_blocks.py

install-size:
	rm -rf build
	$(PYTHON) -m venv build/robot
	build/robot/bin/python $(INSTALL) $(SETUPTOOLS)
	build/robot/bin/python $(INSTALL) $(BUILD) '.[runtime,ros]'
	@# The whole environment: ROS's wheels put libraries beside site-packages too.
	@du -sm build/robot/lib/python3*/site-packages
	@du -sm build/robot | awk '{print "robot installation: " $$1 " MB, allowed less than 700"; exit $$1 >= 700}'

clean:
	rm -rf $(VENV) $(VENV)-docs build install log *.egg-info

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python $(INSTALL) $(SETUPTOOLS)
	@touch $@

# Sphinx alone: building the pages needs nothing of dp_ros.
$(VENV)-docs/.made: doc/requirements.txt
	$(PYTHON) -m venv $(VENV)-docs
	@$(VENV)-docs/bin/python $(INSTALL) --requirement doc/requirements.txt
	@touch $@

$(VENV)/.demo: $(VENV)/.made setup.py package.xml
	@echo 'Installing dp_ros with ROS and the simulation into $(VENV): about 600 MB, a minute or a few.'
	@$(VENV)/bin/python $(INSTALL) $(BUILD) --editable '.[runtime,ros,sim]'
	@touch $@

$(VENV)/.test: $(VENV)/.made setup.py package.xml
	@echo 'Installing dp_ros with everything, torch too, into $(VENV): about 2 GB, a few minutes.'
	@# What the tests don't import needs no bytecode.
	@$(VENV)/bin/python $(INSTALL) --no-compile $(BUILD) --editable '.[runtime,ros,sim,train,datasets,language,rl,planning,test]'
	@touch $@
