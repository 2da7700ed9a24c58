"""What the test programs share: processes, capabilities, and what stands in for other systems."""
