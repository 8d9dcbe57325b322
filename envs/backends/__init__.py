"""What runs behind the wall: one file a backend."""
