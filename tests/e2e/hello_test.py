# SPDX-License-Identifier: Apache-2.0
"""The example node in Python and in Node.js: one answer for every event, whatever is killed."""
import json
import os
import pathlib
import shutil
import signal
import subprocess

import pytest

from bus import PATIENCE_S, ROOT, die_with_parent, pack, unpack

pytestmark = pytest.mark.short

BUILD = pathlib.Path(os.environ.get("LINESHAFT_BUILD", ROOT / "build")).resolve()
EXAMPLE = ROOT / "docs" / "examples" / "nodejs"
HELLO = """
  greetings: { topics: ["hello.>"], segment: 1MiB }
consumers:
  greeter: { stream: greetings, takes: ["hello.said"], max_deliver: 2, backoff: [10ms] }
"""
PYTHON = [os.environ.get("PYTHON", "/usr/bin/python3"), str(ROOT / "config" / "hello_node.py")]


def nodejs():
    """The Node.js example with its dependencies, in a copy below the build folder; installed once."""
    if not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    folder = BUILD / "nodejs-example"
    wanted = (EXAMPLE / "package.json").read_text()
    if not (folder / "node_modules" / "zeromq").is_dir() or (folder / "package.json").read_text() != wanted:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        shutil.copy(EXAMPLE / "package.json", folder)
        subprocess.run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=300)
    shutil.copy(EXAMPLE / "consumer.mjs", folder)
    return ["node", str(folder / "consumer.mjs")]


class Node:
    def __init__(self, bus, command, **env):
        env = {**os.environ, "LINESHAFT_URL": bus.url, "LINESHAFT_CONSUMER": "greeter", "LINESHAFT_MEMBER": "greeter-1",
               "LINESHAFT_OPTIONS": json.dumps({"options": {"greeting": "Ahoy"}}), **env}
        self.log = open(bus.folder / "node.log", "ab")
        self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
                                        preexec_fn=die_with_parent)

    def end(self, sig=signal.SIGTERM):
        self.process.send_signal(sig)
        self.log.close()
        return self.process.wait(PATIENCE_S)


@pytest.fixture(params=["python", "nodejs"])
def command(request):
    return PYTHON if request.param == "python" else nodejs()


@pytest.fixture
def start(make_bus, command):
    bus, nodes = make_bus(more=HELLO), []

    def again():
        nodes.append(Node(bus, command))
        return nodes[-1]

    again.bus = bus
    yield again
    for node in nodes:
        if node.process.poll() is None:
            node.end(signal.SIGKILL)


def answers(bus):
    return [e for e in bus.stream("greetings") if e.head["topic"] == "hello.answered"]


def test_it_answers_msgpack_and_json_and_stops_on_sigterm(start):
    bus, node = start.bus, start()
    d = bus.dealer()
    d.ok("PUB", {"topic": "hello.said", "id": "1"}, pack({"name": "Ada"}))
    d.ok("PUB", {"topic": "hello.said", "id": "2"}, b'{"name": "Grace"}')
    bus.until("two answers", lambda: len(answers(bus)) == 2)
    assert [unpack(e.body)["text"] for e in answers(bus)] == ["Ahoy, Ada!", "Ahoy, Grace!"]
    assert [e.head["causationid"] for e in answers(bus)] == ["1", "2"]
    assert node.end() == 0


def test_what_it_cannot_answer_becomes_a_dead_letter_with_its_words(start):
    bus = start.bus
    start()
    bus.dealer().ok("PUB", {"topic": "hello.said", "id": "1"}, pack({"nom": "Ada"}))
    bus.until("a dead letter", lambda: bus.admin("dlq")["seqs"])
    assert "name" in unpack(bus.stream("$sys")[0].body)["error"]


def test_one_answer_each_though_broker_and_node_are_killed(start):
    bus, node, count = start.bus, start(), 0
    for round_ in range(3):
        d = bus.dealer()
        for n in range(1, 301):
            count += 1
            d.send("PUB", {"topic": "hello.said", "id": f"e{count}", "source": "test", "n": n},
                   pack({"name": str(count)}))
        while d.expect("OK").head["upto"] < 300:
            pass
        bus.until("some answers", lambda: len(answers(bus)) > round_ * 300)
        if round_ == 0:
            node.end(signal.SIGKILL)
            node = start()
        else:
            bus.restart()
    bus.until("all answers", lambda: len(answers(bus)) == count, patience=90)
    assert sorted(e.head["causationid"] for e in answers(bus)) == sorted(f"e{i}" for i in range(1, count + 1))
    bus.until("all acknowledged", lambda: bus.consumer("greeter")["positions"][0]["pending"] == 0)
    assert len(answers(bus)) == count and node.end() == 0
