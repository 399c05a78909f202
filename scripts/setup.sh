#!/usr/bin/env bash
# Installs what is missing to build and test weft, with the system's package manager. Where all is there it does nothing
# and needs no rights.
#
#   scripts/setup.sh           what `make` needs             (group build)
#   scripts/setup.sh test      ... and what `make test` needs
#   scripts/setup.sh doc       what `make doc` needs
#   scripts/setup.sh bench     what `make test` needs, and what builds other implementations, to measure beside them
#   scripts/setup.sh interop   what `make test` needs, and what installs other implementations, to test with them
#   scripts/setup.sh dev       what `make test`, `make fuzz`, `make format` and `make tidy` need
set -euo pipefail

want=${1:-build}
missing=()

# need <package> <command that succeeds when it is there>
need() {
    local package=$1
    shift
    "$@" >/dev/null 2>&1 || missing+=("$package")
}
program() { command -v "$1"; }
library() { pkg-config --exists "$1"; }
cmake_new_enough() {
    local have
    have=$(cmake --version | sed -n '1s/[^0-9]*\([0-9.]*\).*/\1/p')
    [ "$(printf '3.22\n%s\n' "$have" | sort -V | head -n 1)" = 3.22 ]
}

needs_build() {
    need build-essential sh -c 'command -v cc && command -v make && command -v ld && command -v objcopy'
    need cmake cmake_new_enough
    need ninja-build program ninja
    need pkg-config program pkg-config
    need autoconf program autoconf
    need automake program automake
    need libtool program libtoolize
    need libuv1-dev library 'libuv >= 1.43'
}
needs_test() {
    need check library check
    need python3 program python3
    need python3-venv python3 -c 'import ensurepip, venv' # tests/python builds the package and tests it
    need python3-dev sh -c 'test -e "$(python3 -c "import sysconfig; print(sysconfig.get_path(\"include\"))")/Python.h"'
    need openssl program openssl
    need abigail-tools program abidiff # tests/abi; it also compiles the header with both compilers
    need clang program clang
    need valgrind test -e /usr/include/valgrind/callgrind.h # instructions are counted: tests/walk
    needs_doc
    needs_erlang
}
# bindings/erlang_nif and bindings/elixir. Debian has OTP in many packages; an OTP of one's own has it all.
needs_erlang() {
    local otp=/usr/lib/erlang/lib part
    need erlang-base program erl
    command -v erl >/dev/null && otp=$(erl -noshell -eval 'io:put_chars(code:lib_dir()), halt().')
    need erlang-dev sh -c "ls '$otp'/../usr/include/erl_nif.h"
    for part in common_test crypto dialyzer edoc eunit inets mnesia os_mon parsetools public_key runtime_tools ssl syntax_tools tools xmerl; do
        need "erlang-${part//_/-}" sh -c "ls -d '$otp'/$part-*"
    done
    need erlang-proper sh -c "ls -d '$otp'/proper-* /usr/lib/erlang/lib/proper-*"
    need rebar3 program rebar3
    need elixir program elixir
}
needs_bench() {
    need golang-go program go
    need libssl-dev library openssl
    need libnuma-dev sh -c 'ls /usr/lib/*/libnuma.a' # MsQuic, linked statically
    needs_rust
}
needs_doc() {
    need doxygen program doxygen
    need mandoc program mandoc
}
rust_new_enough() { # for quiche
    local have
    have=$(cargo --version | sed -n 's/^cargo \([0-9.]*\).*/\1/p')
    [ "$(printf '1.88\n%s\n' "$have" | sort -V | head -n 1)" = 1.88 ]
}
needs_rust() {
    if ! rust_new_enough >/dev/null 2>&1; then # Debian's plain one is for its lifetime what it was; -web follows the browsers
        local suffix=
        apt-cache show cargo-web >/dev/null 2>&1 && suffix=-web
        missing+=("cargo$suffix" "rustc$suffix")
    fi
    need libclang-dev sh -c 'ls /usr/lib/llvm*/lib/libclang*.so* /usr/lib/*/libclang*.so*' # bindgen, for BoringSSL
}
needs_interop() {
    needs_rust
    need iproute2 program ip
    need util-linux sh -c 'command -v nsenter && command -v setpriv'
    need python3-venv python3 -c 'import ensurepip, venv'
    need golang-go program go
}
needs_dev() {
    need clang program clang
    need clang-format program clang-format
    need clang-tidy program clang-tidy
    # libFuzzer is a part of clang's runtime; which package holds it depends on clang's version.
    if command -v clang >/dev/null; then
        local major machine package=
        major=$(clang -dumpversion | cut -d. -f1)
        machine=$(uname -m)
        if [ ! -e "$(clang -print-file-name="libclang_rt.fuzzer-$machine.a")" ] &&
            ! ls "$(clang -print-resource-dir)"/lib/*/libclang_rt.fuzzer*.a >/dev/null 2>&1; then
            for package in "libclang-rt-$major-dev" "libclang-common-$major-dev"; do
                apt-cache show "$package" >/dev/null 2>&1 && break
            done
            missing+=("$package")
        fi
    fi
}

collect() {
    missing=()
    needs_build
    case $want in
        build) ;;
        test) needs_test ;;
        doc) needs_doc ;;
        bench)
            needs_test
            needs_bench
            ;;
        interop)
            needs_test
            needs_interop
            ;;
        dev)
            needs_test
            needs_dev
            ;;
        *)
            echo "setup.sh: unknown group '$want' (build, test, bench, doc, interop, dev)" >&2
            exit 2
            ;;
    esac
}

install() {
    local as_root=()
    if ! command -v apt-get >/dev/null; then
        echo "setup.sh: missing: ${missing[*]} (these are Debian's names). Please install them; only apt is known here." >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || {
            echo "setup.sh: missing: ${missing[*]}. Run as root, or install them with: apt-get install ${missing[*]}" >&2
            exit 1
        }
        as_root=(sudo)
    fi
    echo "setup.sh: installing with apt-get: ${missing[*]}" >&2
    local run=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y)
    if ! "${run[@]}" install --no-install-recommends "${missing[@]}" >&2; then
        "${run[@]}" update >&2 # the package lists were old, or never fetched
        "${run[@]}" install --no-install-recommends "${missing[@]}" >&2
    fi
}

# Twice at most: what a package brings (clang) can show that another is needed (its runtime).
for _ in 1 2; do
    collect
    [ ${#missing[@]} -eq 0 ] && exit 0
    install
done
collect
[ ${#missing[@]} -eq 0 ] || {
    echo "setup.sh: still missing after the installation: ${missing[*]}" >&2
    exit 1
}
