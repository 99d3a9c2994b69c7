"""A dataset folder, its store, and connectors over them."""

from connectors.folder import FolderConnector
from curate.protocols import ConnectorSettings
from curate.testing import sample_images
from curate.types import Change

PNG, JPEG = sample_images(2)


class Place:
    """A dataset folder, its store, and connectors over them."""

    def __init__(self, tmp_path):
        self.root, self.results, self.said = tmp_path / "photos", tmp_path / "store" / "results", []
        self.root.mkdir()

    def add(self, name, data=PNG):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return path

    def connector(self, **options):
        return FolderConnector(ConnectorSettings(options=options, results=self.results, notify=self.said.append))

    def items(self, root=None, **options):
        pages = self.connector(**options).pages(str(root or self.root))
        return {item.id: item for page in pages for item in page.items}

    def push(self, *changes, flush=True, root=None):
        connector, dataset = self.connector(), str(root or self.root)
        applied = connector.push_fields(dataset, [Change(i, f, None, v) for i, f, v in changes])
        if flush:
            connector.flush(dataset)
        return applied
