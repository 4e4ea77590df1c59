"""Batch systems: the nodes and GPUs that a Slurm script asks for (``#SBATCH``)."""

from __future__ import annotations

import re
from dataclasses import replace

from shardproof.solver.documents.forms.container import requested
from shardproof.solver.documents.launch import Launch

_OPTION = re.compile(r"^#SBATCH\s+(-{1,2}[\w-]+)(?:[= ]\s*(\S+))?", re.M)


def with_batch_request(launch: Launch, text: str) -> Launch:
    """Add the GPUs that the script's ``#SBATCH`` lines ask for; unchanged where they name none."""
    nodes, each, total, line = 1, 0, 0, 0
    for match in _OPTION.finditer(text):
        name, value = match[1], match[2] or ""
        count = re.search(r"(\d{1,5})$", value)
        if count is None:
            continue
        if name in ("--nodes", "-N"):
            nodes = int(count[1])
        elif name in ("--gpus-per-node", "--gres") and ("gpu" in value or name == "--gpus-per-node"):
            each, line = int(count[1]), text.count("\n", 0, match.start()) + 1
        elif name in ("--gpus", "-G"):
            total, line = int(count[1]), text.count("\n", 0, match.start()) + 1
    total = total or nodes * each
    if not total:
        return launch
    said = f"GPUs requested: {total}" + (f" ({nodes} nodes x {each})" if each else "")
    return replace(launch, statements=(*launch.statements, requested(total, line, said, launch.sections)))
