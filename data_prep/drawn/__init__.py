"""Draw data sets of acting figures."""
