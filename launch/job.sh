# Sourced by launch/supervise: one start of the ranks, from the command to the last process. Uses
# and sets the variables of that script.

session_processes()
{
    cat /proc/[0-9]*/stat 2>/dev/null |
        sed -n 's/^\([0-9]*\) (.*) [^Z] [0-9]* [0-9]* '"$job"' .*/\1/p'
}

end_session()
{
    session_processes | xargs -r kill -KILL 2>/dev/null || true
}

# Open MPI's shared memory files made since the job was started that no process has mapped.
unused_memory()
{
    cat /proc/[0-9]*/maps 2>/dev/null | sed -n 's|.* \(/dev/shm/[^ ]*\)$|\1|p' |
        sort -u >"$scratch/mapped"
    find /dev/shm -maxdepth 1 -user "$(id -u)" -newer "$scratch/stamp" \( -name 'osc_sm.*' \
        -o -name 'vader_segment.*' -o -name 'sm_segment.*' \) 2>/dev/null | sort |
        comm -23 - "$scratch/mapped"
}

# Ranks that are killed leave them behind, as large as the weights. Looked at twice: what another
# job is just making it has mapped by then.
remove_memory()
{
    unused_memory >"$scratch/unused"
    [ -s "$scratch/unused" ] || return 0
    sleep 1 || true # a signal may end it
    unused_memory | comm -12 - "$scratch/unused" | xargs -r rm -f
}

# mpirun hands SIGUSR1 on to the ranks, and hardly anything else. Not more often than needed: while
# it cleans up it would die of it.
pass_on()
{
    kill -USR1 "$job" 2>/dev/null || true
}

# Messages pass through a filter that notes why the program ends.
start_job()
{
    mark=$(session_mark)
    : >"$scratch/stamp"
    rm -f "$scratch/errors" "$scratch/words"
    mkfifo "$scratch/errors"
    (trap '' HUP INT TERM USR1 && exec sed -u "/^lockstep: /w $scratch/words
$mpirun_noise") <"$scratch/errors" >&2 &
    filter=$!
    # shellcheck disable=SC2086 # a command and its options
    setsid $launcher "$program" train "$@" checkpoint.resume=auto </dev/null 2>"$scratch/errors" &
    job=$!
}

# late SINCE SECONDS WHAT
late()
{
    [ $((now - $1)) -ge "$2" ] || return 0
    note "$3 within $2 s: killed"
    end_session
}

# Looks after the job twice a second until it has ended; its exit code into $status. An mpirun that
# a lost host keeps from ending is killed, and so is a job that hangs before it trains.
wait_for_job()
{
    began=$(date +%s)
    begun=
    spoke=
    while kill -0 "$job" 2>/dev/null; do
        now=$(date +%s)
        if [ -z "$begun" ] && [ "$(session_mark)" != "$mark" ]; then
            begun=$now
            [ -z "$unheard" ] || pass_on
        fi
        if [ -n "$signal" ]; then
            [ $((now - asked)) -lt "$grace" ] || kill -TERM "$job" 2>/dev/null || true
            late "$asked" $((grace + 10)) 'the ranks do not end'
        elif [ -s "$scratch/words" ]; then
            late "${spoke:=$now}" "$end" 'mpirun does not end after the last words'
        elif [ -z "$begun" ]; then
            late "$began" "$begin" 'training has not begun'
        fi
        sleep 0.5 || true # a signal may end it
    done
    status=0
    wait "$job" || status=$?
    [ "$(session_mark)" = "$mark" ] || begun=yes
    end_session
    tries=0
    while [ -n "$(session_processes)" ] && [ $tries -lt 50 ]; do
        tries=$((tries + 1))
        sleep 0.1 || true # a signal may end it
    done
    job=
    [ $status -eq 0 ] || remove_memory
    tries=0
    while kill -0 "$filter" 2>/dev/null && [ $tries -lt 20 ]; do
        tries=$((tries + 1))
        sleep 0.1 || true # a signal may end it
    done
    kill -KILL "$filter" 2>/dev/null || true
    wait "$filter" 2>/dev/null || true
}
