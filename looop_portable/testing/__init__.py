"""The exam that a backend passes, and the means to explore the protocol: shipped, so that a plug-in can use them too."""

import sys

_EXAM = ("exam", "exam_life", "exam_sessions", "exam_waiting", "examiner", "faults")

_pytest = sys.modules.get("pytest")
if _pytest is not None and hasattr(_pytest, "register_assert_rewrite"):
    # Without this, an assertion of the exam that fails in a plug-in's tests would not tell the values in it.
    _pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _EXAM))
