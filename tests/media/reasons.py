"""What a call fails with."""

import pytest

from curate.errors import MediaError


def reason(call, *args, **options):
    with pytest.raises(MediaError) as caught:
        call(*args, **options)
    return caught.value.reason
