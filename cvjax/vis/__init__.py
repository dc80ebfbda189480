"""What people look at: curves, grids, reports."""
