"""Other tools' near duplicates, each run by a small script in a virtual environment of its own."""
