"""How the target and its ablations are trained: `--recipe tuned` or `--recipe published`.

`PUBLISHED` is the recipe of the assignment's notebook. `TUNED` was chosen on 10,000 of the training
images, while the other 50,000 trained; no test image took part (see docs/tuning.md).
"""

from collections.abc import Mapping
from typing import Literal

from ablations.catalogue.experiment import TrainingSpec

RecipeName = Literal["tuned", "published"]

PUBLISHED = TrainingSpec(
    num_epochs=20, batch_size=128, learning_rate=0.01, momentum=0.9, drop_learning_rate_after=0.75
)

TUNED = TrainingSpec(
    num_epochs=19,
    batch_size=64,
    learning_rate=0.1,
    drop_learning_rate_after=None,
    warm_up=0.2,
    momentum=0.9,
    nesterov=True,
    weight_decay=5e-4,
    affine_strength=0.8,
)

RECIPES: Mapping[RecipeName, TrainingSpec] = {"tuned": TUNED, "published": PUBLISHED}
"""The first is the default of a new study."""
