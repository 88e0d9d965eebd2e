"""How much a grouping says of given classes."""

import numpy as np
from jaxtyping import Int


def normalized_mutual_information(
    groups: Int[np.ndarray, " n"], classes: Int[np.ndarray, " n"]
) -> float:
    """Mutual information by the mean of both entropies, 0 to 1 (Strehl & Ghosh 2002).

    0 where one of the two tells nothing apart.
    """
    _, group = np.unique(groups, return_inverse=True)
    _, kind = np.unique(classes, return_inverse=True)
    if min(group.max(), kind.max()) == 0:
        return 0.0
    joint = np.zeros((group.max() + 1, kind.max() + 1))
    np.add.at(joint, (group, kind), 1 / len(group))
    of_groups, of_classes = joint.sum(1), joint.sum(0)
    both = joint[joint > 0]
    expected = np.outer(of_groups, of_classes)[joint > 0]
    entropies = [-(p * np.log(p)).sum() for p in (of_groups, of_classes)]
    return float((both * np.log(both / expected)).sum() / np.mean(entropies))
