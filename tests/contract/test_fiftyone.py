"""The public contract suite over the FiftyOne connector, the real package and a real mongod."""

from curate.testing import check_connector
from tests.connectors.fiftyone_place import dataset, pictures

FIELDS = ("duplicate", "duplicate_score", "cluster", "sample", "path", "path_confidence")


def test_fiftyone(fiftyone_connect, tmp_path):
    dataset("contract", pictures(tmp_path / "photos", 4))
    check_connector(fiftyone_connect, "contract", fields=FIELDS)
