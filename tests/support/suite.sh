#!/bin/sh
# Every test. The alerts that are shown to fire mostly wait, for ten minutes: they do so beside the rest.
# Argument: cargo.
set -u
cargo=$1
"$cargo" test --locked --no-run --lib --bins --tests || exit
log=$(mktemp)
"$cargo" test --locked --test sandbox_alerts -- --ignored >"$log" 2>&1 &
alerts=$!
trap 'rm -f "$log"' EXIT
trap 'kill "$alerts" 2>/dev/null; wait "$alerts"; exit 130' INT TERM
"$cargo" test --locked --lib --bins --tests
rest=$?
wait "$alerts"
fired=$?
cat "$log"
exit $((rest ? rest : fired))
