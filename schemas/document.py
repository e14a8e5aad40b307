#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes docs/events.md from schemas/*.yaml: schemas/document.py > docs/events.md. A test compares the two."""
import json
import pathlib
import sys

import yaml

FOLDER = pathlib.Path(__file__).resolve().parent
LIMITS = [("minimum", "≥ {}"), ("exclusiveMinimum", "> {}"), ("maximum", "≤ {}"), ("exclusiveMaximum", "< {}"),
          ("minItems", "≥ {} items"), ("maxItems", "≤ {} items"), ("minProperties", "≥ {} fields"),
          ("maxProperties", "≤ {} fields"), ("format", "{}")]
INTRO = """<!-- Written by schemas/document.py from schemas/*.yaml; a test compares. Change those files, then run it again. -->
# Events

Every standard topic with its fields. The body of an event is a msgpack map or a JSON object. The broker checks it when it is
published and answers `422 SCHEMA` with the path of the value that does not fit; from sockets that get no answer the event becomes
`$sys.rejected`. Fields that are not listed here are allowed and kept. Times are whole milliseconds since 1970 in UTC unless a
format says otherwise. `$sys.*` and `$dlq.*` come from the broker itself. A topology may add topics and put schemas for them, or
sharper ones for these, into a folder of its own.

A schema file is `<topic>.yaml` (a topic, or a pattern such as `orders.*`) and holds a subset of JSON Schema 2020-12: `type`,
`properties`, `required`, `additionalProperties`, `items`, `enum` and `const` (of text, numbers, booleans and null), `minimum`,
`maximum`, `exclusiveMinimum`, `exclusiveMaximum`, `minLength`, `maxLength` (in code points), `format` (`date-time`, `uuid` or `topic`;
enforced), `minItems`, `maxItems`, `minProperties`, `maxProperties`; without effect `title`, `description`, `examples`, `default`,
`$comment`, `$schema`, `$id`. Any other keyword is an error at start, with file, line and column. There is no `pattern`: a regular
expression would let one body hold up every publisher.

A number with an integral value is an integer: `1.0` is. NaN and the infinities, which only msgpack can carry, are numbers; NaN lies
within no bound. msgpack bin counts as a string, its length in bytes. Map keys are strings, text is UTF-8, and nothing nests more
than 32 deep.
"""


def type_of(schema):
    """The type column: names, then what may follow in a list or map."""
    kind = schema.get("type", "any" if "enum" not in schema else "one of")
    text = " or ".join(kind) if isinstance(kind, list) else kind
    if isinstance(schema.get("items"), dict) and "type" in schema["items"]:
        text += " of " + type_of(schema["items"])
    if isinstance(schema.get("additionalProperties"), dict):
        text += " of " + type_of(schema["additionalProperties"])
    return text


def limits_of(schema):
    parts = [form.format(f"{schema[key]:,}" if isinstance(schema[key], int) else schema[key])
             for key, form in LIMITS if key in schema and abs_small(schema[key])]
    low, high = schema.get("minLength"), schema.get("maxLength")
    if low is not None and low == high:
        parts.append(f"{low:,} characters")
    elif high is not None:
        parts.append(f"{low:,} to {high:,} characters" if low else f"at most {high:,} characters")
    elif low:
        parts.append("not empty" if low == 1 else f"≥ {low:,} characters")
    if "enum" in schema:
        parts.append(", ".join(f"`{value}`" for value in schema["enum"]))
    return "; ".join(parts)


def abs_small(value):
    """Bounds that only keep numbers inside their columns are not worth a reader's time."""
    return not isinstance(value, int) or abs(value) < 10**12


def rows_of(schema, prefix=""):
    required = schema.get("required", [])
    for name, field in schema.get("properties", {}).items():
        note = " ".join(filter(None, [field.get("description"), f"({limits_of(field)})" if limits_of(field) else ""]))
        yield f"| `{prefix}{name}` | {'yes' if name in required else ''} | {type_of(field)} | {note} |"
        yield from rows_of(field, f"{prefix}{name}.")
        if isinstance(field.get("items"), dict):
            yield from rows_of(field["items"], f"{prefix}{name}[].")


def document():
    files = sorted(FOLDER.glob("*.yaml"))
    schemas = {file.stem: yaml.safe_load(file.read_text()) for file in files}
    out = [INTRO, "| topic | it says |", "|---|---|"]
    out += [f"| [`{topic}`](#{topic.replace('.', '')}) | {schema['description'].split('. ')[0].rstrip('.')} |"
            for topic, schema in schemas.items()]
    for topic, schema in schemas.items():
        out += ["", f"## {topic}", "", schema["description"], "", "| field | required | type | meaning |", "|---|---|---|---|"]
        out += list(rows_of(schema))
        out += ["", "```json"] + [json.dumps(example, ensure_ascii=False) for example in schema["examples"]] + ["```"]
    return "\n".join(out) + "\n"


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8")
    sys.stdout.write(document())
