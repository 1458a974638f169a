"""The command `report`: one self-contained HTML page of an evaluation."""

from collections.abc import Iterator

from lipflow_core.hooks import Command, hookimpl


@hookimpl
def lipflow_commands() -> Iterator[Command]:
    """Offer the command `report`."""
    yield Command(
        name="report",
        summary="write a self-contained HTML report of an evaluation",
        module="lipflow_report.command",
        requires=("altair", "vl_convert"),
        install="pip install altair vl-convert-python",
    )
