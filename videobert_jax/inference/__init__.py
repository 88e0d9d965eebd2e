"""A trained model for applications: arrays and strings in, arrays out."""
