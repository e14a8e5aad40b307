# SPDX-License-Identifier: Apache-2.0
"""lineshaft workflow, against a scheduler made of a table of answers: what it asks, what it shows, how it follows a run."""
import json
import re
import signal

import pytest

from bus import Refusal, StandIn, free_base, pack
from cli import Background, objects, ok, on_terminal, run, wait_until

RUN = {"workflow": "train", "workflow_run_id": "manual__1", "state": "success", "reason": None, "trigger": "manual",
       "queued_at": "2026-11-23T02:00:00Z", "start_date": "2026-11-23T02:00:00Z", "end_date": "2026-11-23T02:00:03.400Z",
       "duration_ms": 3400, "inputs": {"order": 5}, "note": None, "event_id": None, "event_topic": None, "tasks_total": 3, "tasks_done": 3,
       "tasks_failed": 0, "logical_date": None}


def task(name, state="success", **more):
    return {"task": name, "state": state, "type": "command", "depends_on": [], "trigger_rule": "all_success", "attempt": 1,
            "attempts_max": 1, "duration_ms": 2100, "error": None, "reason": None, "outputs": {}, "tries": [], **more}


WORKFLOW = {"id": "train", "description": "makes a model", "file": "w/train.yaml", "paused": False, "schedule": ["0 2 * * *"],
            "triggers": [], "next": "2099-01-01T02:00:00Z", "active_runs": 1, "last_run": RUN}


class Scheduler(StandIn):
    """Serves scheduler.*: `answers` maps the request's last word to an answer, or to a function of the body that gives one."""

    def __init__(self, bus, **answers):
        self.answers, self.asked = answers, []
        super().__init__(bus, "scheduler", "scheduler.*")

    def answer(self, topic, body):
        verb = topic.rpartition(".")[2]
        self.asked.append((verb, body))
        answer = self.answers.get(verb, {})
        return answer(body) if callable(answer) else answer

    def tell(self, topic, **data):
        self.peer.send("PUB", {"topic": topic}, pack(data))


@pytest.fixture
def scheduler(make_bus):
    """scheduler(list={...}, ...) is one with those answers, on a broker that keeps its events."""
    bus = make_bus(more='  work: { topics: ["workflow.>", "task.>"] }\n')
    return lambda **answers: Scheduler(bus, **answers)


def rows(text):
    return [re.split(r" {2,}", line.strip()) for line in text.splitlines()]


def test_ls_says_what_starts_a_workflow_and_when(scheduler):
    paused = {**WORKFLOW, "id": "evaluate", "schedule": [], "triggers": ["model.version.created"], "paused": True, "last_run": None}
    answer = {"workflows": [WORKFLOW, paused, {**WORKFLOW, "id": "by-hand", "schedule": [], "next": None}],
              "problems": [{"file": "w/bad.yaml", "line": 3, "column": 5, "code": "key-unknown", "text": "there is no key \"taks\"",
                            "hint": "did you mean \"tasks\"?"}]}
    s = scheduler(list=answer)
    result = run("workflow", "ls", url=s.url)
    table = rows(result.out)
    assert result.status == 0 and table[0] == ["WORKFLOW", "STARTS", "NEXT", "ACTIVE", "LAST RUN", "DESCRIPTION"]
    assert table[1][:2] == ["train", "0 2 * * *"] and re.fullmatch(r"in \d+ d \d+ h \(2099-01-01 .*\)", table[1][2])
    assert table[1][3] == "1" and table[1][4].startswith("success, ")
    assert table[2][:3] == ["evaluate", "on model.version.created", "paused"] and table[2][4] == "-"
    assert table[3][:3] == ["by-hand", "by hand", "-"]
    assert 'w/bad.yaml:3:5: error: there is no key "taks" [key-unknown]\n  hint: did you mean "tasks"?' in result.err
    assert json.loads(ok("workflow", "--json", url=s.url)) == answer


def test_on_a_terminal_states_have_a_symbol_and_a_colour(scheduler):
    tasks = [task("train"), task("promote", "failed", error="perplexity of r1 is not known", depends_on=["train"])]
    s = scheduler(show={**RUN, "state": "failed", "tasks": tasks})
    status, text = on_terminal("workflow", "show", "train", url=s.url, columns=60)
    assert status == 0 and "\x1b[32m✔ success" in text and "\x1b[31m✘ failed" in text
    assert all(len(re.sub(r"\x1b\[\d*m", "", line)) <= 60 for line in text.split("\r\n")) and "…" in text
    assert "\x1b" not in ok("workflow", "show", "train", url=s.url)


def test_show_is_a_run_with_its_tasks(scheduler):
    tasks = [task("train", attempt=2, attempts_max=3),
             task("model", "up_for_retry", error="exit code 3", next_attempt_at="2099-01-01T00:00:00Z"),
             task("promote", "none", attempt=0, duration_ms=None, depends_on=["train", "model"])]
    s = scheduler(show={**RUN, "tasks": tasks})
    text = ok("workflow", "show", "train", url=s.url)
    assert re.search(r"^run +manual__1$", text, re.M) and re.search(r"^state +success, took 3.4 s$", text, re.M)
    assert re.search(r"^started +by hand$", text, re.M) and re.search(r'^inputs +\{"order":5\}$', text, re.M)
    table = rows(text.split("\n\n")[1])
    assert table[0] == ["TASK", "STATE", "TRY", "TOOK", "AFTER", "WHY"]
    assert table[1] == ["train", "success", "2 of 3", "2.1 s", "-"]
    assert re.fullmatch(r"again in .*: exit code 3", table[2][5])
    assert table[3] == ["promote", "none", "-", "-", "train, model"]
    ok("workflow", "show", "train", "manual__1", url=s.url)
    assert s.asked == [("show", {"workflow": "train"}), ("show", {"workflow": "train", "workflow_run_id": "manual__1"})]


def test_show_lists_runs(scheduler):
    by_event = {**RUN, "state": "failed", "trigger": "event", "reason": "cancelled", "tasks_done": 1}
    s = scheduler(runs={"runs": [RUN, by_event]})
    table = rows(ok("workflow", "show", url=s.url))
    assert table[0] == ["WORKFLOW", "RUN", "STATE", "BY", "BEGAN", "TOOK", "TASKS", "WHY"]
    assert table[1][:4] == ["train", "manual__1", "success", "manual"] and table[1][5:] == ["3.4 s", "3/3"]
    assert table[2][2:4] + table[2][6:] == ["failed", "event", "1/3", "cancelled"]
    ok("workflow", "show", "train", "--limit", 3, "--state", "failed", url=s.url)
    wrong = run("workflow", "show", "train", "manual__1", "--limit", 3, url=s.url)
    assert wrong.status == 2 and "leave RUN out" in wrong.err
    assert s.asked == [("runs", {"limit": 20}), ("runs", {"workflow": "train", "limit": 3, "state": "failed"})]


def test_run_sends_the_inputs_and_an_id_that_may_be_sent_again(scheduler):
    s = scheduler(run=lambda body: {**RUN, "state": "queued", **body})
    out = ok("workflow", "run", "train", "-i", "order=4", "--input", "text=a=b", "--inputs", '{"order": 9, "deep": [1]}', "--note", "by me",
             "--date", "2026-11-23T02:00:00Z", url=s.url)
    (_, body), = s.asked
    assert re.fullmatch(r"manual__[0-9TZ:.-]+_[0-9a-f]{4}", body["workflow_run_id"])
    assert out == f"ok train {body['workflow_run_id']} is queued\n"
    assert body["inputs"] == {"order": "4", "text": "a=b", "deep": [1]}
    assert (body["note"], body["logical_date"]) == ("by me", "2026-11-23T02:00:00Z")
    assert json.loads(ok("workflow", "run", "train", "--run", "mine", "--json", url=s.url))["workflow_run_id"] == "mine"


@pytest.mark.parametrize("state, topic, status", [("success", "succeeded", 0), ("failed", "failed", 1), ("failed", "cancelled", 1)])
def test_wait_ends_with_the_run_and_tells_how_it_went(scheduler, state, topic, status):
    def begin(body):
        s.tell("workflow.run." + topic, workflow="train", workflow_run_id="other")
        s.tell("workflow.run." + topic, workflow="train", workflow_run_id=body["workflow_run_id"])
        return {**RUN, "state": "queued", **body}

    s = scheduler(run=begin, show=lambda body: {**RUN, "state": state, "reason": "tired" if status else None, **body, "tasks": []})
    result = run("workflow", "run", "train", "--wait", url=s.url)
    assert result.status == status
    assert re.fullmatch(rf"train manual__\S+: {state} after 3.4 s{': tired' if status else ''}\n", result.out)


def test_wait_for_a_run_that_is_over_already(scheduler):
    s = scheduler(run=lambda body: {**RUN, **body}, show=lambda body: {**RUN, **body, "tasks": []})
    assert ok("workflow", "run", "train", "--run", "old", "--wait", url=s.url) == "train old: success after 3.4 s\n"


def test_wait_outlives_a_scheduler_that_is_started_again(scheduler):
    shows = iter([Refusal(503, "the database is away"), Refusal(503, "the database is away"), {**RUN, "tasks": []}])

    def show(body):
        answer = next(shows)
        if isinstance(answer, Refusal):
            raise answer
        return {**answer, **body}

    s = scheduler(run=lambda body: {**RUN, **body}, show=show)
    result = run("workflow", "run", "train", "--wait", url=s.url)
    assert result.status == 0 and result.err.count("the scheduler does not answer") == 1 and "success after 3.4 s" in result.out


def test_a_run_that_never_began_took_no_time(scheduler):
    never = {**RUN, "state": "failed", "start_date": None, "duration_ms": None, "reason": "no more", "tasks": []}
    s = scheduler(run=lambda body: {**never, **body}, show=lambda body: {**never, **body})
    assert run("workflow", "run", "train", "--run", "r", "--wait", url=s.url).out == "train r: failed: no more\n"


def followed(scheduler, events):
    def begin(body):
        for topic, data in events:
            s.tell(topic, **{"workflow": "train", "workflow_run_id": body["workflow_run_id"], "task": "train", "try": "t1", **data})
        s.tell("workflow.run.succeeded", workflow="train", workflow_run_id=body["workflow_run_id"])
        return {**RUN, "state": "running", **body}

    s = scheduler(run=begin, show=lambda body: {**RUN, **body, "tasks": [task("train")]})
    return s


def test_follow_shows_states_progress_and_the_log_line_by_line(scheduler):
    s = followed(scheduler, [
        ("task.queued", {}), ("task.started", {"attempt": 2, "runner": "hands"}), ("task.progress", {"log": "::progress 0.1 x\none\ntw"}),
        ("task.progress", {"log": "o\nthr\x1b[31mee"}), ("task.progress", {"fraction": 0.25, "message": "order 2"}),
        ("task.started", {"workflow_run_id": "other", "runner": "nobody"}), ("task.ended", {"reason": "exit", "exit_code": 3}),
        ("task.failed", {"final": False, "error": "exit code 3"}), ("task.retrying", {"error": "exit code 3", "delay_ms": 30000}),
        ("task.succeeded", {"duration_ms": 2100, "outputs": {"message": "it is done"}}),
        ("task.skipped", {"task": "b", "reason": "when", "because": "its condition was false: inputs.x"}),
        ("task.failed", {"task": "c", "final": True, "error": "exit code 2"}),
        ("task.failed", {"task": "d", "final": True, "reason": "upstream_failed"})])
    out = ok("workflow", "run", "train", "--follow", url=s.url)
    lines = [re.sub(r"^[\d:. -]+  ", "", line) for line in out.split("\n\n")[0].splitlines()]
    assert [re.sub(r" +", " ", line) for line in lines] == [
        "train queued", "train running, try 2 on hands", "train | one", "train | two", "train 25 % order 2", "train | thr\\x1b[31mee",
        "train up_for_retry: exit code 3; again in 30 s", "train success, 2.1 s: it is done",
        "b skipped: its condition was false: inputs.x", "c failed: exit code 2",
        "d upstream_failed"]
    assert rows(out.split("\n\n")[1])[1][:2] == ["train", "success"] and out.endswith("success after 3.4 s\n")


def test_follow_as_json_is_the_events_and_then_the_run(scheduler):
    s = followed(scheduler, [("task.queued", {})])
    lines = objects(ok("workflow", "run", "train", "--follow", "--json", url=s.url))
    assert [line.get("topic") for line in lines] == ["task.queued", "workflow.run.succeeded", None]
    assert lines[2]["state"] == "success" and lines[2]["tasks"][0]["task"] == "train"


def test_interrupting_follow_leaves_the_run_alone(scheduler):
    def begin(body):
        s.tell("task.queued", workflow="train", workflow_run_id=body["workflow_run_id"], task="train", **{"try": "t1"})
        return {**RUN, "state": "queued", **body}

    s = scheduler(run=begin)
    with Background("workflow", "run", "train", "--follow", url=s.url) as follow:
        follow.wait_for("queued")
        assert follow.end(signal.SIGINT) in (1, -signal.SIGINT)
    assert [verb for verb, _ in s.asked] == ["run"]


def test_explain_gives_the_reasons_and_the_tries(scheduler):
    tries = [{"try": "t1", "attempt": 1, "state": "failed", "runner": "hands", "start_date": "2026-11-23T02:00:00Z",
              "end_date": "2026-11-23T02:00:00.900Z", "exit_code": 3, "error": "exit code 3"}]
    s = scheduler(explain=task("b", "upstream_failed", why=["`a` failed", "its rule is all_success"], depends_on=["a"], tries=tries,
                               log="lab:/var/log/t1"))
    text = ok("workflow", "explain", "train", "b", "--run", "manual__1", url=s.url)
    assert re.search(r"^why +`a` failed\n +its rule is all_success$", text, re.M) and re.search(r"^after +a \(all_success\)$", text, re.M)
    assert re.search(r"^log +lab:/var/log/t1$", text, re.M)
    row = rows(text.split("\n\n")[1])[1]
    assert row[:3] == ["1", "failed", "hands"] and row[4:] == ["900 ms", "3", "exit code 3"]
    assert s.asked == [("explain", {"workflow": "train", "task": "b", "workflow_run_id": "manual__1"})]


def test_cancel_needs_no_run_when_one_is_under_way(scheduler):
    def runs(body):
        return {"runs": [{**RUN, "state": "running"}] if body["state"] == "running" else []}

    s = scheduler(runs=runs, cancel=lambda body: {**RUN, **body, "state": "failed"})
    assert ok("workflow", "cancel", "train", "--reason", "enough", url=s.url) == "ok train manual__1 is cancelled\n"
    assert s.asked[-1] == ("cancel", {"workflow": "train", "workflow_run_id": "manual__1", "reason": "enough"})
    s.answers["cancel"] = {**RUN, "state": "running"}
    assert "is being stopped" in ok("workflow", "cancel", "train", url=s.url)
    s.answers["runs"] = {"runs": [RUN]}  # of each state one
    result = run("workflow", "cancel", "train", url=s.url)
    assert result.status == 1 and "several runs" in result.err
    s.answers["runs"] = {"runs": []}
    assert 'no run of "train" is under way' in run("workflow", "cancel", "train", url=s.url).err
    ok("workflow", "cancel", "train", "r7", url=s.url)
    assert s.asked[-1][1]["workflow_run_id"] == "r7"


def test_clear_names_what_runs_again(scheduler):
    s = scheduler(clear={"tasks": ["train", "promote"]})
    assert ok("workflow", "clear", "train", "r1", url=s.url) == "cleared train\ncleared promote\n"
    out = ok("workflow", "clear", "train", "r1", "--task", "a", "--task", "b", "--only", "--dry-run", url=s.url)
    assert out.startswith("would clear train\n")
    assert [body for _, body in s.asked] == [
        {"workflow": "train", "workflow_run_id": "r1", "downstream": True, "dry_run": False},
        {"workflow": "train", "workflow_run_id": "r1", "tasks": ["a", "b"], "downstream": False, "dry_run": True}]
    s.answers["clear"] = {"tasks": []}
    result = run("workflow", "clear", "train", "r1", url=s.url)
    assert result.status == 0 and "nothing to clear" in result.err


def test_pause_and_next(scheduler):
    s = scheduler(pause=WORKFLOW, next={"workflow": "train", "times": ["2099-01-01T02:00:00Z"], "paused": True})
    assert "is paused" in ok("workflow", "pause", "train", url=s.url) and "goes on" in ok("workflow", "unpause", "train", url=s.url)
    result = run("workflow", "next", "train", "--count", 1, "--zone", "Europe/Berlin", url=s.url)
    assert rows(result.out)[1][0] == "2099-01-01 03:00:00 +01:00" and "It is paused" in result.err
    assert [body for _, body in s.asked] == [{"workflow": "train", "paused": True}, {"workflow": "train", "paused": False},
                                             {"workflow": "train", "count": 1}]


def test_a_misspelt_workflow_gets_the_nearest_name(scheduler):
    def none(_):
        raise Refusal(404, "there is no workflow \"trian\"")

    s = scheduler(show=none, list={"workflows": [WORKFLOW], "problems": []})
    result = run("workflow", "show", "trian", url=s.url)
    assert result.status == 1 and 'there is no workflow "trian"' in result.err and 'did you mean "train"?' in result.err
    assert "workflow ls" in run("workflow", "show", "something-else", url=s.url).err


def test_without_a_scheduler_it_says_so(bus):
    result = run("workflow", "ls", url=bus.url)
    assert (result.status, result.out) == (1, "") and "no scheduler serves here" in result.err and "kind scheduler" in result.err


@pytest.mark.parametrize("args, words", [
    (["lss"], "none of ls, run, show"),
    (["run"], "run takes one WORKFLOW"),
    (["ls", "train"], "ls takes no argument"),
    (["ls", "--follow"], "ls takes no --follow"),
    (["run", "a", "--input", "x"], "is not NAME=VALUE"),
    (["run", "a", "--inputs", "[1]"], "that is no object"),
    (["run", "a", "--date", "soon"], "--date"),
    (["clear", "a"], "clear takes WORKFLOW and RUN"),
    (["show", "--limit", "0"], "at least 1"),
    (["next", "a", "--folow"], "did you mean --follow?"),
    (["next", "a", "--from", "1h"], "for a file or a cron expression"),
])
def test_wrong_usage_says_what_is_wrong(args, words):
    result = run("workflow", *args)
    assert (result.status, result.out) == (2, ""), result
    assert words in result.err and "lineshaft help workflow" in result.err


# ---- with the real scheduler and a runner ----

LAB = """
lineshaft: 1
name: lab
broker: {{ listen: "tcp://127.0.0.1:{port}", data: data }}
streams: {{ work: {{ topics: [">"] }} }}
nodes:
  clock: {{ kind: scheduler, database: "sqlite:s.db", workflows: [w.yaml] }}
  hands: {{ kind: runner, dir: r }}
"""
FLOW = """
id: flow
inputs: { exit: { default: 0 } }
tasks:
  - { id: make, command: ["sh", "-c", "echo made; echo n=7 > $LINESHAFT_OUTPUTS"] }
  - { id: use, depends_on: [make], command: ["sh", "-c", "echo got {{ outputs.make.n }}; exit {{ inputs.exit }}"] }
  - { id: tell, depends_on: [use], event: flow.done, data: { n: "{{ outputs.make.n }}" } }
"""


@pytest.fixture
def lab(tmp_path):
    """The address of a broker with a scheduler that knows the workflow `flow`, and a runner."""
    base = free_base()
    (tmp_path / "lab.yaml").write_text(LAB.format(port=base))
    (tmp_path / "w.yaml").write_text(FLOW)
    url = f"tcp://127.0.0.1:{base}"
    with Background("up", "lab.yaml", cwd=tmp_path) as up:
        up.wait_for("hands connected")
        wait_until(lambda: '"id":"flow"' in run("workflow", "ls", "--json", url=url).out, "the workflow is known")
        yield url


def test_a_real_run_is_followed_to_its_end_and_explained(lab):
    out = ok("workflow", "run", "flow", "--follow", url=lab)
    for line in ("make +running, on hands", "make +\\| made", "make +success, on hands", "use +\\| got 7", "tell +success"):
        assert re.search(line, out), out
    assert [row[:2] for row in rows(ok("workflow", "show", "flow", url=lab).split("\n\n")[1])[1:]] == [
        ["make", "success"], ["use", "success"], ["tell", "success"]]
    assert '{"n":7}' in ok("workflow", "explain", "flow", "make", url=lab)
    assert objects(ok("tail", "flow.done", "--all", "--no-follow", "--json", url=lab))[0]["data"] == {"n": 7}


def test_a_real_run_that_fails_says_why_and_is_cleared(lab):
    result = run("workflow", "run", "flow", "--run", "r1", "-i", "exit=3", "--wait", url=lab)
    assert result.status == 1 and result.out.startswith("flow r1: failed after ")
    text = ok("workflow", "show", "flow", "r1", url=lab)
    assert re.search(r"^use +failed .*3", text, re.M) and re.search(r"^tell +upstream_failed", text, re.M)
    assert "3" in ok("workflow", "explain", "flow", "use", "--run", "r1", url=lab)
    assert ok("workflow", "clear", "flow", "r1", "--dry-run", url=lab) == "would clear use\nwould clear tell\n"
    assert rows(ok("workflow", "show", "flow", "--limit", 5, url=lab))[1][:3] == ["flow", "r1", "failed"]
    result = run("workflow", "show", "flwo", url=lab)
    assert result.status == 1 and '"flow"' in result.err


def test_a_real_workflow_is_paused_and_goes_on(lab):
    ok("workflow", "pause", "flow", url=lab)
    assert rows(ok("workflow", "ls", url=lab))[1][:3] == ["flow", "by hand", "paused"]
    ok("workflow", "unpause", "flow", url=lab)
    assert rows(ok("workflow", "ls", url=lab))[1][:3] == ["flow", "by hand", "-"]


def test_a_run_of_a_paused_workflow_says_what_it_waits_for_and_the_advised_command_lets_it_go_on(lab):
    ok("workflow", "pause", "flow", url=lab)
    with Background("workflow", "run", "flow", "--run", "r1", "--wait", url=lab) as waiting:
        waiting.wait_for("flow is paused: the run waits until `lineshaft workflow unpause flow`")
        assert "the workflow is paused" in ok("workflow", "show", "flow", "r1", url=lab)
        explained = ok("workflow", "explain", "flow", "make", "--run", "r1", url=lab)
        advice = re.search(r"\(lineshaft (workflow \w+ flow)\)", explained)[1]
        ok(*advice.split(), url=lab)
        waiting.wait_for("flow r1: success")


def test_a_failed_task_shows_the_end_of_its_log(lab):
    result = run("workflow", "run", "flow", "--run", "r1", "-i", "exit=3", "--wait", url=lab)
    assert "| got 7" in result.out, result
    assert "| got 7" in ok("workflow", "explain", "flow", "use", "--run", "r1", url=lab)
    assert "| made" not in ok("workflow", "explain", "flow", "make", "--run", "r1", url=lab)


def test_the_log_of_a_task_comes_from_its_runner(lab):
    assert run("workflow", "run", "flow", "--run", "r1", "-i", "exit=3", "--wait", url=lab).status == 1
    assert ok("workflow", "log", "flow", "use", "--run", "r1", url=lab) == "got 7\n"
    assert ok("workflow", "log", "flow", "make", "--follow", "--attempt", 1, url=lab) == "made\n"
    missing = run("workflow", "log", "flow", "use", "--attempt", 4, url=lab)
    assert missing.status == 1 and '"use" had no attempt 4 in this run; it has had 1' in missing.err
    never = run("workflow", "log", "flow", "tell", url=lab)
    assert never.status == 1 and '"tell" runs no command' in never.err and "workflow explain flow tell" in never.err
    misspelt = run("workflow", "explain", "flow", "maek", url=lab)
    assert misspelt.status == 1 and 'did you mean "make"?' in misspelt.err


def test_who_waits_at_a_terminal_sees_the_states_of_the_tasks(lab):
    status, text = on_terminal("workflow", "run", "flow", "--wait", url=lab, NO_COLOR="1")
    assert status == 0 and re.search(r"make +\S+ success", text) and "| made" not in text and "flow manual__" in text


# ---- next, worked out without a broker ----

def times(*args, **how):
    return json.loads(ok("workflow", "next", *args, "--json", **how))["times"]


def test_next_of_a_cron_expression_needs_no_broker():
    how = ["--from", "2026-11-23T12:00:00Z", "--count", 2]
    assert times("30 2 * * 1-5", *how) == ["2026-11-24T02:30:00Z", "2026-11-25T02:30:00Z"]
    assert times("30 2 * * 1-5", "--zone", "Europe/Berlin", *how) == ["2026-11-24T01:30:00Z", "2026-11-25T01:30:00Z"]
    assert times("@daily", *how)[0] == "2026-11-24T00:00:00Z"
    table = rows(ok("workflow", "next", "0 9 * * *", "--zone", "Europe/Berlin", *how))
    assert table[0] == ["Europe/Berlin", "AWAY", "UTC"] and table[1][0] == "2026-11-24 09:00:00 +01:00"


def test_next_points_at_what_is_wrong_with_an_expression():
    result = run("workflow", "next", "0 25 * * *")
    assert (result.status, result.out) == (1, "") and "\n  0 25 * * *\n    ^" in result.err
    assert run("workflow", "next", "0 0 31 2 *").err == "No date matches the expression.\n"
    result = run("workflow", "next", "0 2 * * *", "--zone", "Europe/Berln")
    assert result.status == 1 and "Europe/Berlin" in result.err


def test_next_of_a_file_needs_no_broker(tmp_path):
    (tmp_path / "w.yaml").write_text("id: nightly\nschedule: 0 2 * * *\ntasks:\n  - { id: a, command: [\"true\"] }\n")
    assert times("w.yaml", "--from", "2026-11-23T12:00:00Z", "--count", 1, cwd=tmp_path) == ["2026-11-24T02:00:00Z"]
    (tmp_path / "w.yaml").write_text("id: nightly\nschedule: 0 2 * * *\ntaks: []\n")
    result = run("workflow", "next", "./w.yaml", cwd=tmp_path)
    assert result.status == 1 and "w.yaml:3:1: error:" in result.err and "tasks" in result.err
    (tmp_path / "t.yaml").write_text("lineshaft: 1\nnodes: {}\n")
    result = run("workflow", "next", "t.yaml", cwd=tmp_path)
    assert result.status == 1 and "t.yaml is no workflow" in result.err and len(result.err.splitlines()) == 1
    assert "nowhere.yaml" in run("workflow", "next", "nowhere.yaml", cwd=tmp_path).err
