"""Task-independent helpers: files, logging, devices and processes."""
