"""Lines: the commands of four benchmark tools that send a load.

Sources: vLLM 0.33 ``vllm bench serve``; aiperf 0.13 ``profile``; GuideLLM 0.8 ``run --config``; GenAI-Perf's
``profile``. Every line fixes what a fair comparison needs: output lengths (end-of-sequence is ignored), prompts that
share no prefix, arrivals and seed, a warm-up that is not counted, limits of goodput.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping

import yaml

from shardproof.solver.benchmarking.load import Load

SEED = 0


def _joined(words: list[str]) -> str:
    return " ".join(shlex.quote(word) for word in words)


def _plain(number: float) -> str:
    return f"{number:.6g}"


def vllm(load: Load, url: str) -> dict[str, str]:
    """``vllm bench serve``; its TPOT leaves the first token out, its ITL is one gap between tokens."""
    words = ["vllm", "bench", "serve", "--backend", "openai-chat", "--endpoint", "/v1/chat/completions"]
    words += ["--base-url", url, "--model", load.model, "--dataset-name", "random"]
    words += ["--random-input-len", str(load.input_tokens), "--random-output-len", str(load.output_tokens)]
    words += ["--random-range-ratio", "0", "--num-prompts", str(load.requests)]
    if load.rate is not None:
        words += ["--request-rate", _plain(load.rate), "--burstiness", _plain(min(1e6, 1 / max(load.cv, 1e-3) ** 2))]
    elif load.warm_up:
        words += ["--max-concurrency", str(load.concurrency)]
    words += ["--num-warmups", str(load.warm_up)] if load.warm_up else []
    words += ["--ignore-eos", "--seed", str(SEED), "--percentile-metrics", "ttft,tpot,itl,e2el"]
    words += ["--metric-percentiles", "50,90,99"]
    names = {"ttft": "ttft", "tpot": "tpot", "e2e": "e2el"}
    goals = [f"{names[name]}:{_plain(limit)}" for name, limit in load.limits]
    words += ["--goodput", *goals] if goals else []
    words += ["--save-result", "--result-filename", f"{load.scenario}.vllm.json"]
    return {f"{load.scenario}.vllm.sh": _joined(words) + "\n"}


_TAGS = {"ttft": "time_to_first_token", "tpot": "inter_token_latency", "e2e": "request_latency"}
"""What aiperf and GenAI-Perf call the figures; their inter_token_latency is one for each request: vLLM's TPOT."""


def aiperf(load: Load, url: str) -> dict[str, str]:
    """``aiperf profile``."""
    words = ["aiperf", "profile", "-m", load.model, "-u", url, "--endpoint-type", "chat", "--streaming"]
    words += ["--tokenizer", load.model, "--isl", str(load.input_tokens), "--isl-stddev", "0"]
    words += ["--osl", str(load.output_tokens), "--osl-stddev", "0", "--extra-inputs", "ignore_eos:true"]
    if load.rate is not None:
        pattern = "constant" if load.cv == 0 else "poisson"
        words += ["--request-rate", _plain(load.rate), "--arrival-pattern", pattern]
    else:
        words += ["--concurrency", str(load.concurrency)]
    words += ["--num-requests", str(load.requests)]
    words += ["--warmup-request-count", str(load.warm_up)] if load.warm_up else []
    words += ["--random-seed", str(SEED), *_goodput(load), "--artifact-dir", f"{load.scenario}.aiperf"]
    return {f"{load.scenario}.aiperf.sh": _joined(words) + "\n"}


def _goodput(load: Load) -> list[str]:
    goals = " ".join(f"{_TAGS[name]}:{_plain(limit)}" for name, limit in load.limits)
    return ["--goodput", goals] if goals else []


def genai_perf(load: Load, url: str) -> dict[str, str]:
    """``genai-perf profile``, which sends Poisson arrivals for a rate."""
    words = ["genai-perf", "profile", "-m", load.model, "-u", url, "--endpoint-type", "chat", "--streaming"]
    words += ["--tokenizer", load.model]
    words += ["--synthetic-input-tokens-mean", str(load.input_tokens), "--synthetic-input-tokens-stddev", "0"]
    words += ["--output-tokens-mean", str(load.output_tokens), "--output-tokens-stddev", "0"]
    words += ["--extra-inputs", "ignore_eos:true", "--extra-inputs", f"min_tokens:{load.output_tokens}"]
    how = ["--concurrency", str(load.concurrency)] if load.rate is None else ["--request-rate", _plain(load.rate)]
    words += [*how, "--request-count", str(load.requests)]
    words += ["--warmup-request-count", str(load.warm_up)] if load.warm_up else []
    goals = [f"{_TAGS[name]}:{_plain(limit)}" for name, limit in load.limits]
    words += ["--random-seed", str(SEED), *(["--goodput", *goals] if goals else [])]
    words += ["--artifact-dir", f"{load.scenario}.genai-perf"]
    return {f"{load.scenario}.genai-perf.sh": _joined(words) + "\n"}


def guidellm(load: Load, url: str) -> dict[str, str]:
    """``guidellm run --config``: lengths, arrivals and time stand in a file."""
    profile = "concurrent" if load.rate is None else ("constant" if load.cv == 0 else "poisson")
    at = {"profile.streams": load.concurrency} if load.rate is None else {"profile.rate": load.rate}
    tree = {
        "metadata": {"name": load.scenario},
        "spec": {
            "backend": {"kind": "openai_http", "target": url},
            "profile": {"kind": profile},
            "data": [
                {"kind": "synthetic_text", "prompt_tokens": load.input_tokens, "output_tokens": load.output_tokens}
            ],
            "constraints": [{"kind": "max_duration", "seconds": 300}],
        },
        "benchmarks": [at],
    }
    name = f"{load.scenario}.guidellm.yaml"
    return {
        name: yaml.safe_dump(tree, sort_keys=False),
        f"{load.scenario}.guidellm.sh": f"guidellm run --config {name}\n",
    }


TOOLS: Mapping[str, Callable[[Load, str], dict[str, str]]] = {
    "vllm": vllm,
    "aiperf": aiperf,
    "guidellm": guidellm,
    "genai-perf": genai_perf,
}
"""All tools: each takes a load and the server's address and returns files, the line to run in the one ending .sh."""
