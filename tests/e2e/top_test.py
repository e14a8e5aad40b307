# SPDX-License-Identifier: Apache-2.0
"""lineshaft top: the screen, driven in tmux as a person would, and its plain forms."""
import json
import os
import pathlib
import shlex
import signal
import subprocess
import threading
import time
import uuid

import pytest

from bus import LINESHAFT, PATIENCE_S, free_base, pack
from cli import Background, environment, ok, run, wait_until

CONSUMERS = """
consumers:
  slow: { takes: ["run.>"] }
  idle: { takes: ["chat.>"] }
"""


class Terminal:
    """A shell in a tmux of its own, and `lineshaft top` in that shell."""

    def __init__(self, url, size="100x30", **env):
        self.socket = f"lineshaft-top-{uuid.uuid4().hex[:12]}"
        columns, lines = size.split("x")
        self.tmux("-f", "/dev/null", "new-session", "-d", "-s", "t", "-x", columns, "-y", lines,
                  "env PS1='ready> ' bash --norc --noprofile", env=environment(url, **env))
        self.wait("ready>")

    def tmux(self, *args, **how):
        done = subprocess.run(["tmux", "-L", self.socket, *args], check=True, capture_output=True, timeout=PATIENCE_S, **how)
        return done.stdout.decode()

    def screen(self):
        return self.tmux("capture-pane", "-p", "-t", "t")

    def wait(self, *texts, absent=()):
        """The screen, when it holds all the texts, and none of `absent`."""
        until, pause = time.monotonic() + PATIENCE_S, threading.Event()
        while True:
            screen = self.screen()
            if all(text in screen for text in texts) and not any(text in screen for text in absent):
                return screen
            assert time.monotonic() < until, f"no screen with {texts} and without {absent}; the last:\n{screen}"
            pause.wait(0.02)

    def table(self, first, holds):
        """Waits until the rows of the table whose first heading is `first`, by their names, are as holds(rows) wants them: a screen may be
        caught while it is being drawn."""
        seen = []

        def as_wanted():
            seen.append(self.screen())
            return holds({words[0]: words for words in rows(seen[-1], first)})

        try:
            wait_until(as_wanted, first)
        except AssertionError:
            raise AssertionError(f"the table {first} is not as it should be:\n{seen[-1]}") from None

    def keys(self, *keys):
        self.tmux("send-keys", "-t", "t", *keys)

    def type(self, text):
        self.tmux("send-keys", "-t", "t", "-l", text)

    def top(self, *args):
        self.type(shlex.join([LINESHAFT, "top", *args]))
        self.keys("Enter")
        return self.wait("overview")

    def resize(self, columns, lines):
        self.tmux("resize-window", "-t", "t", "-x", str(columns), "-y", str(lines))

    def pid(self):
        """Of the lineshaft-top that runs in the shell."""
        shell = self.tmux("display-message", "-p", "-t", "t", "#{pane_pid}").strip()
        children = pathlib.Path(f"/proc/{shell}/task/{shell}/children").read_text().split()
        return int(children[0])

    def close(self):
        subprocess.run(["tmux", "-L", self.socket, "kill-server"], capture_output=True, timeout=PATIENCE_S, check=False)


@pytest.fixture
def terminal():
    """terminal(bus, size) makes one; all end with the test."""
    made = []

    def make(bus, size="100x30", **env):
        made.append(Terminal(bus.url, size, **env))
        return made[-1]

    yield make
    for one in made:
        one.close()


def rows(screen, first):
    """The lines of the table whose heading begins with `first`, as lists of words."""
    lines = screen.splitlines()
    at = next((i for i, line in enumerate(lines) if line.split()[:1] == [first]), len(lines))
    table = []
    for line in lines[at + 1:]:
        if not line.strip():
            break
        table.append(line.split())
    return table


def row(screen, first, name):
    return next((words for words in rows(screen, first) if words[0] == name), None)


def test_the_overview_and_each_panel_show_what_is_there(make_bus, terminal):
    bus = make_bus(more=CONSUMERS)
    bus.publish("run.step", 30)
    bus.publish("chat.said", 2)
    worker = bus.client("worker", member="worker.1")
    worker.ok("SUB", cid=1, serves=["shout.it"], slots=4)
    screen = terminal(bus)
    screen.top()
    screen.wait("STREAM", "TOPIC", "CONSUMER", "SERVICE", "NODE")
    screen.keys("2")
    screen.wait("RETENTION")
    screen.table("STREAM", lambda rows: rows.get("events", [0] * 5)[4] == "32")
    screen.keys("Tab")
    screen.wait("LAST SEEN", absent=["RETENTION"])
    screen.table("TOPIC", lambda rows: {name: words[4] for name, words in rows.items() if words[1] == "0"} ==
                 {"run.step": "30", "chat.said": "2"})
    screen.keys("4")
    screen.table("CONSUMER", lambda rows: rows.get("slow", [0] * 2)[1] == "30" and rows.get("idle", [0] * 2)[1] == "2")
    screen.keys("5")
    screen.table("SERVICE", lambda rows: rows.get("shout.it", [])[2:] == ["1", "4", "0", "0"])
    screen.keys("6")
    screen.table("NODE", lambda rows: rows.get("worker.1", [])[1:6] == ["-"] * 5)
    screen.keys("BTab")
    screen.wait("WAITING")


def test_rates_follow_from_what_flows(make_bus, terminal):
    bus = make_bus()
    screen = terminal(bus)
    screen.top("-i", "0.5")
    screen.keys("3")
    peer = bus.dealer()

    def flows():
        peer.ok("PUB", {"topic": "run.step"}, pack(1))
        shown = screen.screen()
        found = row(shown, "TOPIC", "run.step") if "TOPIC" in shown else None
        return found and found[1] not in ("-", "0")

    wait_until(flows, "a rate")
    screen.wait("events/s 0 in")


def test_sorting_and_the_filter(make_bus, terminal):
    bus = make_bus()
    for topic, count in (("run.a", 1), ("run.b", 3), ("chat.c", 2)):
        bus.publish(topic, count)
    screen = terminal(bus)
    screen.top()
    screen.keys("3")
    screen.wait("by EVENTS/S")
    screen.keys("s", "s")
    screen.wait("by EVENTS\n")
    screen.table("TOPIC", lambda rows: list(rows) == ["run.b", "chat.c", "run.a"])
    screen.keys("r")
    screen.wait("by EVENTS, reversed")
    screen.table("TOPIC", lambda rows: list(rows) == ["run.a", "chat.c", "run.b"])
    screen.type("/RUN")
    screen.wait("filter: RUN")
    screen.table("TOPIC", lambda rows: list(rows) == ["run.a", "run.b"])
    screen.type(".bx")
    screen.wait("nothing has the filter's text")
    screen.keys("BSpace", "Enter")
    screen.wait('filter "RUN.b"')
    screen.table("TOPIC", lambda rows: list(rows) == ["run.b"])
    screen.keys("Escape")
    screen.wait("chat.c", absent=["filter \""])


def test_it_follows_the_size_of_the_terminal(make_bus, terminal):
    bus = make_bus(more=CONSUMERS)
    for i in range(30):
        bus.publish(f"run.t{i:02}")
    screen = terminal(bus)
    screen.top()
    screen.resize(40, 10)
    small = screen.wait("1 overview  2  3  4  5  6", "STREAM")
    assert max(map(len, small.splitlines())) <= 40
    screen.keys("3")
    screen.wait("TOPIC", "EVENTS", "run.t00")
    screen.keys("End")
    screen.wait("run.t29", absent=["run.t00"])
    screen.keys("PPage", "Up")
    screen.wait("run.t20", absent=["run.t29"])
    screen.resize(200, 60)
    screen.wait("run.t00", "run.t29", "LAST SEEN", "by EVENTS/S")
    screen.resize(20, 3)
    screen.keys("1")
    screen.resize(100, 30)
    screen.wait("STREAM", "CONSUMER", "NODE")


def test_a_lost_broker_is_said_and_comes_back(make_bus, terminal):
    bus = make_bus()
    bus.publish("run.step", 3)
    screen = terminal(bus)
    screen.top()
    screen.keys("3")
    screen.wait("run.step")
    bus.kill()
    screen.wait("AWAY for", bus.url, "run.step")
    bus.start()
    bus.publish("chat.said")
    screen.wait("chat.said", "up ", absent=["AWAY", "run.step"])


def test_pause_interval_and_help(make_bus, terminal):
    bus = make_bus()
    bus.publish("run.step")
    screen = terminal(bus)
    screen.top()
    screen.keys("p")
    screen.wait("PAUSED", "p go on")
    screen.keys("+", "+", "-")
    screen.wait("every 2 s")
    screen.keys("3", "?")
    screen.wait("how long ago the latest came", "any key: back")
    screen.keys("x", "p")
    screen.wait("run.step", absent=["PAUSED", "any key"])


@pytest.mark.parametrize("how", ["q", "C-c", signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_the_terminal_is_as_before_however_it_ends(make_bus, terminal, how):
    bus = make_bus()
    screen = terminal(bus)
    screen.type(f"cd {shlex.quote(str(bus.folder))}; stty -g > before; echo as it was")
    screen.keys("Enter")
    screen.wait("\nas it was")
    screen.top()
    if isinstance(how, str):
        screen.keys(how)
    else:
        os.kill(screen.pid(), how)
    shown = screen.wait("\nas it was", absent=["overview"])
    assert "STREAM" not in shown
    screen.type("echo ended $?; stty -g > after; echo mo''des")
    screen.keys("Enter")
    shown = screen.wait("\nmodes")
    assert f"ended {0 if isinstance(how, str) else 128 + how}" in shown
    assert (bus.folder / "before").read_text() == (bus.folder / "after").read_text()
    assert screen.tmux("display-message", "-p", "-t", "t", "#{cursor_flag}#{alternate_on}").strip() == "10"


def test_it_can_be_stopped_and_resumed(make_bus, terminal):
    bus = make_bus()
    screen = terminal(bus)
    screen.top()
    screen.keys("C-z")
    screen.wait("Stopped", absent=["overview"])
    screen.resize(90, 20)
    screen.type("fg")
    screen.keys("Enter")
    screen.wait("overview", "NODE")
    screen.keys("q")
    screen.wait("Stopped", absent=["overview"])


def test_colours_only_where_they_are_wanted(make_bus, terminal):
    bus = make_bus(more=CONSUMERS)
    bus.publish("run.step")  # `slow` has something to read and no member: red

    def members(**env):
        screen = terminal(bus, **env)
        screen.top()
        screen.keys("4")
        screen.table("CONSUMER", lambda rows: "slow" in rows and "events" in rows["slow"])
        coloured = screen.tmux("capture-pane", "-p", "-e", "-t", "t")
        return next(line for line in coloured.splitlines() if "slow" in line)

    assert "31m" in members()
    assert "31m" not in members(NO_COLOR="1")


def test_texts_of_others_cannot_write_on_the_terminal(make_bus):
    bus = make_bus()
    hostile = bus.client("up", member="up.1")
    hostile.ok("SUB", cid=1, serves=["up.status.0badc0de"], slots=8)
    evil = {"name": "x", "host": "h\x1b[2Jost", "pid": 1, "started_us": 1, "now_us": 2,
            "processes": [7, None, {"name": "evil\x1b]0;title\x07\u202e\n", "node": "n", "kind": "\x9b31m", "pid": 2,
                                    "state": "run\tning", "since_us": 1,
                                    "restarts": 0, "last_end": None, "cpu_ms": 1e300, "pss": -5, "rss": 1, "processes": 1}]}
    top = Background("top", "--plain", url=bus.url)
    for _ in range(2):
        request = hostile.recv()
        hostile.send("REP", {"cid": 1, "rid": request.head["rid"]}, json.dumps(evil).encode())
    assert top.end() == 0
    line = next(line for line in top.seen if "evil" in line)
    assert "evil\\x1b]0;title\\x07\\u{202e}\\n" in line and "h\\x1b[2Jost" in line and "run ning" in line
    assert not any(ord(letter) < 32 or letter == "\x9b" for text in top.seen for letter in text)


def test_plain_tables_and_json(make_bus):
    bus = make_bus(more=CONSUMERS)
    bus.publish("run.step", 5)
    tables = ok("top", "-i", "0.2", "--count", 1, url=bus.url)
    assert row(tables, "CONSUMER", "slow")[1:3] == ["5", "0"] and row(tables, "TOPIC", "run.step")[1:5] == ["0", "0", "B", "5"]
    assert row(tables, "NODE", "lineshaft-top")
    lines = [json.loads(line) for line in ok("top", "--json", "-i", "200ms", "-n", 2, url=bus.url).splitlines()]
    assert len(lines) == 2
    for sample in lines:
        assert sample["broker"]["name"] == "test" and sample["broker"]["events_in_rate"] == 0
        assert next(t for t in sample["topics"] if t["topic"] == "run.step")["rate"] == 0
        assert {c["name"]: c["pending"] for c in sample["consumers"]} == {"slow": 5, "idle": 0}


def test_plain_goes_on_with_an_interval_until_it_is_ended(make_bus):
    bus = make_bus()
    with Background("top", "--json", "-i", "0.1", url=bus.url) as top:
        for _ in range(3):
            assert json.loads(top.wait_for("{"))["broker"]["name"] == "test"
        assert top.end(signal.SIGTERM) == -signal.SIGTERM


def test_it_ends_when_nobody_reads_any_more(make_bus):
    bus = make_bus()
    with subprocess.Popen([LINESHAFT, "top", "--json", "-i", "0.1"], env=environment(bus.url), stdout=subprocess.PIPE) as top:
        assert top.stdout.read(1) == b"{"
        top.stdout.close()
        assert top.wait(PATIENCE_S) == 1


def test_wrong_usage_and_no_broker(make_bus):
    bus = make_bus()
    for args, says in ((["-i", "0"], "--interval"), (["-i", "1x"], "--interval"), (["-n", "x"], "--count"),
                       (["all"], "no arguments"), (["--jsn"], "--json")):
        result = run("top", *args, url=bus.url)
        assert result.status == 2 and says in result.err, result
    bus.kill()
    result = run("top", "--timeout", "200ms", url=bus.url)
    assert result.status == 3 and bus.url in result.err


UP = """
lineshaft: 1
name: lab
broker: {{ listen: "tcp://127.0.0.1:{port}", data: bus }}
streams:
  events: {{ topics: [">"], segment: 1MiB }}
nodes:
  quiet: {{ kind: exec, command: [sleep, infinity] }}
  clock: {{ kind: scheduler }}
"""


@pytest.mark.short
def test_nodes_of_an_up_are_shown_with_what_they_use(tmp_path):
    port = free_base()
    url = f"tcp://127.0.0.1:{port}"
    (tmp_path / "lab.yaml").write_text(UP.format(port=port))
    with Background("up", "lab.yaml", cwd=tmp_path) as up:
        up.wait_for("quiet: starting")

        def nodes():
            sample = json.loads(ok("top", "--json", "-i", "0.5", "-n", 1, url=url))
            return {node["name"]: node for node in sample["nodes"]}

        wait_until(lambda: nodes().get("clock", {}).get("published") is not None, "joined: a process and its session")
        shown = nodes()
        assert {name: shown[name]["kind"] for name in ("up", "broker", "quiet", "clock")} == \
            {"up": "up", "broker": "broker", "quiet": "exec", "clock": "scheduler"}
        for name in ("broker", "quiet", "clock"):
            assert shown[name]["state"] == "running" and shown[name]["pss"] and shown[name]["cpu_percent"] >= 0
        assert shown["clock"]["delivered_rate"] == 0 and shown["up"]["served_rate"] >= 0 and "published" not in shown["quiet"]
        assert "kind" not in shown["lineshaft-top"] and "lineshaft-up" not in shown
        os.kill(shown["quiet"]["pid"], signal.SIGKILL)
        wait_until(lambda: nodes()["quiet"]["restarts"] == 1, "started again")
        assert nodes()["quiet"]["last_end"] == "killed by SIGKILL"
