"""Defines the contract of decoders."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from lipflow_core.interfaces.component import ComponentModule, check_shape
from lipflow_core.records import FaceState


class Decoder(ComponentModule, ABC):
    """Maps a code and view directions to a standardised face: one mesh, and a texture for each view.

    Implement `decode`; override `geometry` if the mesh can be decoded without the texture, and `tile` and
    `texture_tiles` if parts of the texture can: fits then decode only the parts that their pictures show. Results are
    standardised by the capture's `Template`; the assembled avatar restores millimetres and colours.
    """

    def forward(self, code: Tensor, view_direction: Tensor) -> FaceState:
        """Decode codes for view directions, after checking their shapes.

        Args:
            code: (B, D).
            view_direction: (B, N, 3) unit vectors from the head's origin to N cameras, head frame.

        Returns:
            Vertices (B, V, 3) and texture (B, N, 3, T, T), standardised.
        """
        check_shape(self, "code", code, "B D", D=self.given.code)
        check_shape(self, "view_direction", view_direction, "B N xyz", B=code.shape[0], xyz=3)
        return self.decode(code, view_direction)

    @abstractmethod
    def decode(self, code: Tensor, view_direction: Tensor) -> FaceState:
        """Decode codes for view directions; arguments and result as in `forward`, shapes already checked."""

    def geometry(self, code: Tensor) -> Tensor:
        """Decode codes (B, D) to vertices (B, V, 3) alone, standardised."""
        return self(code, code.new_zeros(code.shape[0], 0, 3)).vertices

    @property
    def tile(self) -> int | None:
        """Side in texels of the tiles that `texture_tiles` decodes, a divisor of T; None if it is not implemented."""
        return None

    def texture_tiles(self, code: Tensor, view_direction: Tensor, place: Tensor) -> Tensor:
        """Decode some tiles of the textures, equal to these parts of what `decode` gives.

        Args:
            code: (B, D).
            view_direction: (B, N, 3), as in `forward`.
            place: (M, 4) int64, row and column of each tile, counted in tiles, and its sample and view; in
                lexicographic order, so that tiles of the same place are neighbours.

        Returns:
            (M, 3, tile, tile), standardised.
        """
        raise NotImplementedError(f"{type(self).__name__} decodes textures as a whole")
