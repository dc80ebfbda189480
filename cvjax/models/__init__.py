"""Every architecture by its usual name."""
