"""The checker's former path, kept for one release: `solver/checkers/certificate.py` is the file to run."""

from __future__ import annotations

import runpy
from pathlib import Path

if __name__ == "__main__":
    runpy.run_path(str(Path(__file__).parent / "checkers" / "certificate.py"), run_name="__main__")
