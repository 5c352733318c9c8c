"""Compiled functions that start without numba: machine code made by numba once, kept on disk, linked by llvmlite alone.

Importing numba costs a third of a second, llvmlite a twentieth. A kept file is the SHA-256 of an object file and the
object file; its name holds a digest of the sources, of numba's and llvmlite's versions and of the processor.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib.util
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import llvmlite
import llvmlite.binding as llvm
import numpy as np

from chappe.errors import ChappeError
from chappe.files import atomic_write_bytes

__all__ = ["Native", "compiled"]

SYMBOL = "chappe_entry"
_FREE = ("llvm.", "memcpy", "memset", "memmove")  # what machine code may call: nothing of numba's or Python's


class Native:
    """`native(arrays, *numbers)` -> int: calls compiled code with the places of the arrays and with
    len(array) ..., number ..., all as int64. The arrays are C-contiguous."""

    def __init__(self, address: int, keep: object):
        self._call = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.c_void_p)(address)
        self._keep = keep

    def __call__(self, arrays: Sequence[np.ndarray], *numbers: int) -> int:
        places = np.array([a.__array_interface__["data"][0] for a in arrays], np.uint64)
        values = np.array([*(a.size for a in arrays), *numbers], np.int64)
        return self._call(places.ctypes.data, values.ctypes.data)


def compiled(name: str, sources: Sequence[ModuleType], make: Callable[[], Callable]) -> Native:
    """The function that `make` returns, compiled: entry(p, n) of pointers to the arrays and of int64, see `Native`.

    It may raise nothing and allocate nothing. sources: the modules whose text decides whether kept code still holds.
    Raises ImportError where nothing is kept and numba is not installed.
    """
    file = f"{name}-{_key(sources)}.{SYMBOL[:6]}.o"
    for folder in _folders():
        data = _kept(folder / file)
        if data is not None:
            return _link(data)
    data, native = _compile(make)
    for folder in _folders() if data else ():
        try:
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write_bytes(folder / file, hashlib.sha256(data).digest() + data)
            break
        except (OSError, ChappeError):
            continue  # no folder to keep it in: compile anew in every process
    return native


def _folders() -> tuple[Path, ...]:
    """Beside the modules, else in the user's cache folder."""
    if given := os.environ.get("NUMBA_CACHE_DIR"):
        return (Path(given),)
    home = os.environ.get("LOCALAPPDATA") if sys.platform == "win32" else os.environ.get("XDG_CACHE_HOME")
    return Path(__file__).parent / "__pycache__", Path(home or Path.home() / ".cache") / "chappe" / "native"


def _key(sources: Sequence[ModuleType]) -> str:
    digest = hashlib.sha256(f"{llvmlite.__version__} {llvm.llvm_version_info} {sys.byteorder}".encode())
    digest.update(f"{llvm.get_process_triple()} {llvm.get_host_cpu_name()} {_features()}".encode())
    paths = [Path(module.__file__) for module in sources]
    numba = importlib.util.find_spec("numba")
    if numba is not None and numba.origin:
        paths.append(Path(numba.origin).with_name("_version.py"))
    for path in paths:
        digest.update(path.read_bytes() if path.is_file() else b"")
    return digest.hexdigest()[:20]


def _features() -> str:
    return llvm.get_host_cpu_features().flatten()


def _machine() -> llvm.TargetMachine:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    return target.create_target_machine(
        cpu=llvm.get_host_cpu_name(), features=_features(), opt=3, reloc="pic", codemodel="jitdefault", jit=True
    )


def _kept(path: Path) -> bytes | None:
    """A kept object file; None where there is none or it is not what was written."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return data[32:] if len(data) > 32 and hashlib.sha256(data[32:]).digest() == data[:32] else None


def _compile(make: Callable[[], Callable]) -> tuple[bytes | None, Native]:
    """The object file, and the function; no file where the code is not free of calls."""
    import numba
    from numba import types

    signature = types.int64(types.CPointer(types.voidptr), types.CPointer(types.int64))
    function = numba.cfunc(signature, error_model="numpy")(make())
    text = _freed(function.inspect_llvm(), function.native_name.removeprefix("cfunc."))
    if text is None:
        return None, Native(function.address, function)
    data = _machine().emit_object(llvm.parse_assembly(text))
    return data, _link(data)


def _freed(text: str, name: str) -> str | None:
    """LLVM assembly of the function `name` without numba's wrapper, which calls Python to report errors, and under a
    wrapper of our own; None where it can fail or calls anything else."""
    text = re.sub(r'(?ms)^define [^\n]*@"?(cfunc\.|NRT_).*?^}\n', "", text)
    body = re.search(rf"(?ms)^define [^\n]*i32 @{re.escape(name)}\(.*?^}}\n", text)
    calls = re.findall(r'(?m)^(?!declare).*\bcall [^\n]*?@"?([\w.$]+)"?\(', text)
    if body is None or set(re.findall(r"ret i32 (\S+)", body[0])) != {"0"}:
        return None
    if not all(call.startswith(_FREE) for call in calls):
        return None
    return text + (
        f"\ndefine i64 @{SYMBOL}(ptr %p, ptr %n) {{\n  %r = alloca i64\n  %e = alloca ptr\n"
        f"  %s = call i32 @{name}(ptr %r, ptr %e, ptr %p, ptr %n)\n  %v = load i64, ptr %r\n  ret i64 %v\n}}\n"
    )


def _link(data: bytes) -> Native:
    machine = _machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(data))
    engine.finalize_object()
    return Native(engine.get_function_address(SYMBOL), engine)
