# SPDX-License-Identifier: Apache-2.0
"""The schema checker against Python's jsonschema (2020-12): the examples of every built-in schema, the refused bodies of
tests/unit/schema_cases, and random schemas with random bodies, each as JSON and as msgpack. Environment: LINESHAFT_BUILD, the
build folder (default build); SCHEMA_DIFF_COUNT, how many random schemas; SCHEMA_DIFF_SEED."""
import json
import math
import os
import pathlib
import random
import subprocess

import jsonschema
import msgpack
import pytest
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
LINE = ROOT / os.environ.get("LINESHAFT_BUILD", "build") / "tests/compat/schema_line"
COUNT = int(os.environ.get("SCHEMA_DIFF_COUNT", "1500"))
SEED = int(os.environ.get("SCHEMA_DIFF_SEED", "1"))


class Checker:
    """One schema_line process; see its head for the commands."""

    def __init__(self):
        self.process = subprocess.Popen([LINE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().rstrip("\n")

    def check(self, body):
        return self.ask("C " + body.hex())

    def close(self):
        self.process.stdin.close()
        assert self.process.wait() == 0


@pytest.fixture
def checker():
    it = Checker()
    yield it
    it.close()


def forms(value):
    """A value as the bodies that may carry it: JSON (plain and escaped) only for containers."""
    bodies = {"msgpack": msgpack.packb(value)}
    if isinstance(value, (list, dict)):
        bodies["json"] = json.dumps(value, ensure_ascii=False).encode()
        bodies["escaped json"] = json.dumps(value, ensure_ascii=True, indent=1).encode()
    return bodies


def builtin():
    return {file.stem: yaml.safe_load(file.read_text()) for file in sorted((ROOT / "schemas").glob("*.yaml"))}


def test_every_example_is_valid_in_both_forms(checker):
    for topic, schema in builtin().items():
        assert checker.ask("T " + topic) == "ok"
        assert len(schema["examples"]) >= 2, topic
        for example in schema["examples"]:
            jsonschema.validate(example, schema, jsonschema.Draft202012Validator)
            for form, body in forms(example).items():
                assert checker.check(body) == "ok", (topic, form, example)


def test_refused_bodies_are_refused_in_both_forms(checker):
    for line in (ROOT / "tests/unit/schema_cases/invalid.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        topic, pointer, body = line.split(" ", 2)
        assert checker.ask("T " + topic) == "ok"
        for form, data in forms(json.loads(body)).items():
            answer = checker.check(data)
            assert answer.startswith("no " + ("" if pointer == "-" else pointer) + "|"), (line, form, answer)


def test_nan_is_a_metric(checker):
    assert checker.ask("T run.metric") == "ok"
    for value in (math.nan, math.inf, -math.inf):
        assert checker.check(msgpack.packb({"run_id": "r1", "key": "loss", "value": value})) == "ok"
    assert checker.check(b'{"run_id":"r1","key":"loss","value":NaN}').startswith("no /value|")


# ---- random schemas and bodies: small alphabets, so that schema and body meet often ----

TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]
NAMES = ["a", "b", "run_id", "ä", "x/y", "", "quote\"d", "longer_name"]
TEXTS = ["", "a", "ab", "äö", "abc", "😀", "line\nend", "\\", "true", "1", "2026-11-23T03:43:00Z", "\u0000", "z" * 33]
NUMBERS = [0, 1, -1, 2, 3, 1.0, 0.5, -2.5, 2**31, 2**53, 2**53 + 1, -(2**63), 2**64 - 1, 1e300, 0.1, -0.0]


def scalar(rng):
    return rng.choice([None, True, False, rng.choice(TEXTS), rng.choice(TEXTS), rng.choice(NUMBERS), rng.choice(NUMBERS)])


def random_schema(rng, depth):
    if depth == 0 or rng.random() < 0.1:
        return rng.choice([True, True, {}, {"type": rng.choice(TYPES)}, False if rng.random() < 0.3 else True])
    schema = {}

    def maybe(chance, key, make):
        if rng.random() < chance:
            schema[key] = make()

    def child():
        return random_schema(rng, depth - 1)

    maybe(0.4, "type", lambda: rng.choice([rng.choice(TYPES), rng.sample(TYPES, rng.randint(1, 4)), "object", "array"]))
    maybe(0.5, "properties", lambda: {name: child() for name in rng.sample(NAMES, rng.randint(0, 5))})
    maybe(0.3, "required", lambda: rng.sample(NAMES, rng.randint(0, 2)))
    maybe(0.3, "additionalProperties", lambda: rng.choice([True, False, child()]))
    maybe(0.4, "items", child)
    maybe(0.1, "enum", lambda: [scalar(rng) for _ in range(rng.randint(1, 6))])
    maybe(0.05, "const", lambda: scalar(rng))
    for key in ("minimum", "exclusiveMinimum"):
        maybe(0.15, key, lambda: rng.choice(NUMBERS + [-1, 0]))
    for key in ("maximum", "exclusiveMaximum"):
        maybe(0.15, key, lambda: rng.choice(NUMBERS + [2, 3]))
    for unit in ("Length", "Items", "Properties"):
        maybe(0.15, "min" + unit, lambda: rng.randint(0, 2))
        maybe(0.15, "max" + unit, lambda: rng.choice([0, 1, 2, 3, 3.0, 32]))
    maybe(0.1, "description", lambda: "note")
    maybe(0.1, "examples", lambda: [{"any": ["thing"]}])
    return schema


def random_value(rng, depth):
    kind = rng.random()
    if depth == 0 or kind < 0.3:
        return scalar(rng)
    if kind < 0.6:
        return [random_value(rng, depth - 1) for _ in range(rng.randint(0, 4))]
    return {name: random_value(rng, depth - 1) for name in rng.sample(NAMES, rng.randint(0, 5))}


def fitting_value(rng, schema, depth=4):
    """A value made along the schema, right more often than by chance; now and then wrong on purpose."""
    if not isinstance(schema, dict) or depth == 0 or rng.random() < 0.08:
        return random_value(rng, min(depth, 2))
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return rng.choice(schema["enum"])
    kind = schema.get("type", rng.choice(["object", "array", "string", "number"]))
    kind = rng.choice(kind) if isinstance(kind, list) else kind
    if kind == "object":
        names = set(schema.get("required", [])) | set(rng.sample(list(schema.get("properties", {})) or [""], 1))
        rest = schema.get("additionalProperties", True)
        return {name: fitting_value(rng, schema.get("properties", {}).get(name, rest), depth - 1) for name in sorted(names)}
    if kind == "array":
        low = schema.get("minItems", 0)
        return [fitting_value(rng, schema.get("items", True), depth - 1) for _ in range(rng.randint(low, low + 2))]
    if kind == "string":
        return rng.choice(TEXTS)
    if kind in ("number", "integer"):
        return rng.choice(NUMBERS)
    return {"null": None, "boolean": True}[kind]


def test_random_schemas_agree_with_jsonschema(checker):
    rng = random.Random(SEED)
    verdicts = {True: 0, False: 0}
    for _ in range(COUNT):
        schema = random_schema(rng, 3)
        oracle = jsonschema.Draft202012Validator(schema)
        assert checker.ask("S " + json.dumps(schema, ensure_ascii=False)) == "ok", schema
        for _ in range(8):
            value = rng.choice([fitting_value, lambda r, s: random_value(r, 3)])(rng, schema)
            valid = oracle.is_valid(value)
            verdicts[valid] += 1
            for form, body in forms(value).items():
                answer = checker.check(body)
                assert (answer == "ok") == valid, f"{form}\nschema {json.dumps(schema)}\nvalue {json.dumps(value)}\nanswer {answer}"
    assert min(verdicts.values()) > COUNT, verdicts


def test_every_json_text_that_python_refuses_is_refused(checker):
    """Broken JSON, made from good JSON by small cuts and swaps. Python takes NaN and half surrogates; we take neither."""
    rng = random.Random(SEED)
    assert checker.ask("S true") == "ok"
    for _ in range(COUNT * 4):
        body = bytearray(json.dumps(random_value(rng, 3), ensure_ascii=rng.random() < 0.5).encode())
        for _ in range(rng.randint(0, 2)):
            at = rng.randrange(len(body))
            body[at:at + rng.randint(0, 1)] = bytes(rng.choice([b"", b"\"", b"\\", b",", b"]", b"}", b"0", b"e", b".", b"\xc3", b" "]))
            body = body or bytearray(b"[")
        if body[0] not in b"{[":
            continue
        try:
            json.loads(body.decode(), parse_constant=lambda name: 1 / 0)
            good = True
        except (ValueError, ZeroDivisionError):
            good = False
        answer = checker.check(bytes(body))
        if good and ("surrogate" in answer or "bad escape" in answer or "no double" in answer):
            continue
        assert (answer == "ok") == good, (bytes(body), answer)
