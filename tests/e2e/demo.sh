#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make demo`: config/hello.yaml at work, with kill -9 of its broker and its node under load; then config/lab.yaml: a small
# language model answers over HTTP, every turn is on record, and a workflow trains, registers and promotes the next one. It uses ports and
# folders of its own, ends what it started on every way out, and exits 0 only if nothing acknowledged was lost, the chat was answered and both
# workflows succeeded.
set -euo pipefail
cd "$(dirname "$0")/../.."
LINESHAFT=$(realpath "${LINESHAFT:-build/lineshaft}")
PYTHON=${PYTHON:-/usr/bin/python3}
COUNT=${DEMO_EVENTS:-10000}
export PYTHON PYTHONDONTWRITEBYTECODE=1

scratch=$(mktemp -d "$(dirname "$LINESHAFT")/demo.XXXXXX")
up=
stop_up() {
    if [ -n "$up" ] && kill -TERM "$up" 2>/dev/null; then wait "$up" || true; fi
    up=
}
finish() {
    status=$?
    trap - EXIT INT TERM
    stop_up
    if [ "$status" -ne 0 ]; then
        printf '\nThe demo failed (status %s). The last words of the topology:\n' "$status"
        tail -n 40 "$scratch/up.log" 2>/dev/null || true
    fi
    rm -rf "$scratch"
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() { printf '\n\033[1m%s\033[0m\n' "$*"; }
[ -t 1 ] || say() { printf '\n%s\n' "$*"; }

LINESHAFT_PORT=$("$PYTHON" -c 'import sys; sys.path.insert(0, "tests"); import bus; print(bus.free_base())')
export LINESHAFT_PORT LINESHAFT_DATA="$scratch/data" LINESHAFT_URL="tcp://127.0.0.1:$LINESHAFT_PORT"

say "1. lineshaft up config/hello.yaml: one broker, one stream, one node in Python that answers every hello"
"$LINESHAFT" up config/hello.yaml >"$scratch/up.log" 2>&1 &
up=$!
"$LINESHAFT" check config/hello.yaml | sed 's/^/  /'

say "2. A durable publish from a bare ZeroMQ socket, in two lines of Python:"
cat >"$scratch/two_lines.py" <<'EOF'
s = zmq.Context().socket(zmq.REQ); s.connect(url)
s.send(packb({"topic": "hello.said", "data": {"name": "Ada"}})); print(s.recv_multipart())
EOF
sed 's/^/  /' "$scratch/two_lines.py"
"$PYTHON" - "$LINESHAFT_URL" "$scratch/two_lines.py" <<'EOF' | sed 's/^/  -> /'
import sys, zmq
from msgpack import packb, unpackb
url = sys.argv[1]
def print_(frames, show=print):
    show(frames[0].decode(), unpackb(frames[1]))
exec(open(sys.argv[2]).read(), {"zmq": zmq, "packb": packb, "url": url, "print": print_})
EOF

say "3. lineshaft tail shows the event, and the node's answer when it is there:"
timeout 20 "$LINESHAFT" tail 'hello.>' --all --follow --count 2 | sed 's/^/  /'

say "4. $COUNT events, while broker and node are killed with -9:"
"$PYTHON" tests/e2e/demo_load.py load "$LINESHAFT_URL" "$COUNT" "$up"

say "5. The node has worked everything off. What came of it, read from the log:"
"$PYTHON" tests/e2e/demo_load.py check "$LINESHAFT_URL" "$COUNT"
"$LINESHAFT" tail hello.answered --last 3 | sed 's/^/  /'
echo "  (The numbers are large because each kill -9 of the broker leaves a gap: a number that may have been given out is never used again.)"

stop_up

say "6. lineshaft train: a language model out of Debian's fortunes, measured on texts that it has not seen:"
export LINESHAFT_MODEL="$scratch/fortunes.ngram" LINESHAFT_DATA="$scratch/lab"
"$LINESHAFT" train -o "$LINESHAFT_MODEL" /usr/share/games/fortunes | sed 's/^/  /'

say "7. lineshaft up config/lab.yaml: the HTTP door, a worker with that model, a tracker, a scheduler, a runner"
LINESHAFT_HTTP_PORT=$("$PYTHON" -c 'import sys; sys.path.insert(0, "tests"); import bus; print(bus.free_base())')
export LINESHAFT_HTTP_PORT
http="http://127.0.0.1:$LINESHAFT_HTTP_PORT"
"$LINESHAFT" up config/lab.yaml >"$scratch/up.log" 2>&1 &
up=$!
"$LINESHAFT" graph config/lab.yaml | sed 's/^/  /'
answers() { # URL TEXT: waits until the answer holds the text
    until curl -fs "$1" 2>/dev/null | grep -q "$2"; do
        kill -0 "$up" || exit 1
    done
}
answers "$http/v1/models" fortunes
answers "$http/health" .

say "8. A chat over the OpenAI API, streamed ($http/ is the chat page):"
ask() { # TEXT: streams the answer; 1 when it did not end well
    curl -fsN "$http/v1/chat/completions" -H 'content-type: application/json' -H "x-request-id: $1" -H 'x-lineshaft-chat: demo' \
        -d "{\"model\": \"fortunes\", \"stream\": true, \"seed\": $2, \"messages\": [{\"role\": \"user\", \"content\": \"$3\"}]}" |
        "$PYTHON" tests/e2e/demo_chat.py
}
ask demo-1 1 "Tell me a fortune"
ask demo-2 7 "What do you think of computers?"

say "9. Both turns on record, the second as its story; and as rows of the tracker, over MLflow's API:"
timeout 20 "$LINESHAFT" tail chat.completed --all --follow --count 2 >"$scratch/chats"
"$LINESHAFT" tail 'chat.>' --all | cut -c 1-150 | sed 's/^/  /'
"$LINESHAFT" tail --trace demo-2 | sed 's/^/  /'
"$PYTHON" tests/e2e/demo_lab.py "$http" chats | sed 's/^/  /'

say "10. lineshaft workflow run train --follow: trains a model as a tracked run, registers it, makes it the champion if it is better"
"$LINESHAFT" workflow run train --follow | sed 's/^/  /'

say "11. What the tracker has of it, over MLflow's API:"
"$PYTHON" tests/e2e/demo_lab.py "$http" run fortunes | sed 's/^/  /'

say "12. The new version started a second workflow, which measured it; the version has the figure as a tag:"
"$PYTHON" tests/e2e/demo_lab.py "$http" wait evaluate
"$LINESHAFT" workflow show evaluate | sed 's/^/  /'
"$PYTHON" tests/e2e/demo_lab.py "$http" tags fortunes | sed 's/^/  /'
"$LINESHAFT" workflow ls | sed 's/^/  /'

say "13. What all of that takes, idle:"
"$PYTHON" tests/e2e/demo_chat.py memory "$up" | sed 's/^/  /'
stop_up

say "All well. Go on with docs/tutorial.md, or \`make run\` for the chat page."
