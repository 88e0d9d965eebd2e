"""Published weights of other projects, read into the networks here."""
