#!/bin/sh
# Every test. The alerts that are shown to fire mostly wait, for ten minutes: they do so beside the rest. Argument:
# cargo.
set -u
cargo=$1
"$cargo" test --locked --no-run --lib --bins --tests || exit
log=$(mktemp)
timeout 1800 "$cargo" test --locked --test sandbox_alerts -- --ignored >"$log" 2>&1 &
beside=$!
end() {
    kill "$beside" 2>/dev/null
    cat "$log"
    rm -f "$log"
}
trap end EXIT
trap 'exit 130' INT TERM
"$cargo" test --locked --no-fail-fast --lib --bins --tests
rest=$?
wait "$beside"
others=$?
exit $((rest ? rest : others))
