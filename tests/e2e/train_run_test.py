# SPDX-License-Identifier: Apache-2.0
"""lineshaft train --run and lineshaft evaluate: a training on record, what a task hands on, and the measure of a model on text."""
import json
import re

import pytest

from bus import Refusal, StandIn, free_base
from cli import TRACE, objects, ok, run
from train_test import text_with_a_rule

TASK = {"LINESHAFT_WORKFLOW": "train", "LINESHAFT_WORKFLOW_RUN_ID": "manual__1", "LINESHAFT_TASK": "fit", "LINESHAFT_TRY": "t1"}


@pytest.fixture
def text(tmp_path):
    return text_with_a_rule(tmp_path / "text.txt")


def events(bus):
    return objects(ok("tail", "run.>", "--all", "--no-follow", "--json", url=bus.url))


def told(bus, topic):
    return [event["data"] for event in events(bus) if event["topic"] == topic]


def train(bus, text, model, *more, **how):
    return json.loads(ok("train", "--json", "--order", 2, "-o", model, *more, text, url=bus.url, **how).splitlines()[-1])


@pytest.mark.short
def test_a_training_is_a_run_with_parameters_metrics_and_an_end(bus, text, tmp_path):
    done = train(bus, text, tmp_path / "m", "--run", "--experiment", "rules", "--name", "little",
                 LINESHAFT_TRACEPARENT=f"00-{TRACE}-00f067aa0ba902b7-01", **TASK)
    all_events = events(bus)
    assert {event["data"]["run_id"] for event in all_events} == {done["run_id"]} and re.fullmatch("[0-9a-f]{32}", done["run_id"])
    assert {(event["traceparent"][3:35], event["causationid"]) for event in all_events} == {(TRACE, "t1.started")}
    assert all_events[0]["topic"] == "run.created" and all_events[-1]["topic"] == "run.updated"
    made = all_events[0]["data"]
    assert (made["experiment_name"], made["run_name"], made["status"], made["source_type"]) == ("rules", "little", "RUNNING", "JOB")
    assert made["tags"]["lineshaft.workflow"] == "train" and made["tags"]["lineshaft.try"] == "t1"
    assert {p["key"]: p["value"] for p in told(bus, "run.param")} == {"order": 2, "held_out": 5, "min_count": 2, "model": "little",
                                                                      "text": str(text)}
    metrics = {(m["key"], m["step"]): m["value"] for m in told(bus, "run.metric")}
    assert set(metrics) == {("tokens", 0), ("vocabulary", 0), ("bytes_read", 0), ("seconds", 0), *((key, order) for order in (1, 2)
                            for key in ("ngrams", "perplexity", "bits_per_character"))}
    assert metrics["perplexity", 2] == pytest.approx(done["perplexity"], abs=1e-4) and metrics["bytes_read", 0] == text.stat().st_size
    ended = all_events[-1]["data"]
    assert ended["status"] == "FINISHED" and ended["end_time"] >= made["start_time"]


def test_a_run_id_of_ones_own_and_the_default_experiment(bus, text, tmp_path):
    out = ok("train", "--order", 2, "--run=mine_1", "-o", tmp_path / "m", text, url=bus.url)
    assert out.splitlines()[-1] == "run mine_1 of the experiment ngram"
    assert told(bus, "run.created")[0]["run_id"] == "mine_1"
    assert run("train", "--run=a/b", "-o", tmp_path / "m", text, url=bus.url).status == 2
    assert "belongs to --run" in run("train", "--experiment", "x", "-o", tmp_path / "m", text).err


def test_a_training_that_fails_is_a_run_that_failed(bus, tmp_path):
    (tmp_path / "text").write_text("two words\n")
    result = run("train", "--run", "-o", tmp_path / "m", tmp_path / "text", url=bus.url)
    assert result.status == 1 and "none fell to the 5 per cent" in result.err
    assert [e["status"] for e in told(bus, "run.updated")] == ["FAILED"]


def test_without_a_broker_nothing_is_trained(text, tmp_path):
    result = run("train", "--run", "--timeout", "200ms", "-o", tmp_path / "m", text, url=f"tcp://127.0.0.1:{free_base()}")
    assert result.status == 3 and not (tmp_path / "m").exists()
    assert run("evaluate", "--run", "r1", "--timeout", "200ms", "m", text, url=f"tcp://127.0.0.1:{free_base()}").status == 3


class Tracker(StandIn):
    """Answers tracker.runs.get with the infos given, one after the other; None: there is no such run. The last one stays."""

    def __init__(self, bus, *infos):
        self.infos = list(infos)
        super().__init__(bus, "tracker", "tracker.runs.get")

    def answer(self, topic, body):
        info = self.infos.pop(0) if len(self.infos) > 1 else self.infos[0]
        if not info:
            raise Refusal(404, "there is no such run")
        return {"run": {"info": info}}


def test_it_waits_until_the_tracker_knows_the_runs_end(bus, text, tmp_path):
    """The tracker is behind the log."""
    tracker = Tracker(bus, None, {"status": "RUNNING"}, {"status": "FINISHED"})
    result = run("train", "--order", 2, "--run", "-o", tmp_path / "m", text, url=bus.url)
    assert result.status == 0 and result.err == "" and len(tracker.infos) == 1


def test_without_a_file_the_model_lies_among_the_runs_own(bus, text, tmp_path):
    files = tmp_path / "store" / "1" / "r 1" / "artifacts"
    Tracker(bus, None, {"status": "RUNNING", "artifact_uri": f"file://{tmp_path}/store/1/r%201/artifacts"}, {"status": "FINISHED"})
    ok("train", "--order", 2, "--run", "--name", "a b", text, url=bus.url, LINESHAFT_OUTPUTS=str(tmp_path / "outputs"))
    given = outputs(tmp_path / "outputs")
    assert given["path"] == str(files / "model" / "a b.ngram") and (files / "model" / "a b.ngram").stat().st_size > 1000
    assert given["source"] == f"file://{tmp_path}/store/1/r%201/artifacts/model/a%20b.ngram"
    assert json.loads(ok("evaluate", "--json", given["source"], text))["name"] == "a b"


@pytest.mark.parametrize("info, words", [
    ({"status": "RUNNING", "artifact_uri": "s3://bucket/1/r1"}, "nor in the artifact store (s3://bucket/1/r1): say -o FILE"),
    ({"status": "RUNNING", "artifact_uri": "file:///proc/no"}, "cannot make the folder /proc/no"),
    (None, "the tracker does not know the run"),
])
def test_a_place_that_cannot_be_had_is_said_and_the_run_failed(bus, text, info, words):
    Tracker(bus, info)
    result = run("train", "--order", 2, "--run", "--name", "m", "--timeout", "500ms", text, url=bus.url)
    assert result.status == 1 and words in result.err and [e["status"] for e in told(bus, "run.updated")] == ["FAILED"]


def test_without_a_tracker_it_needs_a_file(bus, text):
    assert "no responder" in run("train", "--run", "--name", "m", text, url=bus.url).err.lower().replace("_", " ")
    assert "-o FILE" in run("train", "--name", "m", text).err and "how is the model called" in run("train", "--run", text).err


def test_without_a_tracker_it_says_that_the_run_is_in_the_log_only(bus, text, tmp_path):
    result = run("train", "--order", 2, "--run", "-o", tmp_path / "m", text, url=bus.url)
    assert result.status == 0 and "in the log, but no tracker serves here" in result.err


def outputs(path):
    return {key: json.loads(value) for key, value in (line.split("=", 1) for line in path.read_text().splitlines())}


def test_a_task_hands_on_what_it_made_and_says_how_far_it_is(bus, text, tmp_path):
    how = {"LINESHAFT_OUTPUTS": str(tmp_path / "outputs"), **TASK}
    result = run("train", "--order", 2, "--run", "-o", "m.ngram", text, url=bus.url, cwd=tmp_path, **how)
    given = outputs(tmp_path / "outputs")
    assert given == {"run_id": told(bus, "run.created")[0]["run_id"], "perplexity": given["perplexity"], "path": str(tmp_path / "m.ngram"),
                     "name": "m"}
    fractions = [float(line.split()[1]) for line in result.err.splitlines() if line.startswith("::progress ")]
    assert fractions == sorted(fractions) and fractions[0] == 0 and fractions[-1] == 0.9 and len(fractions) == 6
    again = run("train", "--order", 2, "-o", "m.ngram", text, cwd=tmp_path, LINESHAFT_OUTPUTS=str(tmp_path))
    assert again.status == 1 and "cannot write the outputs" in again.err


# ---- evaluate ----

@pytest.mark.short
def test_on_the_text_held_out_evaluate_gives_the_trainers_figure(text, tmp_path):
    done = objects(ok("train", "--json", "--order", 2, "--held-out", 20, "-o", tmp_path / "m.ngram", text))[-1]
    measured = json.loads(ok("evaluate", "--json", "--held-out", 20, tmp_path / "m.ngram", text))
    for key in ("perplexity", "bits_per_character", "name", "version", "order"):
        assert measured[key] == done[key], key
    assert measured["tokens"] == done["held_out_tokens"]
    whole = json.loads(ok("evaluate", "--json", tmp_path / "m.ngram", text))
    assert whole["perplexity"] < measured["perplexity"] and whole["documents"] == 600


def test_evaluate_publishes_metrics_into_a_run_and_hands_them_on(bus, text, tmp_path):
    model = tmp_path / "a model"
    ok("train", "--order", 2, "-o", model, text)
    out = ok("evaluate", model.as_uri(), text, "--run", "r1", "--metric-prefix", "late/", url=bus.url,
             LINESHAFT_OUTPUTS=str(tmp_path / "outputs"))
    assert re.match(r"a model, version [0-9a-f]{16}, order 2: perplexity [\d.]+, [\d.]+ bits per character, on 600 documents", out)
    metrics = {m["key"]: m["value"] for m in told(bus, "run.metric")}
    given = outputs(tmp_path / "outputs")
    assert set(metrics) == {"late/perplexity", "late/bits_per_character", "late/tokens", "late/spelled"}
    assert given["perplexity"] == metrics["late/perplexity"] and (given["run_id"], given["path"]) == ("r1", str(model))


@pytest.mark.parametrize("args, words", [
    (["no-such-file", "text.txt"], "no-such-file"),
    (["text.txt", "text.txt"], "model file text.txt"),
    (["m", "empty"], "no text in what was named"),
    (["m", "no-such-text"], "no-such-text"),
    (["m", "short", "--held-out", "1"], "none is among the 1 per cent"),
])
def test_what_cannot_be_measured_is_named(text, tmp_path, args, words):
    ok("train", "--order", 2, "-o", "m", text, cwd=tmp_path)
    (tmp_path / "empty").write_text("")
    (tmp_path / "short").write_text("two words\n")
    result = run("evaluate", *args, cwd=tmp_path)
    assert (result.status, result.out) == (1, "") and words in result.err
