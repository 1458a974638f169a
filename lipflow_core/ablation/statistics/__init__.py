"""Tell how sure the differences of a grid are, and judge claims about them.

```
Scores       the scores of a grid: RunScores of each system, task, subject and seed, or plain rows
compare      the difference of two systems: within subjects and seeds, and over subjects
Claim        "A > B by 0.1 psnr on headset"
judge        holds, does not hold or undecided, corrected for the number of claims
```
"""

from lipflow_core.ablation.statistics.claims import Claim, Finding, judge
from lipflow_core.ablation.statistics.comparison import Comparison, compare
from lipflow_core.ablation.statistics.components import Components
from lipflow_core.ablation.statistics.scores import RunScores, Scores

__all__ = ["Claim", "Comparison", "Components", "Finding", "RunScores", "Scores", "compare", "judge"]
