#!/bin/sh
# A command tool: reads its arguments as one line of JSON, appends one line to OUTBOX.md and prints that line.
#
#   publish.sh            publishes
#   publish.sh --verify   was it published? 0: yes, and prints the line; 1: no; anything else: nobody knows
#
# It does not look whether the line is there before it appends another: that nothing is published twice is Seaworthy's
# work, which this tool would only hide. Both the outbox and the report are in the working directory, the workspace.
set -eu

outbox=OUTBOX.md
key=${SEAWORTHY_IDEMPOTENCY_KEY:?is set by Seaworthy}

if [ "${1-}" = --verify ]; then
    [ -e "$outbox" ] || exit 1
    # grep: 0 found, 1 not found, 2 trouble, which are exactly the answers of a verifier.
    exec grep -F -- " (key $key)" "$outbox"
fi

# The text of a field. Quotes inside a string are escaped, so "name":" cannot be part of one.
field() {
    printf '%s\n' "$arguments" | sed -nE 's/.*"'"$1"'":"(([^"\\]|\\.)*)".*/\1/p' | sed -E 's/\\(["\\/])/\1/g'
}

IFS= read -r arguments || [ -n "$arguments" ] || { echo "no arguments on standard input" >&2; exit 64; }
title=$(field title)
path=$(field path)
[ -f "$path" ] || { echo "there is no report at '$path'" >&2; exit 66; }

line="- $(date -u +%Y-%m-%dT%H:%M:%SZ) $title: $path (key $key)"
# One write to a file opened for appending: the whole line or nothing, also beside others.
printf '%s\n' "$line" >>"$outbox"
# The answer of a real service takes its time. Kill the run in this second: it has happened and nobody was told.
sleep 1
printf '%s\n' "$line"
