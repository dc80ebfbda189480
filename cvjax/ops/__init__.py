"""Geometry and tensor operations: jnp in, jnp out."""
