# SPDX-License-Identifier: Apache-2.0
"""The node kind `scheduler` on both databases: claims, kills at every edge of a task's life, triggers, files, what it answers."""
import os
import signal
import urllib.parse

import pytest

from cli import Background, wait_until
from postgres import Postgres
from scheduler_rig import Scheduler

COMMAND = "id: w\ntasks:\n  - { id: a, command: [x], retry: { limit: 1, delay: 0s } }\n  - { id: b, event: job.b, depends_on: a }\n"
CHAIN = "id: chain\ntasks:\n" + "".join(f"  - {{ id: t{i}, event: job.t{i}{f', depends_on: t{i - 1}' if i else ''} }}\n" for i in range(5))


@pytest.fixture(scope="module")
def server():
    with Postgres() as postgres:
        yield postgres


@pytest.fixture(params=["sqlite", "postgresql"])
def make(tmp_path, request):
    """make(workflows, ...) starts a stack with a scheduler on each of the databases."""
    made = []

    def start(workflows, **options):
        postgres = request.getfixturevalue("server") if request.param == "postgresql" else None
        made.append(Scheduler(tmp_path / f"stack{len(made)}", postgres, workflows, **options))
        return made[-1]

    yield start
    for stack in made:
        stack.close()
        print("\n".join(stack.up.seen[-80:]))


def agrees(stack):
    """The states that follow from the events alone are those of the database."""
    wait_until(lambda: stack.rebuilt() == stack.stored(), "the same by events and by rows")


def test_a_claim_is_granted_once(make):
    s = make({"w": COMMAND})
    run = s.run("w")
    attempt = s.queued(run, "a")
    assert attempt["command"] == ["x"]
    assert s.claim(attempt) == {"granted": True, "lease_ms": 2000, "cancelled": False}
    assert s.claim(attempt)["granted"]
    assert s.claim(attempt, boot="boot-2") == {"granted": False, "reason": "taken"}
    assert s.claim(attempt, runner="other") == {"granted": False, "reason": "taken"}
    s.kill()
    assert s.claim(attempt, runner="other") == {"granted": False, "reason": "taken"}
    assert s.claim(attempt)["granted"]
    assert s.claim({"try": "nobody knows it"}) == {"granted": False, "reason": "unknown"}
    s.ended(attempt)
    s.until("w", run, "success")
    assert s.claim(attempt) == {"granted": False, "reason": "over"}
    agrees(s)


def test_arguments_and_variables_are_texts(make):
    """A runner gets texts, whatever a template gave."""
    s = make({"w": "id: w\ninputs: { n: 5 }\ntasks: [{ id: a, command: [x, '{{ inputs.n }}'], env: { N: '{{ inputs.n + 1 }}' } }]\n"})
    attempt = s.queued(s.run("w"), "a")
    assert attempt["command"] == ["x", "5"] and attempt["env"] == {"N": "6"}


def test_a_try_that_no_runner_will_hear_of_fails(make):
    """The broker refuses its event: the run must not wait for ever."""
    s = make({"w": f"id: w\ntasks: [{{ id: a, command: [x], directory: /{'d' * 5000} }}]\n"})
    run = s.run("w")
    s.until("w", run, "failed")


def test_kill_9_at_every_edge_loses_nothing_and_repeats_nothing(make):
    s = make({"w": COMMAND})
    run = s.run("w")
    s.kill()                                     # scheduled, queued
    attempt = s.queued(run, "a")
    s.kill()
    assert s.claim(attempt)["granted"]
    s.kill()                                     # claimed
    s.started(attempt)
    s.kill()                                     # running
    s.until_task("w", run, "a", "running")
    s.ended(attempt, code=3)
    s.kill()                                     # between the result and its commit, or just behind it
    second = s.queued(run, "a", 2)
    assert second["try"] != attempt["try"] and second["attempt"] == 2
    assert s.claim(attempt)["reason"] == "over"
    assert s.claim(second)["granted"]
    s.ended(second, outputs={"n": 7})
    s.kill()                                     # the event task behind it
    s.until("w", run, "success")
    s.kill()
    assert s.show("w", run)["tasks"][0]["outputs"] == {"n": 7}
    assert [e["topic"] for e in s.events("job.b")] == ["job.b"]
    assert [t["state"] for t in s.show("w", run)["tasks"][0]["tries"]] == ["failed", "success"]
    agrees(s)


def test_event_tasks_survive_kills_in_full_flight(make):
    s = make({"chain": CHAIN}, options="max_active_tasks: 1000")
    runs = []
    for i in range(12):
        runs.append(s.run("chain", workflow_run_id=f"r{i}"))
        if i % 4 == 3:
            s.kill()
            assert s.run("chain", workflow_run_id=f"r{i}") == f"r{i}"
    for run in runs:
        s.until("chain", run, "success")
    assert len(s.events("job.>")) == 60
    agrees(s)


def test_a_lost_runner_is_made_up_for_without_two_tries_at_once(make):
    s = make({"w": COMMAND})
    run = s.run("w")
    attempt = s.queued(run, "a")
    assert s.claim(attempt)["granted"]
    second = s.queued(run, "a", 2)               # nobody renewed the lease
    assert s.claim(attempt)["reason"] == "over"
    s.ended(attempt)                             # too late
    assert s.states("w", run)["a"] == "queued"
    assert s.claim(second)["granted"]
    stop = s.request("task.renew", runner="hands", boot="boot-1", tries=[attempt["try"], second["try"]])["stop"]
    assert stop == [{"try": attempt["try"], "reason": "over"}]
    s.ended(second)
    s.until("w", run, "success")
    agrees(s)


def test_of_two_schedulers_one_stands_by_and_takes_over(make, tmp_path):
    s = make({"w": COMMAND})
    text = (s.folder / "stack.yaml").read_text()
    s.close()
    line = next(line for line in text.splitlines() if line.startswith("  sched:"))
    (s.folder / "stack.yaml").write_text(text.replace(line, line.replace("lease:", "replicas: 2, lease:")))
    s.up = Background("up", "stack.yaml", cwd=s.folder)
    wait_until(s.ready, "ready")
    s.up.wait_for("database-taken")
    run = s.run("w")
    attempt = s.queued(run, "a")
    for member in ("sched.1", "sched.2"):
        for pid in s.pids("sched", member):
            os.kill(pid, signal.SIGKILL)
        assert s.claim(attempt)["granted"]
    s.ended(attempt)
    s.until("w", run, "success")
    assert len(s.events("task.queued")) == 1
    agrees(s)


def test_states_follow_from_events(make):
    s = make({"mixed": """
id: mixed
tasks:
  - { id: a, command: [x], retry: { limit: 1, delay: 0s } }
  - { id: b, event: job.b, depends_on: a }
  - { id: c, event: job.c, depends_on: b, when: "false" }
  - { id: d, event: job.d, depends_on: c }
  - { id: bad, event: job.e, when: "1 < 'x'" }
  - { id: next, request: scheduler.next, data: { workflow: mixed } }
  - { id: nobody, request: no.such.service, retry: { limit: 1, delay: 0s } }
"""})
    run = s.run("mixed")
    s.work(run, "a", code=1)
    second = s.queued(run, "a", 2)
    s.claim(second)
    s.ended(second, code=1)
    s.until("mixed", run, "failed")
    assert s.states("mixed", run) == {"a": "failed", "b": "upstream_failed", "c": "upstream_failed", "d": "upstream_failed",
                                      "bad": "failed", "next": "success", "nobody": "failed"}
    tasks = {task["task"]: task for task in s.show("mixed", run)["tasks"]}
    assert tasks["next"]["outputs"] == {"workflow": "mixed", "times": []}
    assert len(tasks["nobody"]["tries"]) == 2
    agrees(s)
    assert s.request("scheduler.clear", workflow="mixed", workflow_run_id=run, tasks=["a"])["tasks"] == ["a", "b", "c", "d"]
    attempt = s.queued(run, "a", 3)
    s.claim(attempt)
    other = s.run("mixed")
    s.request("scheduler.cancel", workflow="mixed", workflow_run_id=other)
    s.until("mixed", other, "failed")
    s.ended(attempt)
    s.until("mixed", run, "failed")              # the mistakes of the others stand
    assert s.states("mixed", run)["d"] == "skipped"
    because = {"c": "its condition was false: false", "d": "a task before it was skipped, and its trigger_rule is all_success"}
    assert {task["task"]: task["because"] for task in s.show("mixed", run)["tasks"] if task["because"]} == because
    told = [event["data"] for event in s.events("task.skipped") if event["data"]["workflow_run_id"] == run]
    assert {data["task"]: data["because"] for data in told if "because" in data} == because
    assert s.why("mixed", "c", run) == ["it was skipped: " + because["c"]]
    assert {event["data"]["reason"] for event in s.events("task.retrying") if event["data"]["task"] == "a"} == {"exit"}
    agrees(s)
    ours = [event for event in s.events("task.") if event["data"]["workflow_run_id"] == run and event["source"] == "sched"]
    assert len({event["traceparent"] for event in ours}) == 1


def test_one_run_per_event_across_kills(make):
    s = make({"w": "id: w\ntriggers:\n  - { event: 'made.*', filter: event.data.n != 3, inputs: { n: '{{ event.data.n }}' } }\n"
                   "inputs: { n: { type: integer } }\ntasks:\n  - { id: a, event: job.a, data: { n: '{{ inputs.n }}' } }\n"})
    wait_until(lambda: s.rows(f"SELECT pattern FROM {'lineshaft.' if s.postgres else ''}lineshaft_trigger_position"), "a subscription")
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    for n in range(20):
        s.publish("made.thing", {"n": n}, traceparent=trace)
        if n % 7 == 5:
            s.kill()
    wait_until(lambda: len(s.events("job.a")) == 19, f"all runs")
    assert sorted(event["data"]["n"] for event in s.events("job.a")) == [n for n in range(20) if n != 3]
    runs = s.request("scheduler.runs", workflow="w", limit=100)["runs"]
    assert len(runs) == 19 and {run["trigger"] for run in runs} == {"event"}
    assert all(event["traceparent"].startswith(trace[:36]) for event in s.events("job.a"))
    wait_until(lambda: {run["state"] for run in s.request("scheduler.runs", workflow="w", limit=100)["runs"]} == {"success"}, "success")
    agrees(s)


def test_the_list_tells_what_a_workflow_may_be_given(make):
    s = make({"w": "id: w\ninputs:\n  text: { required: true, description: what is read }\n  order: { default: 5 }\n"
                   "tasks:\n  - { id: a, event: job.a }\n"})
    assert s.request("scheduler.list")["workflows"][0]["inputs"] == [
        {"name": "text", "type": "string", "default": None, "required": True, "description": "what is read"},
        {"name": "order", "type": "integer", "default": 5, "required": False, "description": None}]


def test_a_schedule_runs_by_the_clock_and_pauses(make):
    s = make({"w": "id: w\nschedule: { every: 1s }\ntasks:\n  - { id: a, event: job.a }\n"})
    wait_until(lambda: len(s.events("job.a")) >= 2, "two ticks")
    assert s.request("scheduler.next", workflow="w", count=3)["times"]
    s.request("scheduler.pause", workflow="w", paused=True)
    assert s.request("scheduler.next", workflow="w")["paused"]
    s.kill()
    assert s.request("scheduler.list")["workflows"][0]["paused"]
    runs = s.request("scheduler.runs", workflow="w", limit=100)["runs"]
    assert len({run["logical_date"] for run in runs}) == len(runs)
    s.request("scheduler.pause", workflow="w", paused=False)
    before = len(runs)
    wait_until(lambda: len(s.request("scheduler.runs", workflow="w", limit=100)["runs"]) > before, "it goes on")
    s.request("scheduler.pause", workflow="w", paused=True)
    wait_until(lambda: {run["state"] for run in s.request("scheduler.runs", workflow="w", limit=100)["runs"]} == {"success"}, "success")
    agrees(s)


def test_every_reason_to_wait_has_a_sentence(make):
    s = make({"w": "id: w\nmax_active_runs: 1\ntasks:\n  - { id: a, command: [x] }\n"
                   "  - { id: b, command: [x], depends_on: a, retry: { limit: 1, delay: 1h } }\n",
              "p": "id: p\ntasks:\n  - { id: one, command: [x], pool: gpu, priority: 1 }\n  - { id: two, command: [x], pool: gpu }\n"},
             options="pools: { gpu: 1 }")
    run, later = s.run("w"), s.run("w", workflow_run_id="later")
    s.run("p")
    assert "no runner has claimed it" in s.why("w", "a", run)[0]
    assert s.why("w", "b", run)[0] == "it waits for a, which is queued"
    assert "1 of at most 1 runs" in s.why("w", "a", later)[1]
    assert "1 of 1 slots are taken" in s.why("p", "two")[0]
    s.request("scheduler.pause", workflow="p", paused=True)
    assert "the workflow is paused" in s.why("p", "two")[0]
    attempt = s.queued(run, "a")
    s.claim(attempt)
    assert "runner hands claimed it" in s.why("w", "a", run)[0]
    s.started(attempt)
    s.until_task("w", run, "a", "running")
    assert "it runs at hands since" in s.why("w", "a", run)[0]
    s.ended(attempt)
    s.work(run, "b", code=4)
    s.until_task("w", run, "b", "up_for_retry")
    assert s.why("w", "b", run)[0] == "try 1 failed: exit code 4" and "the next begins at" in s.why("w", "b", run)[1]


def test_files_are_watched_and_mistakes_leave_the_last_good_version(make):
    s = make({"w": "id: w\ntasks:\n  - { id: a, event: job.first }\n"})
    listed = lambda: {w["id"] for w in s.request("scheduler.list")["workflows"]}
    s.write("w", "id: w\ntasks:\n  - { id: a, event: job.second, depends_on: nobody }\n")
    wait_until(lambda: s.request("scheduler.list")["problems"], "a problem")
    problem = s.request("scheduler.list")["problems"][0]
    assert problem["line"] == 3 and "nobody" in problem["text"] and problem["file"].endswith("w.yaml")
    s.kill()                                     # it is broken when the next one starts
    assert listed() == {"w"}
    s.until("w", s.run("w"), "success")
    assert s.events("job.first") and not s.events("job.second")
    s.write("w", "id: w\ntasks:\n  - { id: a, event: job.second }\n")
    s.write("v", "id: v\ntasks:\n  - { id: a, event: job.v }\n")
    wait_until(lambda: listed() == {"v", "w"} and not s.request("scheduler.list")["problems"], "both, without problems")
    s.until("w", s.run("w"), "success")
    assert s.events("job.second")
    (s.workflows / "w.yaml").unlink()
    wait_until(lambda: listed() == {"v"}, "one")
    assert "no file any more" in str(s.request("scheduler.run", 409, workflow="w"))


def test_over_http_it_is_the_same(make):
    s = make({"w": "id: w\ninputs: { n: { type: integer, default: 1 } }\n"
                   "tasks:\n  - { id: a, event: job.a, data: { n: '{{ inputs.n }}' } }\n"})
    run = s.post("/api/workflows/w/runs", {"inputs": {"n": "5"}, "note": "by hand"})
    assert run.status == 200 and run.json["inputs"] == {"n": 5} and run.json["note"] == "by hand"
    name = urllib.parse.quote(run.json["workflow_run_id"], safe="")
    s.until("w", run.json["workflow_run_id"], "success")
    assert s.get(f"/api/workflows/w/runs/{name}").json["tasks"][0]["state"] == "success"
    assert s.get(f"/api/workflows/w/runs/{name}/tasks/a").json["why"][0].startswith("it succeeded at")
    assert len(s.get("/api/workflows/w/runs?limit=1&state=success").json["runs"]) == 1
    assert s.post(f"/api/workflows/w/runs/{name}/cancel", {}).status == 409
    assert s.post(f"/api/workflows/w/runs/{name}/clear", {"tasks": ["a"]}).json == {"tasks": ["a"]}
    assert s.call("PATCH", "/api/workflows/w", {"paused": True}).json["paused"] is True
    assert s.get("/api/workflows/w/next").json == {"workflow": "w", "times": [], "paused": True}
    assert s.get("/api/workflows/none/runs").status == 404
    assert s.get("/api/workflows/w/runs?limit=many").status == 400
    assert s.post("/api/workflows/w/runs", {"inputs": {"x": 1}}).status == 400
    assert s.post("/api/workflows/w/runs", {"workflow_run_id": "a/b"}).status == 400


def test_a_database_that_goes_away_is_waited_for(tmp_path):
    with Postgres() as postgres:
        s = Scheduler(tmp_path / "stack", postgres, {"w": COMMAND})
        try:
            run = s.run("w")
            attempt = s.queued(run, "a")
            assert s.claim(attempt)["granted"]
            s.started(attempt)
            postgres.kill()
            s.up.wait_for("database-down")
            s.ended(attempt)
            postgres.start()
            s.until("w", run, "success")
            agrees(s)
        finally:
            s.close()
