"""Computer vision as a JAX research codebase."""
