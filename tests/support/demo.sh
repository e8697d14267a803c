#!/bin/sh
# The main job on a sandbox of its own, which is taken away whatever happens.
set -eu
binary=$1
name=demo-$$
trap '"$binary" --quiet sandbox down "$name" >/dev/null 2>&1 || true' EXIT
trap 'exit 130' INT TERM
"$binary" deploy --sandbox="$name"
"$binary" sandbox down "$name"
trap - EXIT
