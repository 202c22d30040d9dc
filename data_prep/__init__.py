"""Steps before training: download, unpack, verify, extract, or draw a sample data set."""
