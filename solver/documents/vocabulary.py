"""The one table of what a plan document can say: field, kind of value, and the wordings that name it.

A wording is a set of words, in any order, after `words` has folded spellings ("GPUs", "devices" and
"accelerators" are ``gpu``; "time to first token" is ``ttft``) and dropped the words of `IDLE`. A key that
holds a word which no wording explains is not read: nothing is guessed. Where a wording means different
things in different places, ``where`` names the kinds of section in which it has this meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from shardproof.solver.documents.wording import FOLD, IDLE, words


@dataclass(frozen=True)
class Field:
    """A row of the vocabulary. ``kind`` is the kind of value; ``where`` the sections it is bound to."""

    name: str
    kind: str
    wordings: tuple[frozenset[str], ...]
    where: frozenset[str] = frozenset()


def _row(name: str, kind: str, wordings: str, where: str = "") -> Field:
    sets = tuple(frozenset(wording.split()) for wording in wordings.split("|"))
    return Field(name, kind, sets, frozenset(where.split()))


VOCABULARY: tuple[Field, ...] = (
    # the model
    _row("model", "name", "model | architecture | model architecture | base model | model name | model id"
         " | model path | served model name | checkpoint | llm"),
    _row("model", "name", "name | id", "model"),
    _row("parameters", "count", "parameter | parameter size | size parameter | model size | size model parameter"
         " | model parameter | weight parameter | parameter all"),
    _row("active_parameters", "count", "active parameter | activated parameter | parameter active token"
         " | active parameter token | parameter token | activated parameter token"),
    _row("layers", "count", "layer | hidden layer | model layer | transformer layer | decoder layer | depth"
         " | model depth | transformer block | block | transformer depth"),
    _row("dense_layers", "count", "dense layer | first dense layer | first k dense"),
    _row("block_size", "count", "block size | kv block size | page size | kv cache block size"),
    _row("hidden", "count", "token dimension | hidden size | hidden dimension | hidden | model dimension | d model"
         " | embedding dimension | embedding size | model width"),
    _row("heads", "count", "head | attention head | query head | q head | attention query head"),
    _row("kv_heads", "count", "kv head | key value head"),
    _row("head_dim", "count", "head dim | head dimension | head size | dimension head | attention head dimension"),
    _row("experts", "count", "expert | expert layer | routed expert | routed expert layer | moe expert"
         " | moe expert layer"),
    _row("topk", "count", "expert token | active expert | active expert token | activated expert"
         " | activated expert token | topk | top k | topk expert | routing topk | moe topk | routed expert token"),
    _row("shared_experts", "count", "shared expert | shared expert layer"),
    _row("moe_intermediate", "count", "moe intermediate size | expert intermediate size | moe intermediate"
         " | expert hidden size | expert intermediate dimension | moe intermediate dimension"),
    _row("intermediate", "count", "intermediate size | ffn size | ffn dimension | intermediate dimension"
         " | ffn intermediate size | ffn hidden size | mlp size"),
    _row("vocab", "count", "vocab | vocabulary | vocabulary size | vocab size"),
    _row("max_position", "count", "context | context length | context window | max position embedding"
         " | maximum context length | max context length | max context", "model none"),
    _row("precision", "dtype", "precision | weight | weight precision | dtype | weight dtype"
         " | quantization | data type"
         " | weight quantization | model precision | weight format | numeric format | weight data type"),
    _row("kv_precision", "dtype", "kv precision | kv dtype | kv cache precision | kv cache dtype | kv cache"
         " | kv cache data type | kv cache format"),
    # the hardware
    _row("device", "name", "gpu type | gpu model | gpu name | accelerator | gpu sku | hardware | gpu"
         " | device name | sku | hardware platform | gpu platform"),
    _row("gpu_flops", "flops", "single gpu compute | gpu compute | compute | peak compute | compute gpu | peak gpu"
         " | peak compute gpu | single gpu peak compute | tensor compute | peak performance | gpu performance | flops"
         " | peak flops | gpu flops | compute capacity | gpu peak compute | flops gpu | peak | dense peak"
         " | peak flops gpu | single gpu flops | dense compute | peak throughput | gpu peak flops"),
    _row("gpu_memory", "bytes", "single gpu memory | gpu memory capacity | memory capacity | single memory"
         " | memory size | gpu memory size | memory capacity gpu | capacity | capacity gpu"
         " | single gpu memory capacity | memory gpu capacity | memory available | available gpu memory"),
    _row("gpu_memory", "bytes", "memory | gpu memory | memory gpu", "hardware"),
    _row("gpu_memory", "bytes", "gpu memory", "none"),
    _row("gpu_memory", "bytes", "gpu ram | ram gpu | single gpu ram", ""),
    _row("bandwidth", "rate", "memory bandwidth | gpu memory bandwidth | bandwidth | memory bandwidth gpu"
         " | single gpu memory bandwidth | gpu bandwidth", ""),
    _row("mfu", "ratio", "mfu | mfu utilization | compute efficiency | model flops utilization | flops utilization"
         " | mfu efficiency | achievable mfu | flops efficiency"),
    _row("bandwidth_efficiency", "ratio", "bandwidth efficiency | memory bandwidth efficiency"
         " | bandwidth utilization | memory bandwidth utilization | mbu"),
    _row("gpus_per_node", "count", "gpu node | single node gpu | node size"),
    _row("nodes", "count", "node | nnodes | server | host"),
    _row("price", "price", "price | price gpu hour | gpu price | price hour gpu | gpu hour | cost gpu hour"
         " | gpu cost hour | price gpu | cost gpu | hourly price gpu | hourly rate gpu | rental price"),
    _row("price_total", "price", "total price | cost | total cost | cost hour | price hour | cluster cost"
         " | deployment cost | total cost hour | hourly cost | deployment cost hour | cluster cost hour"
         " | total hourly cost | price hour total | total price hour | price deployment hour"),
    # the workload
    _row("batch", "count", "batch size | request once | request flight | request in flight | batch"
         " | request | concurrent request | concurrency | request burst"
         " | burst size | concurrent sequence | simultaneous request | global batch size | batch request"
         " | request batch | maximum batch size | max batch size | burst"),
    _row("sequence_range", "range", "request length | sequence length range | request length range"
         " | sequence length | length range | sequence range | length | sequence range length"),
    _row("input_tokens", "count", "input sequence | input | input length | input token | isl | prompt length"
         " | prompt token | prompt | input sequence length | input token request | prompt size"
         " | prompt token request | input token sequence | prompt length token | input length token"
         " | prefill length | prefill token"),
    _row("output_tokens", "count", "generation | completion | response length"
         " | output sequence | output | output length | output token | osl"
         " | generated token | output sequence length | output token request | generation length"
         " | completion token | output token sequence | completion length | generated token request | decode length"
         " | output length token | decode token"),
    _row("prompt_tokens_total", "count", "total input token | total prompt token | prefill token total"
         " | prompt token total | input token total | total prefill token | prefill token batch | input token batch"
         " | total token prefill | prompt token batch | prompt token burst"),
    _row("resident_tokens_total", "count", "resident token | total resident token | token resident"
         " | cached token | total cached token"),
    _row("ttft", "time", "ttft max | maximum ttft", "performance"),
    _row("ttft_limit", "time", "ttft requirement | ttft limit | ttft target | ttft slo | max ttft | ttft max"
         " | target ttft | ttft budget | limit ttft | ttft constraint | ttft maximum | maximum ttft | slo ttft"
         " | required ttft | ttft sla"),
    _row("ttft_limit", "time", "ttft", "workload limits"),
    _row("tpot_limit", "time", "tpot requirement | tpot limit | tpot target | tpot slo | max tpot | tpot max"
         " | target tpot | tpot budget | limit tpot | tpot constraint | tpot maximum | maximum tpot | slo tpot"
         " | required tpot | tpot sla"),
    _row("tpot_limit", "time", "tpot", "workload limits"),
    _row("max_gpus", "count", "max gpu | gpu budget | gpu limit | maximum gpu | gpu available | available gpu"
         " | budget gpu"),
    _row("gpus_owned", "count", "gpu", "hardware workload limits"),
    # the plan
    _row("tp", "count", "tp | tensor parallel | tensor model parallel | tp tensor parallel | tensor | attn tp"
         " | attention tp | tensor model parallel tp | attention tensor parallel"),
    _row("pp", "count", "pp | pipeline parallel | pipeline | pp pipeline parallel | pipeline stage | stage"
         " | pipeline model parallel | pipeline depth | module | pp stage | pipeline parallel stage"),
    _row("ep", "count", "ep | expert parallel | ep expert parallel | expert model parallel | moe ep"
         " | moe expert parallel | moe ep expert parallel"),
    _row("dp", "count", "dp | data parallel | dp data parallel | data | attention dp | attn dp"
         " | attention data parallel"),
    _row("replicas", "count", "replica | model replica | instance | engine instance | model copy | model instance"),
    _row("moe_tp", "count", "moe tp | moe tensor parallel | expert tensor parallel | expert tp"),
    _row("gpus", "count", "gpu | gpu used | gpu required | gpu needed | gpu allocated | gpu deployment"
         " | world size | gpu allocation | gpu all | gpu needed all | cluster size | gpu in use | total"
         , "plan performance memory none"),
    _row("gpus", "count", "total gpu | total gpu required | total gpu used | total gpu needed | total gpu allocated"
         " | gpu required | gpu used | gpu total | world size"),
    _row("gpus_per_stage", "count", "gpu stage | gpu module | stage width | gpu pp stage | width stage"),
    _row("gpus_per_replica", "count", "gpu replica | gpu instance | gpu copy | replica size"),
    _row("layers_per_stage", "counts", "layer stage | layer module | layer pp stage | layer per stage"
         " | stage layer | module layer | layer pipeline stage | layer distribution | layer split"
         " | layer partition | pp layer partition | pipeline layer partition | stage contains | module contains"),
    _row("layers", "count", "layer all stage | layer sum"),
    _row("heads_per_gpu", "count", "head gpu | attention head gpu | query head gpu | head rank | query head rank"
         " | q head gpu | attention head rank"),
    _row("kv_heads_per_gpu", "count", "kv head gpu | kv head rank"),
    _row("experts_per_gpu", "count", "expert gpu | expert rank | expert layer gpu | local expert | expert ep rank"
         " | routed expert gpu | expert gpu layer | expert layer rank | experts rank ep"),
    _row("redundant_experts", "count", "redundant expert | extra expert | expert replica | ep num redundant expert"
         " | redundant expert slot"),
    _row("extra_slots", "count", "extra slot | extra slots"),
    _row("microbatches", "count", "microbatch | prefill microbatch"),
    _row("decode_microbatches", "count", "decode microbatch"),
    _row("prompt_chunks", "count", "prompt chunk | prompt chunks | chunks prompt"),
    _row("microbatch_requests", "count", "microbatch size | microbatch request | request microbatch"
         " | sequence microbatch"
         " | prefill request | prefill microbatch size | size microbatch"),
    _row("microbatch_tokens", "count", "microbatch token | token microbatch | prefill microbatch token"
         " | batched token | max batched token | prefill chunk | chunk size | chunked prefill size"
         " | prefill chunk size"
         " | token microbatch prefill"),
    _row("max_model_len", "count", "max model len | max sequence length | max seq len | context length"
         " | max sequence | maximum sequence length | max model length", ""),
    _row("memory_fraction", "ratio", "gpu memory utilization | memory fraction | mem fraction static"
         " | gpu memory fraction | kv cache free gpu memory fraction | free gpu memory fraction", "engine"),
    # memory
    _row("weights_total", "bytes", "weight | weight memory | total weight | model weight | weight total | weight size"
         " | model size | parameter memory | model memory | weight footprint | model weight memory"
         " | total weight memory"
         " | weight all | model weight total | model footprint | checkpoint size | total weight size"
         " | total model weight"),
    _row("weights_per_stage", "bytes", "weight stage | weight memory stage | parameter memory stage"
         " | model weight stage | stage weight"),
    _row("weights_per_gpu", "bytes", "weight gpu | weight memory gpu | parameter memory gpu | model weight gpu"
         " | gpu weight | weight rank | parameter gpu"),
    _row("kv_total", "bytes", "kv cache | kv cache total | total kv cache | kv cache size | kv memory"
         " | kv cache memory | total kv | kv cache all request | kv total | kv | total kv cache memory"
         " | total kv cache size | kv cache batch | kv cache all sequence"),
    _row("kv_per_gpu", "bytes", "kv cache gpu | kv gpu | kv cache memory gpu | kv cache rank | kv memory gpu"),
    _row("kv_pool", "bytes", "kv cache pool | kv pool | kv cache pool gpu | kv pool gpu | kv cache pool size"
         " | kv cache space | kv cache space gpu | space kv cache | kv cache budget | kv cache budget gpu | kv budget"
         " | kv cache capacity gpu | available kv cache | available kv cache memory | kv cache available"
         " | room kv cache | memory available kv cache | kv cache reserved | reserved kv cache"),
    _row("kv_per_stage", "bytes", "kv cache stage | kv stage | kv cache memory stage | kv memory stage"),
    _row("kv_per_token", "bytes", "kv token | kv cache token | kv cache size token | kv memory token"
         " | kv cache memory token | kv cache token all layer | kv byte token | kv cache byte token"),
    _row("kv_per_request", "bytes", "kv cache request | kv request | kv cache sequence | kv sequence"
         " | kv cache memory request | kv cache request full length"),
    _row("activations", "bytes", "activation | activation memory | workspace | activation workspace | activation gpu"
         " | activation memory gpu | activation buffer | activation overhead | activation workspace gpu"),
    _row("reserve", "bytes", "reserve | runtime reserve | runtime overhead | overhead | framework overhead"
         " | cuda overhead | cuda context | reserve gpu | runtime reserve gpu | runtime | other | nccl buffer"
         " | communication buffer | communication buffer gpu | runtime overhead gpu"),
    _row("memory_per_stage", "bytes", "memory stage | stage memory | memory used stage | memory module"
         " | used memory stage | total memory stage"),
    _row("memory_per_gpu", "bytes", "memory gpu | memory used gpu | used gpu memory | gpu memory used | memory used"
         " | peak memory | peak memory gpu | total memory gpu | peak gpu memory | memory rank | used gpu"
         " | total gpu | total memory used gpu | peak memory used | total used gpu | memory needed gpu"
         " | memory required gpu | required memory gpu | peak memory used gpu | memory footprint"),
    _row("memory_per_gpu", "bytes", "total | memory total | memory | total memory | gpu memory | sum", "memory"),
    _row("memory_per_gpu", "bytes", "gpu memory | memory", "performance plan"),
    _row("memory_utilization", "ratio", "memory utilization | gpu memory utilization | memory usage ratio"
         " | utilization memory | peak memory utilization | memory utilization gpu | memory used | memory occupancy"),
    _row("memory_utilization", "ratio", "utilization | used | memory share | share", "memory"),
    _row("headroom", "bytes", "headroom | free memory | memory headroom | free memory gpu | memory left"
         " | headroom gpu"
         " | memory margin | memory headroom gpu | remaining memory | free gpu memory | remaining memory gpu"),
    # performance
    _row("ttft", "time", "ttft | ttft estimate | prefill time | prefill latency | ttft last request | ttft worst"
         " | last request ttft | ttft slowest request | slowest request ttft | worst ttft | ttft burst | burst ttft"
         " | ttft max"),
    _row("ttft_mean", "time", "mean ttft | average ttft | ttft mean | ttft average"),
    _row("tpot", "time", "tpot | decode latency | tpot estimate | decode step | decode step time"
         " | decode time token"),
    _row("compute_utilization", "ratio", "compute utilization | gpu utilization | gpu compute utilization"
         " | utilization compute"),
    _row("throughput", "tokens_per_second", "throughput | decode throughput | output throughput | output token second"
         " | token second | generation throughput | total throughput | total decode throughput"
         " | output token throughput"),
    _row("throughput_per_gpu", "tokens_per_second", "throughput gpu | decode throughput gpu | token second gpu"
         " | output throughput gpu"),
    _row("bubble", "ratio", "pipeline bubble | bubble | bubble fraction | pipeline bubble fraction | bubble ratio"
         " | bubble overhead | pipeline bubble ratio"),
    _row("meets_ttft", "flag", "meets ttft requirement | meets ttft | ttft met | ttft requirement met | ttft ok"
         " | within ttft limit | meets ttft limit | ttft satisfied | meets ttft slo | satisfies ttft | ttft slo met"
         " | meets ttft target | ttft limit met | ttft within limit | ttft target met | meets ttft constraint"),
    _row("meets_tpot", "flag", "meets tpot requirement | meets tpot | tpot met | tpot requirement met | tpot ok"
         " | within tpot limit | meets tpot limit | tpot satisfied | meets tpot slo | satisfies tpot | tpot slo met"
         " | meets tpot target | tpot limit met | tpot within limit | tpot target met"),
    _row("fits_memory", "flag", "fits memory | fits in memory | fits gpu memory"
         " | meets memory requirement | memory ok"
         " | fits | memory fits | within memory limit | within memory | memory met | fits single gpu memory"
         " | memory limit met | meets memory limit | meets memory | memory requirement met | fits in gpu memory"
         " | memory within limit | memory fit"),
    _row("load_balanced", "flag", "load balanced | balanced | load balance | balanced load"),
    _row("expert_parallel_enabled", "flag", "expert parallel enabled | enable expert parallel | enable ep moe"),
    _row("attention_dp_enabled", "flag", "enable dp attention | enable attention dp | attention dp enabled"),
    _row("engine", "name", "engine | inference engine | serving engine | framework | runtime engine"
         " | serving framework"),
    _row("instance_fingerprint", "name", "instance fingerprint | fingerprint"),
)  # fmt: skip

_QUALIFIERS = frozenset(
    [
        "fp8",
        "bf16",
        "fp16",
        "int8",
        "int4",
        "dense",
        "in",
        "used",
        "at",
        "per",
        "one",
        "full",
        "complete",
        "exact",
        "expected",
        "nvidia",
    ]
)
"""Words that a key may carry beside its meaning; the dtype among them is read by the sentence rules."""


@lru_cache(maxsize=1)
def _index() -> dict[frozenset[str], tuple[Field, ...]]:
    index: dict[frozenset[str], list[Field]] = {}
    for row in VOCABULARY:
        for wording in row.wordings:
            folded = frozenset(FOLD.get(word, word) for word in wording) - IDLE
            rows = index.setdefault(folded, [])
            if row not in rows:
                rows.append(row)
    return {key: tuple(rows) for key, rows in index.items()}


@lru_cache(maxsize=8192)
def fields_of(key: str, section: str) -> tuple[tuple[Field, ...], str]:
    """Return the fields that a key may name in a section, in order, and the unit that the key ends in."""
    found, unit = words(key)
    kept = found - _QUALIFIERS
    for candidate in (
        found,
        found - {"total"},
        found - {"size"},
        found - {"single"},
        kept,
        kept - {"total", "size"},
        kept - {"maximum"},
    ):
        rows = tuple(row for row in _index().get(candidate, ()) if not row.where or section in row.where)
        if rows:
            return tuple(dict.fromkeys(rows)), unit
    return (), unit
