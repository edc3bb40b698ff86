"""Where samples come from: an LSL stream, or a recording on disk."""
