"""Threads that are there before they are needed, and steps that no signal's handler interrupts."""
