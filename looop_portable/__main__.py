"""`python -m looop_portable`, and what the script `looop` starts."""

import gc

gc.disable()  # For one short run: collecting garbage would be a tenth of the time that importing takes.

from looop_portable.cli import main as run  # noqa: E402


def main() -> None:
    """The command `looop`. Verbs that stay (`reap --watch`, `events --follow`) turn the collector on again."""
    try:
        run()
    finally:
        gc.freeze()  # Nor at the end, for memory that is given back anyway.


if __name__ == "__main__":
    main()
