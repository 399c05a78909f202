#!/usr/bin/env bash
# Makes the reference of weft.h: <directory>/html/index.html. A warning of Doxygen is an error.
#
#   scripts/doc.sh [directory]     default: build/doc
set -euo pipefail
cd "$(dirname "$0")/.."
export WEFT_DOC=${1:-build/doc} WEFT_VERSION
WEFT_VERSION=$(sed -nE 's/^#define WEFT_VERSION "(.*)"$/\1/p' abi/include/weft/weft.h)
rm -rf "$WEFT_DOC/html"
mkdir -p "$WEFT_DOC"
doxygen docs/Doxyfile
