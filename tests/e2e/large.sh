#!/bin/sh
# Collectives of more than 2^31 bytes, every algorithm, checked: tests/e2e/large.sh BUILD
# Opt-in, TEST_LARGE=1: two ranks take 13 GB, and a minute or two.
set -eu
. tests/mpirun.sh
available=$(awk '/^MemAvailable/ { print int($2 / 1048576) }' /proc/meminfo)
if [ "${TEST_LARGE:-0}" != 1 ]; then
    echo "TEST_LARGE=1 runs it"
    exit 77
fi
if [ "$available" -lt 14 ]; then
    echo "$available GB of memory available, 14 wanted"
    exit 77
fi
mpi 2 "$1/lockstep" bench comm --seconds 0.01 min_bytes=2400000000 max_bytes=2400000000
