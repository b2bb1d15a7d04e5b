# Each verb does its own set-up: see tools/setup.
#
#   make run       the demonstration: the same program with a PID 1 and without
#   make test      the tests, against the installed wheel     ARGS="unit -k signal"
#   make lint      ruff and mypy
#   make bench     measurements beside the other inits         ARGS=--quick
#   make docker-test  the promises under podman, Docker, containerd and a booted kernel, as root
#                                                               ARGS="--engine podman"
#   make man       the manual pages, into build/man
#   make clean     remove what the other verbs made
#
# PYTHON=/path/to/python3 chooses the interpreter, VENV=.venv-other another virtual environment.

VENV = .venv
PYTHON =
ARGS =

run: set-up
	$(VENV)/bin/python -I demo/show.py $(ARGS)

# From inside tests/, so that neither pytest nor a process that it starts finds the packages in
# the working directory: what is tested is the wheel.
test: set-up test-tools
	cd tests && $(abspath $(VENV))/bin/pytest --ignore=packaging $(ARGS)

test-packaging: set-up
	cd tests && $(abspath $(VENV))/bin/pytest packaging $(ARGS)

lint: set-up
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy bench demo docs/man
	cd docker-test && $(abspath $(VENV))/bin/mypy --config-file ../pyproject.toml .

bench: set-up bench-tools
	$(VENV)/bin/python -m bench $(ARGS)

docker-test: set-up
	$(VENV)/bin/python -I docker-test $(ARGS)

man: set-up
	$(VENV)/bin/python -I docs/man/render.py build/man

clean:
	rm -rf .venv .venv-* build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

set-up:
	@PYTHON='$(PYTHON)' tools/setup '$(VENV)'

# Without these some tests are skipped, and say so; so they are wanted, not needed.
test-tools:
	@tools/debian iproute2 man-db passt procps slirp4netns strace tmux || true

bench-tools:
	@tools/debian bubblewrap catatonit crun dumb-init runc strace tini || true

.PHONY: run test test-packaging lint bench docker-test man clean set-up test-tools bench-tools
