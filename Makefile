# Front door. `make help` lists the targets; each prints the Python command that it runs.
# Variables: BUDGET=mini|paper  TABLE="name ..."|all  SEEDS="0 1 2"  DATA_ROOT=folder  DATA=auto|real|synthetic
BUDGET ?=
TABLE ?=
SEEDS ?=
export DATA_ROOT ?= data
export DATA ?= auto
EXTRAS ?= test,dev
PYTHON ?= python3
CHECKPOINT ?=
BENCH ?=

# A name that is misspelt would else go unread.
comma := ,
KNOWN := BUDGET TABLE SEEDS DATA_ROOT DATA EXTRAS PYTHON CHECKPOINT BENCH
GIVEN := $(foreach name,$(.VARIABLES),$(if $(filter command,$(origin $(name))),$(name)))
ifneq ($(filter-out $(KNOWN),$(GIVEN)),)
$(error no variable $(sort $(filter-out $(KNOWN),$(GIVEN))); give $(subst $() ,$(comma) ,$(KNOWN)))
endif

PY := .venv/bin/python
STAMP := .venv/.installed
REPRODUCE = $(PY) -m common.reproduce $(1) $(if $(BUDGET),--budget $(BUDGET)) $(if $(TABLE),--table $(TABLE)) $(if $(SEEDS),--seeds $(SEEDS))

.DEFAULT_GOAL := help
.PHONY: help setup test check smoke reproduce reproduce-cgd reproduce-hyperbolic reproduce-hierarchical reproduce-instance compare tables report gallery-cgd maps-cgd book torture bench bench-scale

help: ## this list
	@grep -hE '^[a-z%<>-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /|/' | awk -F'|' '{printf "  make %-18s %s\n", $$1, $$2}'
	@echo '  make data-<name>        fetch a data set, e.g. data-cub (python -m common.data list shows the names)'
	@echo 'variables: BUDGET=mini|paper  TABLE="name ..."|all  SEEDS="0 1 2"  DATA_ROOT=folder  DATA=auto|real|synthetic'

setup: $(STAMP) ## make .venv and install into it

$(STAMP): pyproject.toml
	@echo 'python: $(PYTHON) (3.11 or newer); installing into .venv, a few minutes the first time'
	test -x $(PY) || $(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[$(EXTRAS)]'
	@touch $@

test: $(STAMP) ## the test suite: two processes of one thread, each test file in one of them
	OMP_NUM_THREADS=1 $(PY) -m pytest -n 2 --dist loadfile

check: $(STAMP) ## lint, types, import contracts, rendered tables equal their CSVs
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m pyright
	.venv/bin/lint-imports
	$(PY) -m common.results render --check

smoke: $(STAMP) ## one tiny run of every paper, seconds each
	DATA=synthetic $(PY) -m cgd_retrieval.train smoke
	$(PY) -m cgd_retrieval.evaluate runs/cgd_retrieval/smoke-s0/last.pt
	DATA=synthetic $(PY) -m hyperbolic_embeddings.train smoke-uncertainty
	$(PY) -m hyperbolic_embeddings.evaluate runs/hyperbolic_embeddings/smoke-uncertainty-s0/last.pt
	DATA=synthetic $(PY) -m hyperbolic_embeddings.train smoke-fewshot
	$(PY) -m hyperbolic_embeddings.evaluate runs/hyperbolic_embeddings/smoke-fewshot-s0/last.pt
	DATA=synthetic $(PY) -m hierarchical_multilabel.train smoke
	$(PY) -m hierarchical_multilabel.evaluate runs/hierarchical_multilabel/smoke-s0/last.pt
	DATA=synthetic $(PY) -m instance_discrimination.train smoke
	$(PY) -m instance_discrimination.evaluate runs/instance_discrimination/smoke-s0/last.pt

reproduce: reproduce-cgd reproduce-hyperbolic reproduce-hierarchical reproduce-instance ## every paper

reproduce-cgd: $(STAMP) ## train, measure and render CGD
	$(call REPRODUCE,cgd_retrieval)

reproduce-hyperbolic: $(STAMP) ## the same for Hyperbolic Image Embeddings
	$(call REPRODUCE,hyperbolic_embeddings)

reproduce-hierarchical: $(STAMP) ## the same for Use All The Labels (HiMulConE)
	$(call REPRODUCE,hierarchical_multilabel)

reproduce-instance: $(STAMP) ## the same for Non-Parametric Instance Discrimination
	$(call REPRODUCE,instance_discrimination)

compare: $(STAMP) ## every method on the same data, network and length: two hours of one core, SEEDS=0 for one seed
	$(PY) -m common.reproduce benchmarks.compare --table $(or $(TABLE),all) $(if $(SEEDS),--seeds $(SEEDS))

tables: $(STAMP) ## render every table and figure from results/
	$(PY) -m common.results render
	$(PY) -m cgd_retrieval.figures
	$(PY) -m hyperbolic_embeddings.figures
	$(PY) -m hierarchical_multilabel.figures
	$(PY) -m instance_discrimination.figures

report: $(STAMP) ## results/index.html: every result in one page, no network
	$(PY) -m common.report

book: $(STAMP) ## the reading pages, each paper beside its code, into site/
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[book]'
	$(PY) -m book

gallery-cgd: $(STAMP) ## queries with their nearest neighbours, CHECKPOINT=runs/.../last.pt
	$(PY) -m cgd_retrieval.evaluate $(or $(CHECKPOINT),runs/cgd_retrieval/omniglot-s0/last.pt) --export runs/cgd_retrieval/gallery.npz
	$(PY) -m common.gallery runs/cgd_retrieval/gallery.npz --out runs/cgd_retrieval/gallery.png

maps-cgd: $(STAMP) ## similarity maps of S, M and SM, the paper's Figure 4
	$(PY) -m cgd_retrieval.maps $(or $(CHECKPOINT),runs/cgd_retrieval/omniglot-s0/last.pt)

data-%: $(STAMP)
	$(PY) -m common.data fetch $*

torture: $(STAMP) ## kill -9 at 80 moments, 20 of each paper; each run must end as an unbroken one
	OMP_NUM_THREADS=1 $(PY) -m tests.torture

bench: $(STAMP) ## speed and memory against peers
	$(PY) -m pip install --quiet --disable-pip-version-check --editable '.[test,bench]'
	$(PY) -m benchmarks $(BENCH)

bench-scale: $(STAMP) ## growth of time and memory with sizes and ranks, into runs/scaling/
	OMP_NUM_THREADS=1 $(PY) -m benchmarks.scaling $(BENCH)
