"""The outside world: one module a platform, each behind the `Connector` protocol; helpers are `_NAME_*.py`."""
