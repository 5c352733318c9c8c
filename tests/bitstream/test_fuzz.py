from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from chappe.errors import StreamError

SCRIPT = Path(__file__).resolve().parents[2] / "tools" / "fuzz.py"


@pytest.fixture(scope="module")
def fuzz() -> ModuleType:
    spec = importlib.util.spec_from_file_location("chappe_tools_fuzz", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_two_thousand_damaged_inputs(fuzz: ModuleType) -> None:
    report = fuzz.run(2000, seed=20240229)
    assert report.failures == [], report.text()
    assert sum(report.counts.values()) == 2000
    assert {key[0] for key in report.counts} == {"container", "tokens", "map", "near"}
    assert report.number("refused") > 500  # the containers alone
    assert report.number("result") > 100  # damage behind a coder's first bytes mostly decodes to something else


def test_a_crash_a_hang_and_a_wrong_result_are_reported(fuzz: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    def bad(data: bytes, valid: bool) -> None:
        if data == b"sample":
            return
        if len(data) % 3 == 0:
            raise IndexError("list index out of range")
        if len(data) % 3 == 1:
            fuzz._expect(False, "five cells instead of six")
        raise StreamError("refused as it should be")

    monkeypatch.setitem(fuzz.TARGETS, "bad", lambda: fuzz.Target([(b"sample", (True,))], bad))
    report = fuzz.run(300, seed=1, targets=("bad",))
    assert report.number("failed") == len(report.failures) > 50
    assert report.number("refused") > 50
    assert any("IndexError" in line for line in report.failures)
    assert any("five cells" in line for line in report.failures)
    monkeypatch.setattr(fuzz, "TIME_LIMIT", -1.0)
    assert len(fuzz.run(10, targets=("container",)).failures) == 10
