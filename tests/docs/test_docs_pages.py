"""The pages are true: their blocks run in order, and the commands in their sentences are ones that exist."""

import pytest
from docs_blocks import PAGES, blocks, inline_commands
from docs_reader import check_arguments


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run_in_order(page, read_as):
    reader = read_as(page)
    for block in blocks(page):
        reader.read(block)


@pytest.mark.parametrize("page", PAGES)
def test_commands_in_the_sentences_of_a_page_have_arguments_that_exist(page):
    for command in inline_commands(page):
        check_arguments(command)
