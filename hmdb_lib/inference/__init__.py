"""A trained model at work: predict, look inside, export, share."""
