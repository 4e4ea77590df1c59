"""What options of every verb share: verbs that take each option once, quantities with units, paths checked first.

A quantity without its unit is refused, and so is, before any work begins, a file that could not be written after it.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click


class Verb(click.Command):
    """A command whose options may each be given once, where the last of two would silently win, and files by name."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Parse as click does, after refusing an option that stands twice and an empty name of a file.

        Raises
        ------
        click.UsageError
            If an option does, and is not made to be repeated; if a name is empty, which would mean the current folder.
        """
        given, _, order = self.make_parser(ctx).parse_args(args=list(args))
        seen: set[str] = set()
        for parameter in order:
            name = parameter.name or ""
            single = isinstance(parameter, click.Option) and not (parameter.multiple or parameter.count)
            if single and name in seen:
                several = "; several make a fleet: --devices A,B" if name == "device" else ""
                raise click.UsageError(f"{'/'.join(parameter.opts)} stands twice; keep one of them{several}", ctx)
            seen.add(name)
            value = given.get(name)
            names = value if isinstance(value, (tuple, list)) else [value]
            if isinstance(parameter.type, click.Path) and "" in names:
                raise click.UsageError(f"{parameter.get_error_hint(ctx)}: a name is empty; is a variable unset?", ctx)
        return super().parse_args(ctx, args)


class DurationType(click.ParamType):  # type: ignore[type-arg]  # older releases of click are not generic
    """A duration with its unit, in seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Read text such as ``30 s``; a number without unit is refused."""
        from shardproof.instances.units import parse_quantity

        if isinstance(value, float):
            return value
        try:
            seconds = float(parse_quantity(str(value), "duration")) / 1e9
        except ValueError as error:
            self.fail(f"{value}: {error}", param, ctx)
        if seconds < 0:
            self.fail(f"{value}: is negative; write zero or more", param, ctx)
        return seconds


class WritablePath(click.Path):
    """A file that will be written: its folder exists and allows it, or the work does not begin."""

    def __init__(self) -> None:
        """Give the file as a path."""
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail with what is wrong with it."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        folder = path.parent
        if path.is_dir():
            self.fail(f"{path}: is a folder; name a file in it", param, ctx)
        if not folder.is_dir():
            self.fail(f"{path}: there is no folder {folder}; make it first", param, ctx)
        if not os.access(path if path.exists() else folder, os.W_OK):
            self.fail(f"{path}: cannot be written; name a file elsewhere", param, ctx)
        return path


class FolderPath(click.Path):
    """A folder that will be written to: it, or the folder that it will be made in, allows that."""

    def __init__(self) -> None:
        """Give the folder as a path."""
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail with what is wrong with it."""
        path = Path(os.fsdecode(super().convert(value, param, ctx)))
        if path.exists() and not path.is_dir():
            self.fail(f"{path}: is a file; name a folder", param, ctx)
        above = path if path.is_dir() else path.absolute().parent
        if not above.is_dir():
            self.fail(f"{path}: there is no folder {above}; make it first", param, ctx)
        if not os.access(above, os.W_OK):
            self.fail(f"{path}: cannot be written; name a folder elsewhere", param, ctx)
        return path


class PlotPath(WritablePath):
    """A picture that will be drawn; matplotlib is looked for before the work begins."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path, or fail where it could not be drawn."""
        from shardproof.instances.errors import InputError
        from shardproof.instances.pictures import check_picture

        path = super().convert(value, param, ctx)
        try:
            check_picture(path)
        except InputError as error:
            self.fail(str(error), param, ctx)
        return path


DURATION = DurationType()
WRITABLE = WritablePath()
FOLDER = FolderPath()
PLOT = PlotPath()
