"""Make docs/images/demo.png from the pictures of an evaluation: `python docs/images/make_demo.py demo/evaluation`.

One row per frame: what the headset saw, the face fitted to it, the true frontal picture, and their difference.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MODEL = "lip-flow-hmc"
COLUMNS = (
    ("headset pictures (input)", "seen-headset"),
    ("before fitting", "start"),
    ("fitted", "fitted"),
    ("truth", "target"),
)
HEIGHT, GAP, HEAD = 192, 6, 26


def read(folder: Path, frame: str, code: str) -> Image.Image:
    picture = Image.open(folder / f"{frame}.{code}.png").convert("RGB")
    return picture.resize((round(picture.width * HEIGHT / picture.height), HEIGHT), Image.Resampling.BICUBIC)


def difference(fitted: Image.Image, target: Image.Image) -> Image.Image:
    error = np.abs(np.asarray(fitted, np.float32) - np.asarray(target, np.float32)).mean(-1)
    return Image.fromarray(np.clip(error * 5, 0, 255).astype(np.uint8)).convert("RGB")


def main() -> None:
    folder = Path(sys.argv[1]) / MODEL / "pictures"
    frames = sorted({path.name.split(".")[0] for path in folder.glob("*.target.png")})[:4]
    rows = []
    for frame in frames:
        pictures = [read(folder, frame, code) for _, code in COLUMNS]
        rows.append([*pictures, difference(pictures[2], pictures[3])])
    widths = [picture.width for picture in rows[0]]
    size = (sum(widths) + GAP * (len(widths) + 1), HEAD + len(rows) * (HEIGHT + GAP) + GAP)
    canvas = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=16)
    left = GAP
    for column, title in enumerate([*(title for title, _ in COLUMNS), "difference x 5"]):
        draw.text((left + 2, 5), title, fill="black", font=font)
        for row, pictures in enumerate(rows):
            canvas.paste(pictures[column], (left, HEAD + GAP + row * (HEIGHT + GAP)))
        left += widths[column] + GAP
    canvas.save(Path(__file__).with_name("demo.png"), optimize=True)


if __name__ == "__main__":
    main()
