"""What the project promises, held to it."""
