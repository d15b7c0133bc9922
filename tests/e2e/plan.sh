#!/bin/sh
# `plan`: a table, CSV and JSON of what is forecast for rank counts; measured or given; what is
# wrong in a request is said before anything is measured. Forecast times are not asserted.
. "$(dirname "$0")/common.sh"

cat >c.yaml <<'YAML'
data: {type: synthetic, shape: [16], classes: 10, train: 200, test: 16}
model:
  layers: [dense: 64, relu, dense: 10]
train: {batch: 32, lanes: 4, epochs: 1}
YAML

"$lockstep" plan c.yaml --seconds 0.01 >table || fail "the table"
rows=$(grep -cE '^ +[0-9]+ +[0-9]+ +[0-9]+ +[0-9.]+ +[0-9.]+ %' table)
[ "$rows" = 13 ] || { cat table; fail "$rows rank counts, not 13"; }
grep -q '^  4096   4096    131072 ' table || { cat table; fail "4,096 ranks"; }
for word in 'weak scaling' 100gbit-roce 'as measured on 1 rank' efficiency helping hidden; do
    grep -qF -e "$word" table || { cat table; fail "the table lacks $word"; }
done
mpi 2 "$lockstep" plan c.yaml --seconds 0.01 --scaling strong --ranks 1,2,4,8 >table ||
    fail "strong"
grep -q '2 rank(s) a host' table || fail "ranks of a host"
[ "$(grep -c 'more ranks than lanes' table)" = 1 ] || { cat table; fail "8 ranks have 4 lanes"; }
mpi 2 "$lockstep" plan c.yaml --seconds 0.01 --ranks-per-host 1 --ranks 2 --csv >csv ||
    fail "two hosts"
[ "$(cut -d, -f 1-3 csv)" = 'ranks,hosts,batch
2,2,32' ] || { cat csv; fail "CSV"; }
"$lockstep" plan c.yaml --compute-ms 10 --network gbit=1,latency_us=50 --ranks 2 --json >json ||
    fail "JSON"
for key in step_ms forward_ms exposed_ms formula_ms memory_bytes_per_host sent_bytes_per_host; do
    grep -q "\"$key\": [0-9]" json || { cat json; fail "JSON: $key"; }
done
grep -qE '"forward_ms": 3\.33' json || { cat json; fail "a third of the given time is forward"; }

wrong() { # MESSAGE ARGUMENTS...
    message=$1
    shift
    "$lockstep" plan c.yaml "$@" >out 2>err
    [ $? = 2 ] && grep -qF -e "$message" err || { cat err; fail "$* should say: $message"; }
}
wrong 'plan: --ranks x: numbers from 1 to 65536' --ranks x
wrong 'plan: --ranks 0: numbers' --ranks 2,0
wrong 'did you mean "10gbit-ethernet"' --network 10gbit-ethernt
wrong 'a number of at least 0 is wanted' --network gbit=-1
wrong 'weak or strong' --scaling both
wrong '--compute-ms 0: a number above 0' --compute-ms 0
wrong 'several hosts found' comm.virtual_hosts=1
wrong 'are not modelled' train.reduce=fast
"$lockstep" plan >out 2>err && fail "no configuration"
[ ! -e runs ] || fail "a run folder was made"
