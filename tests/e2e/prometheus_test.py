# SPDX-License-Identifier: Apache-2.0
"""Debian's Prometheus reads the quick start with the configuration of deploy/prometheus: each rule can be evaluated, and each series that
a rule or the dashboard names is there. promtool judges the files."""
import json
import os
import re
import shutil
import subprocess
import sys
import urllib.parse

import pytest

sys.path.append(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "nodes"))

from bus import PATIENCE_S, ROOT, die_with_parent, free_base
from cli import Background, ok, run, wait_until
from stack import Http

RULES = ROOT / "deploy/prometheus/lineshaft.rules.yml"
CONFIG = ROOT / "deploy/prometheus/prometheus.yml"
DASHBOARD = ROOT / "deploy/grafana/lineshaft.json"
# What is not there before something flowed or was limited; everything else must be, and count from 0.
AFTER_TRAFFIC = ("lineshaft_topic_",)


def names_in(text):
    """The series that an expression names: histograms by their parts, rules of their own not."""
    return set(re.findall(r"(?<![\w:])lineshaft_\w+", text))


def expressions(panels):
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", []))
        yield from expressions(panel.get("panels", []))


def dashboard():
    return json.loads(DASHBOARD.read_text())


def rule_names():
    return names_in(re.sub(r"(summary|description):.*", "", RULES.read_text()))


def dashboard_names():
    return names_in("\n".join(expressions(dashboard()["panels"])))


class Quick(Http):
    """config/quickstart.yaml in a scratch folder, on free ports."""

    def __init__(self, folder):
        super().__init__(free_base())
        base = free_base()
        self.url = f"tcp://127.0.0.1:{base}"
        self.up = Background("up", "config/quickstart.yaml", cwd=ROOT, LINESHAFT_DATA=str(folder), LINESHAFT_PORT=str(base),
                             LINESHAFT_HTTP_PORT=str(self.port))
        self.up.wait_for("are up after")
        self.busy = False

    def metrics(self):
        return self.get("/metrics").body.decode()

    def names(self):
        return {re.match(r"\w+", line).group(0) for line in self.metrics().splitlines() if not line.startswith("#")}

    def traffic(self):
        """A model trained, stored and promoted by a workflow, and a chat with it; once."""
        if self.busy:
            return
        ok("workflow", "run", "train", "--wait", url=self.url)
        wait_until(lambda: self.get("/v1/models").json["data"], "a model")
        assert self.chat("fortunes").status == 200
        self.busy = True

    def close(self):
        self.up.close()


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    quick = Quick(tmp_path_factory.mktemp("quick"))
    yield quick
    quick.close()


class Prometheus(Http):
    def __init__(self, folder, target):
        super().__init__(free_base())
        text = CONFIG.read_text()
        assert text.count("127.0.0.1:7480") == 1 and text.count("_interval: 15s") == 2
        (folder / "prometheus.yml").write_text(text.replace("127.0.0.1:7480", target).replace("_interval: 15s", "_interval: 1s"))
        shutil.copy(RULES, folder)
        self.log = open(folder / "log", "w+")
        self.process = subprocess.Popen(
            [tool("prometheus"), f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"], stdout=self.log, stderr=self.log, preexec_fn=die_with_parent)
        wait_until(self.ready, "ready, Prometheus")

    def ready(self):
        if self.process.poll() is not None:
            self.log.seek(0)
            raise AssertionError("Prometheus ended:\n" + self.log.read())
        try:
            return self.get("/-/ready").status == 200
        except OSError:
            return False

    def api(self, path, **query):
        answer = self.get(f"/api/v1/{path}?{urllib.parse.urlencode(query)}")
        assert answer.status == 200, answer.body
        return answer.json["data"]

    def names(self):
        return set(self.api("label/__name__/values"))

    def rules(self):
        return [rule for group in self.api("rules")["groups"] for rule in group["rules"]]

    def close(self):
        self.process.terminate()
        self.process.wait(PATIENCE_S)
        self.log.close()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory, quick):
    prometheus = Prometheus(tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{quick.port}")
    yield prometheus
    prometheus.close()


def tool(name):
    found = shutil.which(name)
    assert found, f"{name} is missing: deploy/setup test installs it"
    return found


def promtool(*args, stdin=""):
    done = subprocess.run([tool("promtool"), *map(str, args)], input=stdin, cwd=CONFIG.parent, capture_output=True, text=True,
                          timeout=PATIENCE_S * 2)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_series_are_there_before_anything_happened(quick):
    wanted = {name for name in rule_names() | dashboard_names() if not name.startswith(AFTER_TRAFFIC)}
    wait_until(lambda: wanted <= quick.names(), f"told from the start: {sorted(wanted - quick.names())}")
    zero = [line for line in quick.metrics().splitlines() if re.match(r"lineshaft_\w+(failed|rejected|dead_letters)_total", line)]
    assert len(zero) > 5 and all(line.endswith(" 0") for line in zero), zero


def test_promtool_has_nothing_to_say_of_metrics_under_way(quick):
    quick.traffic()
    assert promtool("check", "metrics", stdin=quick.metrics()) == ""


def test_promtool_takes_configuration_and_rules():
    assert "SUCCESS" in promtool("check", "config", CONFIG.name)
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", RULES.name)
    assert "SUCCESS" in promtool("test", "rules", "lineshaft.rules.test.yml")


def test_every_alert_is_in_the_unit_tests_and_says_what_to_do():
    alerts = dict(re.findall(r"- alert: (\w+)\n(.*?)(?=\n\n|\Z)", RULES.read_text(), re.S))
    tests = (CONFIG.parent / "lineshaft.rules.test.yml").read_text()
    assert len(alerts) > 25
    for name, body in alerts.items():
        assert name in tests, f"{name} has no unit test"
        assert re.search(r"severity: (critical|warning|info)", body) and "summary:" in body and "description:" in body, name


def test_commands_in_alerts_and_helps_exist(quick):
    texts = RULES.read_text() + quick.metrics()
    commands = set(re.findall(r"`lineshaft (\w+)", texts)) | set(re.findall(r": lineshaft (\w+)", texts))
    assert {"stream", "dlq", "consumer", "tail"} <= commands
    for command in commands:
        assert run("help", command).status == 0, command


def test_prometheus_has_every_series_that_a_rule_or_the_dashboard_names(quick, prometheus):
    quick.traffic()
    wanted = rule_names() | dashboard_names()
    wait_until(lambda: wanted <= prometheus.names(), f"scraped: {sorted(wanted - prometheus.names())}")


def test_every_rule_is_evaluated_and_a_healthy_quick_start_raises_no_critical_alert(quick, prometheus):
    quick.traffic()
    wait_until(lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()), "all evaluated")
    assert [(rule["name"], rule.get("lastError")) for rule in prometheus.rules() if rule["health"] != "ok"] == []
    firing = [alert["labels"] for alert in prometheus.api("alerts")["alerts"] if alert["state"] == "firing"]
    assert [labels for labels in firing if labels["severity"] == "critical"] == []


def test_every_query_of_the_dashboard_is_one(quick, prometheus):
    quick.traffic()
    found = dashboard()
    panels = [panel for panel in found["panels"] if panel["type"] != "row"]
    assert len(panels) > 30 and len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    assert all(panel["datasource"]["uid"] == "${datasource}" for panel in panels)
    for expression in expressions(found["panels"]):
        prometheus.api("query", query=expression.replace("$__rate_interval", "1m"))
