#!/bin/sh
# Seconds that validate and render take, beside promtool on the same rules. Arguments: the binary, the folder
# of promtool, rounds.
set -eu
binary=$1
promtool=$2/promtool
rounds=${3:-5}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"$binary" render -o "$folder/bundle" --profile local >/dev/null 2>&1
# The rules are the data of one ConfigMap.
awk '/^  [a-z-]+\.yaml: /{ if (file) close(file); split($1, name, ":"); file = folder "/" name[1]; next }
     /^[a-z]/{ file = "" } file { sub(/^    /, ""); print > file }' folder="$folder" \
    "$folder"/bundle/03-objects/configmap-drivemaster-rules.yaml

# The fastest of the rounds: the others had company.
seconds() {
    best=
    for _ in $(seq "$rounds"); do
        start=$(date +%s%N)
        "$@" >/dev/null 2>&1 || { echo "failed: $*" >&2; exit 1; }
        taken=$((($(date +%s%N) - start) / 1000000))
        if [ -z "$best" ] || [ "$taken" -lt "$best" ]; then best=$taken; fi
    done
    echo "$best"
}
printf '%-34s %6s ms\n' "validate (everything)" "$(seconds "$binary" validate --profile local)"
printf '%-34s %6s ms\n' "render (everything)" "$(seconds "$binary" render -o - --profile local)"
if [ -n "${CHARTS_DIR:-}" ]; then
    printf '%-34s %6s ms\n' "validate, profile production" "$(seconds "$binary" validate --profile production --charts "$CHARTS_DIR")"
    printf '%-34s %6s ms\n' "render, profile production" "$(seconds "$binary" render -o - --profile production --charts "$CHARTS_DIR")"
fi
printf '%-34s %6s ms\n' "promtool check rules" "$(seconds "$promtool" check rules "$folder"/*.yaml)"
