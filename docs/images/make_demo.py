"""Make docs/images/demo.png from the pictures of an evaluation: `python docs/images/make_demo.py demo/evaluation`.

One row per frame, of those that fitting changes most: what the headset saw, the face that P predicts, the one fitted,
the true frontal picture, and where the last two differ.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

MODEL = "lip-flow-hmc"
ROWS, HEIGHT, GAP, HEAD = 3, 224, 6, 28


def read(folder: Path, frame: str, code: str) -> Image.Image:
    return Image.open(folder / f"{frame}.{code}.png").convert("RGB")


def scaled(picture: Image.Image, height: int) -> Image.Image:
    return picture.resize((round(picture.width * height / picture.height), height), Image.Resampling.BICUBIC)


def headset(picture: Image.Image) -> Image.Image:
    """Both eyes beside each other, the mouth below."""
    half, width = (HEIGHT - GAP) // 2, picture.width // 3
    eyes_and_mouth = [scaled(picture.crop((n * width, 0, (n + 1) * width, picture.height)), half) for n in range(3)]
    cell = Image.new("RGB", (2 * eyes_and_mouth[0].width + GAP, HEIGHT), "white")
    cell.paste(eyes_and_mouth[0], (0, 0))
    cell.paste(eyes_and_mouth[1], (eyes_and_mouth[0].width + GAP, 0))
    cell.paste(eyes_and_mouth[2], ((cell.width - eyes_and_mouth[2].width) // 2, half + GAP))
    return cell


def difference(one: Image.Image, other: Image.Image) -> Image.Image:
    error = np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32)).mean(-1)
    return Image.fromarray(np.clip(error * 5, 0, 255).astype(np.uint8)).convert("RGB")


def change(folder: Path, frame: str) -> float:
    before, after = (np.asarray(read(folder, frame, code), np.float32) for code in ("start", "fitted"))
    return float(np.abs(before - after).mean())


def main() -> None:
    folder = Path(sys.argv[1]) / MODEL / "pictures"
    frames = sorted({path.name.split(".")[0] for path in folder.glob("*.target.png")})
    # One of each segment, so that no expression comes twice.
    segments = {frame.rsplit("-", 1)[0]: frame for frame in sorted(frames, key=lambda frame: change(folder, frame))}
    chosen = sorted(segments.values(), key=lambda frame: -change(folder, frame))[:ROWS]
    rows = []
    for frame in chosen:
        start, fitted, target = (scaled(read(folder, frame, code), HEIGHT) for code in ("start", "fitted", "target"))
        rows.append([headset(read(folder, frame, "seen-headset")), start, fitted, target, difference(fitted, target)])
    titles = ("headset pictures", "predicted", "fitted", "truth, never seen", "difference x 5")
    widths = [picture.width for picture in rows[0]]
    size = (sum(widths) + GAP * (len(widths) + 1), HEAD + len(rows) * (HEIGHT + GAP) + GAP)
    canvas = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=17)
    left = GAP
    for column, title in enumerate(titles):
        draw.text((left + 2, 5), title, fill="black", font=font)
        for row, pictures in enumerate(rows):
            canvas.paste(pictures[column], (left, HEAD + GAP + row * (HEIGHT + GAP)))
        left += widths[column] + GAP
    canvas.save(Path(__file__).with_name("demo.png"), optimize=True)


if __name__ == "__main__":
    main()
