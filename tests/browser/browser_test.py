# SPDX-License-Identifier: Apache-2.0
"""The pages of ingress in Debian's Chromium, against a real stack: every *.test.mjs of this folder is run by node's own test runner,
and each of its tests is one here."""
import glob
import os
import re
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "nodes"))

from cli import wait_until  # noqa: E402
from stack import Mock, Stack  # noqa: E402

NODES = """
  door:  {{ kind: ingress, listen: "{http}" }}
  model: {{ kind: inference, backend: openai, url: "{mock}" }}
  slow:  {{ kind: inference, backend: openai, url: "%s", model: slow, serves: [chat.generate.slow] }}
  files: {{ kind: artifacts, free_floor: 0B }}
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory):
    mock, slow = Mock(), Mock("--model", "slow", "--tokens", 400, "--pace-ms", 50)
    stack = Stack(tmp_path_factory.mktemp("page"), NODES % slow.url, mock)
    wait_until(lambda: stack.get("/api/artifacts").status == 200, "the artifact store")
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
