"""Images and queries in, captions in one style out."""
