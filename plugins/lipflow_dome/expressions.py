"""The head's vocabulary: named expressions and visemes as weights of its 86 units, and the regions of the units."""

from __future__ import annotations

from collections.abc import Mapping

Recipe = Mapping[str, float]
"""Unit → weight. A unit named without Left or Right stands for both sides."""

PEAKS: Mapping[str, Recipe] = {
    "smile": {"mouthSmile": 0.85, "cheekSquint": 0.4, "eyeSquint": 0.3},
    "grin_open": {"mouthSmile": 0.8, "jawOpen": 0.25, "mouthUpperUp": 0.6, "mouthLowerDown": 0.5, "cheekSquint": 0.5},
    "smile_left": {"mouthSmileLeft": 0.95, "cheekSquintLeft": 0.6, "mouthDimpleLeft": 0.4},
    "smile_right": {"mouthSmileRight": 0.95, "cheekSquintRight": 0.6, "mouthDimpleRight": 0.4},
    "anger": {"browDown": 0.95, "noseSneer": 0.5, "mouthPress": 0.6, "eyeSquint": 0.4, "mouthFrown": 0.3},
    "rage_shout": {"browDown": 0.9, "jawOpen": 0.6, "noseSneer": 0.8, "mouthUpperUp": 0.7, "mouthStretch": 0.5},
    "disgust": {"noseSneer": 1.0, "mouthUpperUp": 0.8, "browDown": 0.5, "cheekSquint": 0.4, "mh_mouth-retraction": 0.3},
    "surprise": {"browInnerUp": 0.9, "browOuterUp": 0.9, "eyeWide": 0.9, "jawOpen": 0.55},
    "fear": {"browInnerUp": 1.0, "eyeWide": 0.8, "mouthStretch": 0.8, "jawOpen": 0.2, "mh_neck-platysma": 0.6},
    "sadness": {"browInnerUp": 0.95, "mouthFrown": 0.9, "mouthShrugLower": 0.5, "mh_mouth-depression": 0.4},
    "contempt": {"mouthDimpleLeft": 0.9, "mouthSmileLeft": 0.45, "browOuterUpRight": 0.5},
    "pucker": {"mouthPucker": 1.0, "mh_mouth-pursing": 0.4},
    "kiss_out": {"mouthPucker": 0.8, "mh_mouth-protusion": 0.7, "mouthFunnel": 0.2},
    "funnel": {"mouthFunnel": 1.0, "jawOpen": 0.25},
    "lips_in": {"mouthRollLower": 0.9, "mouthRollUpper": 0.7, "mouthPress": 0.5},
    "lips_out": {"mh_mouth-eversion": 0.9, "mouthShrugLower": 0.4},
    "cheeks_blown": {"cheekPuff": 1.0, "mouthPress": 0.4},
    "mouth_left": {"mouthLeft": 1.0, "jawLeft": 0.3, "cheekSquintLeft": 0.3},
    "mouth_right": {"mouthRight": 1.0, "jawRight": 0.3, "cheekSquintRight": 0.3},
    "jaw_left": {"jawLeft": 1.0, "jawOpen": 0.15},
    "jaw_right": {"jawRight": 1.0, "jawOpen": 0.15},
    "jaw_forward": {"jawForward": 1.0, "mh_mouth-elevation": 0.3},
    "jaw_open": {"jawOpen": 0.75},
    "yawn": {"mh_mouth-open": 0.6, "eyeBlink": 0.75, "browInnerUp": 0.5, "mh_neck-platysma": 0.4},
    "eyes_shut_tight": {"eyeBlink": 0.95, "eyeSquint": 0.6, "cheekSquint": 0.9, "browDown": 0.7, "noseSneer": 0.4},
    "wink_left": {"eyeBlinkLeft": 1.0, "cheekSquintLeft": 0.7, "mouthSmileLeft": 0.35},
    "wink_right": {"eyeBlinkRight": 1.0, "cheekSquintRight": 0.7, "mouthSmileRight": 0.35},
    "brow_left_up": {"browOuterUpLeft": 1.0, "mh_eyebrows-left-up": 0.6, "browDownRight": 0.4},
    "brow_right_up": {"browOuterUpRight": 1.0, "mh_eyebrows-right-up": 0.6, "browDownLeft": 0.4},
    "tongue_out": {"jawOpen": 0.45, "tongueOut": 0.9, "mouthLowerDown": 0.4},
    "grimace": {"mouthStretch": 0.9, "mouthUpperUp": 0.6, "mouthLowerDown": 0.9, "mh_neck-platysma": 0.9},
    "sniff": {"mh_nose-left-elevation": 0.9, "mh_nose-right-elevation": 0.9, "mh_nose-compression": 0.8},
    "nostrils": {"mh_nose-left-dilatation": 1.0, "mh_nose-right-dilatation": 1.0, "mouthShrugUpper": 0.4},
    "chin_up": {"mouthShrugLower": 0.9, "mouthShrugUpper": 0.7, "mh_mouth-elevation": 0.7, "mouthFrown": 0.4},
    "corners_back": {"mh_mouth-corner-puller": 0.8, "mouthDimple": 0.7},
    "lip_bite": {"mouthRollLower": 1.0, "mouthUpperUp": 0.4, "jawOpen": 0.1, "browInnerUp": 0.3},
}

VISEMES: Mapping[str, Recipe] = {
    "rest": {},
    "a": {"jawOpen": 0.42, "mouthLowerDown": 0.3},
    "e": {"jawOpen": 0.25, "mouthStretch": 0.5, "mouthUpperUp": 0.3},
    "i": {"jawOpen": 0.12, "mouthStretch": 0.6, "mouthSmile": 0.3},
    "o": {"jawOpen": 0.35, "mouthFunnel": 0.7},
    "u": {"jawOpen": 0.15, "mouthPucker": 0.8},
    "w": {"mouthPucker": 0.9, "mh_mouth-pursing": 0.3},
    "m": {"mouthPress": 0.7, "mouthRollLower": 0.3, "mouthRollUpper": 0.3},
    "f": {"mouthRollLower": 0.7, "mouthUpperUp": 0.5, "jawOpen": 0.08},
    "s": {"mouthStretch": 0.35, "mouthLowerDown": 0.4, "mouthUpperUp": 0.3, "jawOpen": 0.06},
    "sh": {"mouthFunnel": 0.6, "mh_mouth-parling": 0.5, "jawOpen": 0.10},
    "l": {"jawOpen": 0.30, "mh_mouth-part-later": 0.3, "tongueOut": 0.15},
    "r": {"jawOpen": 0.20, "mouthPucker": 0.35, "mh_mouth-eversion": 0.3},
    "k": {"jawOpen": 0.28, "mouthDimple": 0.3},
    "th": {"jawOpen": 0.22, "tongueOut": 0.35, "mouthLowerDown": 0.2},
}


def region(unit: str) -> str:
    """Name the part of the face that a unit moves: brow, eye, gaze, nose, cheek, jaw, tongue, neck or mouth."""
    name = unit.lower()
    for key, place in (
        ("eyelook", "gaze"),
        ("brow", "brow"),
        ("eye", "eye"),
        ("nose", "nose"),
        ("cheek", "cheek"),
        ("jaw", "jaw"),
        ("mouth-open", "jaw"),
        ("tongue", "tongue"),
        ("neck", "neck"),
    ):
        if key in name:
            return place
    return "mouth"


def sides(unit: str) -> tuple[str, str] | None:
    """Give the left and the right unit of the pair that a unit belongs to; None for a unit without sides."""
    if unit in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
        return None  # these are directions, not sides
    for left, right in (("Left", "Right"), ("-left-", "-right-")):
        if left in unit or right in unit:
            return unit.replace(right, left), unit.replace(left, right)
    return None
