"""Read files on disk into records and batches."""
