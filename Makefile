# `make demo` and `make test` are all a newcomer needs; each installs what it needs from Debian, or says what is missing.

CARGO ?= cargo
# What the tests drive for real. Installing openssh-server starts the system's own sshd, as Debian does; the tests use
# one of their own on loopback.
# docker-cli is a package of its own from Debian 13 on; a name with `?` is passed over where there is none. That of prometheus
# (`!`) is stopped again: it would take port 9090 on every address.
TEST_PACKAGES = openssh-server openssh-client docker.io docker-cli? python3-minimal python3-venv procps curl chromium chromium-driver \
	haproxy sslscan testssl.sh slowhttptest openssl systemd mandoc zsh fish mmdebstrap docker-compose docker-buildx? \
	prometheus!
BUILD_PACKAGES = gcc libc6-dev make
# For the dashboard, where there is no Node.js yet. The tests need it; a build goes without.
NODE_PACKAGES = nodejs npm
# ssh to reach VMs, curl to look at events.
RUN_PACKAGES = openssh-client curl
STACK_PACKAGES = prometheus!

TELL_SKIPPED = [ ! -s target/tmp/skipped ] || \
	{ echo "NOT RUN: $$(wc -l < target/tmp/skipped) tests of the real VM:"; cat target/tmp/skipped; }

# Without scripts of packages: none of those used here needs one. Nothing is done that is done already: the binary would be
# linked anew.
BUILD_WEB = cd web && { [ node_modules/.package-lock.json -nt package-lock.json ] || npm ci --ignore-scripts --no-progress; } && \
	{ [ -n "$$(find dist -name index.html -newer package-lock.json)" ] && \
	[ -z "$$(find src public index.html *.json *.ts -newer dist/index.html)" ] || npm run build; }
# The pure parts, then the page in a browser, on the binary that the other tests use.
TEST_WEB = cd web && npm test && cd .. && $(CARGO) build --locked --quiet --bin gatewatch && cd web && npm run e2e

# Where `make install` puts things: PREFIX is for programs, DESTDIR stands in front of everything, for packages.
PREFIX = /usr/local
DESTDIR =
BINARY = target/release/gatewatch
BIN = $(DESTDIR)$(PREFIX)/bin
UNITS = $(DESTDIR)$(PREFIX)/lib/systemd/system
SYSUSERS = $(DESTDIR)$(PREFIX)/lib/sysusers.d
SHARE = $(DESTDIR)$(PREFIX)/share
ETC = $(DESTDIR)/etc/gatewatch
# What `make uninstall` takes away where it is empty then. The last ones are the system's where it has them anyway.
FOLDERS = $(UNITS) $(dir $(UNITS)) $(SYSUSERS) $(SHARE)/man/man1 $(SHARE)/bash-completion/completions $(SHARE)/bash-completion \
	$(SHARE)/zsh/site-functions $(SHARE)/zsh $(SHARE)/fish/vendor_completions.d $(SHARE)/fish $(SHARE)/doc $(ETC) \
	$(if $(filter /usr /usr/local,$(PREFIX)),,$(SHARE)/man $(SHARE) $(DESTDIR)$(PREFIX)/lib $(BIN) $(DESTDIR)$(PREFIX))
EXAMPLES = config/gatewatch.toml config/minimal.toml config/local.toml

.PHONY: help build web web-if-node demo demo-stack test test-edge test-web lab soak test-fleet chaos bench install install-files uninstall install-build install-web install-run install-test

help:
	@echo "make demo       watch a simulated fleet in this terminal's browser or with curl"
	@echo "make demo-stack the same, watched by a Prometheus with the alerts of docker/prometheus"
	@echo "make web        the dashboard alone: web/dist, which the next build takes into the binary"
	@echo "make test       every test, against real sshd, Docker Engine and Chromium"
	@echo "make test-web   those of the dashboard alone, with Vitest and in Chromium"
	@echo "make test-edge  those of TLS, keys, JWT, browser sessions, limits and the load balancer alone"
	@echo "make lab        a real test VM on this machine, for people, with a configuration that watches it"
	@echo "make soak       every fault in turn for SOAK_MINUTES (60), and what was lost, doubled or reset"
	@echo "make test-fleet three replicas over NATS behind the load balancer alone"
	@echo "make chaos      all that may happen to such a fleet, in turn for CHAOS_MINUTES (20), and what was lost or doubled"
	@echo "make bench      figures: log parsing, one poll, delivery, the journal, the edge, a scrape"
	@echo "make build      the release binary: target/release/gatewatch"
	@echo "make install    binary, systemd unit, man pages, completions and an example, below PREFIX ($(PREFIX))"
	@echo "make uninstall  takes them away; configuration and data stay"

build: install-build install-run web-if-node
	$(CARGO) build --release --locked

web: install-web
	@docker/check-node
	@$(BUILD_WEB)

# A binary without it is whole too: it serves a plain page.
web-if-node:
	@if docker/check-node; then $(BUILD_WEB); else echo "Building without the dashboard; / is the plain page"; fi

demo: install-build install-run web-if-node
	$(CARGO) run --locked --quiet -- demo

demo-stack: install-build install-run web-if-node
	@docker/install-packages "$(STACK_PACKAGES)"
	$(CARGO) build --locked --quiet --bin gatewatch
	@docker/demo-stack target/debug/gatewatch

# The dashboard first: the binary has it within, so the other way round all would be built twice.
test: install-build install-test web
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets --quiet -- -D warnings
	$(TEST_WEB)
	@rm -f target/tmp/skipped
	$(CARGO) test --locked
	@$(TELL_SKIPPED)

test-web: install-build install-test web
	$(TEST_WEB)

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

test-fleet: install-build install-test
	@rm -f target/tmp/skipped
	$(CARGO) test --locked --test gatewatch_tests -- nats_journal:: fleet:: chaos::
	@$(TELL_SKIPPED)

CHAOS_MINUTES = 20

chaos: install-build install-test
	$(CARGO) build --locked --quiet --bin gatewatch --example chaos
	$(CARGO) run --locked --quiet --example chaos -- --minutes $(CHAOS_MINUTES)

bench: install-build install-test
	$(CARGO) bench --locked --bench log_parse --bench poll --bench delivery --bench fan_out --bench journal --bench edge --bench scrape --bench replicas
	$(CARGO) bench --locked --bench report

install: build
	$(MAKE) install-files

# Of a binary that is there. An operator's configuration stays as it is.
install-files:
	install -D -m 755 --strip $(BINARY) $(BIN)/gatewatch
	install -d $(UNITS) $(SYSUSERS) $(ETC) $(SHARE)/man/man1
	sed 's|/usr/local/bin/|$(PREFIX)/bin/|' packaging/gatewatch.service > $(UNITS)/gatewatch.service
	install -m 644 packaging/gatewatch.sysusers $(SYSUSERS)/gatewatch.conf
	install -D -m 644 -t $(SHARE)/doc/gatewatch $(EXAMPLES)
	[ -e $(ETC)/gatewatch.toml ] || install -m 644 config/minimal.toml $(ETC)/gatewatch.toml
	$(BIN)/gatewatch generate --out $(SHARE)/gatewatch-generated
	install -m 644 -t $(SHARE)/man/man1 $(SHARE)/gatewatch-generated/man1/*
	install -D -m 644 $(SHARE)/gatewatch-generated/bash/gatewatch.bash $(SHARE)/bash-completion/completions/gatewatch
	install -D -m 644 -t $(SHARE)/zsh/site-functions $(SHARE)/gatewatch-generated/zsh/_gatewatch
	install -D -m 644 -t $(SHARE)/fish/vendor_completions.d $(SHARE)/gatewatch-generated/fish/gatewatch.fish
	rm -r $(SHARE)/gatewatch-generated
	[ -n "$(DESTDIR)" ] || ! command -v systemd-sysusers >/dev/null || systemd-sysusers $(SYSUSERS)/gatewatch.conf

uninstall:
	rm -f $(BIN)/gatewatch $(UNITS)/gatewatch.service $(SYSUSERS)/gatewatch.conf
	rm -f $(SHARE)/man/man1/gatewatch.1 $(SHARE)/man/man1/gatewatch-*.1
	rm -f $(SHARE)/bash-completion/completions/gatewatch $(SHARE)/zsh/site-functions/_gatewatch
	rm -f $(SHARE)/fish/vendor_completions.d/gatewatch.fish
	rm -rf $(SHARE)/doc/gatewatch
	@for folder in $(FOLDERS); do [ ! -d $$folder ] || rmdir --ignore-fail-on-non-empty $$folder; done

install-build:
	@docker/install-packages "$(BUILD_PACKAGES)"
	@docker/check-rust "$(CARGO)"

install-web:
	@command -v node >/dev/null || docker/install-packages "$(NODE_PACKAGES)"

install-run:
	@docker/install-packages "$(RUN_PACKAGES)"

install-test:
	@docker/check-rust "$(CARGO)" fmt clippy
	@docker/install-packages "$(TEST_PACKAGES)"
	@docker/install-nats-server
