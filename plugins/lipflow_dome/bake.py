"""Recompute the dome's derived data: `python -m lipflow_dome.bake FOLDER` writes landmarks.json and occlusion.npz."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from lipflow_dome.config import DomeConfig
from lipflow_dome.landmarks import choose_landmarks
from lipflow_dome.occlusion import bake_occlusion


def main() -> int:
    """Write the files into the folder named on the command line."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    landmarks = json.dumps({"vertices": choose_landmarks().tolist()})
    (folder / "landmarks.json").write_text(landmarks + "\n", encoding="utf-8")
    config = DomeConfig(**DomeConfig.presets["tiny"])
    np.savez_compressed(folder / "occlusion.npz", **bake_occlusion(config.renderer.build(config.renderer_inputs)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
