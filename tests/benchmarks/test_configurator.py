"""Tables of a configurator's candidates are read, and their exact mix is never larger than the best single one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

from benchmarks.configurator import TABLE, alike, candidates, cases, mixed

ROWS = (
    "model,request_rate,seq/s,num_total_gpus",
    "m,4.5,4.5,4",
    "m,2,2,2",
    "m,1.9,1.9,2",  # beaten by the row above
    "m,0.5,0.5,1",
)


def test_the_exact_mix_of_candidates_is_never_larger_than_one_of_them(tmp_path: Path) -> None:
    path = tmp_path / "model" / "agg" / TABLE
    path.parent.mkdir(parents=True)
    path.write_text("\n".join(ROWS), encoding="utf-8")
    table = candidates(path)
    assert table == [(1, Fraction(1, 2)), (2, Fraction(2)), (4, Fraction(9, 2))]
    assert (alike(table, Fraction(5)), mixed(table, Fraction(5))) == (6, 5)  # one of 4 GPUs and one of 1
    found = list(cases(tmp_path, 4))
    assert len(found) == 4
    assert all(best <= one for _, _, one, best in found)
