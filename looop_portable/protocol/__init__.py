"""What the words mean: names, records, and the rules. Pure: nothing here asks a system, and nothing waits."""
