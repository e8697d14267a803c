#!/bin/sh
# Every test, in three lanes: most of the time is waiting, for pods, for alerts. What runs beside the first lane is
# printed after it. Argument: cargo.
set -u
cargo=$1
"$cargo" test --locked --no-run --lib --bins --tests || exit
first= second=
for path in tests/*.rs tests/*/main.rs; do
    name=${path#tests/}
    name=${name%/main.rs}
    name=${name%.rs}
    case $name in
        sandbox_[g-z]*) second="$second --test $name" ;;
        *) first="$first --test $name" ;;
    esac
done
logs=$(mktemp -d)
# For ten minutes, alerts are seen to fire.
timeout 1800 "$cargo" test --locked --test sandbox_alerts -- --ignored >"$logs/alerts" 2>&1 &
alerts=$!
# shellcheck disable=SC2086 # several words
timeout 3600 "$cargo" test --locked --no-fail-fast $second >"$logs/second" 2>&1 &
lane=$!
end() {
    kill "$alerts" "$lane" 2>/dev/null
    cat "$logs/alerts" "$logs/second"
    rm -rf "$logs"
}
trap end EXIT
trap 'exit 130' INT TERM
# shellcheck disable=SC2086
"$cargo" test --locked --no-fail-fast --lib --bins $first
failed=$?
for beside in "$alerts" "$lane"; do
    wait "$beside" || failed=$?
done
exit "$failed"
