# Sourced by launch/supervise: hosts that share a run. Which there are, which of them answer, what
# mpirun needs between them. Sets and uses `scratch`, `probe`.

probe_limit=15 # seconds for a host to answer

# hosts_read FILE: "HOST SLOTS" lines from a hostfile in mpirun's format (NAME [slots=N], # to the
# end of a line is a comment; a host without slots=, or named again, has one more) into
# $scratch/hosts; fails with a message if there is anything else in it.
hosts_read()
{
    [ -r "$1" ] || {
        say "--hosts $1: there is no such file"
        return 1
    }
    awk -v file="$1" '
        { sub(/#.*/, "") }
        NF == 0 { next }
        {
            slots = 1
            for (i = 2; i <= NF; i++)
                if ($i ~ /^slots=[1-9][0-9]*$/)
                    slots = substr($i, 7)
                else if ($i !~ /^max[-_]slots=[0-9]+$/) {
                    printf "%s:%d: \"%s\": slots=N is wanted\n", file, NR, $i
                    exit 1
                }
            if (!($1 in sum))
                order[++count] = $1
            sum[$1] += slots
        }
        END {
            for (i = 1; i <= count; i++)
                print order[i], sum[order[i]] >hosts
        }' hosts="$scratch/hosts" "$1" >"$scratch/wrong" || {
        say "$(cat "$scratch/wrong")"
        return 1
    }
    [ -s "$scratch/hosts" ] || {
        say "$1: names no host"
        return 1
    }
}

host_is_here()
{
    here=$(uname -n)
    case $1 in "$here" | "${here%%.*}" | localhost | 127.0.0.1) return 0 ;; esac
    return 1
}

# What mpirun will start its daemons with: the first of "ssh : rsh".
launch_agent()
{
    agent=${OMPI_MCA_plm_rsh_agent:-${PRTE_MCA_plm_ssh_agent:-ssh}}
    agent=${agent%%:*}
    case ${agent%"${agent##*[! ]}"} in
    ssh) echo 'ssh -n -o BatchMode=yes -o ConnectTimeout=5' ;;
    *) echo "$agent" ;;
    esac
}

# A host that is gone does not refuse: it says nothing, and ssh waits.
host_answers()
{
    ! host_is_here "$1" || return 0
    # shellcheck disable=SC2046,SC2086 # commands of several words
    if [ -n "$probe" ]; then
        timeout -k 2 "$probe_limit" $probe "$1"
    else
        timeout -k 2 "$probe_limit" $(launch_agent) "$1" true
    fi </dev/null >/dev/null 2>&1
}

# Those of $scratch/hosts that answer, as a hostfile in $scratch/hostfile, the others' names in
# $scratch/silent. All are asked at once.
hosts_ask()
{
    rm -f "$scratch"/yes.*
    asking=
    while read -r host slots; do
        (! host_answers "$host" || : >"$scratch/yes.$host") &
        asking="$asking $!"
    done <"$scratch/hosts"
    for asked_one in $asking; do
        while kill -0 "$asked_one" 2>/dev/null; do # a signal ends a wait
            wait "$asked_one" || true
        done
    done
    : >"$scratch/hostfile"
    : >"$scratch/silent"
    while read -r host slots; do
        if [ -e "$scratch/yes.$host" ]; then
            echo "$host slots=$slots" >>"$scratch/hostfile"
        else
            echo "$host" >>"$scratch/silent"
        fi
    done <"$scratch/hosts"
}

# What mpirun needs between hosts, beside and instead of what launch/mpi.sh sets for one: TCP, and
# a host that is cut off noticed after 25 s (4.1's own limit is 8 minutes). Values that are set
# already stay.
hosts_environment()
{
    card=${OMPI_MCA_oob_tcp_if_include:-}
    : "${OMPI_MCA_btl:=^uct,openib,ofi}"
    . "$root/launch/mpi.sh"
    [ -n "$card" ] || unset OMPI_MCA_oob_tcp_if_include
    : "${OMPI_MCA_oob_tcp_keepalive_time:=10}" "${OMPI_MCA_oob_tcp_keepalive_intvl:=5}" \
        "${OMPI_MCA_oob_tcp_keepalive_probes:=3}"
    export OMPI_MCA_oob_tcp_keepalive_time OMPI_MCA_oob_tcp_keepalive_intvl \
        OMPI_MCA_oob_tcp_keepalive_probes
}
