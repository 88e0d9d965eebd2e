"""From a dataset on disk to global batches, addressed by position."""
