"""The reference: float64 NumPy from the equations; obviously right, never fast or shipped."""
