# make demo   set everything up, pretrain on the embedded data, evaluate, write runs/demo/report.html
# make test   set everything up, run the tests
# PYTHON=...  the Python to build the environment with     TORCH_INDEX=...  another index for torch (CPU wheels)
PYTHON ?= $(firstword $(shell command -v python3.11 || command -v python3 || command -v python))
VENV ?= .venv
RUN := $(VENV)/bin/python
export TORCH_INDEX

.PHONY: setup demo demo-ui easy-vqa generate-demo test test-slow lint browser detectron2 clean
.DEFAULT_GOAL := help

help:
	@sed -n '1,3s/^# //p' Makefile; echo "also: setup test-slow lint browser detectron2 demo-ui easy-vqa generate-demo clean"

setup:
	@test -n "$(PYTHON)" || { echo "No Python found: install Python 3.11, or name one: make PYTHON=/path/to/python"; exit 1; }
	@$(PYTHON) tools/setup_environment.py --venv $(VENV)

demo: setup
	$(RUN) tools/run_demo.py

demo-ui: demo
	$(RUN) tools/demo.py --checkpoint runs/demo/model --gallery 'data/emoji/unseen_*.tar'

# A VQA model from pictures alone: runs/easy_vqa/report.json.
easy-vqa: setup
	$(RUN) datasets/easy_vqa/convert.py
	$(RUN) tools/train_tokenizer.py --data 'data/easy_vqa/train-*.tar' --of questions --vocab-size 200 --out runs/easy_vqa/tokenizer.json
	$(RUN) tools/list_answers.py --data 'data/easy_vqa/train-*.tar' --out runs/easy_vqa/answers.json
	$(VENV)/bin/vl fit --config configs/finetune/uniter_easy_vqa.yaml --ckpt_path last
	$(RUN) tools/evaluate_task.py --run configs/finetune/uniter_easy_vqa.yaml --folder runs/easy_vqa --json runs/easy_vqa/report.json

# DALL-E and CogView on scenes: runs/generate/report.html.
generate-demo: setup
	$(RUN) tools/generate_demo.py

test: setup
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 -m "not slow"

test-slow: setup
	OMP_NUM_THREADS=1 $(RUN) -m pytest -n 2 -m slow

lint: setup
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

# A Chromium for the browser tests, where the system has none.
browser: setup
	$(RUN) -m playwright install chromium

# detectron2 without a compiler, for region features.
detectron2: setup
	$(RUN) tools/install_detectron2.py

clean:
	rm -rf $(VENV) runs data build *.egg-info
