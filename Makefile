# What a person and CI both call. `make run` and `make test` install what they need by the ordinary clients (apt-get,
# pip, cargo, npm), and are quick when nothing is missing.
#
#   make run            build, and serve the built-in demo stream; prints the address to open
#   make test           lint, documentation tests, then all tests, end to end ones included
#   make lint           formatting, clippy, documentation, each warning an error
#   make bench          our server against the floor and, if it is installed, xiu: the table of docs/performance.md
#   make microbench     the criterion benchmarks
#   make fuzz           each fuzz target (or FUZZ_TARGETS) for FUZZ_SECONDS (60)
#   make deny           licences and sources of all dependencies, against deny.toml
#   make player-assets  src/play/page/mpegts.js and LICENSE, from npm, at the version below
#   make demo-clip      src/demo/clip.flv, by ffmpeg

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

# The linker and the C code of the dependencies (zlib-ng is built by cmake).
BUILD_PACKAGES := build-essential cmake
# The programs that the end to end tests publish, play and look with.
TEST_PACKAGES := $(BUILD_PACKAGES) chromium curl ffmpeg fonts-dejavu-core mpv openssl procps prometheus python3-venv redis-server rtmpdump \
  gstreamer1.0-tools gstreamer1.0-libav gstreamer1.0-plugins-base gstreamer1.0-plugins-good gstreamer1.0-plugins-bad \
  gstreamer1.0-plugins-ugly haproxy libnss-wrapper nginx-light libnginx-mod-rtmp libnginx-mod-stream vlc-bin \
  vlc-plugin-base
NEXTEST_VERSION := 0.9.143
CARGO_FUZZ_VERSION := 0.13.2
CARGO_DENY_VERSION := 0.20.2
FUZZ_SECONDS ?= 60

# $(call install,PACKAGES): installs those Debian packages that are missing.
define install
missing=$$(for p in $(1); do \
	[ "$$(dpkg-query -W -f='$${db:Status-Status}' "$$p" 2>/dev/null || true)" = installed ] || printf '%s ' "$$p"; done); \
if [ -n "$$missing" ]; then \
	command -v apt-get >/dev/null || { echo "error: this needs what Debian packages as: $$missing(and there is no apt-get here to install it)" >&2; exit 1; }; \
	echo "installing: $$missing"; \
	$(SUDO) apt-get update -qq || { echo "error: apt-get update failed; needed packages: $$missing" >&2; exit 1; }; \
	$(SUDO) env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 apt-get install -y -qq --no-install-recommends $$missing >/dev/null \
		|| { echo "error: apt-get could not install: $$missing" >&2; exit 1; }; \
fi
endef

.PHONY: help
help:
	@sed -n 's/^#   make/make/p' Makefile

.PHONY: rust
rust:
	@command -v cargo >/dev/null || { echo "error: cargo is missing: install Rust 1.88 or newer first" >&2; exit 1; }

# By command, not by package: a person's machine may have them from elsewhere.
.PHONY: build-tools
build-tools: rust
	@if ! command -v cmake >/dev/null || ! command -v cc >/dev/null; then $(call install,$(BUILD_PACKAGES)); fi

.PHONY: run
run: build-tools
	@exec cargo run --bin pingora-live -- demo

# ---- tests ----------------------------------------------------------------------------------------------------------

.PHONY: test-tools
test-tools: rust .venv/ready
	@$(call install,$(TEST_PACKAGES))
	@cargo nextest --version >/dev/null 2>&1 || { echo "installing: cargo-nextest $(NEXTEST_VERSION)"; \
		cargo install --quiet --locked cargo-nextest --version $(NEXTEST_VERSION) \
		|| { echo "error: cargo-nextest could not be installed" >&2; exit 1; }; }
	@for c in clippy fmt; do cargo $$c --version >/dev/null 2>&1 || { echo "error: cargo $$c is missing: rustup component add clippy rustfmt" >&2; exit 1; }; done

# Debian's own Python, whichever other is first in the path: python3-venv belongs to that one.
.venv/ready: tests/requirements.txt
	@$(call install,python3-venv)
	@rm -rf .venv
	@echo "installing: tests/requirements.txt into .venv"
	@/usr/bin/python3 -m venv .venv || { echo "error: no virtual environment could be made in .venv" >&2; exit 1; }
	@.venv/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt \
		|| { echo "error: pip could not install tests/requirements.txt" >&2; exit 1; }
	@touch $@

.PHONY: lint
lint: build-tools
	cargo fmt --all --check
	cargo clippy --all-targets --quiet -- -D warnings
	cargo clippy --all-targets --no-default-features --quiet -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --quiet

# nextest comes last, so that its summary ends the output.
.PHONY: test
test: test-tools lint
	cargo test --doc --quiet
	cargo nextest run

# About six minutes after the build. What was missed, the table says: that is no failure of the run. What is measured is this machine: let nothing else run on it.
BENCH_SECONDS ?= 6
.PHONY: bench
bench: build-tools
	cargo build --release --bins
	target/release/pingora-live-bench suite -d $(BENCH_SECONDS)s --write docs/performance.md || [ $$? = 1 ]

.PHONY: microbench
microbench: build-tools
	cargo bench --benches

# A stable compiler has what cargo-fuzz needs once its unstable options are let through. One build for all targets, of the versions that
# the program itself has. Overflow checks and debug assertions are on. No sanitizer: what parses a peer's bytes has no unsafe code, so there is
# nothing for one to find but in dependencies, and with it all is built again with others' C code and runs at half the speed;
# FUZZ_SANITIZER=address has it nevertheless.
FUZZ_TARGETS ?=
FUZZ_SANITIZER ?= none
FUZZ_FLAGS := --sanitizer $(FUZZ_SANITIZER) --codegen-units 16
.PHONY: fuzz
fuzz: build-tools
	@cargo fuzz --version >/dev/null 2>&1 || { echo "installing: cargo-fuzz $(CARGO_FUZZ_VERSION)"; cargo install --quiet --locked cargo-fuzz --version $(CARGO_FUZZ_VERSION); }
	@cp Cargo.lock fuzz/Cargo.lock
	export RUSTC_BOOTSTRAP=1; \
	cargo fuzz build $(FUZZ_FLAGS); \
	targets="$(FUZZ_TARGETS)"; \
	for t in $${targets:-$$(cargo fuzz list)}; do \
		echo "== $$t"; cargo fuzz run $(FUZZ_FLAGS) "$$t" -- -max_total_time=$(FUZZ_SECONDS) -rss_limit_mb=2048 -timeout=20; \
	done

.PHONY: deny
deny: rust
	@cargo deny --version >/dev/null 2>&1 || { echo "installing: cargo-deny $(CARGO_DENY_VERSION)"; cargo install --quiet --locked cargo-deny --version $(CARGO_DENY_VERSION); }
	cargo deny check bans licenses sources

# ---- files of others, and made by others, that are kept in the repository ---------------------------------------------

MPEGTS_VERSION := 1.8.2
# What mpegts.js bundles; its notices stand below the player's own licence.
ES6_PROMISE_VERSION := 4.2.8
EVENTS_VERSION := 3.3.0

.PHONY: player-assets
player-assets:
	@command -v npm >/dev/null || { $(call install,npm); }
	folder=$$(mktemp -d); trap 'rm -rf "$$folder"' EXIT; \
	for p in mpegts.js@$(MPEGTS_VERSION) es6-promise@$(ES6_PROMISE_VERSION) events@$(EVENTS_VERSION); do \
		mkdir "$$folder/$${p%@*}"; \
		tar xz -C "$$folder/$${p%@*}" --strip-components=1 -f "$$folder/$$(cd "$$folder" && npm pack --silent "$$p")"; \
	done; \
	cp "$$folder/mpegts.js/dist/mpegts.js" src/play/page/mpegts.js; \
	{ echo "mpegts.js $(MPEGTS_VERSION), unchanged, under the following licence."; \
	  echo "It bundles es6-promise $(ES6_PROMISE_VERSION) and events $(EVENTS_VERSION), whose licences stand at the end."; echo; \
	  cat "$$folder/mpegts.js/LICENSE"; \
	  printf '\n---- es6-promise ----\n\n'; cat "$$folder/es6-promise/LICENSE"; \
	  printf '\n---- events ----\n\n'; cat "$$folder/events/LICENSE"; } > src/play/page/LICENSE

# Eight seconds that loop without a seam: 200 frames of 40 ms, and 375 AAC frames of 64/3 ms (1024 samples at 48 kHz).
# The tone repeats every second, so the sound is encoded for 24 s and its middle third is kept: there, what each AAC
# frame overlaps with is the same at the end as at the beginning. No B-frames, and no end-of-sequence tag.
DEMO_FONT := /usr/share/fonts/truetype/dejavu
DEMO_TONE := 0.05*sin(2*PI*440*t)+0.25*sin(2*PI*880*t)*lt(mod(t,1),0.08)*sin(PI*mod(t,1)/0.08)
DEMO_PICTURE := [0:v] drawbox=x=150:y=120:w=340:h=120:color=black@0.8:t=fill, \
  drawtext=fontfile=$(DEMO_FONT)/DejaVuSansMono-Bold.ttf:text='%{pts\:hms}':fontcolor=white:fontsize=40:x=(w-text_w)/2-12:y=142, \
  drawtext=fontfile=$(DEMO_FONT)/DejaVuSans.ttf:text='pingora-live demo':fontcolor=white:fontsize=22:x=(w-text_w)/2:y=200, \
  format=yuv420p [v]

.PHONY: demo-clip
demo-clip:
	@$(call install,ffmpeg fonts-dejavu-core)
	ffmpeg -hide_banner -loglevel error -y \
	  -f lavfi -i "testsrc2=size=640x360:rate=25:duration=8" \
	  -f lavfi -i "aevalsrc='$(DEMO_TONE)|$(DEMO_TONE)':sample_rate=48000:duration=24" \
	  -filter_complex "$(DEMO_PICTURE)" -map "[v]" -map 1:a \
	  -c:v libx264 -profile:v main -preset veryslow -crf 27 -maxrate 700k -bufsize 700k \
	  -bf 0 -g 50 -keyint_min 50 -sc_threshold 0 \
	  -c:a aac -b:a 64k -ac 2 -bsf:a "noise=drop='lt(n,375)+gte(n,750)',setts=ts='round(N*64/3)'" \
	  -map_metadata -1 -flvflags no_sequence_end -f flv src/demo/clip.flv
