"""All interleavings of the real code, on a scripted filesystem."""
