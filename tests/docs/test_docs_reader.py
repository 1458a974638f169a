"""A reader notices what is wrong in a block, and names page and line."""

import pytest
from docs_blocks import Block

WRONG = {
    "an option that does not exist": ("sh", "lipflow-core assemble dam training.stpes=2 --check\n"),
    "a command that is neither run nor listed": ("sh", "curl example.org\n"),
    "a target that the Makefile lacks": ("sh", "make coffee\n"),
    "output that differs": ("console", "$ lipflow-core --version\nlipflow-core 99\n"),
    "Python that fails": ("python", "import lipflow_core\nlipflow_core.load_spec('damm')\n"),
    "a spec whose parts do not fit": ("yaml", "prior: standard-normal\ndriving: hmc\n"),
    "a grid with an unknown system": ("yaml", "systems: {a: damm}\n"),
    "a registry with an unknown key": ("toml", "[plugins.mine]\npathh = './mine.py'\n"),
    "a command without its language": ("", "lipflow-core plugins list\n"),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_wrong_block_fails_with_its_place(what, read_as):
    language, text = WRONG[what]
    with pytest.raises(AssertionError, match=r"page\.md:7: "):
        read_as("page.md").read(Block("page.md", 7, language, text, None))
