"""Model folders that share arrays of others."""

from __future__ import annotations

import json
import shutil

import pytest

from chappe.data.scenes import render_scene
from chappe.errors import InputError, UsageError
from chappe.modelfolder import PACKED, TOKENS, fingerprint
from chappe.systems.sqgan.load import WEIGHTS, load_folder, load_street_v1


@pytest.fixture
def folders(tmp_path):
    """Versions 1 and 2 as they ship, and `mine`, which takes everything from them."""
    for name in ("sqgan-street-v1", "sqgan-street-v2"):
        (tmp_path / name).symlink_to(WEIGHTS / name)
    meta = json.loads((WEIGHTS / "sqgan-street-v2" / "config.json").read_text())
    meta["config"].pop("map_from")
    shares = (("sqgan-street-v2", ["image.", "prior.image"]), ("sqgan-street-v1", ["map.", "prior.map"]))
    meta["config"]["shares"] = [
        {"folder": name, "fingerprint": fingerprint(tmp_path / name), "prefixes": prefixes} for name, prefixes in shares
    ]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text(json.dumps(meta))
    return tmp_path


def test_shared_arrays_make_the_same_model(folders):
    mine = load_folder(folders / "mine", "mine", 250)
    other = load_folder(WEIGHTS / "sqgan-street-v2", "other", 251)
    one, two = mine.engine.model.state_dict(), other.engine.model.state_dict()
    assert one.keys() == two.keys() and all((one[key] == two[key]).all() for key in one)
    assert {k: v.tolist() for k, v in mine.priors.items()} == {k: v.tolist() for k, v in other.priors.items()}
    assert mine.fingerprint != other.fingerprint


def test_the_fingerprint_covers_every_file_that_decides_symbols(folders):
    mine = folders / "mine"
    seen = {fingerprint(mine)}
    (mine / TOKENS).write_bytes(b"x")
    seen.add(fingerprint(mine))
    shutil.copy(WEIGHTS / "segmenter-street-v1" / PACKED, mine)
    seen.add(fingerprint(mine))
    meta = json.loads((mine / "config.json").read_text())
    meta["config"]["shares"][0]["fingerprint"] ^= 1
    (mine / "config.json").write_text(json.dumps(meta))
    assert len(seen | {fingerprint(mine)}) == 4
    with pytest.raises(InputError, match="is not the model that mine shares"):
        load_folder(mine, "mine", 250)


def test_a_folder_without_weights_or_shares_is_incomplete(folders):
    meta = json.loads((folders / "mine" / "config.json").read_text())
    short = meta["config"] | {"shares": meta["config"]["shares"][:1]}
    (folders / "mine" / "config.json").write_text(json.dumps(meta | {"config": short}))
    with pytest.raises(InputError, match="do not fit"):
        load_folder(folders / "mine", "mine", 250)
    (folders / "mine" / "config.json").write_text(json.dumps(meta | {"config": meta["config"] | {"shares": []}}))
    with pytest.raises(InputError, match=r"no model\.safetensors"):
        load_folder(folders / "mine", "mine", 250)


def test_version_1_reads_and_does_not_write():
    codec = load_street_v1()
    assert set(codec.engine.run.networks) == {"analyse_map", "restore_map", "restore_image"}
    with pytest.raises(UsageError, match="kept for reading the files it wrote: write with sqgan-street"):
        codec.encode(render_scene(1, size=(64, 64)).image)


def test_only_named_arrays_may_be_missing(tmp_path):
    shutil.copytree(WEIGHTS / "sqgan-street-v1", tmp_path / "mine")
    meta = json.loads((tmp_path / "mine" / "config.json").read_text())
    assert meta.pop("dropped") == ["image.encoder.", "image.samm."]
    (tmp_path / "mine" / "config.json").write_text(json.dumps(meta))
    with pytest.raises(InputError, match=r"missing \['image\.encoder\."):
        load_folder(tmp_path / "mine", "mine", 250)
