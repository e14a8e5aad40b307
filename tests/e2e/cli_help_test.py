# SPDX-License-Identifier: Apache-2.0
"""The command line itself: help, unknown words, exit statuses that need no broker."""
import http.server
import re
import socket
import threading

import pytest

from bus import ROOT, free_base
from cli import ok, run

COMMANDS = re.findall(r"^  ([a-z]+) ", ok(), re.M)


def test_alone_it_lists_the_commands_and_help_does_the_same():
    assert {"check", "graph", "up", "broker", "pub", "tail", "req", "dlq", "stream", "consumer", "log", "help", "version"} <= set(COMMANDS)
    assert ok() == ok("help") == ok("--help")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_whole_page_of_help(command):
    text = ok("help", command)
    assert text == ok(command, "--help")
    name = text.splitlines()[0]
    assert re.fullmatch(rf"lineshaft {command} - [a-z].*[^.]", name), name
    assert re.search(rf"\nSYNOPSIS\n +lineshaft {command}", text) and "\nEXIT STATUS\n" in text
    assert max(map(len, text.splitlines())) <= 120
    assert f"{command:10} {name.split(' - ')[1]}" in ok()


def test_an_unknown_command_names_the_nearest():
    result = run("tial")
    assert (result.status, result.out) == (2, "")
    assert 'no command "tial"' in result.err and 'Did you mean "tail"?' in result.err
    assert run("help", "tial").status == 2


@pytest.mark.parametrize("args, words", [
    (["pub", "--subjct", "x", "a.b"], "did you mean --subject?"),
    (["pub", "--count"], "--count needs a value"),
    (["pub", "--count", "many", "a.b"], "--count: \"many\" is not a whole number"),
    (["pub"], "give a topic"),
    (["pub", "a.b", "two", "words"], "put the data into quotes"),
    (["pub", "a.b", "x", "--as", "yaml"], "none of auto, text, json, hex, bytes"),
    (["pub", "a.b", "x", "-a", "novalue"], "is not NAME=VALUE"),
    (["tail", "--since", "yesterday"], "neither a duration back from now"),
    (["tail", "--last", "3", "--all"], "exclude each other"),
    (["tail", "-z"], "there is no option -z"),
    (["tail", "--json=yes"], "--json takes no value"),
    (["req", "--timeout", "2h", "a.b"], "an hour at most"),
    (["dlq", "eat"], "none of ls, show, replay, drop"),
    (["dlq", "drop"], "takes numbers of letters, or a consumer, or --all"),
    (["stream", "info"], "the name of one stream"),
    (["consumer", "drop"], "the name of one consumer"),
    (["log", "chekc", "."], "check or dump"),
    (["up"], "give one topology file"),
])
def test_wrong_usage_says_what_is_wrong_and_exits_2(args, words):
    result = run(*args)
    assert (result.status, result.out) == (2, ""), result
    assert words in result.err and f"lineshaft help {args[0]}" in result.err


@pytest.mark.parametrize("args", [["pub", "a.b", "x"], ["tail"], ["req", "a.b"], ["dlq", "ls"], ["stream", "ls"], ["consumer", "ls"]])
def test_no_broker_is_exit_status_3_and_the_address_is_named(args):
    url = f"tcp://127.0.0.1:{free_base()}"
    for result in (run(*args, "--timeout", "200ms", "--url", url), run(*args, "--timeout", "200ms", url=url)):
        assert (result.status, result.out) == (3, "")
        assert url in result.err and "lineshaft up TOPOLOGY" in result.err


def test_another_server_at_the_address_is_no_broker():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"tcp://127.0.0.1:{silent.getsockname()[1]}"
        result = run("stream", "ls", "--timeout", "200ms", url=url)
        assert (result.status, result.out) == (3, "") and f"at {url}: something listens there" in result.err
    with http.server.HTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        result = run("stream", "ls", "--timeout", "500ms", url=f"tcp://127.0.0.1:{web.server_address[1]}")
        web.shutdown()
    assert result.status == 3 and "does not speak LWP/1 (is that an HTTP port?)" in result.err, result


def test_where_nothing_listens_a_command_gives_up_by_itself():
    url = f"tcp://127.0.0.1:{free_base()}"
    result = run("stream", "ls", url=url)
    assert (result.status, result.out) == (3, "") and url in result.err


def test_help_topology_prints_the_options_and_the_schema_for_editors():
    assert "| `listen` | address |" in ok("help", "topology")
    schema = ok("help", "topology", "--json-schema")
    assert schema == ok("check", "--json-schema") == (ROOT / "schemas" / "topology.schema.json").read_text()
    assert run("help", "topology", "--yaml").status == 2


def test_version_names_the_protocol_and_the_libraries():
    assert re.match(r"lineshaft \d+\.\d+\.\d+\nprotocol LWP/1\nlibzmq 4\.\d+\.\d+\nczmq 4\.", ok("version"))
    assert ok("--version") == ok("version")


def test_no_kind_calls_a_number_as_every_node_does():
    """They would be two samples of one name in /metrics."""
    with open(f"{ROOT}/docs/nodes/README.md") as file:
        rows = re.findall(r"^\| (`[a-z_]+_total`.*?) \|", file.read(), re.M)
    common = set(re.findall(r"`(\w+)`", " ".join(rows)))
    assert {"retries_total", "requests_total"} < common
    for kind in re.findall(r"^  (\w+) ", ok("node", "--list"), re.M):
        page = ok("help", "node", kind)
        own = set(re.findall(r"^  (\w+) ", page.partition("\nMETRICS")[2].partition("\n\n")[0], re.M))
        assert not own & common, kind
