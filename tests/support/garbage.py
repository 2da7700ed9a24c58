"""What collecting the tests has made is no garbage: a collection of it costs a tenth of a second, and a test asks for many.

Guarantees: `gc.collect()` finds what a test has left, as before. Does not guarantee: that what was garbage already when the
tests were collected is ever freed.
"""

from __future__ import annotations

import gc


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()
