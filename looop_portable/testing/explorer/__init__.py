"""All interleavings of a few processes that run the real code, in a world of their own."""
