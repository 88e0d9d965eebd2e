"""`python -m videobert_jax`: the same as the console script `videobert`."""

from videobert_jax.cli import main

if __name__ == "__main__":
    main.program()
