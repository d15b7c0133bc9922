#!/bin/sh
# Every ready configuration and the one in the README can be planned; the files they need may be
# absent.
. "$(dirname "$0")/common.sh"
top=$here/../..

sed -n '/^```yaml$/,/^```$/p' "$top/README.md" | sed '/^```/d' >readme.yaml
[ -s readme.yaml ] || fail "no YAML in the README"
for config in readme.yaml "$top"/configs/*.yaml "$top"/configs/optimizers/*.yaml; do
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

# Every line of launch/optimizers is a method of its own kind that can be planned, and none lacks.
settings=$top/configs/optimizers/settings.txt
grep -v '^#' "$settings" | while read -r name optimizer; do
    "$lockstep" train "$top/configs/optimizers/fashion.yaml" "optimizer=$optimizer" \
        --dry-run >plan 2>err </dev/null
    case $? in 0 | 3) ;; *) cat err; fail "settings.txt: $name" ;; esac
done || exit 1
"$lockstep" list optimizers | sed -n 's/^  \([a-z0-9_]*\) .*/\1/p' | while read -r name; do
    grep -q "{type: ${name}[,}]" "$settings" || fail "settings.txt lacks $name"
done || exit 1

# Every ready study has trials that can be planned and expectations that can be read. What cannot be
# planned for want of data says so in its line.
for study in "$top"/configs/studies/*.yaml; do
    grep -q '^base:' "$study" || continue # what others begin with
    "$lockstep" study "$study" --dry-run >plan 2>err || { cat err; fail "$study"; }
    grep -q 'nothing was trained' plan || fail "$study: no plan"
    ! grep -E 'unknown|is wanted' plan || fail "$study: a trial with a wrong option"
done
