#!/usr/bin/env bash
# What the QUIC interop runner starts in the container. `weft serve` and `weft get` understand its variables themselves (ROLE,
# TESTCASE, REQUESTS, SSLKEYLOGFILE, QLOGDIR); here remain the container's own duties: routes, and waiting for the simulated
# network. RUNNER_ROOT is put before all paths, for a test without the runner.
set -euo pipefail
root=${RUNNER_ROOT:-}

"$root/setup.sh"
mkdir -p "$root/logs"
case ${ROLE:-} in
    server)
        # shellcheck disable=SC2086 # several words
        exec weft serve ${SERVER_PARAMS:-} >"$root/logs/weft.txt" 2>&1
        ;;
    client)
        "$root/wait-for-it.sh" sim:57832 -s -t 30
        # shellcheck disable=SC2086
        exec weft get --json ${CLIENT_PARAMS:-} >"$root/logs/weft.txt" 2>&1
        ;;
    *)
        echo "ROLE is neither client nor server: '${ROLE:-}'" >&2
        exit 127
        ;;
esac
