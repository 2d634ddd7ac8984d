"""What a published detector sees of a picture, for a scan.

No PyTorch: processes that decode pictures look at them, too, and would each import it.
"""

from __future__ import annotations

from dataclasses import dataclass

from nsnet_cli.arrays import Pixels
from nsnet_cli.detectors.crops import Crops, centre
from nsnet_cli.detectors.interface import Eyes
from nsnet_cli.views.plan import MOSTLY_UNSEEN, WINDOW, View, Views, mostly_unseen


@dataclass(frozen=True)
class PublishedLook:
    """What ``eyes`` see of a picture, and the tower's square of ``tower`` pixels in its centre; each may be None.

    What the tower sees stands beside what the eyes see; where there are none, it is the only view.
    """

    eyes: Eyes | None
    tower: int | None

    @staticmethod
    def of(eyes: Eyes | None, tower: int | None) -> PublishedLook:
        """Of crops only where they lie is taken: what kinds of them add is for training, and imports PyTorch."""
        return PublishedLook(Crops(eyes.side, eyes.learn, eyes.count) if isinstance(eyes, Crops) else eyes, tower)

    def __call__(self, pixels: Pixels) -> Views:
        height, width = pixels.shape[1:]
        beside = None if self.tower is None else centre(pixels, self.tower)
        eyes = self.eyes
        if eyes is None:
            assert beside is not None and self.tower is not None
            views, beside, eyes = beside[None], None, Crops(self.tower)
        else:
            views = eyes.look(pixels)
        places = eyes.places(height, width)
        # Of a picture that is narrower than a square, the square holds its width.
        seen = sum(side**2 for _, _, side in places) or min(height, eyes.side) * min(width, eyes.side)
        everywhere = not isinstance(eyes, Crops)
        warnings = (MOSTLY_UNSEEN,) if not everywhere and mostly_unseen(pixels, seen) else ()
        plan = tuple(View(WINDOW, k) for k in range(len(views)))
        return Views(views, plan, windows=dict(enumerate(places)), warnings=warnings, beside=beside)
