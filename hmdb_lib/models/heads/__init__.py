"""What reads the tokens of a backbone."""
