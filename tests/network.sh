#!/bin/sh
# A command on several hosts of this machine that have a network between them (tests/hosts.sh), for
# measurements: tests/network.sh BUILD HOSTS RATE US mpi|each COMMAND...
#
#   mpi OPTIONS COMMAND...   mpirun from the first host, one slot a host
#   each COMMAND...          COMMAND on every host, with its number in HOST, of HOSTS
#
# RATE is in tc's words; US: microseconds from host to host, one way. Both may be empty:
#   sh tests/network.sh build 2 1gbit 200 mpi -n 2 build/lockstep bench step CONFIG
set -u
build=$(cd "${1:?usage: $0 BUILD HOSTS RATE US mpi|each COMMAND...}" && pwd)
hosts=$2 rate=$3 delay=$4 way=$5
shift 5
here=$(cd "$(dirname "$0")" && pwd)/e2e
work=$(mktemp -d "${TMPDIR:-/tmp}/lockstep-network.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT TERM HUP
. "$here/../mpirun.sh"
. "$here/../hosts.sh"

hosts_start "$hosts" 1 "$rate" "$delay"
if [ "$way" = mpi ]; then
    hosts_mpi "$@"
    exit
fi
others=
for host in $(seq 1 $((hosts - 1))); do
    hosts_in "node$host" env HOST="$host" HOSTS="$hosts" timeout "${MPI_TIMEOUT:-120}" "$@" &
    others="$others $!"
done
hosts_in node0 env HOST=0 HOSTS="$hosts" timeout "${MPI_TIMEOUT:-120}" "$@"
code=$?
# shellcheck disable=SC2086
wait $others
exit $code
