"""Plan documents made from a sheet of facts, clean or with one planted error, in several formats.

The facts are worked out here from the models' published shapes, with none of the project's own code, so that
the auditor is held against numbers that it did not produce.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Shape:
    """A model as its makers publish it; ``billions`` are total and active parameters."""

    name: str
    precision: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    experts: int
    topk: int
    vocab: int
    billions: tuple[float, float]

    @property
    def width(self) -> int:
        return 1 if self.precision == "FP8" else 2

    @property
    def attention(self) -> int:
        return self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)

    @property
    def expert(self) -> int:
        return 3 * self.hidden * self.intermediate

    def layer_bytes(self, tp: int, parts: int) -> float:
        kv = self.hidden * self.head_dim * 2 * self.kv_heads / min(tp, self.kv_heads)
        attention = self.hidden * self.head_dim * 2 * self.heads / tp + kv
        ffn = max(1, self.experts) * self.expert / parts + self.hidden * self.experts
        return self.width * (attention + ffn)

    def kv_token_layer(self, tp: int = 1) -> float:
        return 2 * max(1, self.kv_heads / tp) * self.head_dim * 2


SHAPES = (
    Shape("Qwen3-235B-A22B", "FP8", 94, 4096, 64, 4, 128, 1536, 128, 8, 151936, (235.09, 22.191)),
    Shape("Llama-3.1-70B", "BF16", 80, 8192, 64, 8, 128, 28672, 0, 0, 128256, (70.55, 70.55)),
    Shape("Llama-3.1-405B", "FP8", 126, 16384, 128, 8, 128, 53248, 0, 0, 128256, (405.85, 405.85)),
    Shape("Mixtral-8x7B", "BF16", 32, 4096, 32, 8, 128, 14336, 8, 2, 32000, (46.70, 12.88)),
    Shape("Qwen3-30B-A3B", "BF16", 48, 2048, 32, 4, 128, 768, 128, 8, 151936, (30.53, 3.353)),
    Shape("Qwen3-32B", "BF16", 64, 5120, 64, 8, 128, 25600, 0, 0, 151936, (32.76, 32.762)),
    Shape("Llama-3.1-8B", "BF16", 32, 4096, 32, 8, 128, 14336, 0, 0, 128256, (8.03, 8.03)),
)
DEGREES = {
    "Qwen3-235B-A22B": (4, 2, 4),
    "Llama-3.1-70B": (4, 2, 1),
    "Llama-3.1-405B": (8, 2, 1),
    "Mixtral-8x7B": (2, 2, 1),
    "Qwen3-30B-A3B": (2, 2, 2),
    "Qwen3-32B": (2, 2, 1),
    "Llama-3.1-8B": (1, 2, 1),
}
DEVICES = (("H200", "141 GB", "4.8 TB/s", 989, 1979, 2.48), ("H100 SXM", "80 GB", "3.35 TB/s", 989, 1979, 1.69))
MFU = 0.5


@dataclass
class Sheet:
    """Rows of a document: section, key, value; ``tag`` finds a row whatever its wording."""

    rows: list[tuple[str, str, str, str]] = field(default_factory=list)
    exact: dict[str, float] = field(default_factory=dict)

    def add(self, section: str, tag: str, key: str, value: str) -> None:
        self.rows.append((section, tag, key, value))

    def change(self, tag: str, value: str) -> None:
        at = next(index for index, row in enumerate(self.rows) if row[1] == tag)
        section, _, key, _ = self.rows[at]
        self.rows[at] = (section, tag, key, value)

    def value(self, tag: str) -> str:
        return next(row[3] for row in self.rows if row[1] == tag)

    def drop(self, *tags: str) -> None:
        self.rows = [row for row in self.rows if row[1] not in tags]


@dataclass(frozen=True)
class Document:
    name: str
    suffix: str
    text: str
    error: str
    planted: str
    """The value that is wrong, as printed; empty for a clean document."""


WORDS = (
    {"layers": "Layers", "experts": "Experts per layer", "hidden": "Token Dimension", "heads": "Attention heads",
     "kv_heads": "KV heads", "batch": "Batch Size", "input": "Input Sequence", "output": "Output Sequence",
     "limit": "TTFT Requirement", "tp": "Tensor Parallel (TP)", "pp": "Pipeline Parallel (PP)",
     "ep": "Expert Parallel (EP)", "dp": "Data Parallel (DP)", "gpus": "Total GPUs Required",
     "each": "Layers per stage", "weights": "Weights per GPU", "kv": "KV cache per GPU", "ttft": "Estimated TTFT",
     "meets": "Meets TTFT Requirement", "use": "Memory Utilization", "total": "Memory per GPU"},
    {"layers": "Number of layers", "experts": "Routed experts", "hidden": "Hidden size", "heads": "Query heads",
     "kv_heads": "Key/value heads", "batch": "Concurrent requests", "input": "ISL", "output": "OSL",
     "limit": "TTFT SLO", "tp": "TP size", "pp": "PP size", "ep": "EP size", "dp": "DP size", "gpus": "GPUs used",
     "each": "Layers in each stage", "weights": "Model weights per device", "kv": "KV cache memory per device",
     "ttft": "Time to first token", "meets": "TTFT within limit", "use": "GPU memory utilization",
     "total": "Peak memory per GPU"},
)  # fmt: skip


def sheet_of(shape: Shape, *, device: int, words: int) -> Sheet:
    """A consistent sheet of one model on one device."""
    tp, pp, ep = DEGREES[shape.name]
    name, memory, bandwidth, peak, _, price = DEVICES[device]
    said = WORDS[words]
    batch, prompt, output = 32, 2048, 1024
    gpus, parts = tp * pp, tp
    each = shape.layers // pp
    weights = shape.layer_bytes(tp, parts) * each
    kv = shape.kv_token_layer(tp) * each * batch * (prompt + output)
    capacity = float(memory.split()[0]) * 1e9
    active = shape.billions[1] * 1e9
    ideal = 2 * active * batch * prompt / (gpus * peak * 1e12 * MFU)
    sheet = Sheet()
    sheet.add("Model", "model", "Model", shape.name)
    sheet.add("Model", "parameters", "Parameters", f"{shape.billions[0]}B")
    sheet.add("Model", "layers", said["layers"], str(shape.layers))
    sheet.add("Model", "hidden", said["hidden"], str(shape.hidden))
    sheet.add("Model", "heads", said["heads"], str(shape.heads))
    sheet.add("Model", "kv_heads", said["kv_heads"], str(shape.kv_heads))
    if shape.experts:
        sheet.add("Model", "experts", said["experts"], str(shape.experts))
        sheet.add("Model", "topk", "Experts per token", str(shape.topk))
    sheet.add("Model", "precision", "Precision", shape.precision)
    sheet.add("Model", "kv_precision", "KV cache precision", "BF16")
    sheet.add("Hardware", "device", "GPU type", name)
    sheet.add("Hardware", "memory", "GPU memory", memory)
    sheet.add("Hardware", "bandwidth", "Memory bandwidth", bandwidth)
    sheet.add("Hardware", "peak", "Peak BF16 compute", f"{peak} TFLOPS")
    sheet.add("Hardware", "mfu", "MFU", f"{MFU:.0%}")
    sheet.add("Hardware", "per_node", "GPUs per node", "8")
    sheet.add("Hardware", "price", "Price per GPU hour", f"{price} USD/h")
    sheet.add("Workload", "batch", said["batch"], str(batch))
    sheet.add("Workload", "input", said["input"], f"{prompt} tokens")
    sheet.add("Workload", "output", said["output"], f"{output} tokens")
    sheet.add("Workload", "prompt_total", "Total prompt tokens", f"{batch * prompt:,}")
    sheet.add("Workload", "limit", said["limit"], f"{max(2.0, round(3 * ideal, 1))} s")
    sheet.add("Parallel strategy", "tp", said["tp"], str(tp))
    sheet.add("Parallel strategy", "pp", said["pp"], str(pp))
    if shape.experts:
        sheet.add("Parallel strategy", "ep", said["ep"], str(ep))
    sheet.add("Parallel strategy", "dp", said["dp"], "1")
    sheet.add("Parallel strategy", "each", said["each"], str(each))
    sheet.add("Parallel strategy", "heads_gpu", "Attention heads per GPU", str(shape.heads // tp))
    if shape.experts:
        sheet.add("Parallel strategy", "experts_gpu", "Experts per GPU", str(shape.experts // ep))
    sheet.add("Parallel strategy", "microbatches", "Microbatches", "16")
    sheet.add("Parallel strategy", "microbatch_size", "Microbatch size", "2 requests")
    sheet.add("GPU allocation", "gpus", said["gpus"], str(gpus))
    sheet.add("GPU allocation", "nodes", "Nodes", str(-(-gpus // 8)))
    sheet.add("GPU allocation", "cost", "Total cost per hour", f"{gpus * price:.2f} USD/h")
    sheet.add("Memory", "weights", said["weights"], f"{weights / 1e9:.1f} GB")
    sheet.add("Memory", "kv", said["kv"], f"{kv / 1e9:.2f} GB")
    sheet.add("Memory", "kv_token", "KV cache per token", f"{shape.kv_token_layer() * shape.layers:,.0f} B")
    sheet.add(
        "Memory", "kv_total", "Total KV cache", f"{shape.kv_token_layer() * shape.layers * batch * 3072 / 1e9:.2f} GB"
    )
    sheet.add("Memory", "total", said["total"], f"{(weights + kv) / 1e9:.1f} GB")
    sheet.add("Memory", "use", said["use"], f"{(weights + kv) / capacity:.1%}")
    sheet.add("Performance", "ttft", said["ttft"], f"{ideal * (1 + (pp - 1) / 16):.3g} s")
    sheet.add("Performance", "meets", said["meets"], "YES")
    sheet.exact = {
        "weights": weights / 1e9,
        "kv": kv / 1e9,
        "kv_token": shape.kv_token_layer() * shape.layers,
        "kv_total": shape.kv_token_layer() * shape.layers * batch * 3072 / 1e9,
        "ttft": ideal * (1 + (pp - 1) / 16),
        "cost": gpus * price,
    }
    if weights + kv > 0.95 * capacity:
        sheet.drop("use", "total")
    return sheet


def _seconds(text: str) -> float:
    return float(text.split(maxsplit=1)[0])


def plant(sheet: Sheet, shape: Shape, error: str) -> str | None:
    """Plant one error; return the wrong value as printed, ``None`` where the model has no place for it."""
    tp, pp, _ = DEGREES[shape.name]

    def put(tag: str, value: str) -> str | None:
        if all(row[1] != tag for row in sheet.rows) or sheet.value(tag) == value:
            return None
        sheet.change(tag, value)
        return value

    scaled = {
        "weights-two-bytes": ("weights", 2 if shape.precision == "FP8" else 0.5, ".1f"),
        "kv-all-heads": ("kv", shape.heads / shape.kv_heads, ".2f"),
        "kv-keys-only": ("kv_token", 0.5, ",.0f"),
        "kv-gib": ("kv_total", 1e9 / 2**30, ".2f"),
        "kv-prompt-only": ("kv", 2048 / 3072, ".2f"),
        "ttft-one-request": ("ttft", 1 / 32, ".3g"),
        "ttft-mfu-ignored": ("ttft", MFU, ".3g"),
        "cost": ("cost", 1.5, ".2f"),
    }
    if error in scaled:
        tag, factor, form = scaled[error]
        return put(tag, f"{sheet.exact[tag] * factor:{form}} {sheet.value(tag).split()[1]}")
    plain = {
        "layers": ("layers", str(shape.layers + 2)),
        "hidden": ("hidden", str(shape.hidden + 512)),
        "kv-heads": ("kv_heads", str(shape.heads)),
        "experts": ("experts", str(shape.experts * 2)),
        "parameters": ("parameters", f"{shape.billions[0] * 1.1:.1f}B"),
        "layers-per-stage": ("each", str(shape.layers // pp + 1)),
        "heads-per-gpu": ("heads_gpu", str(shape.heads // tp * 2)),
        "experts-per-gpu": ("experts_gpu", str(shape.experts * 3)),
        "gpus": ("gpus", str(tp * pp + 3)),
        "tokens-total": ("prompt_total", f"{32 * 3072:,}"),
        "sparsity": ("peak", "1979 TFLOPS"),
        "microbatches": ("microbatches", "10"),
        "bandwidth": ("bandwidth", "9.6 TB/s"),
    }
    if error in plain:
        return put(*plain[error])
    if error == "meets":
        sheet.change("limit", f"{_seconds(sheet.value('ttft')) / 2:.3g} s")
        return "YES"
    if error == "utilization":
        return put("use", f"{float(sheet.value('use').rstrip('%')) * 0.6:.1f}%") if _has(sheet, "use") else None
    if error == "memory-too-small":
        return put("total", f"{_seconds(sheet.value('total')) * 0.7:.1f} GB") if _has(sheet, "total") else None
    if error == "two-values":
        sheet.add("Summary", "tp2", "TP", str(tp * 2))
        return str(tp * 2)
    if error == "ttft-total-parameters":
        if not shape.experts:
            return None
        return put("ttft", f"{sheet.exact['ttft'] * shape.billions[0] / shape.billions[1]:.3g} s")
    if error == "ttft-output-tokens":
        if shape.experts:
            return None
        return put("ttft", f"{sheet.exact['ttft'] * 3072 / 2048:.3g} s")
    raise ValueError(error)


def _has(sheet: Sheet, tag: str) -> bool:
    return any(row[1] == tag for row in sheet.rows)


ERRORS = (
    "layers", "hidden", "kv-heads", "experts", "parameters", "layers-per-stage", "heads-per-gpu", "experts-per-gpu",
    "gpus", "tokens-total", "sparsity", "microbatches", "bandwidth", "weights-two-bytes", "kv-all-heads",
    "kv-keys-only", "kv-gib", "kv-prompt-only", "ttft-one-request", "ttft-mfu-ignored", "cost", "meets", "utilization",
    "memory-too-small", "two-values", "ttft-total-parameters", "ttft-output-tokens",
)  # fmt: skip


def _sections(sheet: Sheet) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    for section, _, key, value in sheet.rows:
        found.setdefault(section, []).append((key, value))
    return found


def as_list(sheet: Sheet, title: str) -> str:
    blocks = [f"# {title}"]
    for section, rows in _sections(sheet).items():
        blocks.append(f"## {section}\n" + "\n".join(f"- {key}: {value}" for key, value in rows))
    return "\n\n".join(blocks) + "\n"


def as_bold_list(sheet: Sheet, title: str) -> str:
    blocks = [f"{title}\n{'=' * len(title)}"]
    for section, rows in reversed(_sections(sheet).items()):
        blocks.append(f"### {section}\n\n" + "\n".join(f"* **{key}** = {value}" for key, value in rows))
    return "\n\n".join(blocks) + "\n"


def as_table(sheet: Sheet, title: str) -> str:
    blocks = [f"# {title}"]
    for section, rows in _sections(sheet).items():
        lines = "\n".join(f"| {key} | {value} |" for key, value in rows)
        blocks.append(f"## {section}\n\n| Item | Value |\n|:---|---:|\n{lines}")
    return "\n\n".join(blocks) + "\n"


def as_yaml(sheet: Sheet, title: str) -> str:
    lines = [f"# {title}"]
    for section, rows in _sections(sheet).items():
        lines.append(f"{section.lower().replace(' ', '_')}:")
        lines += [f"  {_snake(key)}: {_scalar(value)}" for key, value in rows]
    return "\n".join(lines) + "\n"


def as_json(sheet: Sheet, title: str) -> str:
    tree: dict[str, object] = {"title": title}
    for section, rows in _sections(sheet).items():
        tree[section.lower()] = {_snake(key): value for key, value in rows}
    return json.dumps(tree, indent=2) + "\n"


def _snake(key: str) -> str:
    return "".join(c if c.isalnum() else "_" for c in key.lower()).strip("_").replace("__", "_")


def _scalar(value: str) -> str:
    return json.dumps(value) if any(c in value for c in ":#%,") else value


FORMATS = ((as_list, ".md"), (as_bold_list, ".md"), (as_table, ".md"), (as_yaml, ".yaml"), (as_json, ".json"))


def make_document(shape: Shape, error: str, *, form: int, device: int, words: int) -> Document | None:
    """One document; ``error`` empty for a clean one; ``None`` where the error has no place."""
    sheet = sheet_of(shape, device=device, words=words)
    planted = plant(sheet, shape, error) if error else ""
    if planted is None:
        return None
    write, suffix = FORMATS[form]
    title = f"Deployment plan {form}{device}{words}"
    return Document(
        f"{shape.name}-{error or 'clean'}-{form}{device}{words}", suffix, write(sheet, title), error, planted
    )


def all_documents() -> list[Document]:
    """Every model, format, device, wording and error: some two thousand documents."""
    made = [
        make_document(shape, error, form=form, device=device, words=words)
        for shape in SHAPES
        for error in ("", *ERRORS)
        for form in range(len(FORMATS))
        for device in range(len(DEVICES))
        for words in range(len(WORDS))
    ]
    return [document for document in made if document is not None]


def chosen_documents() -> list[Document]:
    """Thirty-four documents: each error at least once, six clean, formats and models in turn."""
    found: list[Document] = []
    for index, error in enumerate([*ERRORS, ERRORS[0], *[""] * 6]):
        for step in range(len(SHAPES)):
            shape = SHAPES[(index + step) % len(SHAPES)]
            made = make_document(shape, error, form=index % len(FORMATS), device=index // 5 % 2, words=index // 3 % 2)
            if made is not None:
                found.append(made)
                break
    return found
