"""Waiting for a claim: first come, first served."""
