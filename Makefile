# A thin front door: CMake builds, scripts/ does the rest. `make help` lists what there is.
.DEFAULT_GOAL := build
.PHONY: build profiled debug asan coverage test demo soak fuzz interop bench python python-soak python-bench erlang-bench abi-check abi-record generated doc format tidy install clean help

BUILD := build/release
PROFILED := build/profiled

build: ## build libweft and the weft command (build/release)
	@scripts/setup.sh build
	@cmake --preset release -DWEFT_BUILD_TESTS=OFF
	@cmake --build --preset release

profiled: ## build what is installed: twice, the second time for what the first was seen to do at work (build/profiled)
	@scripts/setup.sh build
	@cmake --preset profiled -DWEFT_BUILD_TESTS=OFF
	@cmake --build --preset profiled

debug: ## build for the debugger (build/debug)
	@scripts/setup.sh test
	@cmake --preset debug
	@cmake --build --preset debug

asan: ## build with AddressSanitizer and UndefinedBehaviorSanitizer (build/asan)
	@scripts/setup.sh test
	@cmake --preset asan
	@cmake --build --preset asan

test: ## run every test; the last line is "N passed, N failed"
	@scripts/test.sh

demo: ## build, serve a gigabyte and 200 small files to ourselves, compare every byte
	@scripts/demo.sh

soak: ## ten million random calls, then simulate networks until interrupted, or for SECONDS=...
	@scripts/soak.sh $(SECONDS)

fuzz: ## fuzz every target for SECONDS=... each (default 60)
	@scripts/fuzz.sh $(SECONDS)

interop: ## run the tests against other implementations, all cells of the matrix
	@INTEROP_MATRIX=all scripts/test.sh interop

coverage: ## how much of core/ the tests reach; fails below 92 % of lines or 80 % of branches
	@scripts/coverage.sh

bench: ## measure beside other implementations and alone, a quarter of an hour: build/bench; ARGS=... for tests/bench/run
	@scripts/setup.sh bench
	@cmake --preset profiled -DWEFT_BUILD_TESTS=ON
	@cmake --build --preset profiled --target weft bench_echo bench_many
	@cmake --preset release -DWEFT_BUILD_TESTS=OFF
	@cmake --build --preset release --target weft
	@WEFT_BUILD=$(CURDIR)/$(PROFILED) WEFT_PLAIN=$(CURDIR)/$(BUILD) tests/bench/run --all $(ARGS)

python: ## build the Python package as a wheel (build/release/python/dist) and test it
	@scripts/setup.sh test
	@tests/python/run

python-soak: ## ten thousand connections of the Python package come and go
	@tests/python/run soak

python-bench: ## measure the Python package beside aioquic
	@tests/python/run bench

erlang-bench: ## measure the Erlang package: both ends in one VM; ARGS=... for tests/bench/erlang_run
	@scripts/setup.sh test
	@cmake --preset release -DWEFT_BUILD_TESTS=OFF
	@cmake --build --preset release
	@WEFT_BUILD=$(CURDIR)/$(BUILD) tests/bench/erlang_run $(ARGS)

abi-check: build ## hold the build to the recorded ABI, and the header to its documentation
	@scripts/setup.sh test
	@WEFT_BUILD=$(CURDIR)/$(BUILD) tests/abi/run

abi-record: build ## record what was added to the ABI; BREAK=1 records a break too (docs/abi.md)
	@scripts/setup.sh test
	@WEFT_BUILD=$(CURDIR)/$(BUILD) tests/abi/record $(if $(BREAK),--break)

generated: build ## make anew what is made: the pages of options, errors, events, counters; weft.1
	@scripts/tables.py
	@scripts/python_tables.py
	@scripts/manpage.py $(BUILD)/weft

doc: ## make the reference of weft.h (build/doc/html/index.html)
	@scripts/setup.sh doc
	@scripts/doc.sh build/doc

format: ## bring the sources into the form that .clang-format describes
	@scripts/setup.sh dev
	@git ls-files -z -- '*.c' '*.h' ':!tests/abi/headers' ':!abi/include' | xargs -0 clang-format -i

tidy: ## static analysis with clang-tidy; silent when clean
	@scripts/setup.sh dev
	@cmake --preset debug
	@git ls-files -z -- 'core/*.c' 'abi/*.c' | xargs -0 -r -n 1 -P $$(nproc) clang-tidy -p build/debug --quiet

install: $(if $(PLAIN),build,profiled) ## install below PREFIX=... (default /usr/local), staged below DESTDIR=...; PLAIN=1: what `make build` built
	@DESTDIR=$(DESTDIR) cmake --install $(if $(PLAIN),$(BUILD),$(PROFILED)) --prefix $(or $(PREFIX),/usr/local)

clean: ## remove build/ (the cached wolfSSL stays)
	@rm -rf build

help: ## this list
	@sed -nE 's/^([a-z-]+):.*## (.*)/\1\t\2/p' Makefile | expand -t 12
