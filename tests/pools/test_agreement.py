"""Search, checker and brute force agree on random small fleets; forged certificates are refused."""

from __future__ import annotations

import json
from random import Random

import pytest

from tests.oracles.pools_agreement import accepted, certified, disagreement, forged, is_true, load_disagreement
from tests.oracles.random_pools import random_pools


@pytest.mark.parametrize("seed", range(0, 60, 2))
def test_the_least_cost_is_that_of_brute_force(seed: int) -> None:
    assert disagreement(random_pools(seed)) is None


@pytest.mark.parametrize("seed", range(1, 40, 4))
def test_the_most_load_is_that_of_brute_force(seed: int) -> None:
    assert load_disagreement(random_pools(seed), 3) is None


@pytest.mark.parametrize("seed", range(40))
def test_what_a_forged_certificate_claims_is_refused_or_true(seed: int) -> None:
    random = Random(f"forge pools {seed}")
    found = json.loads(json.dumps(certified(random_pools(random.randrange(400)))[1]))
    assert accepted(found)
    made = forged(random, found)
    assert made is None or not accepted(made) or is_true(made)
