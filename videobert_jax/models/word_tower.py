"""Text tower of MIL-NCE's joint space (Miech et al. 2020, arXiv:1912.06430, section 4.1).

Letters: b sentences, t words, w word vectors, j joint dimensions.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

PADDING_ID = 0
MAXIMUM_WORDS = 16
NUM_VECTORS = 66250
VECTOR_DIM = 300
HIDDEN_DIM = 2048
JOINT_DIM = 512


class WordTower(nn.Module):
    """A vector a sentence: word vectors, a hidden layer, the maximum over words, a projection.

    Padding is a word of its own to the network (id 0 has a vector, and takes part in the maximum),
    so a sentence has the same vector only when it is padded to as many words: MAXIMUM_WORDS.
    Vectors are not normalised.
    """

    @nn.compact
    def __call__(self, ids: Int[Array, "b t"]) -> Float[Array, "b j"]:
        vectors = nn.Embed(NUM_VECTORS, VECTOR_DIM, name="words")(ids)
        hidden = nn.relu(nn.Dense(HIDDEN_DIM, name="hidden")(vectors))
        return nn.Dense(JOINT_DIM, name="joint")(jnp.max(hidden, axis=1))


def parameter_structs() -> dict:
    """Tree of `ShapeDtypeStruct` of the tower's variables, without computing anything."""
    ids = jax.ShapeDtypeStruct((1, MAXIMUM_WORDS), jnp.int32)
    return jax.eval_shape(WordTower().init, jax.random.key(0), ids)
