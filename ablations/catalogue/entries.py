"""Every ablation, one entry each: data, no logic. To add one, add an entry to `CATALOGUE`.

`network` and `training` name the fields of `NetworkSpec` and `TrainingSpec` that the entry
changes on the target, and the values that they get. Nothing else in the project knows an entry
by its name.
"""

from collections.abc import Sequence

from ablations.catalogue.ablation import Ablation, combine

CATALOGUE = (
    Ablation(
        name="target",
        removes="nothing",
        question="How well does the whole network do?",
        expectation=(
            "About 99.4 %: the published run, with ReLU before batch norm, ended at 99.45 %, and one seed differs "
            "from the next by several images of the 10,000."
        ),
        source="The assignment's published notebook and log.",
    ),
    Ablation(
        name="no-batchnorm",
        removes="batch normalisation",
        question="What does batch normalisation do for a network this small?",
        expects="worse",
        expectation=(
            "Slower learning and a lower end: without it the scale of each layer's output drifts with "
            "the weights before it, gradients reach the first stage weakly, and the learning rate that "
            "suits the target is no longer the best one."
        ),
        source=(
            "Ioffe and Szegedy, Batch Normalization, 2015, arXiv:1502.03167; Santurkar et al., How Does "
            "Batch Normalization Help Optimization?, 2018, arXiv:1805.11604."
        ),
        is_core=True,
        network={"block": "conv-relu"},
    ),
    Ablation(
        name="no-dropout",
        removes="dropout",
        question="Does dropout still help when 19,000 parameters meet 60,000 augmented images?",
        expects="hardly",
        expectation=(
            "Little, and perhaps the other way round: a network that can hardly overfit has little "
            "to gain from noise, and dropout before batch norm shifts the variance between training and test."
        ),
        source=(
            "Srivastava et al., Dropout, JMLR 15, 2014; Li et al., Understanding the Disharmony between "
            "Dropout and Batch Normalization by Variance Shift, 2018, arXiv:1801.05134."
        ),
        is_core=True,
        network={"dropout": 0.0},
    ),
    Ablation(
        name="no-gap",
        removes="global average pooling",
        question="What is lost when the head sees every pixel of the last feature maps?",
        expects="hardly",
        expectation=(
            "Accuracy about as good, at more than twice the parameters: the first linear layer grows from "
            "528 to 25,104 parameters. What global average pooling saves is parameters, and what it gives is "
            "indifference to where a stroke lies."
        ),
        source="Lin et al., Network In Network, 2013, arXiv:1312.4400, section 3.2.",
        is_core=True,
        network={"pooling": "flatten"},
    ),
    Ablation(
        name="no-gap-matched",
        removes="global average pooling, at the same size",
        question="Is it global average pooling, or only the parameters that it saves?",
        expectation=(
            "Worse than no-gap: the last stage gives up 18 of its 32 channels to pay for the wide "
            "linear layer, so that the whole network has 19,274 parameters (1.6 % more than the target)."
        ),
        source="Lin et al., Network In Network, 2013, arXiv:1312.4400, section 3.2.",
        network={"pooling": "flatten", "channels": (8, 16, 14)},
    ),
    Ablation(
        name="no-fc-head",
        removes="the fully connected head",
        question="Does the network need fully connected layers at all?",
        expects="hardly",
        expectation=(
            "Little difference: a 1x1 convolution followed by an average is, dropout aside, the same "
            "function as an average followed by one linear layer, and the target's two linear layers "
            "multiply out to one. Dropout still comes right before the classifier, and so falls on "
            "7x7 pixels of which the average evens most of its noise out: compare single-fc."
        ),
        source=(
            "Lin et al., Network In Network, 2013, arXiv:1312.4400; Springenberg et al., Striving for "
            "Simplicity, 2014, arXiv:1412.6806."
        ),
        is_core=True,
        network={"head": "conv"},
    ),
    Ablation(
        name="single-fc",
        removes="the second linear layer",
        question="What are two linear layers with nothing between them good for?",
        expects="hardly",
        expectation=(
            "Little difference in the end: two linear maps in a row are one linear map. They only "
            "change the path that gradient descent takes to it."
        ),
        source=(
            "Saxe et al., Exact Solutions to the Nonlinear Dynamics of Learning in Deep Linear Neural "
            "Networks, 2013, arXiv:1312.6120; Arora et al., 2018, arXiv:1802.06509."
        ),
        network={"hidden_features": ()},
    ),
    Ablation(
        name="no-relu",
        removes="the activation function",
        question="How much of the network is left when nothing bends?",
        expects="worse",
        expectation=(
            "The largest loss of all: convolutions in a row become one linear map. Only the two "
            "max pools are left to make the function anything but linear."
        ),
        source="Nair and Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, ICML 2010.",
        network={"block": "conv-bn"},
    ),
    Ablation(
        name="no-maxpool",
        removes="max pooling (stride 2 instead)",
        question="Can a convolution learn to halve the image as well as a maximum does?",
        expects="worse",
        expectation=(
            "A little worse, and faster: the strided convolution computes a quarter of the outputs, and "
            "gives up the maximum's indifference to a shift by a pixel."
        ),
        source="Springenberg et al., Striving for Simplicity, 2014, arXiv:1412.6806.",
        network={"downsample": "stride"},
    ),
    Ablation(
        name="one-conv-per-stage",
        removes="the second convolution of each stage",
        question="What does depth buy?",
        expects="worse",
        expectation=(
            "Clearly worse: two 3x3 convolutions see 5x5 pixels with a bend in between; one sees 3x3. "
            "The network keeps a third of its parameters, so this is depth and size together."
        ),
        source="Simonyan and Zisserman, Very Deep Convolutional Networks, 2014, arXiv:1409.1556, section 2.3.",
        network={"convs_per_stage": 1},
    ),
    Ablation(
        name="no-conv-bias",
        removes="the biases of the convolutions",
        question="Does a convolution need a bias when batch norm follows?",
        expects="hardly",
        expectation=(
            "No difference: batch norm subtracts each channel's mean, and the bias with it; its own "
            "shift takes the bias's place. 112 parameters fewer."
        ),
        source="Ioffe and Szegedy, Batch Normalization, 2015, arXiv:1502.03167, section 3.2.",
        network={"conv_bias": False},
    ),
    Ablation(
        name="relu-before-batchnorm",
        removes="batch norm before ReLU (their order is swapped)",
        question="Does it matter whether batch norm comes before or after the activation?",
        expects="hardly",
        expectation=(
            "Little difference; people report it both ways. The published notebook has this order, "
            "with as many parameters."
        ),
        source=(
            "Ioffe and Szegedy, Batch Normalization, 2015, arXiv:1502.03167, section 3.2, argue for "
            "batch norm first; the assignment's published notebook has it last."
        ),
        network={"block": "conv-relu-bn"},
    ),
    Ablation(
        name="no-augmentation",
        removes="zooming and rotating of training images",
        question="What are rotated and zoomed copies worth?",
        expects="worse",
        expectation=(
            "Somewhat worse on the test set, and better on the training set: without new views of "
            "each digit the network fits the ones that it has."
        ),
        source=(
            "Simard et al., Best Practices for Convolutional Neural Networks Applied to Visual Document "
            "Analysis, ICDAR 2003."
        ),
        training={"augment": False},
    ),
    Ablation(
        name="no-lr-schedule",
        removes="the drop of the learning rate",
        question="What do the last five epochs at a tenth of the learning rate do?",
        expects="worse",
        expectation=(
            "Worse, and more different from seed to seed: at a constant rate the weights go on "
            "bouncing around the minimum, and the last epoch is where the bouncing happened to stop."
        ),
        source="You et al., How Does Learning Rate Decay Help Modern Neural Networks?, 2019, arXiv:1908.01878.",
        training={"drop_learning_rate_after": None},
    ),
    Ablation(
        name="no-momentum",
        removes="momentum",
        question="What does momentum add to plain gradient descent?",
        expects="worse",
        expectation=(
            "Slower learning and a lower end: at momentum 0.9 a lasting gradient moves the weights ten times as far, so "
            "without it the same learning rate is in effect a tenth. This is momentum and step size together."
        ),
        source="Sutskever et al., On the Importance of Initialization and Momentum in Deep Learning, ICML 2013.",
        training={"momentum": 0.0},
    ),
    Ablation(
        name="no-input-normalisation",
        removes="normalisation of the input",
        question="Must pixels have zero mean and unit variance?",
        expects="hardly",
        expectation=(
            "Little difference here: the first batch norm undoes any shift and scale of the image, "
            "except at its border, where padding adds zeros that are black in one case and grey in the other."
        ),
        source="LeCun et al., Efficient BackProp, 1998, section 4.3.",
        training={"normalise_input": False},
    ),
)


_BY_NAME = {ablation.name: ablation for ablation in CATALOGUE}
if len(_BY_NAME) != len(CATALOGUE):
    raise ValueError(
        f"the catalogue has two entries of one name: {sorted(entry.name for entry in CATALOGUE)}"
    )


def find_ablation(name: str) -> Ablation:
    """The catalogue's entry of that name, or several as one: `no-batchnorm+no-dropout`.

    Raises:
        KeyError: an entry is not in the catalogue.
        ValueError: those entries cannot be combined.
    """
    if "+" not in name:
        return _BY_NAME[name]
    return combine_entries([_BY_NAME[part].name for part in name.split("+")])


def combine_entries(names: Sequence[str]) -> Ablation:
    """All that these entries remove, removed at once: of none the target, of one that entry.

    Raises:
        ValueError: they cannot be combined.
    """
    entries = [entry for entry in CATALOGUE if entry.name in names]
    return combine(entries) if entries else _BY_NAME["target"]
