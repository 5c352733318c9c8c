"""Property tests here are repeatable, leave no files behind, and do not depend on how busy the machine is."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("chappe", deadline=None, derandomize=True, database=None)
settings.load_profile("chappe")
