"""What a form's reader may look at beside its own document: files of ConfigMaps and variables of ``.env``."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from shardproof.solver.documents.tree import Node


@dataclass(frozen=True)
class Known:
    """``files``: text and first line by file name; ``variables``: values by name; ``sections`` above.

    ``maps``: the files of each ConfigMap by its name: pods of one text may mount files of one name from several.
    """

    files: dict[str, tuple[str, int]] = field(default_factory=dict)
    variables: dict[str, str] = field(default_factory=dict)
    sections: tuple[str, ...] = ()
    maps: dict[str, dict[str, tuple[str, int]]] = field(default_factory=dict)

    def with_files(self, trees: tuple[Node, ...]) -> Known:
        """Add the files that ConfigMaps among the documents hold."""
        files, maps = dict(self.files), dict(self.maps)
        for tree in trees:
            if tree.text("kind") == "ConfigMap":
                held = {key: (node.scalar, node.first) for key, node in tree.pairs("data") if node.scalar}
                name = tree.get("metadata")
                maps[name.text("name") if name is not None else ""] = held
                files |= held
        return replace(self, files=files, maps=maps)

    def of_pod(self, pod: Node | None) -> Known:
        """Put the files of the ConfigMaps that a pod mounts before others of their names."""
        mounted: dict[str, tuple[str, int]] = {}
        for volume in pod.each("volumes") if pod is not None else ():
            source = volume.get("configMap")
            mounted |= self.maps.get(source.text("name"), {}) if source is not None else {}
        return replace(self, files=self.files | mounted) if mounted else self
