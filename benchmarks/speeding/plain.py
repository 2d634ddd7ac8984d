"""What anybody would write first: open_clip's tower in float32, its own preprocessing, eight pictures at a time."""

from __future__ import annotations

from collections.abc import Callable

from answering import answer

_BATCH = 8


def load() -> Callable[[list[str]], None]:
    import open_clip
    import torch
    from PIL import Image

    from nsnet_cli.tower.file import load_tower
    from nsnet_cli.weights.store import TOWER_NAME, find_weights

    model = open_clip.create_model("ViT-B-16-quickgelu").visual.eval()
    model.load_state_dict(load_tower(find_weights(TOWER_NAME)).state_dict(), strict=True)
    prepare = open_clip.image_transform(224, is_train=False)

    @torch.inference_mode()
    def judge(paths: list[str]) -> None:
        for first in range(0, len(paths), _BATCH):
            opened = [Image.open(path).convert("RGB") for path in paths[first : first + _BATCH]]
            model(torch.stack([prepare(image) for image in opened]))

    return judge


if __name__ == "__main__":
    answer(load)
