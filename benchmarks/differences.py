"""How sure are differences between evaluated models? Each is paired over frames.

    lipflow-core evaluate runs/dam runs/lip-flow-hmc --without-likelihood --out scores
    python benchmarks/differences.py scores --baseline dam

For each model and metric: after fitting less the baseline after fitting, and after fitting less after fitting without
the likelihood; mean over frames ± its standard error. Frames of one subject and one seed say nothing of others.
"""

from __future__ import annotations

import argparse
import math
import statistics
from pathlib import Path

from lipflow_core.evaluation.folder import read_evaluation
from lipflow_core.tables import table

METRICS = {"psnr": "PSNR dB", "geom": "Geom"}


def difference(one: list[float], other: list[float], digits: int) -> str:
    """Mean ± standard error of the pairs' differences; those that are not finite are left out."""
    pairs = [a - b for a, b in zip(one, other, strict=True) if math.isfinite(a - b)]
    if len(pairs) < 2:
        return "–"
    error = statistics.stdev(pairs) / math.sqrt(len(pairs))
    return f"{statistics.mean(pairs):+.{digits}f} ± {error:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", nargs="+", help="folder that `lipflow-core evaluate` wrote")
    parser.add_argument("--baseline", default="dam", help="model that the others are compared with")
    arguments = parser.parse_args()
    for folder in arguments.evaluation:
        models = read_evaluation(Path(folder)).models
        baseline = next((model for model in models if model.name == arguments.baseline), None)
        if baseline is None:
            names = ", ".join(model.name for model in models)
            raise SystemExit(f"{folder} holds no model '{arguments.baseline}'; it holds {names}")
        rows = []
        for model in models:
            cells = []
            for metric in METRICS:
                digits = 2 if metric == "psnr" else 3
                fitted = model.scores["fitted"][metric]
                without = model.scores.get("fitted-without-likelihood", {}).get(metric)
                cells.append(difference(fitted, baseline.scores["fitted"][metric], digits))
                cells.append("–" if without is None else difference(fitted, without, digits))
            rows.append([model.name, *cells])
        heads = [f"{name}, {what}" for name in METRICS.values() for what in (f"to {baseline.name}", "by likelihood")]
        print(f"{folder}\n{table(['model', *heads], rows, left=1)}")


if __name__ == "__main__":
    main()
