# `make demo` and `make test` are all a newcomer needs; each installs what it needs from Debian, or says what is missing.

CARGO ?= cargo
# What the tests drive for real. Installing openssh-server starts the system's own sshd, as Debian does; the tests use
# one of their own on loopback.
# docker-cli is a package of its own from Debian 13 on; a name with `?` is passed over where there is none.
TEST_PACKAGES = openssh-server openssh-client docker.io docker-cli? python3-minimal procps curl chromium chromium-driver \
	haproxy sslscan testssl.sh slowhttptest openssl
BUILD_PACKAGES = gcc libc6-dev make
# ssh to reach VMs, curl to look at events.
RUN_PACKAGES = openssh-client curl

TELL_SKIPPED = [ ! -s target/tmp/skipped ] || \
	{ echo "NOT RUN: $$(wc -l < target/tmp/skipped) tests of the real VM:"; cat target/tmp/skipped; }

.PHONY: help build demo test test-edge lab soak bench install-build install-run install-test

help:
	@echo "make demo       watch a simulated fleet in this terminal's browser or with curl"
	@echo "make test       every test, against real sshd, Docker Engine and Chromium"
	@echo "make test-edge  those of TLS, keys, JWT, browser sessions, limits and the load balancer alone"
	@echo "make lab        a real test VM on this machine, for people, with a configuration that watches it"
	@echo "make soak       every fault in turn for SOAK_MINUTES (60), and what was lost, doubled or reset"
	@echo "make bench      figures: log parsing, one poll, delivery, the journal, the edge, a scrape"
	@echo "make build      the release binary: target/release/gatewatch"

build: install-build install-run
	$(CARGO) build --release --locked

demo: install-build install-run
	$(CARGO) run --locked --quiet -- demo

test: install-build install-test
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --quiet -- -D warnings
	@rm -f target/tmp/skipped
	$(CARGO) test --locked
	@$(TELL_SKIPPED)

# The names of the rooms, and of the files in tests/.
EDGE_ROOMS = edge:: server:: config:: app::
EDGE_FILES = canary:: haproxy:: jwt:: keys:: limits:: reload:: scanners:: slow_clients:: security_model:: browser problems::

test-edge: install-build install-test
	@rm -f target/tmp/skipped
	$(CARGO) test --locked --lib -- $(EDGE_ROOMS)
	$(CARGO) test --locked --test gatewatch_tests -- $(EDGE_FILES)
	@$(TELL_SKIPPED)

lab: install-build install-test
	$(CARGO) build --locked --quiet --bin gatewatch --example lab
	$(CARGO) run --locked --quiet --example lab -- --loop --serve target/debug/gatewatch

SOAK_MINUTES = 60

soak: install-build install-test
	$(CARGO) build --locked --quiet --bin gatewatch --example soak
	$(CARGO) run --locked --quiet --example soak -- --minutes $(SOAK_MINUTES)

bench: install-build install-test
	$(CARGO) bench --locked --bench log_parse --bench poll --bench delivery --bench fan_out --bench journal --bench edge --bench scrape
	$(CARGO) bench --locked --bench report

install-build:
	@docker/install-packages "$(BUILD_PACKAGES)"
	@docker/check-rust "$(CARGO)"

install-run:
	@docker/install-packages "$(RUN_PACKAGES)"

install-test:
	@docker/check-rust "$(CARGO)" fmt clippy
	@docker/install-packages "$(TEST_PACKAGES)"
