"""How claims come to an end, or to another holder, without their holder: `break`, `reap`, `transfer`; and of several."""
