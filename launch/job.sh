# Sourced by launch/supervise: one start of the ranks, from the command to the last process. Uses
# and sets the variables of that script.

session_processes()
{
    cat /proc/[0-9]*/stat 2>/dev/null |
        sed -n 's/^\([0-9]*\) (.*) [A-Za-z] [0-9]* [0-9]* '"$job"' .*/\1/p'
}

end_session()
{
    session_processes | xargs -r kill -KILL 2>/dev/null || true
}

# Ranks that are killed leave Open MPI's shared memory behind, as files as large as the weights.
remember_memory()
{
    for process in $(session_processes); do
        sed -n 's,.* \(/dev/shm/\(vader_segment\|osc_sm\|sm_segment\)\.[^ ]*\)$,\1,p' \
            "/proc/$process/maps" 2>/dev/null || true
    done | sort -u >"$scratch/memory"
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
    rm -f "$scratch/errors" "$scratch/words" "$scratch/memory"
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
            remember_memory
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
    job=
    [ ! -s "$scratch/memory" ] || xargs -r rm -f <"$scratch/memory"
    tries=0
    while kill -0 "$filter" 2>/dev/null && [ $tries -lt 20 ]; do
        tries=$((tries + 1))
        sleep 0.1 || true # a signal may end it
    done
    kill -KILL "$filter" 2>/dev/null || true
    wait "$filter" 2>/dev/null || true
}
