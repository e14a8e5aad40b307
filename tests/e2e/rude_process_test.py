# SPDX-License-Identifier: Apache-2.0
"""Processes met rudely: ports and folders that are taken, signals to `up`, its warden and its nodes, terminals that close, nodes that
talk without end. docs/operations.md says the same in words."""
import os
import re
import pty
import signal
import socket

import pytest

from bus import LINESHAFT, free_base
from cli import wait_until
from rude import NODES, Program, Quick, describe, may

MARK = "018bcfe5-6800-7000-8000-000000000000.node.model"


@pytest.fixture
def make(tmp_path):
    """make() is the quick start, make(NODES) a small topology with these nodes. All ends with the test."""
    made = []

    def make(topology=None):
        made.append(Quick(tmp_path / f"quick{len(made)}", topology=topology))
        return made[-1]

    yield make
    for quick in made:
        quick.close()


@pytest.fixture
def quick(make):
    return make()


# ---- ports and folders that are taken ----

def test_a_second_up_is_refused_wherever_it_meets_the_first(quick):
    quick.up()
    same = quick.refused()
    assert f"port {quick.base} on 127.0.0.1 is taken by " in same and "perhaps this topology is up already" in same
    advice = re.escape(f"lineshaft up {quick.topology}")
    assert re.search(r"LINESHAFT_PORT=\d+ LINESHAFT_HTTP_PORT=\d+ LINESHAFT_DATA=\S+ " + advice, same), same
    other_bus = quick.refused(LINESHAFT_PORT=str(free_base()))
    assert f"port {quick.port} on 127.0.0.1 is taken by " in other_bus and "perhaps a topology is up already" in other_bus
    assert re.search(r"LINESHAFT_PORT=\d+ LINESHAFT_HTTP_PORT=\d+ .*" + advice, other_bus), other_bus
    other_ports = quick.refused(LINESHAFT_PORT=str(free_base()), LINESHAFT_HTTP_PORT=str(free_base()))
    assert f"the data directory var/bus is in use by process {quick.pid('broker')}" in other_ports
    assert "files: starting" not in other_ports  # no node touched the folder
    quick.works()


@pytest.mark.parametrize("door", ["bus", "http"])
def test_a_port_that_a_stranger_has_is_named_with_its_holder(quick, door):
    with socket.socket() as stranger:
        port = quick.port if door == "http" else quick.base + 3
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        said = quick.refused()
        assert f"port {port} on 127.0.0.1 is taken by " in said and f"pid {os.getpid()}" in said
        assert "LINESHAFT_HTTP_PORT=" if door == "http" else "LINESHAFT_PORT=" in said
        assert not (quick.folder / "var").exists()
    quick.up()  # the stranger is gone


# ---- signals ----

@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGHUP])
def test_one_wish_to_end_that_comes_twice_is_one(quick, sig):
    """As `timeout` and a closing terminal send it: to the process and to its group. Only a second Ctrl-C kills."""
    quick.up()
    quick.run.process.send_signal(sig)
    quick.run.wait_for("stopping: nodes first")
    assert quick.run.end(sig) == 0
    assert "killed" not in quick.run.text and "killing" not in quick.run.text and "all stopped" in quick.run.seen[-1]
    quick.gone()


def test_a_killed_up_leaves_nothing_and_the_next_one_starts_at_once(quick):
    quick.up()
    os.kill(quick.run.process.pid, signal.SIGKILL)
    quick.up()
    quick.works()
    assert quick.run.end(signal.SIGTERM) == 0
    quick.gone()


def test_a_warden_that_is_killed_is_replaced(make):
    small = make("  deaf: { kind: exec, stop_timeout: 100ms, "
                 "command: \"trap '' TERM; setsid sleep 1001 & echo here; while :; do sleep 1002; done\" }\n")
    small.begin().wait_for("| here")
    first = small.warden()
    os.kill(first, signal.SIGKILL)
    small.run.wait_for("another stands by")
    wait_until(lambda: small.warden() not in (first, None), "another warden")
    os.kill(small.run.process.pid, signal.SIGKILL)  # the new one does what the first would have done
    small.gone()


def test_up_and_its_warden_killed_together_leave_no_node(quick):
    quick.up()
    for sig in (signal.SIGSTOP, signal.SIGKILL):
        for pid in (quick.warden(), quick.run.process.pid):
            os.kill(pid, sig)
    quick.gone()
    quick.up().works()


@pytest.mark.parametrize("mark, ours", [("yes", None), (MARK, MARK)])
def test_up_ends_nobody_who_only_carries_its_mark(make, mark, ours):
    """Somebody exported LINESHAFT_UP; or works in a shell that a node has left, and starts `up` there."""
    small = make("  one: { kind: exec, command: sleep 1000 }\n")
    with Program("sleep", "1000", cwd=small.folder, LINESHAFT_UP=mark) as bystander:
        small.up(LINESHAFT_UP=ours)
        assert bystander.process.poll() is None and "an earlier `up`" not in small.run.text


@pytest.mark.skipif(not may("unshare", "--pid", "--fork", "--mount-proc", "true"), reason="no namespaces")
def test_a_second_up_ends_nothing_of_a_first_that_is_process_1(make):
    """As in a container, where another is started by `exec`."""
    small = make("  one: { kind: exec, command: sleep 1000 }\n")
    first = small.begin("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    first.wait_for("processes are ")
    inside = next(pid for pid in small.all_pids() if describe(pid) == "sleep")
    text = small.refused("nsenter", "--target", str(inside), "--pid", "--mount", f"--wd={small.folder}")
    assert "an earlier `up`" not in text and describe(inside) == "sleep"
    first.process.kill()  # and with it all of them


def test_every_node_may_be_killed_while_it_works(quick):
    quick.up()
    (quick.folder / "config/workflows/long.yaml").write_text(
        "id: long\ntasks:\n  - id: wait\n    command: \"while [ ! -e go ]; do sleep 0.05; done\"\n    retry: { limit: 5, delay: 100ms }\n")
    wait_until(lambda: "long" in quick.lineshaft_("workflow", "ls").out, "the workflow")
    quick.ok("workflow", "run", "long", "--run", "l1")
    wait_until(lambda: "running" in quick.ok("workflow", "show", "long", "l1"), "a command that runs")
    for name in ["broker", *NODES]:
        os.kill(quick.pid(name), signal.SIGKILL)
        assert quick.ok("pub", "note.made", f'{{"killed": "{name}"}}').startswith("ok events:")
    for name in ["broker", *NODES]:
        quick.run.saw(f"{name}: exited (killed by SIGKILL)")
        if sum(f"| {name}: starting" in line for line in quick.run.seen) < 2:
            quick.run.wait_for(f"| {name}: starting")
    (quick.folder / "go").touch()
    wait_until(lambda: "success" in quick.lineshaft_("workflow", "show", "long", "l1").out, "the end of the run")
    assert quick.ok("tail", "note.made", "--all", "--json").count("killed") == 1 + len(NODES)
    quick.works()


def test_nodes_that_stand_still_for_longer_than_their_lease_go_on(quick):
    """As a machine that sleeps, or a debugger, does it: their sessions end, others could have their work, and they come back."""
    quick.up(LINESHAFT_HB_MS="1000")
    stopped = [quick.pid(name) for name in NODES]
    for pid in stopped:
        os.kill(pid, signal.SIGSTOP)
    quick.ok("pub", "run.created", '{"run_id": "0123456789abcdef0123456789abcdef", "experiment": "rude", "start_time": 1}')
    wait_until(lambda: not sessions(quick) & {*NODES}, "the end of their sessions")
    for pid in stopped:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: sessions(quick) >= {*NODES}, "their sessions again")
    assert sum(": starting, pid" in line for line in quick.run.seen) == 1 + len(NODES)  # nobody was started again
    wait_until(lambda: quick.get("/api/2.0/mlflow/runs/get?run_id=0123456789abcdef0123456789abcdef").status == 200, "the run, tracked")
    quick.works()


def sessions(quick):
    """The members that are connected, as the broker knows them."""
    import zmq

    from bus import Peer
    context = zmq.Context.instance()
    peer = Peer(context, zmq.DEALER, quick.url)
    try:
        return {session.get("member") for session in peer.ok("ADM", op="sessions")["sessions"]}
    finally:
        peer.close()


# ---- output ----

def test_a_terminal_that_closes_ends_all_in_order(quick):
    leader, terminal = pty.openpty()
    child = os.fork()
    if child == 0:
        os.setsid()
        take_terminal(terminal)
        os.chdir(quick.folder)
        os.execve(LINESHAFT, [LINESHAFT, "up", quick.topology], {**os.environ, **{k: v for k, v in quick.env.items() if v}})
    os.close(terminal)
    text = b""
    while b"processes are " not in text:
        text += os.read(leader, 65536)
    os.close(leader)
    assert os.waitpid(child, 0)[1] == 0
    quick.gone()


def take_terminal(terminal):
    import fcntl
    import termios
    fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    for fd in range(3):
        os.dup2(terminal, fd)


def test_up_ends_in_order_when_its_reader_has_enough(quick):
    """lineshaft up ... 2>&1 | head -1"""
    up = quick.begin("sh", "-c", '{ "$@" 2>&1; echo $? > status; } | head -1', "sh")
    assert up.end() == 0 and len(up.seen) == 1 and "broker: starting" in up.seen[0]
    assert (quick.folder / "status").read_text() == "0\n"
    quick.gone()


def test_a_node_may_print_anything(make):
    """A line of a megabyte, bytes that are no text, the half of a character at an end, without a newline."""
    small = make("""  odd:
    kind: exec
    command: |
      head -c 1000000 /dev/zero | tr '\\0' 'x'; echo; echo marker one
      head -c 100000 /dev/urandom; echo; echo marker two
      printf 'ende\\303\\n\\274ber \\033[2J\\a\\r\\n'; echo marker three; printf 'no newline \\342\\202'
      exec sleep 1000
""")
    small.begin().wait_for("marker three")
    lines = [line.partition("|")[2][1:] for line in small.run.seen if line.startswith("odd")]
    first, second = lines.index("marker one"), lines.index("marker two")
    assert "".join(lines[:first]) == "x" * 1000000                  # cut into lines, and nothing is missing
    assert {c for line in lines for c in line if ord(c) < 32 or c == "\x7f"} <= {"\t"}
    assert any(line.startswith("ende") for line in lines[second:])
    small.run.wait_for("processes are ")
    assert small.run.end(signal.SIGTERM) == 0
    assert "no newline" in small.run.text


def test_a_node_that_prints_without_end_holds_nobody_up(make):
    small = make("  loud: { kind: exec, command: 'yes this is the line of a talker that never rests' }\n"
                 "  calm: { kind: exec, command: sleep 1000 }\n")
    small.begin().wait_for("processes are ")
    started = small.pid("calm")
    os.kill(started, signal.SIGKILL)
    small.run.wait_for("calm: starting")
    assert small.ok("pub", "note.made", "{}").startswith("ok events:1")
    assert small.run.end(signal.SIGTERM) == 0 and small.run.seen[-1].endswith("all stopped")
