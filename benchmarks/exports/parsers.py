"""An engine's own parser, run inside an environment that holds the engine's wheel and little else.

Standard library only, and nothing of this project: `python parsers.py vllm` reads JSON lines from standard input and
answers each with one. ``{"options": true}`` is answered with every option of the parser; ``{"words": [...]}`` with
``{"accepted": true}`` or ``{"refused": why}``: the words go through the parser and, for what it lets through, the
engine's configuration classes.

Packages that are missing are stood in for: a module's lower-case names are mocks that are false and, called with a
class or function, return it (decorators); capitalised ones are classes that take any arguments. Names by which engines
probe for a platform stay missing, or several platforms would answer.
"""
# ruff: noqa: ARG002, ARG005, D102 (stand-ins answer to whatever is asked of them)

from __future__ import annotations

import abc
import argparse
import contextlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import io
import json
import sys
import types
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

PROBES = frozenset({
    "libtpu", "amdsmi", "vllm_xpu_kernels", "torch_xla", "pynvml", "torch_npu", "torch_hpu", "torch_musa",
    "habana_frameworks", "torch_mlu", "torchada", "sgl_kernel_npu", "intel_extension_for_pytorch", "torch_xpu",
    "tpu_commons", "tpu_inference", "vllm_ascend", "torch_tpu", "mthreads_ml_py", "pymtml", "mlx",
})  # fmt: skip
"""Packages by which engines find out on what they run."""

STOOD_FOR = {"vllm": ("vllm._C", "vllm._moe_C", "vllm.v1.executor"), "sglang": ()}
"""Parts of the engines themselves that hold compiled code, or import it."""
ABSENT = frozenset({"npu", "hpu", "musa", "mlu"})
"""Platforms that torch has no name of unless it is built for them."""


class Falsy(mock.MagicMock):
    """A name of a missing package."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{"unsafe": True} | kwargs)  # names that begin with assert are plain functions here

    def __bool__(self) -> bool:
        return False

    def __mro_entries__(self, bases: tuple[Any, ...]) -> tuple[type, ...]:
        return (_class("Base"),)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if len(args) == 1 and not kwargs and (isinstance(args[0], type) or callable(args[0])):
            return args[0]
        return super().__call__(*args, **kwargs)


class StandIns(abc.ABCMeta):
    """Class of the classes of missing packages."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _named(name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except TypeError:
            return Falsy()

    def __int__(cls) -> int:
        return 0

    def __iter__(cls) -> Iterator[Any]:
        return iter(())

    def __or__(cls, other: Any) -> Any:
        return Any

    __ror__ = __or__


def _any_schema(*_: Any) -> Any:
    from pydantic_core import core_schema

    return core_schema.any_schema()


def _class(name: str) -> type:
    body = {
        "__init__": lambda self, *args, **kwargs: None,
        "__init_subclass__": classmethod(lambda cls, **kwargs: None),
        "__class_getitem__": classmethod(lambda cls, item: cls),
        "__get_pydantic_core_schema__": classmethod(_any_schema),
        "__getattr__": lambda self, name: _named(name),
        "__module__": "stand_ins",
    }
    return StandIns(name, (), body)


def _named(name: str) -> Any:
    return _class(name) if name[:1].isupper() or name in ("dtype", "device") else Falsy()


class StandIn(types.ModuleType):
    """A missing package."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or (self.__name__ == "torch" and name in ABSENT):
            raise AttributeError(name)
        if self.__name__ + "." + name in sys.modules:
            return sys.modules[self.__name__ + "." + name]
        value = _named(name)
        setattr(self, name, value)
        return value


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Answers for packages that are missing; ``first``: for these only, before anything else is asked."""

    def __init__(self, first: Sequence[str] = (), own: str = "") -> None:
        self.first, self.own = tuple(first), own

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        top = fullname.partition(".")[0]
        if self.first:
            wanted = any(fullname == name or fullname.startswith(name) for name in self.first)
        else:
            above = sys.modules.get(fullname.rpartition(".")[0])
            taken = PROBES | sys.stdlib_module_names | {self.own}  # the library of Python probes for platforms as well
            wanted = isinstance(above, StandIn) or ("." not in fullname and top not in taken)
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True) if wanted else None

    def create_module(self, spec: Any) -> types.ModuleType:
        return StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        if module.__name__ == "torch":
            setattr(module, "__version__", "2.14.0")  # noqa: B010 (no attribute that a type knows)


def _stand_in(engine: str) -> None:
    real = importlib.metadata.version

    def version(distribution_name: str) -> str:
        try:
            return real(distribution_name)
        except importlib.metadata.PackageNotFoundError:
            return "99.0.0"

    importlib.metadata.version = version
    if STOOD_FOR[engine]:
        sys.meta_path.insert(0, Finder(STOOD_FOR[engine]))
    sys.meta_path.append(Finder(own=engine))


def _vllm() -> argparse.ArgumentParser:
    with mock.patch("vllm.config.device.DeviceConfig.__post_init__"):
        from vllm.entrypoints.common.cli_args import make_arg_parser
        from vllm.utils.argparse_utils import FlexibleArgumentParser

        parser: argparse.ArgumentParser = make_arg_parser(FlexibleArgumentParser(prog="vllm serve"))
        return parser


def _sglang() -> argparse.ArgumentParser:
    from sglang.srt.server_args import ServerArgs

    parser = argparse.ArgumentParser(prog="sglang")
    ServerArgs.add_cli_args(parser)
    return parser


def _vllm_classes(told: argparse.Namespace) -> None:
    """Build what vLLM builds of its arguments: these classes refuse what the parser lets through."""
    from vllm.config.cache import CacheConfig
    from vllm.config.parallel import ParallelConfig
    from vllm.config.scheduler import SchedulerConfig

    CacheConfig(
        block_size=told.block_size,
        gpu_memory_utilization=told.gpu_memory_utilization,
        cache_dtype=told.kv_cache_dtype,
    )
    ParallelConfig(
        tensor_parallel_size=told.tensor_parallel_size,
        pipeline_parallel_size=told.pipeline_parallel_size,
        data_parallel_size=told.data_parallel_size,
        data_parallel_size_local=told.data_parallel_size_local or told.data_parallel_size,
        enable_expert_parallel=told.enable_expert_parallel,
        nnodes=told.nnodes,
        node_rank=told.node_rank,
        distributed_executor_backend=told.distributed_executor_backend or "mp",  # what it takes where it sees GPUs
    )
    batched = told.max_num_batched_tokens
    if batched is not None:
        SchedulerConfig(
            max_num_batched_tokens=batched,
            max_num_seqs=told.max_num_seqs or 1,
            max_model_len=told.max_model_len or batched,
            is_encoder_decoder=False,
        )


def _sglang_classes(told: argparse.Namespace) -> None:
    """Keep SGLang's own rules of its degrees (parallel_hook.py); its check needs the model itself."""
    from sglang.srt.server_args import ServerArgs

    arguments = ServerArgs.from_cli_args(told)
    tp, attention, ep = arguments.tp_size, arguments.attn_dp_size or 1, arguments.ep_size or 1
    moe_dp = getattr(arguments, "moe_dp_size", 1) or 1
    rules = [
        (tp % attention == 0, "tp_size must be divisible by attn_dp_size"),
        (ep * moe_dp <= tp and tp % (ep * moe_dp) == 0, "ep_size x moe_dp_size must divide tp_size"),
        (attention == 1 or (arguments.dp_size or 1) == 1, "attention DP and replicas exclude each other"),
        (min(tp, arguments.pp_size, ep) >= 1, "degrees are 1 or more"),
        (arguments.mem_fraction_static is None or 0 < arguments.mem_fraction_static < 1, "mem_fraction_static"),
    ]
    broken = [why for holds, why in rules if not holds]
    if broken:
        raise ValueError("; ".join(broken))


PARSERS = {"vllm": _vllm, "sglang": _sglang}
CLASSES = {"vllm": _vllm_classes, "sglang": _sglang_classes}


def options(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """Return every option by its first long name: names, number of values, choices, type, default."""
    found = {}
    for action in parser._actions:
        name = next((one for one in action.option_strings if one.startswith("--")), None)
        if name is None:
            continue
        metavar = action.metavar
        found[name] = {
            "all": list(action.option_strings),
            "nargs": action.nargs,
            "action": type(action).__name__,
            "choices": None if action.choices is None else [str(choice) for choice in action.choices],
            "metavar": list(metavar) if isinstance(metavar, list | tuple) else metavar,
            "type": getattr(action.type, "__name__", None) if action.type is not None else None,
            "default": repr(action.default),
        }
    return found


def judge(engine: str, parser: argparse.ArgumentParser, words: Sequence[str]) -> dict[str, Any]:
    """Parse words; abbreviations that a parser takes are refused, since a longer option may take them over."""
    known = {name for action in parser._actions for name in action.option_strings}
    shortened = [word for word in words if word.startswith("--") and word.partition("=")[0] not in known]
    if shortened:
        return {"refused": f"no option of its own: {', '.join(shortened)}"}
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            CLASSES[engine](parser.parse_args(list(words)))
    except SystemExit:
        return {"refused": said.getvalue().strip().splitlines()[-1:]}
    except Exception as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    return {"accepted": True}


def _questions() -> Iterator[dict[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def main() -> None:
    """Answer until the input ends."""
    engine = sys.argv[1]
    _stand_in(engine)
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        parser = PARSERS[engine]()
    for question in _questions():
        answer = options(parser) if question.get("options") else judge(engine, parser, question["words"])
        print(json.dumps(answer), file=out, flush=True)


if __name__ == "__main__":
    main()
