"""The exam that a backend passes, and the means to explore the protocol: shipped, so that a plug-in can use them too.

The names below are the public surface. They are imported when they are used.
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from looop_portable.testing.exam import BackendExam, LifeExam, Reopen, WaitingExam

__all__ = ["BackendExam", "LifeExam", "Reopen", "WaitingExam"]

_EXAM = ("exam", "exam_life", "exam_sessions", "exam_waiting", "examiner", "engine_exam", "faults")

_pytest = sys.modules.get("pytest")
if _pytest is not None and hasattr(_pytest, "register_assert_rewrite"):
    # Without this, an assertion of the exam that fails in a plug-in's tests would not tell the values in it.
    _pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _EXAM))

if not TYPE_CHECKING:  # Without this, a type checker would take any name for a public one.

    def __getattr__(name: str) -> object:
        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from looop_portable.testing import exam

        return getattr(exam, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
