# SPDX-License-Identifier: Apache-2.0
"""Helps tests/e2e/demo.sh: what the tracker knows, asked over MLflow's REST API as any of its clients would.

    demo_loop.py URL run MODEL       the champion of MODEL, the run that made it, and its metrics
    demo_loop.py URL wait WORKFLOW   until the newest run of WORKFLOW is over; exit 1 if it failed
    demo_loop.py URL tags MODEL      the tags of the champion's version
    demo_loop.py URL chats           the chat turns, one row each
    demo_loop.py URL serving MODEL   until the champion of MODEL is the version that answers chats
"""
import json
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

PATIENCE_S = 30


def ask(url, body=None, **query):
    data = None if body is None else json.dumps(body).encode()
    if query:
        url += "?" + urllib.parse.urlencode(query)
    with urllib.request.urlopen(urllib.request.Request(url, data, {"content-type": "application/json"}), timeout=PATIENCE_S) as answer:
        return json.load(answer)


def table(*rows):
    widths = [max(len(str(row[i])) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip())


def champion(api, model):
    return ask(api + "/registered-models/alias", name=model, alias="champion")["model_version"]


def show_run(api, model):
    version = champion(api, model)
    run = ask(api + "/runs/get", run_id=version["run_id"])["run"]
    values = {}
    for key in ("ngrams", "perplexity", "bits_per_character"):
        for metric in ask(api + "/metrics/get-history", run_id=version["run_id"], metric_key=key)["metrics"]:
            values[int(metric["step"]), key] = metric["value"]
    print(f"run {run['info']['run_id']}, {run['info']['status']}; parameters "
          + ", ".join(f"{param['key']}={param['value']}" for param in run["data"]["params"]))
    steps = sorted({step for step, _ in values})
    table(("order", "n-grams", "perplexity", "bits/character"),
          *((step, f"{values[step, 'ngrams']:.0f}", f"{values[step, 'perplexity']:.1f}", f"{values[step, 'bits_per_character']:.3f}")
            for step in steps))
    print(f"{model}, version {version['version']}, alias champion: {version['source'].rsplit('/', 1)[1]} among the run's files")


def wait(url, workflow):
    until, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while time.monotonic() < until:
        runs = ask(f"{url}/api/workflows/{workflow}/runs", limit=1)["runs"]
        if runs and runs[0]["state"] in ("success", "failed"):
            return 0 if runs[0]["state"] == "success" else 1
        pause.wait(0.05)
    print(f"no run of {workflow} came to its end")
    return 1


def serving(url, model):
    wanted = champion(url + "/api/2.0/mlflow", model)["version"]
    until, pause = time.monotonic() + PATIENCE_S, threading.Event()
    while time.monotonic() < until:
        served = [m.get("lineshaft", {}).get("version") for m in ask(url + "/v1/models")["data"] if m["id"] == model]
        if served == [wanted]:
            print(f"{model}, version {wanted}, is the champion, and is what the workers have")
            return 0
        pause.wait(0.02)
    print(f"version {wanted} is the champion, but the workers have {served}")
    return 1


def chats(api):
    experiment = ask(api + "/experiments/get-by-name", experiment_name="chat")["experiment"]
    runs = ask(api + "/runs/search", {"experiment_ids": [experiment["experiment_id"]], "max_results": 20})["runs"]
    rows = []
    for run in runs:
        data = {item["key"]: item["value"] for kind in ("params", "metrics", "tags") for item in run["data"].get(kind, [])}
        tokens = next((int(data[key]) for key in data if key.endswith("completion_tokens")), "")
        answer = " ".join(str(data.get("answer", "")).split())[:60]
        rows.append((run["info"]["run_name"], run["info"]["status"], data.get("model", ""), tokens, answer))
    table(("chat turn", "status", "model", "tokens", "answer"), *rows)
    return 0 if rows else 1


def main(url, what, *names):
    api = url + "/api/2.0/mlflow"
    if what == "wait":
        return wait(url, *names)
    if what == "serving":
        return serving(url, *names)
    if what == "chats":
        return chats(api)
    if what == "tags":
        table(("tag", "value"), *((tag["key"], tag["value"]) for tag in champion(api, *names)["tags"]))
    else:
        show_run(api, *names)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except urllib.error.HTTPError as error:
        sys.exit(f"{error.url}: {error.code} {error.read().decode()}")
