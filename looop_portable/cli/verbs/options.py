"""The arguments and options of the declaration that verbs have which click alone knows; and for how long a verb waits."""

from __future__ import annotations

from looop_portable.cli.words import table
from looop_portable.cli.words.clicks import with_argument, with_option

NAME = with_argument(table.NAME)
SESSION = with_option(table.SESSION)
SLOTS = with_option(table.SLOTS)
TTL = with_option(table.TTL)
LEASE_LENGTH = with_option(table.LEASE_LENGTH)
