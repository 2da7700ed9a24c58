"""What real environments do to evidence: identities copied, faked or hidden, on the real thing."""
