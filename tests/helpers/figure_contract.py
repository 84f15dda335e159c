"""What holds for every figure of a notebook: it says what it shows, fits, and can be read."""

from itertools import combinations

from matplotlib.figure import Figure
from matplotlib.text import Text

from mobilenet.figures.canvas import WIDEST
from tests.helpers.drawn import one_sentence


def texts(figure):
    """What can be read in a figure: its texts that are drawn and show something."""
    drawn = []
    for one in figure.get_children():
        drawn += one.findobj(Text) if one not in figure.axes else _texts_of_axes(one)
    return [one for one in drawn if one.get_visible() and one.get_text().strip()]


def _texts_of_axes(axes):
    """Those of its axes but for ticks beyond the limits, which are kept and not drawn."""
    beyond = []
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-9 * (high - low)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            if not axes.axison or not low - slack <= tick.get_loc() <= high + slack:
                beyond += [tick.label1, tick.label2]
    return [one for one in axes.findobj(Text) if one not in beyond]


class FigureContract:
    """A class of this kind has FIGURES, how each is made by name, and is parametrized by them:
    `@pytest.mark.parametrize("figure", FIGURES, indirect=True)`.
    """

    def test_it_says_what_it_shows(self, figure):
        assert isinstance(figure, Figure)
        assert one_sentence(figure.get_label())
        assert len(figure.get_label()) >= 5

    def test_it_fits_the_page(self, figure):
        width, height = figure.get_size_inches()
        assert width <= WIDEST
        assert height <= 7

    def test_text_is_legible(self, figure):
        for one in texts(figure):
            assert one.get_fontsize() >= 9, one.get_text()

    def test_text_stays_inside_and_apart(self, figure):
        page = figure.bbox.padded(1)
        boxes = [(one.get_text(), one.get_window_extent()) for one in texts(figure)]
        for text, box in boxes:
            assert page.contains(box.x0, box.y0), text
            assert page.contains(box.x1, box.y1), text
        for (text, box), (other, another) in combinations(boxes, 2):
            assert not box.padded(-1).overlaps(another.padded(-1)), (text, other)
