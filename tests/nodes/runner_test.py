# SPDX-License-Identifier: Apache-2.0
"""The kind `runner`: what a scheduler sees of it, and what is left of commands when something dies (docs/nodes/task-run.md)."""
import base64
import itertools
import json
import os
import resource
import signal
import sys
import time

import pytest

from cli import wait_until
from fake_scheduler import Scheduler
from stack import Stack

NODES = """
  door:  {{{{ kind: ingress, listen: "{{http}}" }}}}
  hands: {{{{ kind: runner, dir: run, kill_after: {kill_after}, restart: {{{{ delay: 50ms, delay_max: 200ms }}}}, {options} }}}}
"""
MARKS = itertools.count()


class Rig:
    """A stack with a runner, and the scheduler it asks."""

    def __init__(self, folder, options="slots: 4", lease_ms=30000, kill_after="1s", **env):
        self.folder = folder
        self.stack = Stack(folder, NODES.format(options=options, kill_after=kill_after), **env)
        self.scheduler = Scheduler(self.stack.url, lease_ms)

    def close(self):
        self.scheduler.close()
        self.stack.close()
        self.stack.up.end()
        wrong = [line for line in self.stack.up.seen if "Sanitizer" in line or "runtime error" in line or "SUMMARY" in line]
        assert not wrong, "\n".join(self.stack.up.seen[-80:])

    def run(self, command, **more):
        """A command to its end: task.ended."""
        return self.scheduler.ended(self.scheduler.queue(command, **more))

    def log(self, ended):
        with open(ended["log"].partition(":")[2], "rb") as file:
            return file.read()

    def runner(self):
        pid, = self.stack.pids("hands", "hands")
        return pid

    def kill_runner(self):
        """kill -9, and the one that `up` starts in its place."""
        before = self.runner()
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: self.stack.pids("hands", "hands") not in ([], [before]), "a new runner")

    def up(self):
        return self.stack.up


@pytest.fixture
def make(tmp_path):
    rigs = []

    def make(**how):
        rigs.append(Rig(tmp_path, **how))
        return rigs[-1]

    yield make
    for rig in rigs:
        rig.close()


@pytest.fixture
def rig(make):
    return make()


def processes(mark):
    """Processes with this mark in their command line."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read()
            with open(f"/proc/{pid}/stat") as file:
                state = file.read().rsplit(")", 1)[1].split()[0]
        except OSError:
            continue
        if mark.encode() in words and state not in "ZX" and int(pid) != os.getpid():
            found.append(int(pid))
    return found


def new_mark():
    return f"mark-{os.getpid()}-{next(MARKS)}-"


def brood(mark, first="wait"):
    """A shell command that leaves processes in its group, in sessions of their own, forked twice, and deaf to SIGTERM."""
    deaf = f"trap '' TERM; while :; do sleep 1; done # {mark}"
    return f"""exec 2>/dev/null; true {mark}
        sh -c "{deaf}" &
        setsid sh -c "{deaf}" &
        (setsid sh -c "(sh -c \\"{deaf}\\" &) ; {deaf}" &)
        (setsid setsid -f sh -c "{deaf}")
        echo ready; {first}"""


def until_brood(rig, name, mark, least=4):
    rig.scheduler.started(name)
    wait_until(lambda: len(processes(mark)) >= least, f"the brood of {name}: {processes(mark)}")


def until_gone(mark):
    wait_until(lambda: not processes(mark), f"nothing with {mark}: {processes(mark)}")


def keepers_of(rig):
    """Process ids of the runner's keepers: children that are named so."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat") as file:
                name, rest = file.read().rsplit(")", 1)
        except OSError:
            continue
        if name.endswith("(keeper") and int(rest.split()[1]) == rig.runner():
            found.append(int(pid))
    return found


def records(rig):
    """What the runner would find if it came back now."""
    texts = [path.read_bytes().partition(b"\0")[0].decode() for path in (rig.folder / "run" / "hands").glob("*.try")]
    return [text for text in texts if text]


def keeper_of(pid):
    with open(f"/proc/{pid}/stat") as file:
        return int(file.read().rsplit(")", 1)[1].split()[1])


# ---- a try that goes well

def test_a_command_runs_and_is_reported(rig):
    name = rig.scheduler.queue(["sh", "-c", "echo hello; echo there >&2"], env={"A": 1})
    started, ended = rig.scheduler.started(name), rig.scheduler.ended(name)
    assert started["runner"] == "hands" and started["pid"] > 0 and started["host"] and started["start_time"] > 0
    assert ended["reason"] == "exit" and ended["exit_code"] == 0 and ended["signal"] is None and ended["runner"] == "hands"
    assert ended["workflow"] == "w" and ended["workflow_run_id"] == "r/1" and ended["task"] == "a" and ended["attempt"] == 1
    assert ended["end_time"] >= ended["start_time"] and ended["memory_bytes_max"] > 0 and ended["cpu_ms"] >= 0
    assert rig.log(ended) == b"hello\nthere\n"
    assert ended["log"].endswith("/run/logs/w/r%2F1/a/attempt=1.log")
    assert "".join(rig.scheduler.log(name).values()) == "hello\nthere\n"
    order = [report["topic"] for report in rig.scheduler.reports[name]]
    assert order == ["task.started", "task.progress", "task.ended"]
    wait_until(lambda: records(rig) == [], "no record left")


def test_the_command_finds_its_environment(rig):
    name = rig.scheduler.queue("env", env={"NUMBER": 3, "YES": True, "TEXT": "a b"}, map_index=2, attempt=3)
    ended = rig.scheduler.ended(name)
    env = dict(line.split("=", 1) for line in rig.log(ended).decode().splitlines() if "=" in line)
    assert (env["NUMBER"], env["YES"], env["TEXT"]) == ("3", "true", "a b")
    assert env["LINESHAFT_URL"] == rig.stack.url and env["LINESHAFT_WORKFLOW"] == "w" and env["LINESHAFT_WORKFLOW_RUN_ID"] == "r/1"
    assert env["LINESHAFT_TASK"] == "a" and env["LINESHAFT_TRY"] == name and env["LINESHAFT_ATTEMPT"] == "3"
    assert os.path.exists(env["PATH"].split(":")[0] + "/lineshaft")
    assert not {"LINESHAFT_NODE", "LINESHAFT_MEMBER", "LINESHAFT_OPTIONS", "LINESHAFT_CONSUMER", "LINESHAFT_TOKEN"} & set(env)
    assert ended["log"].endswith("/a/map_index=2/attempt=3.log") and ended["map_index"] == 2


def test_standard_input_is_empty_and_the_directory_is_what_was_said(rig):
    assert rig.log(rig.run("cat; pwd", directory="/usr")) == b"/usr\n"
    assert rig.log(rig.run(["pwd"])).decode().strip() == os.path.realpath(rig.folder)


def test_outputs_are_handed_on(rig):
    ended = rig.run("""printf 'a=1\\nb=text=x\\n{"c": {"d": [1]},\\n "e": null}\\na="2"\\n' > $LINESHAFT_OUTPUTS""")
    assert ended["outputs"] == {"a": "2", "b": "text=x", "c": {"d": [1]}, "e": None}


def test_outputs_that_cannot_be_read_fail_the_try(rig):
    ended = rig.run("echo '{broken' > $LINESHAFT_OUTPUTS")
    assert ended["reason"] == "outputs" and ended["exit_code"] == 0 and "line 1" in ended["error"]
    ended = rig.run("head -c 1100000 /dev/zero | tr '\\0' x > $LINESHAFT_OUTPUTS")
    assert ended["reason"] == "outputs" and "1048576" in ended["error"]
    ended = rig.run("(printf x=; head -c 1048570 /dev/zero | tr '\\0' x) > $LINESHAFT_OUTPUTS")
    assert ended["reason"] == "outputs" and "body_max" in ended["error"]


def test_progress_lines(rig):
    name = rig.scheduler.queue("echo ::progress 0.25 epoch 1 of 4; echo ::progress 7; echo x ::progress 0.5; printf '::progress 1 done'")
    rig.scheduler.ended(name)
    told = [(r["fraction"], r.get("message")) for r in rig.scheduler.of(name, "task.progress") if "fraction" in r]
    assert told[-1] == (1, "done") and set(told) <= {(0.25, "epoch 1 of 4"), (1, "done")}


def ask_log(rig, **body):
    answer = rig.stack.post("/api/requests/task.log.hands", body)
    return answer.status, json.loads(answer.body)


def test_a_log_is_read_from_elsewhere_while_it_grows_and_when_it_is_over(rig):
    go = rig.folder / "go"
    name = rig.scheduler.queue(f"echo one; while ! [ -e {go} ]; do sleep 0.02; done; printf 'two \\303\\n'")
    wait_until(lambda: ask_log(rig, **{"try": name})[1].get("text") == "one\n", "the first line")
    status, piece = ask_log(rig, **{"try": name, "from": 0})
    assert status == 200 and (piece["from"], piece["next"], piece["size"], piece["ended"]) == (0, 4, 4, False)
    go.touch()
    ended = rig.scheduler.ended(name)
    _, rest = ask_log(rig, **{"try": name, "log": ended["log"], "from": piece["next"]})
    assert (rest["text"], rest["next"], rest["ended"]) == ("two \ufffd\n", 10, True)


def test_a_character_that_is_half_written_waits_for_its_rest(rig):
    go = rig.folder / "go"
    name = rig.scheduler.queue(f"printf '\\303'; while ! [ -e {go} ]; do sleep 0.02; done; printf '\\251'")
    wait_until(lambda: ask_log(rig, **{"try": name})[1].get("size") == 1, "the first half")
    piece = ask_log(rig, **{"try": name, "from": 0})[1]
    assert (piece["text"], piece["next"], piece["ended"]) == ("", 0, False)
    go.touch()
    ended = rig.scheduler.ended(name)
    whole = ask_log(rig, **{"try": name, "log": ended["log"], "from": 0})[1]
    assert (whole["text"], whole["next"], whole["ended"]) == ("\u00e9", 2, True)


def test_behind_the_end_of_a_log_there_is_nothing(rig):
    ended = rig.run("echo x", name="short")
    for place in (2, 3, 2**63 - 1):
        status, piece = ask_log(rig, **{"try": "short", "log": ended["log"], "from": place})
        assert status == 200 and (piece["text"], piece["next"], piece["size"], piece["ended"]) == ("", place, 2, True)


def test_the_end_of_a_long_log_begins_with_a_whole_line(rig):
    ended = rig.run("seq 100000", name="long")
    _, piece = ask_log(rig, **{"try": "long", "log": ended["log"]})
    numbers = [int(line) for line in piece["text"].splitlines()]
    assert numbers == list(range(numbers[0], 100001)) and len(numbers) > 9000 and piece["ended"]
    _, first = ask_log(rig, **{"try": "long", "log": ended["log"], "from": 0, "bytes": 5})
    assert (first["text"], first["next"], first["ended"]) == ("1\n2\n3", 5, False)


def test_only_logs_are_read(rig):
    rig.run("echo secret > ../secret; echo x", name="a", directory=str(rig.folder / "run"))
    secret = rig.folder / "secret"
    os.symlink(secret, rig.folder / "run" / "logs" / "link.log")
    host = os.uname().nodename
    for place in (str(secret), f"{rig.folder}/run/logs/../../secret", f"{rig.folder}/run/logs/link.log", "/etc/passwd",
                  f"{rig.folder}/run/logs", f"{rig.folder}/run/logs/gone.log"):
        status, answer = ask_log(rig, **{"try": "a", "log": f"{host}:{place}"})
        assert status == 404 and "text" not in answer, place
    assert ask_log(rig, **{"try": "a"})[0] == 404 and ask_log(rig)[0] == 400
    assert ask_log(rig, **{"try": "a", "from": -1})[0] == 400


def test_the_same_try_twice_runs_once(rig):
    mark = rig.folder / "ran"
    name = rig.scheduler.queue(f"echo x >> {mark}; sleep 0.2")
    rig.scheduler.queue(f"echo x >> {mark}", name=name)
    rig.scheduler.ended(name)
    assert rig.run("true", name="behind-it")["exit_code"] == 0
    assert mark.read_text() == "x\n"


def test_a_refused_try_is_dropped(rig):
    rig.scheduler.refuse["gone"] = "over"
    rig.scheduler.queue(f"touch {rig.folder}/wrong", name="gone")
    rig.run("true", name="next")
    wait_until(lambda: [c for c in rig.scheduler.claims if c["try"] == "gone"], "it was asked for")
    assert not (rig.folder / "wrong").exists()


def test_no_more_run_at_a_time_than_there_are_slots(make):
    rig = make(options="slots: 2")
    names = [rig.scheduler.queue(f"echo + >> {rig.folder}/both; sleep 0.05; echo - >> {rig.folder}/both") for _ in range(10)]
    for name in names:
        assert rig.scheduler.ended(name)["exit_code"] == 0
    depth, most = 0, 0
    for line in (rig.folder / "both").read_text().splitlines():
        depth += 1 if line == "+" else -1
        most = max(most, depth)
    assert most <= 2 and depth == 0


# ---- commands that behave badly

@pytest.mark.parametrize("command, says", [
    (["/no/such/program"], "cannot start \"/no/such/program\": No such file"),
    (["no-such-program"], "no command \"no-such-program\" in PATH="),
    (["/etc/passwd"], "Permission denied"),
    ([], "has no command"),
])
def test_a_command_that_cannot_be_started(rig, command, says):
    ended = rig.run(command)
    assert ended["reason"] == "not_started" and says in ended["error"] and ended["exit_code"] is None


def test_a_directory_that_is_not_there(rig):
    ended = rig.run(["true"], directory="/no/such/place")
    assert ended["reason"] == "not_started" and 'directory "/no/such/place"' in ended["error"]


def test_exit_codes_and_signals(rig):
    assert rig.run("exit 7")["exit_code"] == 7
    ended = rig.run("kill -SEGV $$")
    assert ended["reason"] == "signal" and ended["signal"] == signal.SIGSEGV and ended["exit_code"] is None


def test_binary_output_is_kept_raw_and_told_safely(rig):
    raw = bytes(range(256)) * 4 + "zwölf Boxkämpfer\n".encode() + b"\x00\xff\xed\xa0\x80"
    text = base64.b64encode(raw).decode()
    name = rig.scheduler.queue(f"echo {text} | base64 -d")
    assert rig.log(rig.scheduler.ended(name)) == raw
    told = "".join(log for _, log in sorted(rig.scheduler.log(name).items()))
    assert "zwölf Boxkämpfer\n" in told and "\ufffd" in told and "\0" not in told


def test_long_lines_come_whole(rig):
    name = rig.scheduler.queue("head -c 1000000 /dev/zero | tr '\\0' y; echo; echo end")
    log = rig.log(rig.scheduler.ended(name))
    assert len(log) == 1000005 and log.endswith(b"y\nend\n")


def test_a_flood_is_bounded_on_the_bus_and_on_the_disk(make):
    rig = make(options="log_max: 1MiB, log_events: 4KiB")
    name = rig.scheduler.queue("yes lineshaft | head -c 20000000; echo the end >&2; exit 3")
    ended = rig.scheduler.ended(name)
    log = rig.log(ended)
    assert ended["exit_code"] == 3 and len(log) <= 1 << 20
    assert b"log_max, 1048576 bytes, is reached; the command goes on]\n" in log[-200:]
    told = rig.scheduler.log(name)
    assert told[max(told)].endswith("the command goes on]\n") and sum(map(len, told.values())) < 200_000


@pytest.mark.parametrize("events, told", [("none", ""), ("tail", "x" * 16384)])
def test_how_much_goes_onto_the_bus(make, events, told):
    rig = make(options=f"log_events: {events}")
    name = rig.scheduler.queue("head -c 100000 /dev/zero | tr '\\0' x")
    rig.scheduler.ended(name)
    assert "".join(rig.scheduler.log(name).values()) == told


def test_the_whole_log_can_go_onto_the_bus(make):
    rig = make(options="log_events: full")
    name = rig.scheduler.queue("seq 1 20000")
    log = rig.log(rig.scheduler.ended(name)).decode()
    told, at = rig.scheduler.log(name), 0
    for offset in sorted(told):
        assert offset == at
        at += len(told[offset])
    assert "".join(told[offset] for offset in sorted(told)) == log


def test_a_full_disk_ends_the_log_and_not_the_command(rig):
    """The kernel's own limit for files stands for the disk: to the runner both are a write that fails."""
    resource.prlimit(rig.runner(), resource.RLIMIT_FSIZE, (65536, 65536))
    name = rig.scheduler.queue("yes lineshaft | head -c 1000000; exit 3")
    ended = rig.scheduler.ended(name)
    log = rig.log(ended)
    assert ended["exit_code"] == 3 and 65000 < len(log) <= 65536
    assert log.endswith(b"[lineshaft: the log ends here: File too large; the command goes on]\n")
    assert any("the command goes on]" in text for text in rig.scheduler.log(name).values())


def test_a_command_that_closes_its_output_is_waited_for(rig):
    ended = rig.run("exec >&- 2>&-; sleep 0.3; exit 5")
    assert ended["exit_code"] == 5 and ended["duration_ms"] >= 290


def test_a_command_out_of_descriptors_is_its_own_matter(rig):
    script = "import os\nfds=[]\ntry:\n  while 1: fds.append(os.dup(1))\nexcept OSError: os.write(1, b'out of them'); os._exit(4)"
    ended = rig.run([sys.executable, "-c", script])
    assert ended["exit_code"] == 4 and rig.log(ended) == b"out of them"
    assert rig.run("exit 0")["exit_code"] == 0


def test_what_a_command_leaves_behind_ends_with_it(rig):
    mark = new_mark()
    name = rig.scheduler.queue(brood(mark, "exit 6"))
    assert rig.scheduler.ended(name)["exit_code"] == 6
    assert processes(mark) == []


def test_what_forks_on_and_on_ends(rig):
    """Processes in sessions of their own that ignore SIGTERM and hand over to a child again and again."""
    mark = new_mark()
    script = f"""
import os, select, signal  # {mark}
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(5):
    if os.fork() == 0:
        os.setsid()
while True:
    select.select([], [], [], 0.05)
    if os.fork():
        os._exit(0)
"""
    ended = rig.run([sys.executable, "-c", script], timeout_ms=1000)
    assert ended["reason"] in ("timeout", "exit") and processes(mark) == []


# ---- stopping

def test_a_timeout_ends_what_ignores_sigterm(rig):
    mark = new_mark()
    name = rig.scheduler.queue(brood(mark, "trap '' TERM; while :; do sleep 1; done"), timeout_ms=1000)
    ended = rig.scheduler.ended(name)
    assert ended["reason"] == "timeout" and ended["signal"] == signal.SIGKILL and processes(mark) == []


def test_a_cancelled_try_may_end_in_order(rig):
    name = rig.scheduler.queue("trap 'echo bye; exit 9' TERM; echo ready; while :; do sleep 0.05; done")
    rig.scheduler.until(name, "task.progress")
    rig.scheduler.publish("task.cancel", workflow="w", workflow_run_id="r/1", task="a", **{"try": name}, reason="cancelled")
    ended = rig.scheduler.ended(name)
    assert ended["reason"] == "cancelled" and ended["exit_code"] == 9 and rig.log(ended).endswith(b"bye\n")


def test_a_cancelled_try_has_its_time_to_end_as_long_as_its_lease_is_renewed(make):
    rig = make(lease_ms=1000, kill_after="60s")
    name = rig.scheduler.queue("trap 'echo ending; while [ ! -e go ]; do sleep 0.02; done; exit 9' TERM; while :; do sleep 0.05; done")
    rig.scheduler.started(name)
    rig.scheduler.publish("task.cancel", workflow="w", workflow_run_id="r/1", task="a", **{"try": name}, reason="cancelled")
    rig.scheduler.until(name, "task.progress")
    seen = len(rig.scheduler.renewals)
    wait_until(lambda: len(rig.scheduler.renewals) >= seen + 6, "renewals for longer than a lease")
    (rig.folder / "go").touch()
    ended = rig.scheduler.ended(name)
    assert ended["reason"] == "cancelled" and ended["exit_code"] == 9


def test_the_answer_to_a_renewal_stops_tries(make):
    rig = make(lease_ms=1500)
    name = rig.scheduler.queue("sleep 1000")
    rig.scheduler.started(name)
    rig.scheduler.stop_tries.append({"try": name, "reason": "over"})
    assert rig.scheduler.ended(name)["reason"] == "over"


def test_a_runner_that_is_told_to_stop_ends_what_does_not_finish(make):
    rig = make(options="slots: 4, stop_timeout: 4s")
    mark = new_mark()
    name, quick = rig.scheduler.queue(brood(mark)), rig.scheduler.queue("echo ready; sleep 0.5; exit 3")
    until_brood(rig, name, mark)
    rig.scheduler.until(quick, "task.progress")
    before = rig.runner()
    os.kill(before, signal.SIGTERM)
    assert rig.scheduler.ended(quick)["exit_code"] == 3
    ended = rig.scheduler.ended(name)
    assert ended["reason"] == "stopped" and processes(mark) == []


# ---- what dies

def test_a_killed_runner_leaves_nothing_and_its_successor_says_lost(rig):
    mark = new_mark()
    name = rig.scheduler.queue(brood(mark))
    until_brood(rig, name, mark)
    rig.kill_runner()
    ended = rig.scheduler.ended(name)
    assert ended["reason"] == "lost" and processes(mark) == []
    wait_until(lambda: any(r["boot"] != rig.scheduler.granted[name][1] for r in rig.scheduler.renewals), "the new boot")
    first = next(r for r in rig.scheduler.renewals if r["boot"] != rig.scheduler.granted[name][1])
    assert first["ended"] == [name] and first["tries"] == []
    assert rig.run("exit 2")["exit_code"] == 2


def test_a_runner_that_comes_back_tells_the_real_result(rig):
    """The broker is away when the command ends, so the report cannot be stored; then the runner is killed."""
    name = rig.scheduler.queue("echo v=7 > $LINESHAFT_OUTPUTS; echo said; while [ ! -e go ]; do sleep 0.02; done; exit 0")
    rig.scheduler.until(name, "task.progress")
    broker = rig.stack.broker_pid()
    os.kill(broker, signal.SIGSTOP)
    (rig.folder / "go").touch()
    wait_until(lambda: any(name in record and "\nended " in record for record in records(rig)), "the keeper wrote the result")
    os.kill(rig.runner(), signal.SIGKILL)
    os.kill(broker, signal.SIGCONT)
    ended = rig.scheduler.ended(name)
    assert ended["reason"] == "exit" and ended["exit_code"] == 0 and ended["outputs"] == {"v": 7} and rig.log(ended) == b"said\n"


def test_a_killed_keeper_leaves_nothing(rig):
    mark = new_mark()
    name, other = rig.scheduler.queue(brood(mark)), rig.scheduler.queue("while [ ! -e go ]; do sleep 0.02; done; exit 8")
    until_brood(rig, name, mark)
    rig.scheduler.started(other)
    os.kill(keeper_of(rig.scheduler.started(name)["pid"]), signal.SIGKILL)
    ended = rig.scheduler.ended(name)
    assert ended["reason"] == "lost" and "keeper" in ended["error"] and processes(mark) == []
    (rig.folder / "go").touch()
    assert rig.scheduler.ended(other)["exit_code"] == 8
    wait_until(lambda: len(keepers_of(rig)) == 4, "four keepers again")
    assert rig.run("exit 2")["exit_code"] == 2


def test_runner_and_keeper_killed_together_leave_nothing(rig):
    mark = new_mark()
    name = rig.scheduler.queue(brood(mark))
    until_brood(rig, name, mark)
    pids = [rig.runner(), keeper_of(rig.scheduler.started(name)["pid"])]
    os.kill(pids[0], signal.SIGSTOP)
    for pid in reversed(pids):
        os.kill(pid, signal.SIGKILL)
    assert rig.scheduler.ended(name)["reason"] == "lost" and processes(mark) == []


def test_a_killed_up_leaves_nothing(rig):
    mark = new_mark()
    name = rig.scheduler.queue(brood(mark))
    until_brood(rig, name, mark)
    keepers = keepers_of(rig)
    rig.stack.up.process.kill()
    until_gone(mark)
    wait_until(lambda: not any(os.path.exists(f"/proc/{pid}/exe") for pid in keepers), "no keeper")


# ---- who is away

def test_a_scheduler_that_is_away_ends_nothing(make):
    rig = make(lease_ms=900)
    name = rig.scheduler.queue("while [ ! -e go ]; do sleep 0.02; done; exit 4")
    rig.scheduler.started(name)
    rig.scheduler.stop()
    until = time.monotonic() + 3  # three leases long nobody serves task.renew
    wait_until(lambda: time.monotonic() > until, "later")
    (rig.folder / "go").touch()
    rig.scheduler.start()
    assert rig.scheduler.ended(name)["exit_code"] == 4


def test_a_try_waits_for_a_scheduler(rig):
    rig.scheduler.stop()
    peer = rig.stack.dealer("queue")
    body = {"workflow": "w", "workflow_run_id": "r", "task": "a", "try": "early", "command": ["true"]}
    peer.ok("PUB", {"topic": "task.queued", "n": 1}, json.dumps(body).encode())
    rig.up().wait_for("claim-waits")
    peer.close()
    rig.scheduler.start()
    assert rig.scheduler.ended("early")["exit_code"] == 0


def test_a_silent_scheduler_lets_the_lease_run_out(make):
    rig = make(lease_ms=1500)
    mark = new_mark()
    name = rig.scheduler.queue(brood(mark))
    until_brood(rig, name, mark)
    rig.scheduler.silent = True
    until_gone(mark)
    ended = rig.scheduler.ended(name)
    assert ended["reason"] == "lost" and "lease" in ended["error"]


def test_a_broker_that_is_away_for_longer_than_the_lease(make):
    rig = make(lease_ms=1500)
    mark = new_mark()
    name = rig.scheduler.queue(brood(mark))
    until_brood(rig, name, mark)
    os.kill(rig.stack.broker_pid(), signal.SIGSTOP)
    until_gone(mark)
    os.kill(rig.stack.broker_pid(), signal.SIGCONT)
    rig.scheduler.stop()
    rig.scheduler.start()
    assert rig.scheduler.ended(name)["reason"] == "lost"


def test_a_broker_that_is_away_for_less_than_the_lease(make):
    rig = make(lease_ms=20000)
    name = rig.scheduler.queue("while [ ! -e go ]; do sleep 0.02; done; exit 4")
    rig.scheduler.started(name)
    before = rig.stack.broker_pid()
    os.kill(before, signal.SIGKILL)
    rig.scheduler.stop()
    wait_until(lambda: broker_again(rig, before), "a new broker")
    rig.scheduler.start()
    (rig.folder / "go").touch()
    assert rig.scheduler.ended(name)["exit_code"] == 4


def broker_again(rig, before):
    try:
        return rig.stack.broker_pid() != before and rig.stack.ready()
    except AssertionError:
        return False


def test_a_keeper_that_was_stopped_is_replaced_when_the_lease_is_over(make):
    rig = make(lease_ms=1000)
    mark = new_mark()
    name = rig.scheduler.queue(brood(mark))
    until_brood(rig, name, mark)
    os.kill(keeper_of(rig.scheduler.started(name)["pid"]), signal.SIGSTOP)
    rig.scheduler.silent = True
    until_gone(mark)
    assert rig.scheduler.ended(name)["reason"] == "lost"


# ---- what it costs

def test_an_idle_runner_does_nothing(rig):
    rig.run("true")
    pids = [rig.runner(), *keepers_of(rig)]
    assert len(pids) == 5
    before = [ticks(pid) for pid in pids[1:]]
    rig.run("true")
    rig.run("true")
    after = [ticks(pid) for pid in pids[1:]]
    assert sum(a != b for a, b in zip(before, after)) <= 2


def ticks(pid):
    with open(f"/proc/{pid}/status") as file:
        return next(line.split()[1] for line in file if line.startswith("voluntary_ctxt"))


def test_old_logs_go(make):
    rig = make(options="slots: 1, log_keep: 1h")
    ended = rig.run("echo old")
    path = ended["log"].partition(":")[2]
    os.utime(path, (1, 1))
    rig.kill_runner()
    wait_until(lambda: not os.path.exists(path), "the old log is gone")
