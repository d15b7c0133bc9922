#!/bin/sh
# A short round of fuzzing with a fixed seed: FUZZ_RUNS executions, if the environment asks for any.
[ -n "${FUZZ_RUNS-}" ] || {
    echo "FUZZ_RUNS is not set; make fuzz"
    exit 77
}
export FUZZ_SEED=1
exec "$(dirname "$0")/../fuzz/run" "${1:?usage: $0 BUILD}" "$FUZZ_RUNS"
