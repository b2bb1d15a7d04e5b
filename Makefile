# Each verb does its own set-up: see tools/setup.
#
#   make run       the demonstration: the same program with a PID 1 and without; takes no network
#   make wheel     the wheel, into dist, to be installed by pip
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

help:
	@sed -n 's/^#  //p; s/^# PYTHON/\n  PYTHON/p' Makefile

run:
	@python=$$(PYTHON='$(PYTHON)' tools/python) && exec "$$python" -I demo/show.py $(ARGS)

wheel:
	@PYTHON='$(PYTHON)' tools/wheel '$(VENV)'

# From inside tests/, so that neither pytest nor a process that it starts finds the packages in
# the working directory: what is tested is the wheel.
test: set-up test-tools
	venv=$$(realpath '$(VENV)') && cd tests && "$$venv/bin/pytest" --ignore=packaging $(ARGS)

test-packaging: set-up
	venv=$$(realpath '$(VENV)') && cd tests && "$$venv/bin/pytest" packaging $(ARGS)

lint: set-up
	'$(VENV)/bin/ruff' check .
	'$(VENV)/bin/ruff' format --check .
	'$(VENV)/bin/mypy'
	'$(VENV)/bin/mypy' bench demo docs/man
	venv=$$(realpath '$(VENV)') && cd docker-test && \
	    "$$venv/bin/mypy" --config-file ../pyproject.toml --cache-dir ../.mypy_cache/docker-test .

bench: set-up bench-tools
	'$(VENV)/bin/python' -m bench $(ARGS)

docker-test: set-up
	'$(VENV)/bin/python' -I docker-test $(ARGS)

man:
	@python=$$(PYTHON='$(PYTHON)' tools/python) && exec "$$python" -I docs/man/render.py build/man

clean:
	rm -rf .venv .venv-* build dist .pytest_cache .mypy_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . \( -name .hypothesis -o -name .mypy_cache \) -type d -prune -exec rm -rf {} +

set-up:
	@PYTHON='$(PYTHON)' tools/setup '$(VENV)'

# Without these some tests are skipped, and say so; so they are wanted, not needed.
test-tools:
	@tools/debian busybox-static iproute2 man-db passt procps slirp4netns strace tmux || true

bench-tools:
	@tools/debian bubblewrap catatonit crun dumb-init runc strace tini || true

.PHONY: help run wheel test test-packaging lint bench docker-test man clean set-up test-tools bench-tools
