"""Processes that live for a claim: `looop run`, and the keeper of a session."""
