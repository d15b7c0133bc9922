#!/bin/sh
# Every ready configuration and the one in the README can be planned; the files they need may be
# absent.
. "$(dirname "$0")/common.sh"
top=$here/../..

sed -n '/^```yaml$/,/^```$/p' "$top/README.md" | sed '/^```/d' >readme.yaml
[ -s readme.yaml ] || fail "no YAML in the README"
for config in readme.yaml "$top"/configs/*.yaml; do
    "$lockstep" train "$config" --dry-run >plan 2>err
    case $? in
    0) grep -q 'nothing was trained' plan || fail "$config: no plan" ;;
    3) echo "$config: its data is not here" ;;
    *) cat err; fail "$config" ;;
    esac
    "$lockstep" train "$config" --print-config >resolved.yaml 2>err
    [ $? -eq 3 ] && continue
    "$lockstep" train resolved.yaml --print-config >again.yaml 2>err || fail "$config: $(cat err)"
    sed -i 's/ *#.*//' resolved.yaml again.yaml # the origins differ
    diff resolved.yaml again.yaml || fail "$config: the resolved config reads back differently"
done
