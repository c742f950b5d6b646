# Casemate: `make run` shows the main job, `make test` passes all tests. Both install what they need on Debian 12 and 13.

# Where the build is laid out as it will be installed.
OUT := $(CURDIR)/out
LIB := $(OUT)/lib/casemate
CASEMATE := $(OUT)/bin/casemate
CARGO := cargo
CARGO_TARGET_DIR ?= $(CURDIR)/target
PREFIX ?= /usr/local
# Where Docker's client is for the tests, if the host has none.
DOCKER_CLIENT := $(CARGO_TARGET_DIR)/docker-client

.PHONY: all build packages test-packages casemate docker-init agent kernel busybox run test test-all lint bench bench-network fuzz install uninstall clean

all: build

build: packages casemate docker-init agent kernel busybox

packages:
	@scripts/install-packages.sh packages/build.txt packages/run.txt guest/kernel/packages.txt guest/busybox/packages.txt
	@scripts/install-rust.sh

# Static, and at a fixed address: a start executes these programs twice, and it costs the fewest instructions that way.
STATIC := -C target-feature=+crt-static -C relocation-model=static
export LIBSECCOMP_LINK_TYPE := static
# Asked for when it is needed: the compiler may only just have been installed.
export LIBSECCOMP_LIB_PATH = /usr/lib/$(shell gcc -print-multiarch)

casemate: packages
	$(CARGO) rustc --release --locked -p casemate -- $(STATIC)
	install -D $(CARGO_TARGET_DIR)/release/casemate $(CASEMATE)

# A workspace of its own: see its Cargo.toml.
INIT := --manifest-path crates/init/Cargo.toml --target-dir $(CARGO_TARGET_DIR)/init

docker-init: packages
	$(CARGO) build --release --locked $(INIT)
	install -D $(CARGO_TARGET_DIR)/init/release/docker-init $(LIB)/docker-init

agent: casemate docker-init
	$(CARGO) rustc --profile agent --locked -p casemate-agent -- $(STATIC)
	mkdir -p $(LIB)
	$(CASEMATE) initramfs $(CARGO_TARGET_DIR)/agent/casemate-agent $(LIB)/docker-init $(LIB)/initrd.img

kernel: packages
	mkdir -p $(LIB)
	@# mv(1) refuses to put one link of a file in the place of another, which is what a second build would ask of it.
	[ $(LIB)/vmlinux -ef "$$(guest/kernel/build.sh --print-path)" ] || guest/kernel/build.sh $(LIB)/vmlinux

busybox: packages
	mkdir -p $(LIB)
	guest/busybox/build.sh $(LIB)/busybox.tar

run: build
	@scripts/demo.sh $(CASEMATE)

test-packages: packages
	@scripts/install-packages.sh packages/test.txt
	@scripts/install-docker-client.sh $(DOCKER_CLIENT)

test: build test-packages
	PATH="$$PATH:$(DOCKER_CLIENT)" CASEMATE_TEST_PREFIX=$(OUT) $(CARGO) test --release --locked --workspace --no-fail-fast

lint: packages
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path crates/init/Cargo.toml --check
	$(CARGO) clippy --release --locked --workspace --all-targets -- -D warnings
	$(CARGO) clippy --release --locked $(INIT) -- -D warnings

SECONDS_PER_TARGET ?= 60

fuzz: packages
	@scripts/install-packages.sh packages/fuzz.txt
	scripts/fuzz.sh $(SECONDS_PER_TARGET)

bench: build
	@scripts/install-packages.sh packages/bench.txt
	CASEMATE_BENCH_PREFIX=$(OUT) $(CARGO) run --release --locked -p casemate-bench

# Network throughput beside that of the kernel and QEMU alone, and many containers on one network.
bench-network: build
	@scripts/install-packages.sh packages/bench.txt
	@scripts/install-docker-client.sh $(DOCKER_CLIENT)
	PATH="$$PATH:$(DOCKER_CLIENT)" scripts/bench-network.sh $(OUT)

install: build
	scripts/install.sh $(OUT) $(PREFIX) $(DESTDIR)

uninstall:
	scripts/uninstall.sh $(PREFIX) $(DESTDIR)

clean:
	rm -rf $(OUT)
	$(CARGO) clean
