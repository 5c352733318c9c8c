"""The documentation keeps up: commands parse, links lead somewhere, Python examples name what exists."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path

import pytest

import chappe
from chappe.cli import build_parser

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
COMMAND = re.compile(r"^ {4}(?:\.venv/bin/)?chappe (?P<rest>[^#\n]*)", re.MULTILINE)


def _commands():
    for page in PAGES:
        for match in COMMAND.finditer(page.read_text(encoding="utf-8")):
            yield pytest.param(match["rest"].split("|")[0].strip(), id=f"{page.name}: {match['rest'][:40]}")


@pytest.mark.parametrize("command", list(_commands()))
def test_commands_parse(command):
    assert callable(build_parser().parse_args(shlex.split(command)).run)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", text):
        assert (page.parent / target).exists(), target


def test_python_examples_use_names_that_exist():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert blocks
    for block in blocks:
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "chappe":
                assert node.attr in chappe.__all__


def test_every_command_is_documented():
    text = "".join(page.read_text(encoding="utf-8") for page in PAGES)
    for command in ("encode", "decode", "info", "models", "doctor", "train"):
        assert f"chappe {command}" in text or f"`{command}`" in text
