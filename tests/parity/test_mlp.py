"""The supervised network reaches what scikit-learn's does with as wide a layer."""

import numpy as np
import pytest

from videobert_jax.tasks import mlp

pytest.importorskip("sklearn", reason="peers: make setup-parity")


def test_accuracy_is_that_of_scikit_learn():
    from sklearn import datasets, neural_network

    images, labels = datasets.load_digits(return_X_y=True)
    images = images[:, images.std(axis=0) > 0.5].astype(np.float32)  # not the empty margins
    train, test = np.split(np.random.default_rng(0).permutation(len(labels)), [1200])
    model = mlp.fit(images[train], labels[train], 10, np.arange(1200) // 10, seed=0)
    peer = neural_network.MLPClassifier((mlp.HIDDEN,), early_stopping=True, random_state=0)
    scaled = (images - images[train].mean(axis=0)) / (images[train].std(axis=0) + 1e-6)
    theirs = peer.fit(scaled[train], labels[train]).score(scaled[test], labels[test])
    ours = (model.predict(images[test]).argmax(axis=1) == labels[test]).mean()
    assert ours > 0.9 and ours > theirs - 0.02
