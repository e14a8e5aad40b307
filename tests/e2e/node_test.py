# SPDX-License-Identifier: Apache-2.0
"""Nodes of kinds: what `up` and `node` start and what they tell it, the order in which nodes stop, the pages of kinds.

Where a built-in kind is started, a script stands in for lineshaft-node: what counts here is how it is called. What the real
one does is proved in tests/nodes."""
import json
import pathlib
import re
import shutil
import signal
import urllib.request

import pytest

import cli
from bus import PATIENCE_S, ROOT, free_base
from cli import Background, ok, run

HEAD = 'lineshaft: 1\nbroker: {{ listen: "tcp://127.0.0.1:{port}", data: bus }}\nstreams: {{ events: {{ topics: [">"] }} }}\nnodes:\n'
DOOR = '  door: { kind: ingress, listen: "127.0.0.1:0", body_max: 2MiB, hold: 3s, keys: {}, asks: ["chat.generate"] }\n'
MODEL = "  model: { kind: inference, backend: openai, url: \"http://127.0.0.1:1/v1\", replicas: 2, stop_timeout: 3s, slots: 7 }\n"


@pytest.fixture
def lab(tmp_path):
    """A folder in which topologies are written; returns write(nodes, port, name)."""
    def write(nodes, port=None, name="lab.yaml"):
        (tmp_path / name).write_text(HEAD.format(port=free_base() if port is None else port) + nodes)
        return name
    write.folder = tmp_path
    return write


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """lineshaft in a folder of its own, with or without a lineshaft-node beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    shutil.copy(cli.LINESHAFT, folder / "lineshaft")
    monkeypatch.setattr(cli, "LINESHAFT", str(folder / "lineshaft"))
    return folder / "lineshaft-node"


def stand_in(path):
    path.write_text('#!/bin/sh\necho "run $1 $LINESHAFT_MEMBER $LINESHAFT_URL $LINESHAFT_DRAIN_MS $LINESHAFT_OPTIONS"\n'
                    '[ -n "$STAY" ] && exec sleep 1000\nexit 0\n')
    path.chmod(0o755)


def test_up_runs_built_in_kinds_with_all_they_need_in_the_environment(lab, installed):
    stand_in(installed)
    with Background("up", lab(DOOR + MODEL), cwd=lab.folder, STAY="1") as up:
        lines = [up.saw(f"{name} | run").split("run ")[1] for name in ("door     ", "model.1  ", "model.2  ")]
        assert up.end(signal.SIGTERM) == 0
    told = {}
    for line in lines:
        kind, member, url, drain, options = line.split(" ", 4)
        assert url.startswith("tcp://127.0.0.1:")
        told[member] = kind, drain, json.loads(options)
    kind, drain, door = told["door"]
    assert (kind, drain) == ("ingress", "8000")
    assert door["asks"] == ["chat.generate"] and door["serves"] == [] and "chat.completed" in door["gives"] and "slots" not in door
    assert door["options"] == {"listen": "127.0.0.1:0", "body_max": 2 << 20, "hold": 3000, "keys": {}}
    kind, drain, model = told["model.2"]
    assert (kind, drain, model["slots"], model["serves"]) == ("inference", "1500", 7, ["chat.generate"])


def test_without_lineshaft_node_nothing_is_started_and_it_is_said_where_it_belongs(lab, installed):
    file = lab(DOOR + MODEL)
    for words in (["up", file], ["node", "door", file]):
        result = run(*words, cwd=lab.folder)
        assert (result.status, result.out) == (1, "")
        assert 'node "door" is of the kind ingress' in result.err and str(installed) in result.err and "starting" not in result.err


def test_nodes_that_ask_stop_before_those_that_answer(lab):
    wait = "echo here; while :; do sleep 1000 & wait $!; done"
    with Background("up", lab(f"""  answers:
    kind: exec
    command: "trap '[ -e asker-gone ] && echo after || echo before; exit 0' TERM; {wait}"
    serves: [some.work]
  asks:
    kind: exec
    command: "trap 'touch asker-gone; exit 0' TERM; {wait}"
    asks: [some.work]
"""), cwd=lab.folder) as up:
        up.wait_for("| here", 2)
        assert up.end(signal.SIGINT) == 0
    text = "\n".join(up.seen)
    assert "answers   | after" in text and "| before" not in text
    assert [re.search(r"(\w+): stopped", x).group(1) for x in up.seen if ": stopped" in x] == ["asks", "answers", "broker"]


EXEC = """  one:
    kind: exec
    command: 'echo "$LINESHAFT_URL $LINESHAFT_NODE $LINESHAFT_MEMBER ${LINESHAFT_CONSUMER-none} $MORE"; pwd; exit 7'
    replicas: 3
    directory: sub
    environment: { MORE: "from the file" }
  two: { kind: exec, command: 'echo "$LINESHAFT_MEMBER $LINESHAFT_CONSUMER"', takes: ["a.>"], group: team }
"""


def test_node_becomes_the_node_with_what_up_would_tell_it(lab):
    (lab.folder / "sub").mkdir()
    port = free_base()
    file = lab(EXEC, port)
    result = run("node", "one", file, cwd=lab.folder, LINESHAFT_CONSUMER="of another")
    assert (result.status, result.err) == (7, "")  # the node's own exit status
    assert result.out == f"tcp://127.0.0.1:{port} one one.1 none from the file\n{lab.folder}/sub\n"
    assert run("node", "one", file, "--replica", "3", cwd=lab.folder, url="tcp://b:1").out.startswith("tcp://b:1 one one.3 ")
    assert run("node", "--url", "tcp://c:1", "one", file, cwd=lab.folder, url="tcp://b:1").out.startswith("tcp://c:1 one one.1 ")
    assert ok("node", "two", file, cwd=lab.folder) == "two team\n"


def test_node_runs_built_in_kinds(lab, installed):
    stand_in(installed)
    said = ok("node", "model", lab(MODEL), "--replica", "2", cwd=lab.folder, url="tcp://b:1")
    kind, member, url, _, options = said.removeprefix("run ").split(" ", 4)
    assert (kind, member, url, json.loads(options)["replica"]) == ("inference", "model.2", "tcp://b:1", 2)


@pytest.mark.skipif(not pathlib.Path(cli.LINESHAFT).with_name("lineshaft-node").exists(), reason="lineshaft-node is not built")
def test_the_real_kinds_run_under_up_and_alone_and_stop_in_order(lab):
    port = free_base()
    with Background("up", lab(DOOR + MODEL, port), cwd=lab.folder) as up:
        url = re.search(r"url=(http://127\.0\.0\.1:\d+)", up.wait_for("door listening")).group(1)
        for member in ("door", "model.1", "model.2"):
            up.saw(f"member={member}")
        assert urllib.request.urlopen(url + "/", timeout=PATIENCE_S).status == 200
        with Background("node", "side", lab(DOOR.replace("door", "side"), port, "side.yaml"), cwd=lab.folder) as alone:
            alone.wait_for("side connected")
            assert alone.end(signal.SIGTERM) == 0
        assert up.end(signal.SIGTERM) == 0
    stopped = [re.search(r"\| ([\w.]+): stopped \(exit 0\)", x) for x in up.seen]
    assert [x.group(1).split(".")[0] for x in stopped if x] == ["door", "model", "model", "broker"]


def test_node_says_what_is_wrong(lab):
    file = lab(EXEC)
    lab(EXEC, 0, "open.yaml")
    for words, status, said in [
            (["onne", file], 1, 'lab.yaml has no node "onne"; did you mean "one"?'),
            (["tracker", file], 1, 'has no node "tracker"; it has: one, two'),
            (["one", file, "--replica", "4"], 1, 'node "one" has 3 replicas in lab.yaml; raise "replicas" there'),
            (["two", file, "--replica", "2"], 1, 'node "two" has 1 replica in'),
            (["one", file, "--replica", "x"], 2, '--replica: "x" is not a whole number'),
            (["one", file], 1, "cannot enter the directory sub: No such file"),
            (["one"], 2, "the name of one node and its topology"),
            (["one", "none.yaml"], 1, "the topology cannot be read"),
            (["one", "open.yaml"], 1, "lets the broker choose its port; say where it is: --url")]:
        result = run("node", *words, cwd=lab.folder)
        assert (result.status, result.out) == (status, ""), result
        assert said in result.err, result


def test_each_kind_has_a_page_with_its_options_and_wiring():
    kinds = [line.split()[0] for line in ok("node", "--list").splitlines()]
    assert {"exec", "inference", "ingress"} <= set(kinds) and ok("help", "node").endswith("KINDS\n" + ok("node", "--list"))
    for kind in kinds:
        page = ok("help", "node", kind)
        assert page.startswith(f"{kind} - ") and "\nOPTIONS" in page and "\nWIRING" in page
        assert max(map(len, page.splitlines())) <= 120
        assert "| option | type | default | meaning |" in ok("help", "node", kind, "--markdown")
    assert "\n  listen  HOST:PORT; default 127.0.0.1:7480\n" in ok("help", "node", "ingress")
    assert 'did you mean "ingress"?' in run("help", "node", "ingres").err
    assert run("help", "node", "nothing").status == run("help", "node", "exec", "--yaml").status == 2


def test_the_schema_for_editors_knows_the_options_of_each_kind():
    schema = json.loads(ok("check", "--json-schema"))
    node, = schema["properties"]["nodes"]["patternProperties"].values()
    rules = {rule["if"]["properties"]["kind"]["const"]: rule["then"] for rule in node["allOf"]}
    assert set(node["properties"]["kind"]["anyOf"][0]["enum"]) == set(rules) >= {"exec", "ingress", "inference"}
    assert "listen" in rules["ingress"]["properties"] and "listen" in rules["ingress"]["propertyNames"]["enum"]
    assert "listen" not in rules["exec"]["propertyNames"]["enum"] and "takes" in rules["exec"]["propertyNames"]["enum"]
    assert rules["exec"]["required"] == ["command"] and rules["inference"]["required"] == ["backend"]


def test_the_pages_of_the_documentation_name_every_kind():
    index = (ROOT / "docs" / "nodes" / "README.md").read_text()
    for line in ok("node", "--list").splitlines():
        assert f"]({line.split()[0]}.md)" in index
