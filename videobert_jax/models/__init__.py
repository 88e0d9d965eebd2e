"""The network: two towers, the cross-modal encoder, heads (Flax Linen)."""
