"""Slurm: one batch job a group, an array task a replica, the engine's own script on every node.

Source: sbatch's options (``--array``, ``--nodes``, ``--gpus-per-node``); ``SLURM_NODEID`` is the rank of a node.
"""

from __future__ import annotations

from collections.abc import Sequence

from shardproof.solver.exporters.apart import refuse_apart
from shardproof.solver.exporters.engines import scripts
from shardproof.solver.exporters.text import cannot, shell_words
from shardproof.solver.exporters.units import PORT, Unit

TARGET = "slurm"


def write(units: Sequence[Unit]) -> dict[str, str]:
    """Return the scripts of every node, and the job that starts them."""
    refuse_apart(units, TARGET)
    files = {name: text for name, text in scripts(units).items() if name.endswith((".sh", ".yaml"))}
    for unit in units:
        if unit.is_ray:
            reason = "this version of vLLM spans nodes by Ray alone; name vllm@0.11 or later"
            raise cannot(TARGET, reason, field="engine")
        files[f"{unit.name}.sbatch"] = _job(unit)
        if unit.engine == "trtllm" and unit.nodes > 1:
            files[f"{unit.name}.sh"] = _rank(unit)
    return files


def _job(unit: Unit) -> str:
    is_mpi = unit.engine == "trtllm" and unit.nodes > 1
    lines = ["#!/usr/bin/env bash", f"#SBATCH --job-name={unit.name}"]
    if unit.replicas > 1:
        lines.append(f"#SBATCH --array=0-{unit.replicas - 1}")
    lines += [f"#SBATCH --nodes={unit.nodes}", f"#SBATCH --ntasks-per-node={unit.gpus_per_node if is_mpi else 1}"]
    lines += [f"#SBATCH --gpus-per-node={unit.gpus_per_node}", "set -eu"]
    lines.append(
        f"# the GPUs are {unit.device.name}: sites name theirs by --constraint, --partition or --gpus-per-node=TYPE:N"
    )
    lines.append('MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"')
    lines.append("export MASTER_ADDR")
    lines.append("# array tasks that share a host listen on ports of their own")
    lines.append(f"export SERVE_PORT=$(({PORT} + 100 * ${{SLURM_ARRAY_TASK_ID:-0}}))")
    if is_mpi:
        lines.append(f"srun --mpi=pmix bash ./{unit.name}.sh")
    elif len(unit.processes) > 1:
        first = f"if [ $SLURM_NODEID = 0 ]; then bash ./{unit.name}.node-0.sh --port $SERVE_PORT; "
        lines.append(f"srun bash -c '{first}else bash ./{unit.name}.node-$SLURM_NODEID.sh; fi'")
    else:
        lines.append(f'srun bash ./{unit.name}.sh --port "$SERVE_PORT"')
    return "\n".join(lines) + "\n"


def _rank(unit: Unit) -> str:
    """What every rank of an MPI job runs: srun starts the ranks, in the place of mpirun."""
    words = unit.processes[0].words
    own = words[words.index("trtllm-llmapi-launch") :]
    line = shell_words(own).replace("config.yaml", f"{unit.name}.config.yaml")
    return "\n".join(["#!/usr/bin/env bash", "set -eu", f"exec {line}"]) + "\n"
