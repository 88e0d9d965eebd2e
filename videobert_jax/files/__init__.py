"""Safe readers and writers: no code in a file runs, sizes are checked first, writes are atomic."""
