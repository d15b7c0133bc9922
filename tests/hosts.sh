# Sourced by tests that want several hosts: network namespaces of this machine, each with its own
# name, address and /dev/shm, joined by a bridge in a namespace of its own, so that the machine's
# real network is not touched. To MPI they are hosts. Needs root, `work`, a temporary folder, and
# `build`, the build folder.
PATH=$PATH:/usr/sbin:/sbin

# hosts_skip WHY: this machine does not allow it.
hosts_skip()
{
    echo "$*"
    exit 77
}

# hosts_hold NAME UNSHARE-OPTION...: a process that keeps namespaces alive; leaves its id in
# $work/hosts/NAME.
hosts_hold()
{
    held=$1
    shift
    mkfifo "$work/hosts/$held.ready"
    unshare "$@" sh -c '
        [ "$1" = switch ] || {
            hostname "$1" && mount -t tmpfs -o size=1g tmpfs /dev/shm &&
                mount --bind "$2/names" /etc/hosts
        } && ip link set lo up && echo yes >"$2/$1.ready" || echo no >"$2/$1.ready"
        exec sleep 3600' hold "$held" "$work/hosts" </dev/null >/dev/null 2>&1 &
    echo $! >"$work/hosts/$held"
    (sleep 10 && echo late >"$work/hosts/$held.ready") 2>/dev/null &
    watch=$!
    read -r ready <"$work/hosts/$held.ready"
    kill "$watch" 2>/dev/null
    rm -f "$work/hosts/$held.ready"
    [ "$ready" = yes ] || hosts_skip "namespaces cannot be made here"
}

# hosts_in HOST COMMAND...
hosts_in()
{
    in_host=$1
    shift
    nsenter -t "$(cat "$work/hosts/$in_host")" -n -u -m -i --wd="$PWD" -- "$@"
}

# hosts_bridge COUNT: cards that are joined by a bridge, p0, p1, ..., in a namespace of its own.
hosts_bridge()
{
    hosts_hold switch --net --mount
    switch=$(cat "$work/hosts/switch")
    nsenter -t "$switch" -n ip link add br0 type bridge 2>/dev/null || hosts_skip "no bridge here"
    nsenter -t "$switch" -n ip link set br0 up
    for i in $(seq 0 $(($1 - 1))); do
        ip link add eth0 netns "$(cat "$work/hosts/node$i")" type veth \
            peer name "p$i" netns "$switch" || hosts_skip "no veth here"
        nsenter -t "$switch" -n ip link set "p$i" master br0 up
    done
}

# hosts_delay COUNT RATE US: cards whose packets arrive US later, at RATE ("1gbit", "100mbit" or
# nothing) a receiver, by the program `delay` of `make tests`. TCP's large packets are limited to
# 32 kB, a quarter of a millisecond at 1 Gbit/s.
hosts_delay()
{
    [ -w /dev/net/tun ] || hosts_skip "no /dev/net/tun here"
    case $2 in
    *gbit) mbit=$((${2%gbit} * 1000)) ;;
    *) mbit=${2%mbit} ;;
    esac
    holders=
    for i in $(seq 0 $(($1 - 1))); do
        holders="$holders $(cat "$work/hosts/node$i")"
    done
    mkfifo "$work/hosts/delay.ready"
    # shellcheck disable=SC2086
    "$build/tests/hosts/delay" "$3" "${mbit:-0}" $holders \
        </dev/null >"$work/hosts/delay.ready" 2>"$work/hosts/delay.log" &
    echo $! >"$work/hosts/delay"
    read -r ready <"$work/hosts/delay.ready" ||
        hosts_skip "no delay here: $(cat "$work/hosts/delay.log")"
    for i in $(seq 0 $(($1 - 1))); do
        hosts_in "node$i" ip link set eth0 address "02:00:00:00:00:0$((i + 1))" \
            gso_max_size 32768
    done
}

# hosts_start COUNT SLOTS [RATE [US]]: node0, node1, ... (at most 9) with a link of RATE (in tc's
# words) each; with US, packets take so many microseconds from host to host, one way.
hosts_start()
{
    [ "$(id -u)" = 0 ] || hosts_skip "hosts as network namespaces need root"
    for tool in unshare nsenter ip; do
        command -v $tool >/dev/null || hosts_skip "$tool is not installed"
    done
    mkdir "$work/hosts"
    trap 'hosts_stop; rm -rf "$work"' EXIT
    echo "127.0.0.1 localhost" >"$work/hosts/names"
    for i in $(seq 0 $(($1 - 1))); do
        echo "10.91.0.$((i + 1)) node$i" >>"$work/hosts/names"
        echo "node$i slots=$2" >>"$work/hosts/file"
    done
    for i in $(seq 0 $(($1 - 1))); do
        hosts_hold "node$i" --net --uts --ipc --mount
    done
    if [ -n "${4-}" ]; then
        hosts_delay "$1" "$3" "$4"
        burst=36kb
    else
        hosts_bridge "$1"
        burst=256kb
    fi
    for i in $(seq 0 $(($1 - 1))); do
        hosts_in "node$i" ip addr add "10.91.0.$((i + 1))/24" dev eth0
        hosts_in "node$i" ip link set eth0 up
        [ -z "${3-}" ] || hosts_in "node$i" tc qdisc add dev eth0 root tbf rate "$3" \
            burst $burst limit 8mb || hosts_skip "no rate limits here"
    done
    cat >"$work/hosts/agent" <<END
#!/bin/sh
host=\$1
shift
exec nsenter -t "\$(cat "$work/hosts/\$host")" -n -u -m -i -- /bin/sh -c "\$*"
END
    chmod +x "$work/hosts/agent"
}

# hosts_mpi OPTION... COMMAND...: mpirun from node0, at most MPI_TIMEOUT seconds (default 120).
hosts_mpi()
{
    hosts_in node0 env OMPI_MCA_plm_rsh_agent="$work/hosts/agent" \
        PRTE_MCA_plm_ssh_agent="$work/hosts/agent" PRTE_MCA_prte_if_include=eth0 \
        OMPI_MCA_btl='^uct,openib,ofi' OMPI_MCA_btl_tcp_if_include=eth0 \
        OMPI_MCA_oob_tcp_if_include=eth0 OMPI_MCA_mpi_yield_when_idle=1 \
        timeout -k 5 "${MPI_TIMEOUT:-120}" \
        mpirun --hostfile "$work/hosts/file" --bind-to none "$@"
}

# Ends what hosts_start began: the holders, and with them their namespaces.
hosts_stop()
{
    for holder in "$work"/hosts/switch "$work"/hosts/delay "$work"/hosts/node?; do
        [ ! -e "$holder" ] || kill -KILL "$(cat "$holder")" 2>/dev/null
    done
}
