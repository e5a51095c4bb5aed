#!/bin/sh
# Appends one line to OUTBOX.md in the workspace and prints it. With --verify it says whether it did so before:
# exit 0 and the line: yes; 1: no; anything else: nobody knows.
set -eu
key=${SEAWORTHY_IDEMPOTENCY_KEY:?is set by Seaworthy}
if [ "${1-}" = --verify ]; then
    [ -e OUTBOX.md ] || exit 1
    exec grep -F -- "$key" OUTBOX.md
fi
IFS= read -r arguments || [ -n "$arguments" ]
line="- $arguments (key $key)"
printf '%s\n' "$line" >>OUTBOX.md
printf '%s\n' "$line"
