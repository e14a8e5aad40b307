# SPDX-License-Identifier: Apache-2.0
"""Whatever stands in config/ to be copied passes `lineshaft check`, and what has to be set says so; deploy/ names what there is."""
import re

import pytest

from bus import ROOT
from cli import run

MADE_UP = {
    "LINESHAFT_DATABASE": "postgresql://ada:secret@127.0.0.1/lineshaft",
    "LINESHAFT_STORE": "s3://models/lab",
    "LINESHAFT_MODEL_URL": "http://127.0.0.1:8000/v1",
    "LINESHAFT_KEY": "sha256:" + "0" * 64,
}


@pytest.mark.parametrize("file", sorted((ROOT / "config").rglob("*.yaml")), ids=lambda file: str(file.relative_to(ROOT)))
def test_every_configuration_passes_check(file):
    result = run("check", file, cwd=ROOT, **MADE_UP)
    assert result.status == 0 and ": ok: " in result.out + result.err, result


def test_what_production_needs_is_explained_at_its_top():
    text = (ROOT / "config/production.yaml").read_text()
    needed = set(re.findall(r"^[^#\n]*\$\{env:(\w+)\}", text, re.M))
    assert needed == set(MADE_UP) and all(re.search(rf"^#   {name} ", text, re.M) for name in needed)


@pytest.mark.parametrize("file", ["deploy/systemd/lineshaft.service", "deploy/container/Containerfile"])
def test_deploy_names_what_is_there(file):
    named = re.findall(r"(?<![\w/.-])(?:/src/)?((?:config|deploy|docs)/[\w./-]*\w)", (ROOT / file).read_text())
    assert named and [name for name in named if not (ROOT / name).exists()] == []
