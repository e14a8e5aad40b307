# SPDX-License-Identifier: Apache-2.0
"""artifacts/list of the tracker for runs whose files are in the store: it asks the `artifacts` node, here a stand-in."""
import json
import threading

import pytest
import zmq

from bus import PATIENCE_S, Peer
from cli import run
from tracker_api_test import INVALID, begin, refused


@pytest.fixture(scope="module")
def api(tmp_path_factory):
    stack, api = begin(tmp_path_factory.mktemp("files"), "sqlite:tracker.db")
    yield api
    stack.close()


class Files:
    """Answers artifacts.list for the keys given, in pages of two (docs/nodes/artifacts-api.md); once it is closed nobody does."""

    def __init__(self, url, *keys, fails=None):
        self.keys, self.fails, self.asked, self.over = sorted(keys), fails, [], threading.Event()
        self.peer = Peer(zmq.Context.instance(), zmq.DEALER, url)
        self.peer.ok("HELLO", v=1, client="files", hb=60000)
        self.peer.ok("SUB", cid=1, serves=["artifacts.list"])
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.over.is_set():
            if not self.peer.socket.poll(20):
                continue
            msg = self.peer.expect("REQ")
            if self.fails:
                self.peer.send("REP", cid=1, rid=msg.head["rid"], error=self.fails[1], number=self.fails[0])
            else:
                self.asked.append(json.loads(msg.frames[-1]))
                self.peer.send("REP", body=json.dumps(self.page(**self.asked[-1])).encode(), cid=1, rid=msg.head["rid"])
        self.peer.send("BYE")
        self.peer.expect("OK")

    def page(self, prefix, recursive, max, after=""):
        assert recursive is False and max == 1000
        names = sorted({prefix + key[len(prefix):].split("/")[0] + "/" * ("/" in key[len(prefix):])
                        for key in self.keys if key.startswith(prefix)})
        names = [name for name in names if name > after]
        return {"objects": [{"path": name, "size": len(name)} for name in names[:2] if name[-1] != "/"],
                "folders": [name for name in names[:2] if name[-1] == "/"], "next": names[1] if names[2:] else None}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join(PATIENCE_S)
        self.peer.close()


@pytest.mark.parametrize("root", ["mlflow-artifacts:/5/a%20b", "mlflow-artifacts://host:5000/5/a%20b", "mlflow-artifacts:"])
def test_files_in_the_store_are_asked_of_the_artifacts_node(api, root):
    experiment = api.experiment(artifact_location=root)
    run = api.run(experiment)
    uri = api.get("runs/get", run_id=run)["run"]["info"]["artifact_uri"]
    assert uri == f"{root}/{run}/artifacts"
    base = ("5/a b/" if "5" in root else "") + f"{run}/artifacts"
    refused((503, "TEMPORARILY_UNAVAILABLE"), api.get, "artifacts/list", run_id=run, says="no `artifacts` node")
    keys = [f"{base}/{name}" for name in ("a", "model/b", "model/deep/c", "model.txt", "z")]
    with Files(api.stack.url, *keys, f"{base}-other/x") as files:
        answer = api.get("artifacts/list", run_id=run)
        assert answer == {"root_uri": uri, "files": [
            {"path": "a", "is_dir": False, "file_size": len(base) + 2}, {"path": "model", "is_dir": True},
            {"path": "model.txt", "is_dir": False, "file_size": len(base) + 10},
            {"path": "z", "is_dir": False, "file_size": len(base) + 2}]}
        assert [asked.get("after") for asked in files.asked] == [None, f"{base}/model.txt"]
        assert [f["path"] for f in api.get("artifacts/list", run_id=run, path="model/")["files"]] == ["model/b", "model/deep"]
        assert api.get("artifacts/list", run_id=run, path="none") == {"root_uri": uri}
        assert [f["path"] for f in api.get("artifacts/list", run_id=run, page_token=f"{base}/model.txt")["files"]] == ["model", "z"]
        refused(INVALID, api.get, "artifacts/list", run_id=run, path="../x")
    with Files(api.stack.url, fails=(503, "the store is away")):
        refused((503, "TEMPORARILY_UNAVAILABLE"), api.get, "artifacts/list", run_id=run, says="the store is away")
    with Files(api.stack.url, fails=(400, "no such key")):
        refused(INVALID, api.get, "artifacts/list", run_id=run, says="no such key")


@pytest.mark.parametrize("root, warned", [("mlflow-artifacts:/", True), ("file:files", False)])
def test_check_knows_that_the_store_is_asked(tmp_path, root, warned):
    (tmp_path / "t.yaml").write_text(f"""
lineshaft: 1
name: t
broker: {{ listen: "tcp://127.0.0.1:7400", data: bus }}
streams: {{ events: {{ topics: [">"] }} }}
nodes:
  tracking: {{ kind: tracker, artifact_root: "{root}" }}
""")
    result = run("check", "t.yaml", cwd=tmp_path)
    assert result.status == 0 and ('sends the request "artifacts.list", which no node serves' in result.out + result.err) == warned
