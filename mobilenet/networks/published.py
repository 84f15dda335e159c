"""What the papers and the makers of the networks print: quoted figures, to be recounted.

V1: Howard et al. 2017, arXiv 1704.04861, tables 4 to 10. V2: the table of the published models in
the source of keras.applications.mobilenet_v2. Top-1 is the share of ImageNet's validation photos
named right; it needs ImageNet, so nothing here checks it.
"""

from typing import NamedTuple


class Quoted(NamedTuple):
    """Printed for one network: million multiply-adds, million parameters, top-1 in per cent."""

    millions: int
    parameters: float
    top1: float


V1 = {  # by (α, side of the photos in pixels)
    (1.0, 224): Quoted(569, 4.2, 70.6),
    (0.75, 224): Quoted(325, 2.6, 68.4),
    (0.5, 224): Quoted(149, 1.3, 63.7),
    (0.25, 224): Quoted(41, 0.5, 50.6),
    (1.0, 192): Quoted(418, 4.2, 69.1),
    (1.0, 160): Quoted(290, 4.2, 67.2),
    (1.0, 128): Quoted(186, 4.2, 64.4),
    (0.5, 160): Quoted(76, 1.32, 60.2),
}
V1_FULL = Quoted(4866, 29.3, 71.7)  # V1 with a standard convolution for each separable one
V1_SHALLOW = Quoted(307, 2.9, 65.3)  # V1 without its five blocks of 14 × 14 × 512
V2 = {  # by (α, side of the photos in pixels); multiply-adds are cut off, not rounded
    (1.4, 224): Quoted(582, 6.06, 75.0),
    (1.3, 224): Quoted(509, 5.34, 74.4),
    (1.0, 224): Quoted(300, 3.47, 71.8),
    (1.0, 192): Quoted(221, 3.47, 70.7),
    (1.0, 160): Quoted(154, 3.47, 68.8),
    (1.0, 128): Quoted(99, 3.47, 65.3),
    (1.0, 96): Quoted(56, 3.47, 60.3),
    (0.75, 224): Quoted(209, 2.61, 69.8),
    (0.75, 192): Quoted(153, 2.61, 68.7),
    (0.75, 160): Quoted(107, 2.61, 66.4),
    (0.75, 128): Quoted(69, 2.61, 63.2),
    (0.75, 96): Quoted(39, 2.61, 58.8),
    (0.5, 224): Quoted(97, 1.95, 65.4),
    (0.5, 192): Quoted(71, 1.95, 63.9),
    (0.5, 160): Quoted(50, 1.95, 61.0),
    (0.5, 128): Quoted(32, 1.95, 57.7),
    (0.5, 96): Quoted(18, 1.95, 51.2),
    (0.35, 224): Quoted(59, 1.66, 60.3),
    (0.35, 192): Quoted(43, 1.66, 58.2),
    (0.35, 160): Quoted(30, 1.66, 55.7),
    (0.35, 128): Quoted(20, 1.66, 50.8),
    (0.35, 96): Quoted(11, 1.66, 45.5),
}
OTHERS = {  # quoted in V1's tables 8 and 9, not built here
    "GoogLeNet": Quoted(1550, 6.8, 69.8),
    "VGG16": Quoted(15300, 138, 71.5),
    "SqueezeNet": Quoted(1700, 1.25, 57.5),
    "AlexNet": Quoted(720, 60, 57.2),
}
# Time for one photo, at α 1 and 224 pixels, on one large core of a Google Pixel 1 with TF-Lite, for
# which BatchNorm is folded: V2's paper, table 4.
PHONE = {"V1, folded": "113 ms", "V2, folded": "75 ms"}
