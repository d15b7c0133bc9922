# Sourced by the launch scripts, which set `root` first: messages, cores, Debian packages, building.
script=launch/${0##*/}

# To build and to run; to test in addition; to fuzz.
packages_run='gcc make pkgconf libc6-dev openmpi-bin libopenmpi-dev libopenblas-dev libfyaml-dev
    libjansson-dev libxxhash-dev librandom123-dev zlib1g-dev liblzma-dev dataset-fashion-mnist'
packages_test='check git'
packages_fuzz='clang libclang-rt-dev'

say()
{
    printf '%s: %s\n' "$script" "$*" >&2
}

fail()
{
    say "$*"
    exit 1
}

# Lines that each name the hardware threads of one core, for the CPUs this process may use.
core_lines()
{
    for range in $(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status | tr , ' '); do
        cpu=${range%-*}
        while [ "$cpu" -le "${range#*-}" ]; do
            folder=/sys/devices/system/cpu/cpu$cpu/topology
            cat "$folder/thread_siblings_list" 2>/dev/null || echo "$cpu"
            cpu=$((cpu + 1))
        done
    done
}

# The CPU quotas of this control group, a line each: microseconds of CPU time, of how many (versions
# 2 and 1). No quota is "max" or -1.
quotas()
{
    group=$(sed -n 's/^0:://p' /proc/self/cgroup 2>/dev/null || true)
    cat "/sys/fs/cgroup$group/cpu.max" /sys/fs/cgroup/cpu.max 2>/dev/null || true
    old=/sys/fs/cgroup/cpu/cpu.cfs
    paste -d ' ' "${old}_quota_us" "${old}_period_us" 2>/dev/null || true
}

# Cores that this process may keep busy: affinity and quota counted, hardware threads not. Two ranks
# on the threads of one core would share its arithmetic units.
cores()
{
    {
        core_lines | sort -u | wc -l
        quotas | awk '$1 + 0 > 0 && $2 > 0 { n = int($1 / $2); print n > 1 ? n : 1 }'
    } | sort -n | head -n 1
}

# A sed script: drops mpirun's own paragraphs about an exit code that the program has explained
# already. Others pass.
mpirun_noise='
s/\x00//g
/^mpirun: Forwarding signal/d
/ORTE_ERROR_LOG: .*show_help\.c/d
/^-\{74\}$/ {
    N
    /\nPrimary job  terminated normally/b swallow
    /\n[a-z]*run detected that one or more processes/b swallow
    /\n[a-z]*run has exited due to process rank/b swallow
    /\nMPI_ABORT was invoked/b swallow
    :keep
    n
    /^-\{74\}$/!b keep
    b
    :swallow
    N
    /\n-\{74\}$/!b swallow
    d
}'

as_root()
{
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# apt-get without questions; what it says goes to a log that is shown if it fails.
apt()
{
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 \
        -o Dpkg::Use-Pty=0 "$@" >>"$apt_log" 2>&1 </dev/null
}

# Prints those of the packages that are not installed.
packages_missing()
{
    for package; do
        status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || echo "$package"
    done
}

# Prints those of the packages that the package lists of this system do not have.
packages_unknown()
{
    for package; do
        apt-cache show "$package" >/dev/null 2>&1 || echo "$package"
    done
}

# Not a Debian system: everything must be there already.
require_parts()
{
    for tool in "${CC:-gcc}" make pkg-config mpirun; do
        command -v "$tool" >/dev/null || lacking="${lacking:-} $tool"
    done
    for library in ompi-c openblas libfyaml jansson libxxhash zlib liblzma; do
        pkg-config --exists "$library" 2>/dev/null || lacking="${lacking:-} $library"
    done
    [ -z "${lacking:-}" ] || fail "packages can be installed on Debian 12 or newer only.
  Install by other means: a C compiler, GNU make, pkg-config, Open MPI 4.1 or 5.0, OpenBLAS,
  libfyaml, jansson, xxHash, Random123, zlib, liblzma, for the tests Check.
  Not found:$lacking"
}

# apt_failed MESSAGE...: says why, with the end of the log unless it is the network.
apt_failed()
{
    if grep -q 'Failed to fetch\|Temporary failure\|Could not connect' "$apt_log"; then
        set -- "packages could not be fetched; is there a network connection? Wanted: $missing"
    else
        tail -n 15 "$apt_log" | sed 's/^/    /' >&2
    fi
    rm -f "$apt_log"
    fail "$*"
}

system_name()
{
    sed -n 's/^PRETTY_NAME="\(.*\)"/\1/p' /etc/os-release 2>/dev/null || echo 'this system'
}

# Installs what is missing of the packages named. Needs no network and no root if nothing is.
install_packages()
{
    if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
        require_parts
        return
    fi
    missing=$(packages_missing "$@" | tr '\n' ' ')
    missing=${missing% }
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        fail "neither root nor sudo; as root, run: apt-get install --no-install-recommends $missing"
    fi
    say "installing $missing; this may take a minute or two"
    apt_log=$(mktemp)
    # shellcheck disable=SC2086 # a list of words
    {
        [ -z "$(packages_unknown $missing)" ] || apt update || true
        unknown=$(packages_unknown $missing | tr '\n' ' ')
        [ -z "$unknown" ] ||
            apt_failed "$(system_name) has no package ${unknown% }; use Debian 12 or 13"
        # Old lists name files that the mirror has dropped: fetch them again and try once more.
        apt install --no-install-recommends $missing || {
            apt update && apt install --no-install-recommends $missing
        } || apt_failed "as root, run: apt-get install --no-install-recommends $missing"
    }
    rm -f "$apt_log"
}

build()
{
    say "building with $(cores) job(s)"
    make -s -C "$root" -j"$(cores)" "$@"
}
