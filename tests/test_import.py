"""`import chappe` is cheap: nothing heavy comes in, and it is quick in a fresh process."""

from __future__ import annotations

import resource
import subprocess
import sys

HEAVY = ("torch", "numpy", "PIL", "numba", "safetensors", "accelerate", "tqdm", "scipy")


def _python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return done.stdout.strip()


def test_nothing_heavy_is_imported():
    found = _python(f"import sys, chappe, chappe.cli; print([m for m in {HEAVY!r} if m in sys.modules])")
    assert found == "[]"


def test_import_takes_less_than_300_ms():
    code = "import time; t = time.perf_counter(); import chappe; print(time.perf_counter() - t)"
    assert min(float(_python(code)) for _ in range(3)) < 0.3


def test_help_takes_less_than_500_ms():
    def seconds() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    times = []
    for _ in range(3):  # processor time: what the command costs, however busy the machine is
        before = seconds()
        subprocess.run([sys.executable, "-m", "chappe", "--help"], capture_output=True, timeout=60, check=True)
        times.append(seconds() - before)
    assert min(times) < 0.5


def test_the_face():
    import chappe

    assert chappe.__version__.count(".") == 2
    assert "sqgan-street" in chappe.list_models()
    assert all(callable(getattr(chappe, name)) for name in ("load", "encode", "decode", "list_models"))


def test_the_installed_version_is_the_one_in_the_code():
    from importlib.metadata import version

    import chappe

    assert version("chappe") == chappe.__version__
