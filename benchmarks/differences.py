"""How sure are differences between evaluated models? Each is paired by frame and clustered by sequence.

    lipflow-core evaluate runs/dam runs/lip-flow-hmc --without-likelihood --out scores
    python benchmarks/differences.py scores --baseline dam

For each model and metric: after fitting less the baseline after fitting (`--code start` or `posterior`: before fitting,
or of Q's codes), less the model's own before fitting, and less its own without the likelihood; mean over sequences ±
half its 95 % interval. Frames of one subject and one seed say nothing of others.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from lipflow_core.differences import Difference
from lipflow_core.evaluation.folder import read_evaluation
from lipflow_core.evaluation.result import CODES, ModelScores
from lipflow_core.tables import table


def difference(one: ModelScores, code: str, other: ModelScores, less: str, metric: str) -> str:
    """Print the difference of two codes' scores; a dash where either code was not scored."""
    if code not in one.scores or less not in other.scores:
        return "–"
    sequences = [segment for segment, _ in one.frames]
    found = Difference.of(one.scores[code][metric], other.scores[less][metric], sequences)
    return found.text(one.metrics[metric].digits)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("evaluation", nargs="+", help="folder that `lipflow-core evaluate` wrote")
    parser.add_argument("--baseline", default="dam", help="model that the others are compared with")
    parser.add_argument("--code", choices=CODES, default="fitted", help="which code is compared with the baseline's")
    parser.add_argument("--metric", action="append", help="metric to show, such as psnr; all if left out")
    arguments = parser.parse_args()
    for folder in arguments.evaluation:
        evaluation = read_evaluation(Path(folder))
        models = evaluation.models
        baseline = next((model for model in models if model.name == arguments.baseline), None)
        if baseline is None:
            names = ", ".join(model.name for model in models)
            raise SystemExit(f"{folder} holds no model '{arguments.baseline}'; it holds {names}")
        heads, columns = ["model"], [[model.name for model in models]]
        for metric in arguments.metric or evaluation.metrics:
            if metric not in evaluation.metrics:
                raise SystemExit(f"{folder} has no metric '{metric}'; it has {', '.join(evaluation.metrics)}")
            heads += [f"{evaluation.metrics[metric].title}, to {baseline.name}", "by fitting", "by likelihood"]
            columns += [
                [difference(model, arguments.code, baseline, arguments.code, metric) for model in models],
                [difference(model, "fitted", model, "start", metric) for model in models],
                [difference(model, "fitted", model, "fitted-without-likelihood", metric) for model in models],
            ]
        print(f"{folder}\n{table(heads, list(zip(*columns, strict=True)), left=1)}")


if __name__ == "__main__":
    main()
