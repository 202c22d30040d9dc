"""Views for notebooks in which something can be moved."""
