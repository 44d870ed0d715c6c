"""Files on disk in, records and batches out."""
