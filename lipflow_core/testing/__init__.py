"""The conformance kit: tells a plugin's author whether a component fulfils its contract.

Example:
    A plugin's whole test file:

    ```python
    import pytest
    from lipflow_core.testing import Subject, checks

    SUBJECT = Subject.of("prior", "laplace")

    @pytest.mark.parametrize("check", checks("prior"), ids=str)
    def test_conformance(check):
        check(SUBJECT)
    ```

    Or without pytest: `print(check_component("prior", "laplace"))`, and on the command line
    `lipflow-core plugins check laplace`.
"""

from lipflow_core.testing.kit import Outcome, Report, check_component, checks
from lipflow_core.testing.subject import Check, Subject
from lipflow_core.testing.world import World

__all__ = ["Check", "Outcome", "Report", "Subject", "World", "check_component", "checks"]
