"""Four videos for four captions."""

import numpy as np
import pytest

from tests.inference import models


@pytest.fixture(scope="package")
def videos() -> list[np.ndarray]:
    """Clip features of `models.CLIPS` clips, one of them alone."""
    return models.videos(models.CLIPS)
