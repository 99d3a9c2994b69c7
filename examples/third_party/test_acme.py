"""Holds the plugin to curate's promises."""

import zipfile

from acme_curate.connector import ZipConnector
from acme_curate.embedder import Gradients
from acme_curate.op import Aspect

from curate.protocols import ConnectorSettings
from curate.testing import check_connector, check_embedder, check_op, sample_images


def test_connector(tmp_path):
    with zipfile.ZipFile(tmp_path / "photos.zip", "w") as archive:
        for n, data in enumerate(sample_images(5)):
            archive.writestr(f"sub/{n}.png", data)
    settings = ConnectorSettings(results=tmp_path / "results")
    check_connector(lambda: ZipConnector(settings), str(tmp_path / "photos.zip"))


def test_embedder():
    check_embedder(Gradients())
    check_embedder(Gradients(bins=5))


def test_op():
    check_op(Aspect())
