#!/bin/sh
# A claim that a second session is refused, and that a third takes over when the holder is killed.
set -eu
LOOOP_DATA_DIR=$(mktemp -d)
export LOOOP_DATA_DIR
tidy() {
    kill -9 "$holder" 2>/dev/null || true
    for session in first second third; do looop session stop "$session" || true; done
    rm -rf "$LOOOP_DATA_DIR"
}
trap tidy EXIT

sleep 600 & holder=$!                             # The worker that will hold the claim, and die.
looop session start first --pid "$holder"
looop session start second --pid $$
looop session start third --pid $$

echo "# first asks"
looop claim repo-x --session first
echo "# second asks, while first is alive"
if looop claim repo-x --session second; then
    echo "two holders: this must never happen" >&2
    exit 1
fi

echo "# first is killed, and third asks"
kill -9 "$holder"
looop claim repo-x --session third                # No operator, no waiting.
looop claims
looop events
