"""What a form's reader may look at beside its own document: files of ConfigMaps and variables of ``.env``."""

from __future__ import annotations

from dataclasses import dataclass, field

from shardproof.solver.documents.tree import Node


@dataclass(frozen=True)
class Known:
    """``files``: text and first line by file name; ``variables``: values by name; ``sections`` above."""

    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    sections: tuple[str, ...] = ()

    def with_files(self, trees: tuple[Node, ...]) -> Known:
        """Add the files that ConfigMaps among the documents hold."""
        files = dict(self.files)
        for tree in trees:
            if tree.text("kind") == "ConfigMap":
                files |= {key: (node.scalar, node.first) for key, node in tree.pairs("data") if node.scalar}
        return Known(files, self.variables, self.sections)
