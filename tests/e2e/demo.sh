#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# `make demo`: config/hello.yaml at work, with kill -9 of its broker and its node under load; then config/quickstart.yaml: a workflow trains a
# small language model as a tracked run, stores, registers and promotes it, the chat answers with it, and all of it is one story on the bus. It uses
# ports and folders of its own, ends what it started on every way out, and exits 0 only if nothing acknowledged was lost, both workflows succeeded, and the
# version that was promoted answered the chat.
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

two_lines() { # runs $scratch/two_lines.py
    "$PYTHON" - "$LINESHAFT_URL" "$scratch/two_lines.py" <<'EOF' | sed 's/^/  -> /'
import sys, zmq
from msgpack import packb, unpackb
url = sys.argv[1]
def print_(frames, show=print):
    show(frames[0].decode(), unpackb(frames[1]))
exec(open(sys.argv[2]).read(), {"zmq": zmq, "packb": packb, "url": url, "print": print_})
EOF
}

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
two_lines

say "3. lineshaft tail shows the event, and the node's answer when it is there:"
timeout 20 "$LINESHAFT" tail 'hello.>' --all --follow --count 2 | sed 's/^/  /'

say "4. $COUNT events, while broker and node are killed with -9:"
"$PYTHON" tests/e2e/demo_load.py load "$LINESHAFT_URL" "$COUNT" "$up"

say "5. The node has worked everything off. What came of it, read from the log:"
"$PYTHON" tests/e2e/demo_load.py check "$LINESHAFT_URL" "$COUNT"
"$LINESHAFT" tail hello.answered --last 3 | sed 's/^/  /'
echo "  (The numbers are large because each kill -9 of the broker leaves a gap: a number that may have been given out is never used again.)"

stop_up

export LINESHAFT_DATA="$scratch/var"
LINESHAFT_HTTP_PORT=$("$PYTHON" -c 'import sys; sys.path.insert(0, "tests"); import bus; print(bus.free_base())')
export LINESHAFT_HTTP_PORT
http="http://127.0.0.1:$LINESHAFT_HTTP_PORT"

say "6. lineshaft up config/quickstart.yaml: chat, two workers, tracker, artifact store, scheduler, runner, charts"
"$LINESHAFT" up config/quickstart.yaml >"$scratch/up.log" 2>&1 &
up=$!
"$LINESHAFT" graph config/quickstart.yaml | sed 's/^/  /'
for path in /health /api/workflows /api/artifacts; do # of the tracker, the scheduler and the store: they serve
    until curl -fs "$http$path" >/dev/null; do kill -0 "$up" || exit 1; done
done

say "7. There is no model yet. lineshaft workflow run train --follow trains one out of Debian's fortunes, measures it on texts that it has not seen, stores, registers and promotes it:"
"$LINESHAFT" workflow run train --run first --follow | sed 's/^/  /'

say "8. What the tracker has of it, over MLflow's API:"
"$PYTHON" tests/e2e/demo_loop.py "$http" run fortunes | sed 's/^/  /'

say "9. The file, in the store; and the charts, in W&B's own format (\`wandb sync\` would send them):"
"$LINESHAFT" artifact ls -r -l | sed 's/^/  /'
"$LINESHAFT" tail wandb.synced --all >/dev/null
find "$scratch/var/wandb" -name '*.wandb' -printf '  %f, %s bytes\n' | sort

say "10. The promoted version answers, over the OpenAI API, streamed ($http/ is the chat page):"
"$PYTHON" tests/e2e/demo_loop.py "$http" serving fortunes | sed 's/^/  /'
ask() { # ID SEED TEXT: streams the answer; 1 when it did not end well
    curl -fsN "$http/v1/chat/completions" -H 'content-type: application/json' -H "x-request-id: $1" -H 'x-lineshaft-chat: demo' \
        -d "{\"model\": \"fortunes\", \"stream\": true, \"seed\": $2, \"messages\": [{\"role\": \"user\", \"content\": \"$3\"}]}" |
        "$PYTHON" tests/e2e/demo_chat.py
}
ask demo-1 1 "Tell me a fortune"
ask demo-2 7 "What do you think of computers?"

say "11. A thumbs up from a program, again in two lines of Python; then both turns as rows of the tracker, and the second as its story:"
cat >"$scratch/two_lines.py" <<'EOF'
s = zmq.Context().socket(zmq.REQ); s.connect(url)
s.send(packb({"topic": "chat.feedback", "data": {"request_id": "demo-2", "rating": "up"}})); print(s.recv_multipart())
EOF
sed 's/^/  /' "$scratch/two_lines.py"
two_lines
timeout 20 "$LINESHAFT" tail chat.completed --all --follow --count 2 >"$scratch/chats"
"$PYTHON" tests/e2e/demo_loop.py "$http" chats | sed 's/^/  /'
"$LINESHAFT" tail --trace demo-2 | sed 's/^/  /'

say "12. The new version started a second workflow, which measured it; the version has the figure as a tag:"
"$PYTHON" tests/e2e/demo_loop.py "$http" wait evaluate
"$LINESHAFT" workflow show evaluate | sed 's/^/  /'
"$PYTHON" tests/e2e/demo_loop.py "$http" tags fortunes | sed 's/^/  /'

say "13. lineshaft tail --trace first: the whole life of that model, one trace:"
"$LINESHAFT" tail --trace first | LC_ALL=C.UTF-8 sed -E 's/^(.{150}).+/\1 .../; s/^/  /'

say "14. What all of that takes, idle:"
"$PYTHON" tests/e2e/demo_chat.py memory "$up" | sed 's/^/  /'
stop_up

say "All well. Go on with docs/tutorial.md, or \`make run\` for the chat page."
