"""Dataset curation for images in Labelbox, FiftyOne or a folder."""

__version__ = "0.1.0"
