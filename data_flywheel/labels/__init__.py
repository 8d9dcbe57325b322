"""What somebody or something says is on a frame, where that comes from, which of several holds."""
