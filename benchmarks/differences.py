"""How sure are differences between evaluated models? Each is paired over frames.

    lipflow-core evaluate runs/dam runs/lip-flow-hmc --without-likelihood --out scores
    python benchmarks/differences.py scores --baseline dam

For each model and metric: after fitting less the baseline after fitting, and after fitting less after fitting without
the likelihood; mean over frames ± its standard error. Frames of one subject and one seed say nothing of others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lipflow_core.evaluation.differences import Difference
from lipflow_core.evaluation.folder import read_evaluation
from lipflow_core.tables import table

METRICS = {"psnr": "PSNR dB", "geom": "Geom"}


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
                cells.append(Difference.of(fitted, baseline.scores["fitted"][metric]).text(digits))
                cells.append("–" if without is None else Difference.of(fitted, without).text(digits))
            rows.append([model.name, *cells])
        heads = [f"{name}, {what}" for name in METRICS.values() for what in (f"to {baseline.name}", "by likelihood")]
        print(f"{folder}\n{table(['model', *heads], rows, left=1)}")


if __name__ == "__main__":
    main()
