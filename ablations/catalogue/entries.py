"""Every ablation, one entry each. To add one, add an entry to `ENTRIES`.

`network` and `training` are the fields of `NetworkSpec` and `TrainingSpec` that the entry changes,
with their new values; `training_under` has those that depend on the recipe. No other module contains
the name of an entry.
"""

from collections.abc import Collection

from ablations.catalogue.ablation import Ablation, combine, retune
from ablations.catalogue.recipes import TUNED, RecipeName

ENTRIES = (
    Ablation(
        name="target",
        removes="nothing",
        question="How well does the whole network do?",
        expectation=(
            "Above 99.4 % with the tuned recipe. The published run reached 99.45 %, with ReLU "
            "before batch norm."
        ),
        source="The assignment's published notebook and log.",
    ),
    Ablation(
        name="no-batchnorm",
        removes="batch normalisation",
        question="What does batch normalisation do for a network this small?",
        expectation=(
            "Slower learning and lower accuracy: the scale of each layer's output drifts with the "
            "weights before it, and the gradients of the first stage are small."
        ),
        source=(
            "Ioffe and Szegedy, Batch Normalization, 2015, arXiv:1502.03167; Santurkar et al., "
            "2018, arXiv:1805.11604."
        ),
        is_core=True,
        network={"block": "conv-relu"},
        retuned={
            "learning_rate": 0.063,
            "batch_size": 32,
            "warm_up": 0.2,
            "weight_decay": 0.0004,
            "affine_strength": 0.8,
        },
    ),
    Ablation(
        name="no-dropout",
        removes="dropout",
        question="Does dropout help with 19,000 parameters and 60,000 augmented images?",
        expectation=(
            "Little difference, perhaps an improvement: a network that hardly overfits gains "
            "little from noise, which also changes the variance that batch norm sees."
        ),
        source="Srivastava et al., Dropout, JMLR 15, 2014; Li et al., 2018, arXiv:1801.05134.",
        is_core=True,
        network={"dropout": 0.0},
        retuned={
            "learning_rate": 0.24,
            "batch_size": 64,
            "warm_up": 0.3,
            "weight_decay": 6e-05,
            "affine_strength": 1.0,
        },
    ),
    Ablation(
        name="no-gap",
        removes="global average pooling",
        question="What changes when the head sees every pixel of the last feature maps?",
        expectation=(
            "Similar accuracy with more than twice the parameters: the first linear layer grows "
            "from 528 to 25,104. The average makes the output independent of where a stroke is."
        ),
        source="Lin et al., Network In Network, 2013, arXiv:1312.4400, section 3.2.",
        is_core=True,
        network={"pooling": "flatten"},
        retuned={
            "learning_rate": 0.086,
            "batch_size": 128,
            "warm_up": 0.4,
            "weight_decay": 8e-05,
            "affine_strength": 0.8,
        },
    ),
    Ablation(
        name="no-gap-matched",
        removes="global average pooling, at the same size",
        question="Is it global average pooling, or only the parameters that it saves?",
        expectation=(
            "Worse than no-gap: with 14 instead of 32 channels in the last stage, the network has "
            "19,274 parameters (1.6 % more than the target)."
        ),
        source="Lin et al., Network In Network, 2013, arXiv:1312.4400, section 3.2.",
        network={"pooling": "flatten", "channels": (8, 16, 14)},
    ),
    Ablation(
        name="no-fc-head",
        removes="the fully connected head",
        question="Does the network need fully connected layers?",
        expectation=(
            "Little difference: without dropout, a 1x1 convolution and an average are one linear "
            "map, as are the target's two layers. Here dropout acts before the average, which "
            "removes most of its noise: compare single-fc."
        ),
        source=(
            "Lin et al., Network In Network, 2013, arXiv:1312.4400; Springenberg et al., 2014, "
            "arXiv:1412.6806."
        ),
        is_core=True,
        network={"head": "conv"},
        retuned={
            "learning_rate": 0.48,
            "batch_size": 64,
            "warm_up": 0.2,
            "weight_decay": 0.0001,
            "affine_strength": 1.6,
        },
    ),
    Ablation(
        name="single-fc",
        removes="the second linear layer",
        question="What do two linear layers without an activation between them add?",
        expectation=(
            "Little difference: two linear maps in a row are one. They only change the path of "
            "training."
        ),
        source=(
            "Saxe et al., Exact Solutions to the Nonlinear Dynamics of Learning in Deep Linear "
            "Neural Networks, 2013, arXiv:1312.6120; Arora et al., 2018, arXiv:1802.06509."
        ),
        network={"hidden_features": ()},
    ),
    Ablation(
        name="no-relu",
        removes="the activation function",
        question="How much of the network is left without nonlinear activations?",
        expectation=(
            "The largest loss: convolutions in a row are one linear map, so only two max pools are "
            "nonlinear."
        ),
        source="Nair and Hinton, Rectified Linear Units, ICML 2010.",
        network={"block": "conv-bn"},
        control="positive",
    ),
    Ablation(
        name="no-maxpool",
        removes="max pooling (stride 2 instead)",
        question="Does a strided convolution downsample as well as a maximum?",
        expectation=(
            "A little worse, and faster: the strided convolution computes a quarter of the "
            "outputs, and loses the maximum's tolerance to a shift by a pixel."
        ),
        source="Springenberg et al., Striving for Simplicity, 2014, arXiv:1412.6806.",
        network={"downsample": "stride"},
    ),
    Ablation(
        name="one-conv-per-stage",
        removes="the second convolution of each stage",
        question="What does depth add?",
        expectation=(
            "Clearly worse: two 3x3 convolutions see 5x5 pixels, one sees 3x3. A third of the "
            "parameters remain, so this is depth and size together."
        ),
        source="Simonyan and Zisserman, 2014, arXiv:1409.1556, section 2.3.",
        network={"convs_per_stage": 1},
    ),
    Ablation(
        name="no-conv-bias",
        removes="the biases of the convolutions",
        question="Does a convolution need a bias when batch norm follows?",
        expectation=(
            "No difference, by algebra, with 112 parameters fewer: batch norm subtracts each "
            "channel's mean, which includes the bias, and adds a shift of its own."
        ),
        source="Ioffe and Szegedy, Batch Normalization, 2015, arXiv:1502.03167, section 3.2.",
        network={"conv_bias": False},
    ),
    Ablation(
        name="relu-before-batchnorm",
        removes="batch norm before ReLU (ReLU comes first instead)",
        question="Does it matter whether batch norm comes before or after the activation?",
        expectation=(
            "Little difference; reports favour either order. The published notebook has this one."
        ),
        source=(
            "Ioffe and Szegedy, 2015, arXiv:1502.03167, section 3.2, argue for batch norm first."
        ),
        network={"block": "conv-relu-bn"},
    ),
    Ablation(
        name="no-augmentation",
        removes="augmentation of training images",
        question="What do randomly changed copies of the training images add?",
        expectation=(
            "Worse on the test set and better on the training set: without new views, the network "
            "overfits."
        ),
        source="Simard et al., Best Practices for Convolutional Neural Networks, ICDAR 2003.",
        training={"augment": False},
    ),
    Ablation(
        name="no-lr-schedule",
        removes="the learning rate schedule",
        question="What does a learning rate that falls towards the end add?",
        expectation=(
            "Worse, and more different from seed to seed: the weights keep moving around the "
            "minimum. The constant rate is half of the tuned recipe's peak, or the published "
            "recipe's first rate."
        ),
        source="You et al., How Does Learning Rate Decay Help?, 2019, arXiv:1908.01878.",
        training_under={
            "tuned": {"warm_up": None, "learning_rate": TUNED.learning_rate / 2},
            "published": {"drop_learning_rate_after": None},
        },
    ),
    Ablation(
        name="no-warm-up",
        removes="the warm-up of the learning rate",
        question="Does the learning rate need to start low?",
        expectation=(
            "Little difference for so small a network with batch norm: the first steps are rough, "
            "but the long fall of the rate leaves time to recover."
        ),
        source="Goyal et al., Accurate, Large Minibatch SGD, 2017, arXiv:1706.02677, section 2.2.",
        training_under={"tuned": {"warm_up": 0.0}},
    ),
    Ablation(
        name="no-momentum",
        removes="momentum",
        question="What does momentum add to plain gradient descent?",
        expectation=(
            "Slower learning and lower accuracy. At momentum 0.9 a constant gradient moves the "
            "weights ten times as far, so this is momentum and step size together."
        ),
        source="Sutskever et al., On the Importance of Initialization and Momentum, ICML 2013.",
        training_under={
            "tuned": {"momentum": 0.0, "nesterov": False},
            "published": {"momentum": 0.0},
        },
    ),
    Ablation(
        name="no-nesterov",
        removes="Nesterov's form of momentum",
        question="Does momentum that looks one step ahead help?",
        expectation=(
            "Little difference: at a rate that falls to zero both forms end at about the same "
            "point; Nesterov's form damps oscillations at high rates."
        ),
        source="Sutskever et al., On the Importance of Initialization and Momentum, ICML 2013.",
        training_under={"tuned": {"nesterov": False}},
    ),
    Ablation(
        name="no-weight-decay",
        removes="weight decay",
        question="What does weight decay do for weights that batch norm rescales anyway?",
        expectation=(
            "Somewhat worse: before batch norm the size of weights changes only the effective "
            "learning rate, which decay keeps high; in the head it limits the logits."
        ),
        source="van Laarhoven, L2 versus Batch and Weight Normalization, 2017, arXiv:1706.05350.",
        training_under={"tuned": {"weight_decay": 0.0}},
    ),
    Ablation(
        name="no-input-normalisation",
        removes="normalisation of the input",
        question="Do pixels need zero mean and unit variance?",
        expectation=(
            "Little difference: the first batch norm undoes any shift and scale, except at the "
            "border, where padding means black in one case and grey in the other."
        ),
        source="LeCun et al., Efficient BackProp, 1998, section 4.3.",
        training={"normalise_input": False},
    ),
    Ablation(
        name="placebo",
        removes="the same random numbers (others instead)",
        question="How large a difference does the study find where there is none?",
        expectation=(
            "No difference: the same network and recipe, with other initial weights, order, "
            "augmentation and dropout. A difference would mean that the study finds effects that "
            "do not exist."
        ),
        source="Lipsitch et al., Negative Controls, Epidemiology 21(3), 2010.",
        training={"seed_offset": 1_000_000},
        control="negative",
    ),
)

CATALOGUE = (*ENTRIES, *(retune(entry) for entry in ENTRIES if entry.retuned))
"""All entries, and the retuned ones."""


def entries_under(recipe: RecipeName, *, with_retuned: bool = False) -> list[Ablation]:
    """The entries that are defined under a recipe, which `ablate --all` trains."""
    entries = CATALOGUE if with_retuned else ENTRIES
    return [entry for entry in entries if recipe in entry.recipes]


def find_ablation(name: str) -> Ablation:
    """The entry with this name, or a combination such as `no-batchnorm+no-dropout`.

    Raises:
        KeyError: an entry is not in the catalogue.
        ValueError: the entries cannot be combined.
    """
    return combine_entries(name.split("+"))


def combine_entries(names: Collection[str]) -> Ablation:
    """The combination of entries, in the order of the catalogue; the target if there are none.

    Raises: as `find_ablation`.
    """
    entries = [entry for entry in CATALOGUE if entry.name in names]
    if len(entries) < len(set(names)):
        raise KeyError(*names)
    return combine(entries or CATALOGUE[:1])
