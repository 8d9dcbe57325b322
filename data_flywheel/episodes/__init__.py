"""Records of games, and recordings that keep them within a disk budget."""
