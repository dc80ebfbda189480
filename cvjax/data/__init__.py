"""From files and arrays to batches on the device."""
