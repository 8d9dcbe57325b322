"""What people look at: replays, pages, score cards, explanations."""
