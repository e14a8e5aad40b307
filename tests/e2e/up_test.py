# SPDX-License-Identifier: Apache-2.0
"""lineshaft up: starting in order, output, restarts, crash loops, ordered and rude ends, ports that are taken."""
import json
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest

from bus import LINESHAFT, PATIENCE_S, free_base
from cli import Background, environment, ok, run, wait_until

HEAD = """
lineshaft: 1
name: lab
broker: {{ listen: "tcp://127.0.0.1:{port}", data: bus }}
streams:
  events: {{ topics: [">"], segment: 1MiB }}
nodes:
"""


class Lab:
    """A folder with a topology; `up` starts it in the background."""

    def __init__(self, folder):
        self.folder, self.port, self.running = folder, free_base(), []

    def write(self, nodes, head=HEAD, name="lab.yaml"):
        (self.folder / name).write_text(head.format(port=self.port) + nodes)
        return name

    def up(self, nodes, **env):
        lab = Background("up", self.write(nodes), cwd=self.folder, **env)
        self.running.append(lab)
        return lab

    @property
    def url(self):
        return f"tcp://127.0.0.1:{self.port}"


@pytest.fixture
def lab(tmp_path):
    lab = Lab(tmp_path)
    yield lab
    for up in lab.running:
        up.close()


def pids_with(text):
    """Living processes (no zombies) with this text in their environment."""
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if text.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                pass
    return found


def test_the_broker_comes_first_then_the_nodes_and_the_end_is_the_other_way_round(lab):
    up = lab.up("  a: { kind: exec, command: [sleep, infinity] }\n  b: { kind: exec, command: [sleep, infinity] }\n")
    up.wait_for("b: starting")
    assert ok("pub", "x.y", "z", url=lab.url).startswith("ok events:1")
    assert up.end(signal.SIGINT) == 0
    states = [line.split("| ")[1] for line in up.seen if line.startswith("lineshaft |")]
    places = [next(i for i, s in enumerate(states) if s.startswith(start)) for start in (
        "broker: starting", "broker: ready", "a: starting", "stopping", "a: stopped", "broker: stopped (exit 0)", "all stopped")]
    assert places == sorted(places), states
    assert any("b: stopped (killed by SIGTERM)" in s for s in states)


def test_a_node_learns_from_its_environment_what_it_is(lab):
    (lab.folder / "sub").mkdir()
    up = lab.up("""  a:
    kind: exec
    command: >-
      echo "env $LINESHAFT_URL $LINESHAFT_NODE $LINESHAFT_MEMBER $LINESHAFT_CONSUMER $MORE";
      echo "json $LINESHAFT_OPTIONS"; pwd; exec sleep 1000
    replicas: 2
    takes: ["x.>"]
    gives: ["y.z"]
    serves: ["ask.it"]
    directory: sub
    environment: { MORE: "from the file" }
    options: { depth: 3, words: ["one \\"quoted\\""] }
""")
    for replica in (1, 2):
        assert up.saw(f"a.{replica}       | env").endswith(f"env {lab.url} a a.{replica} a from the file")
        assert up.saw(f"a.{replica}       | /").endswith("/sub")
    told = sorted((json.loads(x.split("json ")[1]) for x in up.seen if "json " in x), key=lambda o: o["replica"])
    assert told[1] == {"node": "a", "replica": 2, "replicas": 2, "takes": ["x.>"], "gives": ["y.z"], "serves": ["ask.it"],
                       "asks": [], "slots": 1, "consumer": "a", "stream": "events", "window": 256,
                       "options": {"depth": 3, "words": ['one "quoted"']}}


def token_of(pid):
    entries = (pathlib.Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
    found = [entry.split(b"=", 1)[1].decode() for entry in entries if entry.startswith(b"LINESHAFT_TOKEN=")]
    return found[0] if found else None


def nodes_and_broker(up, *names):
    """Process ids by name, the broker's among them."""
    for name in names:
        up.wait_for(f"{name}: starting")
    return {line.split("| ")[1].split(":")[0]: int(line.rsplit("pid ", 1)[1]) for line in up.seen if ": starting, pid " in line}


def test_nodes_share_a_secret_that_nobody_else_sees(lab):
    nodes = "".join(f"  {name}: {{ kind: exec, command: [sh, -c, 'exec sleep infinity'] }}\n" for name in "ab")
    tokens = []
    for start in range(2):
        up = lab.up(nodes, LINESHAFT_TOKEN="")
        pids = nodes_and_broker(up, "a", "b")
        wait_until(lambda: token_of(pids["a"]) and token_of(pids["b"]), "their environment")
        tokens.append(token_of(pids["a"]))
        assert re.fullmatch("[0-9a-f]{64}", tokens[-1]) and token_of(pids["b"]) == tokens[-1]
        assert not token_of(pids["broker"]) and not token_of(up.process.pid)
        for pid in [*pids.values(), up.process.pid]:
            assert tokens[-1].encode() not in (pathlib.Path("/proc") / str(pid) / "cmdline").read_bytes()
        assert up.end(signal.SIGTERM) == 0
        assert not any(tokens[-1] in line for line in up.seen)
    assert tokens[0] != tokens[1]


def test_a_secret_that_is_given_is_kept(lab):
    up = lab.up("  a: { kind: exec, command: [sleep, infinity] }\n  b: { kind: exec, command: [sleep, infinity], "
                "environment: { LINESHAFT_TOKEN: own } }\n", LINESHAFT_TOKEN="given")
    pids = nodes_and_broker(up, "a", "b")
    wait_until(lambda: (token_of(pids["a"]), token_of(pids["b"])) == ("given", "own"), "their environment")
    assert token_of(pids["broker"]) is None


def test_output_is_prefixed_whole_and_harmless(lab):
    (lab.folder / "noise.py").write_text(
        "import os, sys\n"
        "os.write(1, b'x' * 70000 + b'\\nesc \\x1b[31m bad \\xff utf \\xc3\\xa4\\r\\n')\n"
        "for i in range(300): os.write(1, b'out'); os.write(2, b'err'); os.write(1, b'put %d\\n' % i); os.write(2, b'or %d\\n' % i)\n"
        "os.write(1, b'no newline at the end')\n"
        "os.close(1); os.close(2)\n"
        "import signal; signal.pause()\n")
    up = lab.up("  noise: { kind: exec, command: [/usr/bin/python3, noise.py] }\n")
    up.wait_for("no newline at the end")
    up.saw("error 299")
    mine = [x.split(" | ", 1)[1] for x in up.seen if x.startswith("noise")]
    assert [len(x) for x in mine[:2]] == [65536, 70000 - 65536]
    assert mine[2] == r"esc \x1b[31m bad \xff utf ä"
    assert [x for x in mine if x.startswith("output")] == [f"output {i}" for i in range(300)]
    assert [x for x in mine if x.startswith("error")] == [f"error {i}" for i in range(300)]


def test_a_node_that_ends_is_started_again_later_and_later_and_a_crash_loop_is_reported_once(lab):
    up = lab.up("""  bad:
    kind: exec
    command: 'echo about to fail; echo "the reason" >&2; exit 3'
    restart: { delay: 10ms, delay_max: 50ms, limit: 4, within: 1m }
  good: { kind: exec, command: [sleep, infinity] }
""")
    line = up.wait_for("crash loop")
    assert re.search(r"bad: crash loop: 4 exits in [\d.]+ m?s, last exit 3; trying again every 50 ms", line)
    up.wait_for("bad       | the reason", 3)  # it keeps trying
    up.end(signal.SIGTERM)
    text = "\n".join(up.seen)
    assert re.findall(r"bad: exited \(exit 3\) after .*, restarting in (\d+) ms", text) == ["10", "20", "40", "50"]
    assert text.count("crash loop") == 1 and "lineshaft |     the reason" in text and "good: exited" not in text


def test_a_command_that_cannot_run_says_why(lab):
    lab.folder.joinpath("script").write_text("no interpreter line, not executable")
    up = lab.up("  a: { kind: exec, command: [./script], restart: { limit: 2 } }\n")
    assert "a         | cannot execute ./script: Permission denied" in up.wait_for("cannot execute")
    up.wait_for("(exit 127)")


def test_a_killed_broker_is_restarted_and_the_nodes_stay(lab):
    up = lab.up("  a: { kind: exec, command: 'echo once; exec sleep 1000' }\n")
    up.wait_for("a         | once")
    os.kill(int(up.saw("broker: starting").split("pid ")[1]), signal.SIGKILL)
    up.wait_for("broker: exited (killed by SIGKILL)")
    up.wait_for("broker: ready")
    assert ok("pub", "x.y", "z", url=lab.url).startswith("ok events:")
    assert up.end(signal.SIGTERM) == 0 and sum("| once" in x for x in up.seen) == 1


def test_a_node_that_does_not_stop_is_killed_with_its_whole_group_and_strays(lab):
    up = lab.up("  deaf: { kind: exec, command: \"trap '' TERM; setsid sleep 1001 & (sleep 1002 &); while :; do sleep 1003; done\", "
                "stop_timeout: 100ms, environment: { MARK: \"" + str(lab.folder) + "\" } }\n")
    wait_until(lambda: len(pids_with(f"MARK={lab.folder}")) == 4, "four processes")
    assert up.end(signal.SIGTERM) == 0
    assert any("deaf: did not stop within 100 ms, killing it" in x for x in up.seen)
    assert pids_with(f"MARK={lab.folder}") == []


def test_a_second_interrupt_kills_at_once(lab):
    up = lab.up("  deaf: { kind: exec, command: \"trap '' TERM; echo here; while :; do sleep 1000; done\", stop_timeout: 1h }\n")
    up.wait_for("| here")
    up.process.send_signal(signal.SIGINT)
    up.wait_for("stopping: nodes first")
    assert up.end(signal.SIGINT) == 1
    assert any("killing everything" in x for x in up.seen) and "all stopped" in up.seen[-1]


def test_nothing_outlives_an_up_that_is_killed(lab):
    up = lab.up("  deep: { kind: exec, command: 'setsid sleep 1001 & (sleep 1002 &); sleep 1003', "
                "environment: { MARK: \"" + str(lab.folder) + "\" } }\n")
    wait_until(lambda: len(pids_with(f"MARK={lab.folder}")) == 4, "four processes")
    broker = int(up.saw("broker: starting").split("pid ")[1])
    os.kill(up.process.pid, signal.SIGKILL)
    wait_until(lambda: pids_with(f"MARK={lab.folder}") == [] and not os.path.exists(f"/proc/{broker}/exe"), "gone")
    assert ok("log", "check", "lab.yaml", cwd=lab.folder).count("fine") == 2  # and the broker was stopped in order


def test_a_port_that_is_taken_is_named_with_its_holder_and_the_way_out(lab):
    with socket.socket() as other:
        other.bind(("127.0.0.1", lab.port + 2))
        other.listen()
        file = lab.write("  a: { kind: exec, command: [sleep, infinity] }\n")
        result = run("up", file, cwd=lab.folder)
        assert (result.status, result.out) == (1, "")
        assert f"port {lab.port + 2} on 127.0.0.1 is taken by " in result.err and f"pid {os.getpid()}" in result.err
        assert f"ports {lab.port} to {lab.port + 4}" in result.err and f"broker.listen in {file}, line 4" in result.err
        variable = lab.write("  a: { kind: exec, command: [sleep, infinity] }\n", HEAD.replace("{port}", "${{env:LAB_PORT:-{port}}}"))
        assert f"LAB_PORT={lab.port + 100} lineshaft up {variable}" in run("up", variable, cwd=lab.folder).err


VARIABLES = """
lineshaft: 1
name: lab
broker: {{ listen: "tcp://127.0.0.1:${{env:LAB_PORT:-{port}}}", data: "${{env:LAB_DATA:-var}}/bus" }}
streams:
  events: {{ topics: [">"], segment: 1MiB }}
nodes:
"""


def test_the_way_out_for_a_second_copy_is_one_line_that_works(lab):
    web = free_base()
    nodes = f'  door: {{ kind: ingress, listen: "127.0.0.1:${{env:LAB_WEB:-{web}}}" }}\n'
    lab.running.append(Background("up", lab.write(nodes, VARIABLES), cwd=lab.folder))
    lab.running[0].wait_for("processes are up")
    refused = run("up", "lab.yaml", cwd=lab.folder)
    assert refused.status == 1
    advice = re.search(r"(LAB_PORT=\d+) (LAB_WEB=\d+) (LAB_DATA=var2) lineshaft up lab.yaml", refused.err)
    settings = dict(word.split("=") for word in advice.groups())
    ports = {k: v for k, v in settings.items() if k != "LAB_DATA"}
    same_data = run("up", "lab.yaml", cwd=lab.folder, **ports)
    assert same_data.status == 1 and "in use by process" in same_data.err
    assert f"LAB_PORT={ports['LAB_PORT']} LAB_WEB={ports['LAB_WEB']} LAB_DATA=var2 lineshaft up lab.yaml" in same_data.err
    second = Background("up", "lab.yaml", cwd=lab.folder, **settings)
    lab.running.append(second)
    second.wait_for("processes are up")


def test_a_workflow_is_no_topology(lab):
    (lab.folder / "flow.yaml").write_text("id: flow\ntasks:\n  a: { command: 'true' }\n")
    result = run("up", "flow.yaml", cwd=lab.folder)
    assert result.status == 1 and "is a workflow, not a topology" in result.err and "lineshaft check flow.yaml" in result.err
    assert "[" not in result.err


def test_what_is_not_in_this_folder_is_found_beside_the_file(lab):
    (lab.folder / "config").mkdir()
    (lab.folder / "beside").mkdir()
    file = lab.folder / lab.write("  a: { kind: exec, command: [cat], directory: beside }\n", name="config/lab.yaml")
    result = run("check", file, cwd="/")
    assert f"relative to the working directory, /; it is there in another: cd {lab.folder} && lineshaft up config/lab.yaml" in result.err
    assert run("check", "config/lab.yaml", cwd=lab.folder).err == ""


def test_a_file_cannot_turn_its_diagnosis_round(lab):
    result = run("check", lab.write("  a: { kind: exec, comm\u202eand: x }\n"), cwd=lab.folder)
    assert result.status == 1 and "\u202e" not in result.err and "comm?and" in result.err


def test_a_port_of_a_node_that_is_taken_is_told_before_anything_starts(lab):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        for listen, way_out in ((f"127.0.0.1:{port}", "choose another: listen of the node, lab.yaml:8"),
                                (f"127.0.0.1:${{env:WEB:-{port}}}", "choose another: WEB=")):
            file = lab.write(f'  door: {{ kind: ingress, listen: "{listen}", insecure: true }}\n')
            result = run("up", file, cwd=lab.folder)
            assert (result.status, result.out) == (1, "") and not (lab.folder / "bus").exists()
            assert f"port {port} on 127.0.0.1 is taken by " in result.err and f"pid {os.getpid()}" in result.err
            assert 'Node "door" (ingress) listens there.' in result.err and way_out in result.err
    assert "lab.yaml:8" in result.err


def test_when_all_is_up_a_line_says_so_once_and_names_the_address(lab):
    web = free_base()
    door = f'  door: {{ kind: ingress, listen: "0.0.0.0:{web}", insecure: true }}\n'
    up = lab.up(door + "  runs: { kind: tracker }\n")
    line = up.wait_for("processes are ")
    assert re.fullmatch(rf"lineshaft \| all 3 processes are up after .*s; chat http://127\.0\.0\.1:{web}/, "
                        rf"console http://127\.0\.0\.1:{web}/console", line)
    ours = pids_with(f"LINESHAFT_URL={lab.url}")
    os.kill(next(pid for pid in pids_with("LINESHAFT_MEMBER=runs") if pid in ours), signal.SIGKILL)
    up.wait_for("runs: starting")
    up.wait_for("runs      | ")
    assert up.end(signal.SIGINT) == 0
    assert sum("processes are " in line for line in up.seen) == 1


def test_of_a_program_of_ones_own_it_is_known_only_that_it_was_started(lab):
    up = lab.up("  a: { kind: exec, command: [sleep, infinity], replicas: 2 }\n")
    assert re.search(rf"all 3 processes are started after .*s; {lab.url}$", up.wait_for("processes are "))


def test_nothing_is_said_to_be_up_while_a_node_is_not(lab):
    door = f'{{ kind: ingress, listen: "127.0.0.1:{free_base()}", restart: {{ limit: 2, delay: 10ms }} }}\n'
    up = lab.up(f"  a: {door}  b: {door}")  # one of the two has the port
    up.wait_for("crash loop")
    assert up.end(signal.SIGINT) == 0 and not any("processes are " in line for line in up.seen)


def test_port_0_takes_five_free_ports_and_tells_all_where(lab):
    lab.port = 0
    up = lab.up("  a: { kind: exec, command: 'echo \"env $LINESHAFT_URL\"; exec sleep 1000' }\n")
    url = up.wait_for("a         | env").split("env ")[1]
    assert f"broker: ready at {url} " in up.saw("broker: ready") and re.fullmatch(r"tcp://127\.0\.0\.1:[1-9]\d+", url)
    assert ok("pub", "x.y", "z", url=url).startswith("ok events:1")
    assert up.end(signal.SIGTERM) == 0


def test_the_broker_alone_listens_where_port_says(lab):
    file, port = lab.write("  a: { kind: exec, command: [sleep, infinity] }\n"), lab.port
    lab.port = free_base()
    with Background("broker", "--port", str(lab.port), file, cwd=lab.folder) as broker:
        broker.wait_for("broker-ready")
        assert ok("pub", "x.y", "z", url=lab.url).startswith("ok events:1")
        assert run("pub", "x.y", "z", "--timeout", "100ms", url=f"tcp://127.0.0.1:{port}").status == 3
        assert broker.end(signal.SIGTERM) == 0
    for wrong in ("65532", "many"):
        result = run("broker", "--port", wrong, file, cwd=lab.folder)
        assert result.status == 2 and f'--port: "{wrong}" is not a whole number up to 65531' in result.err


def test_a_second_up_in_the_same_folder_is_refused(lab):
    nodes = "  a: { kind: exec, command: [sleep, infinity] }\n"
    first = lab.up(nodes)
    first.wait_for("a: starting")
    result = run("up", "lab.yaml", cwd=lab.folder)
    assert result.status == 1 and "perhaps this topology is up already" in result.err
    lab.port = free_base()
    result = run("up", lab.write(nodes, name="other.yaml"), cwd=lab.folder)
    assert result.status == 1 and re.search(r"the data directory bus is in use by process \d+", result.err)
    assert "broker: did not start (exit 1)" in result.err and "a: starting" not in result.err


def test_a_topology_with_errors_starts_nothing(lab):
    result = run("up", lab.write("  a: { kind: exec, comand: x }\n"), cwd=lab.folder)
    assert result.status == 1 and 'did you mean "command"?' in result.err and "starting" not in result.err
    assert run("up", "no-such.yaml", cwd=lab.folder).status == 1


def test_up_ends_when_nobody_reads_its_output(lab):
    file = lab.write("  talker: { kind: exec, command: 'while :; do echo line || exit; done' }\n")
    reader, writer = os.pipe()
    up = subprocess.Popen([LINESHAFT, "up", file], cwd=lab.folder, stdout=writer, stderr=writer, env=environment())
    os.close(writer)
    assert os.read(reader, 100)
    os.close(reader)
    assert up.wait(PATIENCE_S) == 0
