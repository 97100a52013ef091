"""Every ablation, one entry each. To add one, add an entry to `CATALOGUE`.

`network` and `training` are the fields of `NetworkSpec` and `TrainingSpec` that the entry changes,
with their new values. No other module contains the name of an entry.
"""

from collections.abc import Collection

from ablations.catalogue.ablation import Ablation, combine

CATALOGUE = (
    Ablation(
        name="target",
        removes="nothing",
        question="How well does the whole network do?",
        expectation=(
            "About 99.4 %: the published run, with ReLU before batch norm, reached 99.45 %, and "
            "seeds differ by several of the 10,000 test images."
        ),
        source="The assignment's published notebook and log.",
    ),
    Ablation(
        name="no-batchnorm",
        removes="batch normalisation",
        question="What does batch normalisation do for a network this small?",
        expectation=(
            "Slower learning and lower final accuracy: the scale of each layer's output drifts "
            "with the weights before it, gradients in the first stage are small, and the target's "
            "learning rate is no longer the best one."
        ),
        source=(
            "Ioffe and Szegedy, Batch Normalization, 2015, arXiv:1502.03167; Santurkar et al., How "
            "Does Batch Normalization Help Optimization?, 2018, arXiv:1805.11604."
        ),
        is_core=True,
        network={"block": "conv-relu"},
    ),
    Ablation(
        name="no-dropout",
        removes="dropout",
        question="Does dropout help with 19,000 parameters and 60,000 augmented images?",
        expectation=(
            "Little difference, perhaps even an improvement: a network that hardly overfits gains "
            "little from noise, and dropout before batch norm makes the variance differ between "
            "training and test."
        ),
        source=(
            "Srivastava et al., Dropout, JMLR 15, 2014; Li et al., Understanding the Disharmony "
            "between Dropout and Batch Normalization by Variance Shift, 2018, arXiv:1801.05134."
        ),
        is_core=True,
        network={"dropout": 0.0},
    ),
    Ablation(
        name="no-gap",
        removes="global average pooling",
        question="What changes when the head sees every pixel of the last feature maps?",
        expectation=(
            "Similar accuracy with more than twice the parameters: the first linear layer grows "
            "from 528 to 25,104. Global average pooling saves parameters, and makes the output "
            "independent of where a stroke is."
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
            "Worse than no-gap: the last stage has 14 instead of 32 channels to offset the wide "
            "linear layer, so that the network has 19,274 parameters (1.6 % more than the target)."
        ),
        source="Lin et al., Network In Network, 2013, arXiv:1312.4400, section 3.2.",
        network={"pooling": "flatten", "channels": (8, 16, 14)},
    ),
    Ablation(
        name="no-fc-head",
        removes="the fully connected head",
        question="Does the network need fully connected layers?",
        expectation=(
            "Little difference: apart from dropout, a 1x1 convolution and an average are the same "
            "function as an average and one linear layer, and the target's two linear layers are "
            "equivalent to one. Dropout is still right before the classifier, so it acts on 7x7 "
            "pixels, whose average removes most of its noise: compare single-fc."
        ),
        source=(
            "Lin et al., Network In Network, 2013, arXiv:1312.4400; Springenberg et al., Striving "
            "for Simplicity, 2014, arXiv:1412.6806."
        ),
        is_core=True,
        network={"head": "conv"},
    ),
    Ablation(
        name="single-fc",
        removes="the second linear layer",
        question="What do two linear layers without an activation between them add?",
        expectation=(
            "Little difference in the end: two linear maps in a row are one linear map. They only "
            "change the path of gradient descent."
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
            "The largest loss of all: convolutions in a row are one linear map, so only the two "
            "max pools make the function nonlinear."
        ),
        source=(
            "Nair and Hinton, Rectified Linear Units Improve Restricted Boltzmann Machines, "
            "ICML 2010."
        ),
        network={"block": "conv-bn"},
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
            "Clearly worse: two 3x3 convolutions see 5x5 pixels with a nonlinearity in between, "
            "one sees 3x3. A third of the parameters remain, so this is depth and size together."
        ),
        source=(
            "Simonyan and Zisserman, Very Deep Convolutional Networks, 2014, arXiv:1409.1556, "
            "section 2.3."
        ),
        network={"convs_per_stage": 1},
    ),
    Ablation(
        name="no-conv-bias",
        removes="the biases of the convolutions",
        question="Does a convolution need a bias when batch norm follows?",
        expectation=(
            "No difference, with 112 parameters fewer: batch norm subtracts each channel's mean, "
            "which includes the bias, and its own shift replaces the bias."
        ),
        source="Ioffe and Szegedy, Batch Normalization, 2015, arXiv:1502.03167, section 3.2.",
        network={"conv_bias": False},
    ),
    Ablation(
        name="relu-before-batchnorm",
        removes="batch norm before ReLU (ReLU comes first instead)",
        question="Does it matter whether batch norm comes before or after the activation?",
        expectation=(
            "Little difference; reports favour either order. The published notebook has this "
            "order, with as many parameters."
        ),
        source=(
            "Ioffe and Szegedy, Batch Normalization, 2015, arXiv:1502.03167, section 3.2, argue "
            "for batch norm first; the assignment's published notebook has it last."
        ),
        network={"block": "conv-relu-bn"},
    ),
    Ablation(
        name="no-augmentation",
        removes="zooming and rotating of training images",
        question="What do rotated and zoomed copies add?",
        expectation=(
            "Somewhat worse on the test set, and better on the training set: without new views of "
            "each digit the network overfits the training images."
        ),
        source=(
            "Simard et al., Best Practices for Convolutional Neural Networks Applied to Visual "
            "Document Analysis, ICDAR 2003."
        ),
        training={"augment": False},
    ),
    Ablation(
        name="no-lr-schedule",
        removes="the drop of the learning rate",
        question="What do the last five epochs at a tenth of the learning rate add?",
        expectation=(
            "Worse, and more different from seed to seed: at a constant rate the weights keep "
            "moving around the minimum, and the last epoch is a random point of that movement."
        ),
        source=(
            "You et al., How Does Learning Rate Decay Help Modern Neural Networks?, 2019, "
            "arXiv:1908.01878."
        ),
        training={"drop_learning_rate_after": None},
    ),
    Ablation(
        name="no-momentum",
        removes="momentum",
        question="What does momentum add to plain gradient descent?",
        expectation=(
            "Slower learning and lower final accuracy. At momentum 0.9 a constant gradient moves "
            "the weights ten times as far, so the effective learning rate is a tenth: this is "
            "momentum and step size together."
        ),
        source=(
            "Sutskever et al., On the Importance of Initialization and Momentum in Deep Learning, "
            "ICML 2013."
        ),
        training={"momentum": 0.0},
    ),
    Ablation(
        name="no-input-normalisation",
        removes="normalisation of the input",
        question="Do pixels need zero mean and unit variance?",
        expectation=(
            "Little difference: the first batch norm undoes any shift and scale of the image, "
            "except at its border, where padding with zeros means black in one case and grey in "
            "the other."
        ),
        source="LeCun et al., Efficient BackProp, 1998, section 4.3.",
        training={"normalise_input": False},
    ),
)


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
