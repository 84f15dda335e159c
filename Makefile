# `make` lists the targets; README.md gives the same in plain commands for people without make.
PYTHON ?= python3
BIN := .venv/bin
RUN := .venv/ready
DEV := .venv/ready-dev
CLUSTER := .venv/ready-cluster
# Jupyter serves this machine alone, with a token; in a container one is often root.
LAB := --ServerApp.ip=127.0.0.1 --LabApp.default_url=/lab/tree/notebooks/01_convolution_cost.ipynb $(if $(filter 0,$(shell id -u)),--allow-root)

.PHONY: help run lab phone check test test-browser test-faults test-device test-cluster audit notebooks real-results \
  bench photos figures rendered clean

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

run: $(RUN) ## set up, execute every notebook, print the scoreboard
	@$(BIN)/python notebooks/run.py

lab: export PYTHONPATH := $(CURDIR)$(if $(PYTHONPATH),:$(PYTHONPATH))
lab: $(RUN) ## set up, open JupyterLab on the notebooks
	@$(BIN)/jupyter lab $(LAB)

phone: $(RUN) ## execute notebook 7
	@$(BIN)/python notebooks/run.py 07

test: $(DEV) ## install what tests need, check the style, run the tests
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -n 2

check: $(DEV) ## check the style, run the tests that take no second (two minutes at most)
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python -m pytest -n 2 --quick --durations=0 --durations-min=1

test-browser: $(DEV) ## run the notebooks in JupyterLab and Chromium (five minutes)
	@$(BIN)/python -m pytest -m browser

test-faults: $(DEV) ## kill kernels, fuzz decoding, fill memory and disk (hours)
	@$(BIN)/python -m pytest -m faults

test-device: $(DEV) ## test export and notebook 7
	@$(BIN)/python -m pytest -n 2 -m device

test-cluster: $(DEV) $(CLUSTER) ## set up Ray, test features of many photos, on two nodes too
	@$(BIN)/python -m pytest -n 2 -m cluster

# Without --strict, packages that could not be looked up would count as harmless, as this project is.
audit: $(DEV) ## list known vulnerabilities of what is installed
	@others=$$($(BIN)/python -m pip freeze --exclude-editable) && \
	  found=$$(echo "$$others" | $(BIN)/pip-audit --strict --progress-spinner off --no-deps --disable-pip \
	    -r /dev/stdin 2>/dev/null) && echo "No known vulnerabilities." || { \
	  echo "$${found:-The list of vulnerabilities cannot be had for all that is installed: connect to a network and run this again.}" >&2; exit 1; }

notebooks: $(RUN) ## run on the drawn pictures, then keep the outputs in notebooks/
	@PHOTOS= $(BIN)/python notebooks/run.py --keep
	@PHOTOS= $(BIN)/python notebooks/run.py --keep 07

real-results: $(RUN) ## run on the real photos, then put the results into the notebooks' boxes
	@$(BIN)/python notebooks/real_results.py

bench: $(RUN) ## measure against the usual recipe, interleaved (an hour)
	@$(BIN)/python -m mobilenet.bench

photos: $(RUN) ## fetch the 327 real photos into dataset/photos/ (122 MB)
	@$(BIN)/python dataset/fetch.py

figures: $(RUN) ## redraw images/ (half a minute)
	@$(BIN)/python images/draw.py
	@$(BIN)/python images/guide.py

rendered: $(RUN) ## redraw the pictures in dataset/rendered/ (seven minutes)
	@$(BIN)/python dataset/render.py

clean: ## remove what was made: .venv and build
	rm -rf .venv build

# The stamps are written last, so that an interrupted installation is done again.
$(RUN): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "Python 3.10 to 3.13 is needed and $(PYTHON) is $$($(PYTHON) -V 2>&1): try make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 1; }
	@echo "Setting up .venv (once, a few minutes) …"
	@$(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --disable-pip-version-check -r requirements.txt
	@touch $@

$(DEV): requirements-dev.txt
$(CLUSTER): requirements-cluster.txt
$(DEV) $(CLUSTER): $(RUN)
	@$(BIN)/python -m pip install --disable-pip-version-check -r $(filter %.txt,$^)
	@touch $@
