# SPDX-License-Identifier: Apache-2.0
"""The tables that the tracker makes beside those that MLflow itself makes, on both databases: columns, types, defaults, and every
constraint and index by its name. Later releases of MLflow find them by their names when they migrate."""
import pathlib
import sqlite3
import sys

import pytest

import mlflow

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))
from cli import wait_until  # noqa: E402
from postgres import Postgres  # noqa: E402
from stack import Stack  # noqa: E402

RELEASE = "3.1.4"
pytestmark = pytest.mark.skipif(mlflow.__version__ != RELEASE, reason=f"the tables are those of MLflow {RELEASE}")
TRACKER = """
  door:  {{ kind: ingress, listen: "{http}", asks: [] }}
  track: {{ kind: tracker, database: "DATABASE" }}
"""
POSTGRES = {
    "columns": "SELECT table_name, column_name, ordinal_position, data_type, character_maximum_length, is_nullable, column_default"
               " FROM information_schema.columns WHERE table_schema = 'public' ORDER BY 1, 3",
    "constraints": "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
                   " WHERE connamespace = 'public'::regnamespace ORDER BY 1, 2",
    "indexes": "SELECT tablename, indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2",
    "sequences": "SELECT sequencename, data_type, start_value, increment_by FROM pg_sequences WHERE schemaname = 'public'",
    "revision": "SELECT version_num FROM alembic_version",
}


@pytest.fixture
def tracker(tmp_path):
    """tracker(url): the tracker has made its tables there."""
    def make(url):
        stack = Stack(tmp_path, TRACKER.replace("DATABASE", url))
        try:
            wait_until(lambda: stack.get("/api/2.0/mlflow/experiments/get?experiment_id=0").status == 200, "an answer of the tracker")
        finally:
            stack.close()
    return make


def mlflow_makes(url):
    pytest.importorskip("sqlalchemy")
    pytest.importorskip("alembic")
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine
    engine = create_sqlalchemy_engine(url)
    _initialize_tables(engine)
    engine.dispose()


def words(sql):
    """A CREATE statement as its parts, in any order and without what means nothing."""
    depth, parts, part = 0, [], ""
    for c in sql[sql.index("(") + 1:sql.rindex(")")] + ",":
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            parts.append(" ".join(part.replace('"', "").replace("FOREIGN KEY(", "FOREIGN KEY (").split()).lower())
            part = ""
        else:
            part += c
    return parts


def sqlite_schema(path):
    with sqlite3.connect(path) as db:
        tables = [(name, sql) for name, sql in db.execute("SELECT name, sql FROM sqlite_master WHERE type = 'table' ORDER BY name")
                  if not name.startswith(("lineshaft_", "sqlite_"))]
        def pragma(what, name):
            return list(db.execute(f"PRAGMA {what}({name})"))
        return {
            "columns": {name: pragma("table_info", name) for name, _ in tables},
            "foreign": {name: sorted(row[2:] for row in pragma("foreign_key_list", name)) for name, _ in tables},
            "parts": {name: sorted(words(sql)) for name, sql in tables},
            "indexes": {name: sorted((row[1:], tuple(db.execute(f"PRAGMA index_info({row[1]})"))) for row in pragma("index_list", name)
                                     if not row[1].startswith("sqlite_autoindex")) for name, _ in tables},
            "unique": {name: sorted((row[2:], tuple(r[1:] for r in pragma("index_info", row[1]))) for row in pragma("index_list", name))
                       for name, _ in tables},
            "revision": list(db.execute("SELECT version_num FROM alembic_version")),
        }


def test_on_sqlite(tracker, tmp_path):
    theirs, ours = tmp_path / "mlflow.db", tmp_path / "ours.db"
    mlflow_makes(f"sqlite:///{theirs}")
    tracker(f"sqlite:{ours}")
    theirs, ours = sqlite_schema(theirs), sqlite_schema(ours)
    for what in theirs:
        assert ours[what] == theirs[what], what


def test_on_postgresql(tracker):
    pytest.importorskip("psycopg2")
    with Postgres() as server:
        for name in ("theirs", "ours"):
            server.query(f"CREATE DATABASE {name}")
        mlflow_makes(server.url_of("theirs"))
        tracker(server.url_of("ours"))
        for what, sql in POSTGRES.items():
            assert server.query(sql, "ours") == server.query(sql, "theirs"), what
