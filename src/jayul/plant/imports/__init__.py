"""Records as plants export them: what they hold, and batches of samples. Nothing is guessed silently."""
