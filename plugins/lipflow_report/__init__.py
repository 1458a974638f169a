"""The command `report`: one self-contained HTML page of an evaluation."""
