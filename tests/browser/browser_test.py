# SPDX-License-Identifier: Apache-2.0
"""The pages of ingress in Debian's Chromium, against a real stack: every *.test.mjs of this folder is run by node's own test runner,
and each of its tests is one here."""
import glob
import os
import re
import subprocess
import sys

import pytest
import zmq

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "nodes"), os.path.join(HERE, "..", "e2e")]

import bus  # noqa: E402
from cli import wait_until  # noqa: E402
from stack import Mock, Stack  # noqa: E402
from train_test import text_with_a_rule  # noqa: E402

NODES = """
  door:  {{ kind: ingress, listen: "{http}" }}
  model: {{ kind: inference, backend: openai, url: "{mock}" }}
  slow:  {{ kind: inference, backend: openai, url: "%s", model: slow, serves: [chat.generate.slow] }}
  files: {{ kind: artifacts, free_floor: 0B }}
  track: {{ kind: tracker, database: "sqlite:tracker.db", artifact_root: "mlflow-artifacts:/" }}
  clock: {{ kind: scheduler, database: "sqlite:scheduler.db", workflows: [workflows] }}
  hands: {{ kind: runner, slots: 2, dir: runner }}
  small: {{ kind: inference, backend: ngram, model: "models:/tiny@champion", cache: cache, replicas: 2, serves: [chat.generate.tiny] }}
"""
# What the console's tests run: tasks that end well, fail and are tried again, and one that goes on until it is cancelled.
WORKFLOWS = {"demo": """
id: demo
description: says a word, breaks, and does what comes after
inputs:
  word: { default: hello, description: what is said }
tasks:
  - { id: say, command: [sh, -c, "echo {{ inputs.word }}; echo a second line"] }
  - { id: break, depends_on: [say], command: [sh, -c, "echo it breaks >&2; exit 3"], retry: { limit: 1, delay: 0s } }
  - { id: after, depends_on: [break], command: ["true"] }
""", "ticker": """
id: ticker
description: prints a line every tenth of a second until it is cancelled
tasks:
  - { id: tick, command: [sh, -c, "i=0; while :; do i=$((i + 1)); echo tick $i; sleep 0.1; done"] }
""", "tiny": """
id: tiny
description: trains a very small model
inputs:
  order: { default: 2 }
tasks:
  - { id: train, command: [lineshaft, train, --run, --name, tiny, "--order={{ inputs.order }}", "${env:TINY_TEXT}"] }
"""}


def send_odd(stack):
    """From a socket that gets no answer: an event of a known topic that its schema refuses ($sys.rejected tells of it), and one whose
    body is no JSON."""
    with zmq.Context() as context, context.socket(zmq.PUSH) as socket:
        socket.connect(f"tcp://127.0.0.1:{stack.base + 1}")
        socket.send(bus.pack({"topic": "run.metric", "data": {}}))
        socket.send(bus.pack({"topic": "raw.text", "data": b"{ no JSON"}))


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    mock, slow = Mock(), Mock("--model", "slow", "--tokens", 400, "--pace-ms", 50)
    folder = tmp_path_factory.mktemp("page")
    (folder / "workflows").mkdir()
    for name, text in WORKFLOWS.items():
        (folder / "workflows" / f"{name}.yaml").write_text(text)
    stack = Stack(folder, NODES % slow.url, mock, TINY_TEXT=str(text_with_a_rule(folder / "tiny.txt")))
    for path in ("/api/artifacts", "/api/2.0/mlflow/registered-models/search"):
        wait_until(lambda: stack.get(path).status == 200, path)
    wait_until(lambda: stack.post("/api/requests/scheduler.list", {}).status == 200, "the scheduler")
    send_odd(stack)
    yield stack.with_model("echo", "slow")
    stack.close()
    slow.close()
    mock.close()


@pytest.mark.parametrize("file", [os.path.basename(path) for path in sorted(glob.glob(HERE + "/*.test.mjs"))])
def test_page(stack, file, record_property):
    env = {**os.environ, "LINESHAFT_PAGE_URL": f"http://127.0.0.1:{stack.port}/"}
    done = subprocess.run(["node", "--test", "--test-concurrency=1", file], cwd=HERE, env=env, capture_output=True, text=True, timeout=600)
    counts = {name: int(count) for name, count in re.findall(r"^# (tests|pass|fail|skipped) (\d+)$", done.stdout, re.M)}
    print(done.stdout[-8000:], done.stderr[-2000:])
    assert done.returncode == 0 and counts.get("fail") == 0 and counts.get("pass", 0) > 0
    assert counts.get("skipped") == 0, "a skipped test proves nothing"
