#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Makes the archive that rude_upgrade_test.py starts the present code on: var/ as a build leaves it after hello, a training, chats, an
# artifact, and charts offline, with the topologies and workflows that it ran.
#
#   tests/e2e/make_var_fixture.sh CHECKOUT [BUILD] > tests/e2e/fixtures/var-VERSION.tar.xz
set -eu
checkout=$(realpath "$1")
build=$(realpath "${2:-$checkout/build}")
python=${PYTHON:-/usr/bin/python3}
folder=$(mktemp -d)
up=
finish() {
    if [ -n "$up" ]; then stop; fi
    rm -rf "$folder"
}
trap finish EXIT
exec 3>&1 >&2   # only the archive goes to standard output
cd "$folder"

port() { "$python" -c 'import sys; sys.path.insert(0, sys.argv[1]); import bus; print(bus.free_base())' "$checkout/tests"; }
lineshaft() { "$build/lineshaft" "$@"; }
start() { # TOPOLOGY: in the background, until the broker answers
    LINESHAFT_PORT=$(port)
    LINESHAFT_HTTP_PORT=$(port)
    export LINESHAFT_PORT LINESHAFT_HTTP_PORT LINESHAFT_URL=tcp://127.0.0.1:$LINESHAFT_PORT
    "$build/lineshaft" up "$1" > up.log 2>&1 3>&- & # not the function: $! is to be `up` itself
    up=$!
    again lineshaft stream ls
}
stop() {
    kill "$up"
    wait "$up" || :
    up=
}
again() { # COMMAND: until it succeeds, for a minute
    for _ in $(seq 600); do
        if "$@" > /dev/null 2>&1; then return 0; fi
        sleep 0.1
    done
    echo "make_var_fixture: never: $*" >&2
    tail -30 up.log >&2
    return 1
}

# Small: little text, small segments. The rest is as people have it.
mkdir config
cp -r "$checkout"/config/{quickstart.yaml,hello.yaml,hello_node.py,workflows} config/
sed -i 's/topics: \[\(.*\)\], retain/topics: [\1], segment: 1MiB, retain/' config/quickstart.yaml config/hello.yaml
for n in $(seq 400); do
    echo "The shaft turns lathe $((n % 7)), and lathe $((n % 11)) cuts gear $((n % 13)); the belt runs on pulley $((n % 5))."
    echo '%'
done > text.txt

start config/hello.yaml
lineshaft pub hello.said '{"name": "Ada"}'
lineshaft pub hello.said '{"name": "Grace"}'
answered() { [ "$(lineshaft tail hello.answered --all --no-follow --json | wc -l)" = 2 ]; }
again answered
stop

start config/quickstart.yaml
http=http://127.0.0.1:$LINESHAFT_HTTP_PORT
again lineshaft workflow ls
train() { lineshaft workflow run train --run "$1" -i order=2 -i text="$folder/text.txt"; }
ended() { lineshaft tail workflow.run.succeeded --all --no-follow --json | grep -q "$1"; }
train r1
again ended '"train/r1"'
again ended '"evaluate/'
chat() { curl -fs "$http/v1/chat/completions" -d '{"model": "fortunes", "messages": [{"role": "user", "content": "The shaft"}]}'; }
again chat
lineshaft pub chat.feedback '{"request_id": "q1", "rating": "up"}'
echo 'a note' > note.txt
again lineshaft artifact put note.txt notes/note.txt
written() { grep -qa perplexity var/wandb/offline-run-*/*.wandb; }
again written
stop

find var -type s -delete
tar -c --sparse --sort=name --owner=0 --group=0 --numeric-owner config text.txt var | xz -9e >&3
