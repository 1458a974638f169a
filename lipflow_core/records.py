"""Records that components exchange: cameras, faces, observations, encodings and renderings, always in batches.

Conventions of all of them: lengths are in millimetres; the head frame has x to the subject's left, y up, z out of the
face. Cameras follow OpenCV (x right, y down, z forward); pixel centres lie at integer coordinates and the origin is the
top-left pixel. Images and textures are channels-first RGB (or grey) in [0, 1] with row 0 on top. uv has v up, so that
texture row 0 is v = 1.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from lipflow_core.errors import CaptureError

_ROUNDING = 1e-3
"""Farthest that values of a captured picture lie outside [0, 1]: a quarter of a level of 8 bits."""


@dataclass(frozen=True)
class Record:
    """Base of all records: it walks over every tensor of a record, nested records and mappings included.

    Fields that are declared as tensors take nothing else.

    Raises:
        TypeError: If such a field is given something else, such as a numpy array.
    """

    AXES: ClassVar[Mapping[str, str]] = {}
    """Tensor's dotted name → its axes in a captured frame, such as "B N 3 4". A letter is one size in all of them."""
    UNIT: ClassVar[tuple[str, ...]] = ()
    """Names of the tensors whose values lie in [0, 1] in a captured frame."""

    _DECLARED: ClassVar[tuple[tuple[str, bool], ...]] = ()
    """Fields that are declared as tensors, and whether they may be None."""

    def __init_subclass__(cls) -> None:
        # Once for each class and not with functools.cache, which torch.compile warns of.
        super().__init_subclass__()
        own = {
            name: str(getattr(kind, "__name__", kind)) for name, kind in vars(cls).get("__annotations__", {}).items()
        }
        new = tuple((name, "None" in kind) for name, kind in own.items() if kind in ("Tensor", "Tensor | None"))
        cls._DECLARED = cls._DECLARED + new

    def __post_init__(self) -> None:
        for name, optional in self._DECLARED:
            value = getattr(self, name)
            if not (isinstance(value, Tensor) or (optional and value is None)):
                cure = "; convert it with torch.from_numpy" if type(value).__module__ == "numpy" else ""
                raise TypeError(
                    f"{type(self).__name__}.{name} must be a torch tensor, got {_described(value)}{cure}",
                )

    def apply(self, function: Callable[[Tensor], Tensor]) -> Self:
        """Make a copy of the record with `function` applied to each tensor."""
        return replace(self, **{f.name: _apply(getattr(self, f.name), function) for f in fields(self)})

    def tensors(self) -> Iterator[tuple[str, Tensor]]:
        """Yield every tensor with its dotted name, such as "camera.intrinsics", in the order of the fields."""
        for f in fields(self):
            yield from _tensors(f.name, getattr(self, f.name))

    def to(self, device: torch.device | str) -> Self:
        """Move the record to another device."""
        return self.apply(lambda tensor: tensor.to(device, non_blocking=True))

    def rows(self, index: Tensor) -> Self:
        """Select samples along the batch axis; index: (N,) int64 or (B,) bool."""
        return self.apply(lambda tensor: tensor[index])

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """Concatenate records along the batch axis, tensor by tensor of one name.

        What is no tensor is taken from the first record.

        Raises:
            ValueError: If the records do not have the same tensors.
        """
        if len(parts) == 1:
            return parts[0]
        columns = [dict(part.tensors()) for part in parts]
        for column in columns[1:]:
            if column.keys() != columns[0].keys():
                raise ValueError(f"records that are joined differ in {', '.join(column.keys() ^ columns[0].keys())}")
        joined = iter([torch.cat([column[name] for column in columns]) for name in columns[0]])
        return parts[0].apply(lambda _: next(joined))


def _described(value: object) -> str:
    described = f"{type(value).__module__}.{type(value).__qualname__}".removeprefix("builtins.")
    return described + "".join(
        f" of {name} {getattr(value, name)}" for name in ("dtype", "shape") if hasattr(value, name)
    )


def _tensors(name: str, value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, Record):
        yield from ((f"{name}.{inner}", tensor) for inner, tensor in value.tensors())
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _tensors(f"{name}.{key}", item)


def _apply(value: Any, function: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return function(value)
    if isinstance(value, Record):
        return value.apply(function)
    if isinstance(value, Mapping):
        return {name: _apply(item, function) for name, item in value.items()}
    return value


@dataclass(frozen=True)
class Camera(Record):
    """A batch of calibrated pinhole cameras of one picture size.

    Args:
        intrinsics: (..., 3, 3) pixels.
        extrinsics: (..., 3, 4) [R|t], head frame (or world) → camera frame, millimetres.
        height: Number of rows of the picture.
        width: Number of columns of the picture.
    """

    intrinsics: Tensor
    extrinsics: Tensor
    height: int
    width: int

    @property
    def position(self) -> Tensor:
        """Centre of projection (..., 3), in the frame that extrinsics map from."""
        rotation, translation = self.extrinsics[..., :3], self.extrinsics[..., 3]
        return -torch.einsum("...ji,...j->...i", rotation, translation)

    @property
    def view_direction(self) -> Tensor:
        """Unit vector (..., 3) from that frame's origin to the camera; view-conditioned decoders take it."""
        return torch.nn.functional.normalize(self.position, dim=-1)

    def project(self, points: Tensor) -> tuple[Tensor, Tensor]:
        """Project points to pixel coordinates.

        Args:
            points: (..., N, 3) millimetres, in the frame that extrinsics map from; leading axes as the camera's.

        Returns:
            Pixel coordinates (..., N, 2), x then y, and depth (..., N) in millimetres. Points with depth ≤ 0 lie
            behind the camera; their pixel coordinates are meaningless.
        """
        rotation, translation = self.extrinsics[..., :3], self.extrinsics[..., 3]
        in_camera = torch.einsum("...ij,...nj->...ni", rotation, points) + translation[..., None, :]
        homogeneous = torch.einsum("...ij,...nj->...ni", self.intrinsics, in_camera)
        depth = homogeneous[..., 2]
        safe = torch.where(depth.abs() < 1e-6, torch.full_like(depth, 1e-6), depth)
        return homogeneous[..., :2] / safe[..., None], depth

    def moved(self, pose: Tensor) -> Camera:
        """Move the head by `pose` before the cameras: (..., 3, 4) [R|t], applied to points before extrinsics."""
        rotation, translation = self.extrinsics[..., :3], self.extrinsics[..., 3:]
        moved = torch.cat([rotation @ pose[..., :3], rotation @ pose[..., 3:] + translation], dim=-1)
        return replace(self, extrinsics=moved)

    def flatten(self) -> Camera:
        """Join all leading axes of the cameras into one."""
        return replace(self, intrinsics=self.intrinsics.reshape(-1, 3, 3), extrinsics=self.extrinsics.reshape(-1, 3, 4))


LUMINANCE = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in a grey picture (Rec. 601). Renderings are compared with grey pictures through
them."""


def luminance(image: Tensor) -> Tensor:
    """Convert a colour picture to grey by `LUMINANCE`: (..., 3, H, W) → (..., 1, H, W)."""
    red, green, blue = image.unbind(-3)
    weights = LUMINANCE
    return (weights[0] * red + weights[1] * green + weights[2] * blue).unsqueeze(-3)


@dataclass(frozen=True)
class Topology(Record):
    """Connectivity of the mesh and its texture atlas, shared by all samples.

    Args:
        triangles: (F, 3) int64, indices into the vertices, counter-clockwise seen from outside.
        uv: (U, 2) float32 in [0, 1], v up.
        uv_triangles: (F, 3) int64, indices into `uv`.
    """

    triangles: Tensor
    uv: Tensor
    uv_triangles: Tensor

    def rows(self, index: Tensor) -> Topology:
        return self


@dataclass(frozen=True)
class FaceState(Record):
    """A textured surface such as a face, made by a decoder or tracked by a capture.

    Args:
        vertices: (B, V, 3). Millimetres in the head frame, or standardised where the contract says so.
        texture: (B, 3, T, T), or (B, N, 3, T, T) for N views; None if only geometry was requested.
            RGB in [0, 1], or standardised where the contract says so.
    """

    AXES: ClassVar[Mapping[str, str]] = {"vertices": "B V 3", "texture": "B 3 T T"}
    UNIT: ClassVar[tuple[str, ...]] = ("texture",)

    vertices: Tensor
    texture: Tensor | None = None


@dataclass(frozen=True)
class Views(Record):
    """N pictures of each sample from N calibrated cameras of one size.

    Args:
        images: (B, N, C, H, W) in [0, 1]; C is 3, or 1 for grey pictures.
        camera: Cameras with leading axes (B, N); extrinsics map the *head frame* to the camera.
        mask: (B, N, H, W) in [0, 1], 1 for pixels that a mesh can explain; losses use these pixels only.
    """

    AXES: ClassVar[Mapping[str, str]] = {
        "images": "B N C H W",
        "camera.intrinsics": "B N 3 3",
        "camera.extrinsics": "B N 3 4",
        "mask": "B N H W",
    }
    UNIT: ClassVar[tuple[str, ...]] = ("images", "mask")

    images: Tensor
    camera: Camera
    mask: Tensor


@dataclass(frozen=True)
class Keypoints(Record):
    """2-D landmarks of each sample in one picture.

    Args:
        points: (B, K, 2) pixels, x then y.
        visible: (B, K) in [0, 1], 0 for landmarks that are hidden or were not found.
        camera: Camera with leading axis (B,), head frame → camera.
    """

    AXES: ClassVar[Mapping[str, str]] = {
        "points": "B K 2",
        "visible": "B K",
        "camera.intrinsics": "B 3 3",
        "camera.extrinsics": "B 3 4",
    }
    UNIT: ClassVar[tuple[str, ...]] = ("visible",)

    points: Tensor
    visible: Tensor
    camera: Camera


@dataclass(frozen=True)
class Frame(Record):
    """A batch of captured instants with the observations that the capture's cameras and trackers recorded.

    Args:
        segments: Name of each sample's segment (a take such as "EXP_smile"), B of them.
        numbers: (B,) int64 frame numbers within the segments.
        observations: Name → record, such as a `FaceState` of tracked vertices in millimetres and the average texture
            (B, 3, T, T), the `Views` of some cameras, or `Keypoints`. The capture chooses the names; the `roles` of its
            plan tell which of them the core uses.
    """

    segments: tuple[str, ...]
    numbers: Tensor
    observations: Mapping[str, Record]

    def __getitem__(self, name: str) -> Any:
        if name not in self.observations:
            raise KeyError(f"the frame has no observation '{name}'; it has {', '.join(self.observations)}")
        return self.observations[name]

    def __len__(self) -> int:
        return len(self.segments)

    def check(self, *, values: bool = True) -> None:
        """Check that every observation has the shapes, types and values that its record promises.

        Floating-point tensors must be finite, pictures, masks and visibilities within [0, 1], and pictures and masks as
        large as their cameras say.

        Args:
            values: Whether to look at the values too, which reads all tensors once.

        Raises:
            lipflow_core.errors.CaptureError: If one has not, naming observation, tensor, value and, where there is one,
                segment and frame.
        """
        if tuple(self.numbers.shape) != (len(self),):
            raise CaptureError(
                f"the frame has {len(self)} segments, but numbers of shape {tuple(self.numbers.shape)}",
                f"Give ({len(self)},), a number for each segment.",
            )
        for name, record in self.observations.items():
            if not isinstance(record, Record):
                raise CaptureError(
                    f"observation '{name}' is {_described(record)}, not a record",
                    "Give one of lipflow_core.records, such as Views(images, camera, mask).",
                )
            for label, tensor in record.tensors():
                what = f"{type(record).__name__}.{label} of observation '{name}'"
                self._check_type(record, label, tensor, what)
                if values and tensor.is_floating_point():
                    self._check_values(tensor, what, unit=label in record.UNIT)

    def _check_type(self, record: Record, label: str, tensor: Tensor, what: str) -> None:
        axes = record.AXES.get(label)
        wanted = {"B": len(self), **_sizes(record)}
        shape = tuple(tensor.shape)
        if axes is None:
            fits = tensor.ndim > 0 and shape[0] == len(self)
        else:
            expected = [wanted.get(axis, int(axis) if axis.isdecimal() else None) for axis in axes.split()]
            fits = len(expected) == len(shape) and all(
                size in (None, found) for size, found in zip(expected, shape, strict=True)
            )
        if not fits:
            known = ", ".join(f"{axis} = {size}" for axis, size in wanted.items() if axes is None or axis in axes)
            raise CaptureError(
                f"{what} has shape {shape}, expected ({', '.join((axes or 'B …').split())}) with {known}",
                "Pictures, masks and cameras of an observation must agree in their sizes.",
            )
        if axes is not None and not tensor.is_floating_point():
            in_255 = label in record.UNIT and tensor.dtype is not torch.bool
            cure = "Convert 8-bit pictures with images.float() / 255." if in_255 else "Use .float()."
            raise CaptureError(f"{what} has dtype {tensor.dtype}, expected a floating-point one", cure)

    def _check_values(self, tensor: Tensor, what: str, unit: bool) -> None:
        """Look for NaN, infinity and, with `unit`, values outside [0, 1]: one pass and no temporary if all is well."""
        if tensor.numel() == 0:
            return
        low, high = tensor.aminmax() if unit else 2 * (tensor.sum(),)
        inside = (low >= -_ROUNDING) & (high <= 1 + _ROUNDING) if unit else torch.isfinite(low)
        if inside:
            return
        for row, sample in enumerate(tensor):
            where = f"segment {self.segments[row]}, frame {int(self.numbers[row])}: {what}"
            if not torch.isfinite(sample).all():
                raise CaptureError(
                    f"{where} holds NaN or infinity", "Repair this frame of the capture, or leave it out."
                )
            low, high = sample.aminmax()
            if unit and (low < -_ROUNDING or high > 1 + _ROUNDING):
                value = high if high > 1 + _ROUNDING else low
                raise CaptureError(
                    f"{where} holds {value.item():g}, expected values in [0, 1]",
                    "Divide pictures of 8 bits by 255, and clamp what resampling has left outside.",
                )

    @classmethod
    def join(cls, parts: Sequence[Frame]) -> Frame:
        segments = tuple(segment for part in parts for segment in part.segments)
        return replace(super().join(parts), segments=segments)

    def __repr__(self) -> str:
        segments = len(set(self.segments))
        return f"Frame(frames={len(self)}, segments={segments}, observations={list(self.observations)})"

    def rows(self, index: Tensor) -> Frame:
        chosen = torch.arange(len(self))[index.cpu()].tolist()
        picked = super().rows(index)
        return replace(picked, segments=tuple(self.segments[i] for i in chosen))


def _sizes(record: Record) -> dict[str, int]:
    """Read the sizes of a record's axes from its camera, and others from the first tensor that has them."""
    camera = getattr(record, "camera", None)
    sizes = {"H": camera.height, "W": camera.width} if isinstance(camera, Camera) else {}
    for label, tensor in record.tensors():
        axes = record.AXES.get(label, "").split()
        for axis, size in zip(axes, tensor.shape, strict=False):
            if axis.isalpha() and axis != "B":
                sizes.setdefault(axis, size)
    return sizes


@dataclass(frozen=True)
class Encoding(Record):
    """A diagonal Gaussian over the code, and the features that it was predicted from.

    Args:
        mean: (B, D).
        log_std: (B, D), natural logarithm of the standard deviation.
        features: (B, h), the context that flows are conditioned on.
    """

    mean: Tensor
    log_std: Tensor
    features: Tensor

    @property
    def distribution(self) -> Independent:
        """The Gaussian as a torch distribution with batch shape (B,) and event shape (D,)."""
        return Independent(Normal(self.mean, self.log_std.exp(), validate_args=False), 1, validate_args=False)


@dataclass(frozen=True)
class Rendering(Record):
    """The pictures that a renderer draws of a batch of meshes.

    Args:
        image: (B, C, H, W), the background in pixels that no triangle covers.
        coverage: (B, H, W), 1 in pixels that a triangle covers, else 0; its gradient carries the silhouette's motion.
        depth: (B, H, W) millimetres along the optical axis, 0 in uncovered pixels.
        triangle: (B, H, W) int64 index of the covering triangle, -1 in uncovered pixels.
        barycentric: (B, 3, H, W) perspective-correct weights of that triangle's corners, 0 in uncovered pixels.
    """

    image: Tensor
    coverage: Tensor
    depth: Tensor
    triangle: Tensor
    barycentric: Tensor


@dataclass(frozen=True)
class Residuals(Record):
    """A loss as a weighted sum of squares Σ_m weights_m values_m², up to a constant.

    A robust loss is such a sum near the present code only, with the weights of iteratively reweighted least squares.
    Weights are taken as constant when the code changes.

    Args:
        values: (B, M).
        weights: (B, M), or a shape that broadcasts to it; not negative.
    """

    values: Tensor
    weights: Tensor


@dataclass(frozen=True)
class Template(Record):
    """Constants of a subject, the same in every frame: the mesh's topology, means and scales, landmarks.

    Networks see standardised faces: (x − mean) / scale with one scalar scale for all vertices and one for all texels.

    Args:
        topology: Triangles and texture atlas.
        vertices_mean: (V, 3) millimetres, head frame.
        vertices_scale: () millimetres, standard deviation over all frames, vertices and axes.
        texture_mean: (3, T, T) in [0, 1].
        texture_scale: () standard deviation over all frames and texels.
        landmarks: (K,) int64 vertex of each keypoint; empty if the capture has no keypoints.
        regions: Region's name, such as "eyes" → (V,) weight of each vertex in [0, 1], 1 inside the region and 0 outside
            it. The capture defines the regions; empty if it has none.
    """

    topology: Topology
    vertices_mean: Tensor
    vertices_scale: Tensor
    texture_mean: Tensor
    texture_scale: Tensor
    landmarks: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    regions: Mapping[str, Tensor] = field(default_factory=dict)

    def rows(self, index: Tensor) -> Template:
        return self

    def standardize(self, face: FaceState) -> FaceState:
        """Standardise a face in millimetres and [0, 1] for the networks."""
        texture = None if face.texture is None else (face.texture - self.texture_mean) / self.texture_scale
        return FaceState((face.vertices - self.vertices_mean) / self.vertices_scale, texture)

    def restore(self, face: FaceState) -> FaceState:
        """Turn a standardised face back into millimetres and [0, 1] (not clamped)."""
        texture = None if face.texture is None else face.texture * self.texture_scale + self.texture_mean
        return FaceState(face.vertices * self.vertices_scale + self.vertices_mean, texture)
