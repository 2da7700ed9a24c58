"""What shells complete: the words that are offered, and PowerShell, which click does not know."""
