"""Where the repository's folders are, for tests and benchmarks."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
CASES = ROOT / "instances" / "cases"
DATA = ROOT / "tests" / "data"
SHARED = Path(os.environ.get("SHARDPROOF_DATA", ROOT.parent / "shared"))
"""Measurements and published configurations that stand beside a checkout; tests that need them skip without."""
