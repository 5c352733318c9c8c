"""Model folders whose weights are packed read as the others do."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save

from chappe import modelfolder
from chappe.bitstream import planes
from chappe.errors import InputError
from chappe.modelfolder import CONFIG, PACKED, WEIGHTS, fingerprint, has_weights, read_arrays, read_meta, read_weights

TOOL = Path(__file__).resolve().parents[1] / "tools" / "pack_weights.py"
BUNDLED = Path(modelfolder.__file__).parent / "weights"
ARRAYS = {"prior.a": np.arange(5, dtype=np.int32), "net.w": np.linspace(-1, 1, 999).astype(np.float16)}
# In every file that these models wrote: this table only ever grows.
IN_FILES = {
    "judge-street-v1": 37750, "link-adjscc-street-v1": 63414, "link-deepjscc-mimo-street-v1": 48537,
    "link-mutual-street-v1": 64631, "link-pcen-street-v1": 20504, "link-proxynet-street-v1": 28668,
    "link-scsc-street-v1": 48766, "segmenter-street-v1": 9138, "spic-onepass-street-v1": 57979,
    "spic-onepass-street-v2": 10298, "sqgan-street-v1": 32435, "sqgan-street-v2": 8989, "sqgan-street-v3": 48076,
}  # fmt: skip


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("chappe_tools_pack_weights", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path):
    (tmp_path / WEIGHTS).write_bytes(save(ARRAYS))
    (tmp_path / CONFIG).write_text(json.dumps({"config": {"kind": "toy"}}))
    modelfolder._unpacked.cache_clear()
    return tmp_path


@pytest.mark.parametrize("method", planes.METHODS)
def test_packed_and_back(tool, folder, method, capsys):
    data, print_ = (folder / WEIGHTS).read_bytes(), fingerprint(folder)
    assert tool.main(["--method", method, str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, PACKED]
    assert f"{len(data)} -> {(folder / PACKED).stat().st_size} bytes" in capsys.readouterr().out
    assert (read_weights(folder), fingerprint(folder), has_weights(folder)) == (data, print_, True)
    assert read_meta(folder)["config"] == {"kind": "toy"}
    (values,) = read_arrays(folder, "prior.").values()
    assert np.array_equal(values, ARRAYS["prior.a"])
    assert tool.main(["--unpack", str(folder)]) == 0
    assert sorted(path.name for path in folder.iterdir()) == [CONFIG, WEIGHTS]
    assert (folder / WEIGHTS).read_bytes() == data


def test_torch_reads_both_forms(tool, folder):
    from chappe.training.export import load_model

    before = load_model(folder)[0]
    tool.pack_folder(folder)
    after = load_model(folder)[0]
    assert before.keys() == after.keys() == ARRAYS.keys()
    assert all(after[key].dtype == before[key].dtype and (after[key] == before[key]).all() for key in before)


def test_a_packed_file_is_unpacked_once_and_again_after_a_change(tool, folder, monkeypatch):
    from chappe.training.export import load_model

    tool.pack_folder(folder)
    calls, unpack = [], planes.unpack
    monkeypatch.setattr(planes, "unpack", lambda data: calls.append(1) or unpack(data))
    modelfolder._unpacked.cache_clear()
    fingerprint(folder), read_arrays(folder, "prior."), load_model(folder)
    assert len(calls) == 1
    (folder / PACKED).write_bytes(planes.pack(save({"other": ARRAYS["net.w"]})))
    assert read_arrays(folder, "").keys() == {"other"} and len(calls) == 2


def test_what_training_writes_goes_before_an_older_packed_file(tool, folder):
    tool.pack_folder(folder)
    (folder / WEIGHTS).write_bytes(save({"new": ARRAYS["net.w"]}))
    assert read_arrays(folder, "").keys() == {"new"}


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-3], lambda data: data[:60] + b"?" + data[61:], lambda data: b""]
)
def test_damage_is_an_input_error(tool, folder, damage, capsys):
    tool.pack_folder(folder)
    (folder / PACKED).write_bytes(damage((folder / PACKED).read_bytes()))
    with pytest.raises(InputError, match=r"model\.packed: .*install chappe again"):
        fingerprint(folder)
    assert tool.main(["--unpack", str(folder)]) == 1 and (folder / PACKED).exists()
    assert "model.packed" in capsys.readouterr().err


def test_no_weights_at_all(tool, folder, capsys):
    (folder / WEIGHTS).unlink()
    assert not has_weights(folder) and read_arrays(folder, "") == {}
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read"):
        read_weights(folder)
    assert tool.main([str(folder)]) == 1 and "cannot be read" in capsys.readouterr().err


def test_arrays_that_are_none(folder):
    (folder / WEIGHTS).write_bytes(b"not arrays")
    with pytest.raises(InputError, match="the weights are damaged"):
        read_arrays(folder, "")


def test_a_kept_fingerprint_goes_first(folder):
    for kept in (0, 65535):
        (folder / CONFIG).write_text(json.dumps({"config": {"kind": "toy"}, "fingerprint": kept}))
        assert fingerprint(folder) == kept
    for wrong in (-1, 65536, "12", True, None, 1.0):
        (folder / CONFIG).write_text(json.dumps({"config": {"kind": "toy"}, "fingerprint": wrong}))
        with pytest.raises(InputError, match="0 to 65535"):
            fingerprint(folder)


def test_bundled_models_are_the_ones_that_files_name():
    assert {name: fingerprint(BUNDLED / name) for name in IN_FILES} == IN_FILES
