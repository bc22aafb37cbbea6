"""Masks over pictures: where colour and outline lie, what may be given, and what is refused."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from PIL import Image

from lepton_kit import data
from lepton_kit.data.images.overlay import COLOURS, GAP, OPACITY, OUTLINE
from lepton_kit.errors import DataError

GREY = np.full((6, 8), 100, np.uint8)
MASK = np.zeros((6, 8), np.uint8)
MASK[1:5, 2:6] = 1


def pixels(found):
    return np.asarray(found.image)


def test_a_class_is_coloured_and_the_truth_outlined():
    truth = np.zeros((6, 8), bool)
    truth[0:3, 0:3] = True
    found = pixels(data.overlay(GREY, MASK, truth=truth))
    colour = np.round((1 - OPACITY) * 100 + OPACITY * np.array(COLOURS[0]))
    assert (found[4, 4] == colour).all()
    assert (found[5, 7] == 100).all()
    edge = (found == OUTLINE).all(axis=-1)
    assert edge.tolist() == (truth & ~np.pad(truth[:2, :2], ((0, 4), (0, 6)))).tolist()


def test_class_0_is_not_drawn_and_classes_have_colours_of_their_own():
    found = pixels(data.overlay(GREY, np.array([[0, 1], [2, 3]])))
    quarters = {tuple(found[row, column]) for row, column in ((0, 0), (0, 7), (5, 0), (5, 7))}
    assert (found[0, 0] == 100).all()
    assert len(quarters) == 4


def test_files_pillow_images_and_arrays_of_several_kinds(tmp_path):
    Image.fromarray(GREY).save(tmp_path / "a.png")
    plain = pixels(data.overlay(GREY, MASK))
    for image in (tmp_path / "a.png", str(tmp_path / "a.png"), Image.fromarray(GREY), GREY[..., None]):
        assert np.array_equal(pixels(data.overlay(image, MASK[..., None])), plain)
    ramp = np.linspace(-1, 1, 48).reshape(6, 8)
    assert pixels(data.overlay(ramp, MASK * 0))[[0, 5], [0, 7], 0].tolist() == [0, 255]


def test_several_stand_side_by_side_and_a_small_mask_is_fitted():
    found = data.overlay(np.stack([GREY, GREY]), [MASK, MASK[::2, ::2]], scale=3)
    assert found.image.size == (2 * 24 + GAP, 18)
    both = pixels(found)
    assert (both[:, :24] != both[:, 24 + GAP :]).any(axis=-1).mean() < 0.3
    column = np.empty(1, object)
    column[0] = MASK
    assert data.overlay([GREY], column).image.size == (8, 6)


def test_it_shows_itself_with_a_text_and_can_be_saved(tmp_path):
    found = data.overlay(GREY, MASK, truth=MASK)
    bundle, about = found._repr_mimebundle_()
    assert base64.b64decode(bundle["image/png"]) == found.png()
    assert 'alt="a picture with the mask in colour' in bundle["text/html"]
    assert about["image/png"]["alt"] == "a picture with the mask in colour, the true mask outlined in yellow"
    assert data.overlay(GREY, MASK, text="a head").text in repr(data.overlay(GREY, MASK, text="a head"))
    assert Image.open(found.save(tmp_path / "x.png")).size == (8, 6)


@pytest.mark.parametrize(
    ("arguments", "options", "said"),
    [
        ((GREY, [MASK, MASK]), {}, "masks: got 2; expected one for each of 1 pictures"),
        ((GREY, MASK.astype(float)), {}, "masks: number 0 is float64 of shape"),
        ((GREY, MASK), {"truth": [MASK[0]]}, "truth: number 0 is uint8 of shape"),
        ((GREY, MASK), {"scale": 0}, "scale: got 0; expected a whole number"),
        ((3, MASK), {}, "images: got int; expected files"),
        (([], []), {}, "images: got 0; expected 1 to"),
        (([np.zeros((2, 3, 4, 5))], [MASK]), {}, "images: number 0 is float64 of shape"),
        (("nothing.png", MASK), {}, "nothing.png: can't be read"),
    ],
)
def test_refusals(arguments, options, said):
    with pytest.raises(DataError, match=said):
        data.overlay(*arguments, **options)
