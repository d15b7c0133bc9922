# Sourced by the scripts beside it: a temporary folder, the program, ways to run it, one way to
# fail. $1 of every script is the build folder.
set -u
build=$(cd "${1:?usage: $0 BUILD}" && pwd)
here=$(cd "$(dirname "$0")" && pwd)
lockstep=$build/lockstep
work=$(mktemp -d "${TMPDIR:-/tmp}/lockstep-e2e.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
. "$here/../mpirun.sh"

fail()
{
    echo "FAILED: $*" >&2
    exit 1
}

# field FILE NAME: the value of "NAME": in a JSON file of one key a line.
field()
{
    sed -n 's/^ *"'"$2"'": *"\{0,1\}\([^",]*\)"\{0,1\},\{0,1\}$/\1/p' "$1"
}

# await PID COMMAND...: waits until COMMAND succeeds; fails if process PID ends before that, or
# after 60 s.
await()
{
    awaited=$1 tries=0
    shift
    until "$@" 2>/dev/null; do
        kill -0 "$awaited" 2>/dev/null || "$@" 2>/dev/null || fail "it ended before: $*"
        [ $tries -lt 3000 ] || fail "not within 60 s: $*"
        tries=$((tries + 1))
        sleep 0.02
    done
}

# ended PID: there is no such process or, in a container whose first process collects none, only
# its exit code.
ended()
{
    case $(sed -n 's/^State:[[:space:]]*//p' "/proc/$1/status" 2>/dev/null) in
    '' | Z* | X*) return 0 ;;
    esac
    return 1
}

# steps_of RUN N: the run has recorded N steps or more.
steps_of()
{
    [ "$(wc -l <"runs/$1/metrics.csv")" -gt "$2" ]
}
