"""`python -m looop_portable`: the command `looop`."""

from looop_portable.cli import main

if __name__ == "__main__":
    main()
