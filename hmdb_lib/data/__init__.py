"""Videos, frame stores and clips: from a file to a batch."""
