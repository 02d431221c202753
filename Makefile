# Two commands, each complete on a machine with Python 3.11 or newer and nothing else:
#   make study    makes the environment if need be and runs the first study
#   make test     makes the environment if need be and passes the tests, in two processes
# ARGS hands arguments on: make study ARGS="--quick", make test ARGS="tests/analysis -x".

PYTHON ?= python3
VENV ?= .venv

.PHONY: study test
study: $(VENV)/installed
	$(VENV)/bin/python -m studies.sensitivity $(ARGS)

test: $(VENV)/installed
	$(VENV)/bin/python -m pytest -q -n 2 --dist loadfile --no-loadscope-reorder $(ARGS)

# The mark is written last: an installation that was stopped is taken up again.
$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/python -m pip install -q -c constraints.txt -e '.[test]'
	@touch $@
