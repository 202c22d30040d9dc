"""Move and draw a jointed figure: key poses, joint trajectories, and the picture of one pose.

Body axes: x forward, y to the body's left, z up. The unit is the body's height; the floor is z = 0.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import ImageDraw
from scipy.interpolate import PchipInterpolator

Pose = dict[str, tuple[float, ...]]
Keys = list[tuple[float, Pose]]  # (moment in 0..1, what differs from before)
Joints = dict[str, np.ndarray]
Colour = tuple[int, int, int]
Body = dict[str, Any]

REST: Pose = {
    "pelvis": (0.0, 0.0, 0.53),
    "lean": (0.0,),  # radians, forward
    "left_hand": (0.03, 0.16, -0.31),  # from the middle of the shoulders
    "right_hand": (0.03, -0.16, -0.31),
    "left_foot": (0.0, 0.09, 0.0),
    "right_foot": (0.0, -0.09, 0.0),
}
STANDING: Pose = {foot: REST[foot] for foot in ("left_foot", "right_foot")}
SEAT = (-0.27, 0.0, 0.30)  # where the pelvis rests on the stool
RELEASE = 0.5  # when a thrown ball leaves the hands, in 0..1

# Of a body: sizes in body heights, and colours. Clothes are far from grey, so that they stand out from most walls.
SIZES = {"limb": (0.048, 0.066), "waist": (0.11, 0.16), "shoulders": (0.095, 0.125), "head": (0.068, 0.08)}
SKINS = [(241, 201, 170), (224, 172, 125), (198, 134, 84), (141, 85, 46), (92, 56, 34)]
HAIRS = [(30, 24, 20), (72, 44, 24), (160, 110, 50), (205, 180, 120), (120, 40, 20), (150, 150, 150)]
CLOTHES = {  # hue, saturation, value
    "shirt": ((0, 1), (0.55, 0.95), (0.6, 0.95)),
    "trousers": ((0, 1), (0.3, 0.8), (0.2, 0.6)),
    "shoes": ((0, 1), (0, 0.9), (0.15, 0.95)),
}
LIMB_JOINTS = ("shoulder", "elbow", "hand", "hip", "knee", "ankle", "toe")
# (from, to, thickness in limbs, what it wears)
ARM = (("shoulder", "elbow", 1, "shirt"), ("elbow", "hand", 0.85, "forearm"), ("hand", "hand", 1.1, "skin"))
LEG = (("hip", "knee", 1.3, "trousers"), ("knee", "ankle", 1, "calf"), ("ankle", "toe", 0.9, "shoes"))


def random_body(rng: np.random.Generator) -> Body:
    """Draw the sizes (in body heights) and the colours of an actor."""
    body = {name: rng.uniform(*ends) for name, ends in SIZES.items()}
    body |= {name: table[rng.integers(len(table))] for name, table in (("skin", SKINS), ("hair", HAIRS))}
    body |= {name: hue(*(rng.uniform(*ends) for ends in ranges)) for name, ranges in CLOTHES.items()}
    body["forearm"] = body["shirt" if rng.integers(2) else "skin"]
    body["calf"] = body["skin" if rng.uniform() < 0.3 else "trousers"]
    return body


def hue(h: float, s: float, v: float) -> Colour:
    """Convert hue, saturation and value in 0..1 to an RGB colour."""
    shift = (np.array([5, 3, 1]) + h * 6) % 6
    red, green, blue = (int(255 * c) for c in v - v * s * np.clip(np.minimum(shift, 4 - shift), 0, 1))
    return red, green, blue


def shade(colour: Colour, factor: float) -> Colour:
    """Make a colour darker, or lighter as far as it goes."""
    red, green, blue = (min(255, int(c * factor)) for c in colour)
    return red, green, blue


def _hands(forward: float, out: float, up: float) -> Pose:
    return {"left_hand": (forward, out, up), "right_hand": (forward, -out, up)}


def _repeat(times: int, keys: Keys) -> Keys:
    return [(0, {}), *(((time + moment) / times, pose) for time in range(times) for moment, pose in keys)]


def _beats(rng: np.random.Generator, seconds: float) -> int:
    return 2 * max(1, round(seconds * rng.uniform(0.8, 1.4)))


def _sit(rng: np.random.Generator, seconds: float) -> Keys:
    return [
        (0, {}),
        (0.5, {"pelvis": (-0.13, 0, 0.43), "lean": (rng.uniform(0.45, 0.8),), **_hands(0.26, 0.13, -0.16)}),
        (1, {"pelvis": SEAT, "lean": (rng.uniform(-0.05, 0.15),), **_hands(0.26, 0.1, -0.25)}),
    ]


def _throw(rng: np.random.Generator, seconds: float) -> Keys:
    overhead = rng.uniform()  # from a pass off the chest to a throw from behind the head
    back = np.array([0.14, 0.05, -0.1]) * (1 - overhead) + np.array([-0.06, 0.06, 0.2]) * overhead
    step = {"left_foot": (0.2, 0.09, 0)}
    return [
        (0, {"lean": (0.0,), **_hands(0.17, 0.05, -0.06)}),
        (0.25, {"lean": (-0.18,), "pelvis": (-0.04, 0, 0.51), **_hands(*back)}),
        (RELEASE, {"lean": (0.32,), "pelvis": (0.08, 0, 0.49), **step, **_hands(0.36, 0.06, 0.06)}),
        (1, {"lean": (0.1,), "pelvis": (0.06, 0, 0.51), **step, **_hands(0.1, 0.17, -0.28)}),
    ]


def _wave(rng: np.random.Generator, seconds: float) -> Keys:
    beats, reach = _beats(rng, seconds), rng.uniform(0.14, 0.2)
    return [(beat / beats, {"left_hand": (0.08, 0.2 + reach * (-1) ** beat, 0.22)}) for beat in range(beats + 1)]


def _clap(rng: np.random.Generator, seconds: float) -> Keys:
    beats, width, height = _beats(rng, seconds), rng.uniform(0.18, 0.26), rng.uniform(-0.12, 0.1)
    return [(beat / beats, _hands(0.24, width if beat % 2 else 0.02, height)) for beat in range(beats + 1)]


def _jump(rng: np.random.Generator, seconds: float) -> Keys:
    lift = rng.uniform(0.12, 0.18)
    crouch = {"pelvis": (-0.08, 0, 0.37), "lean": (0.5,), **_hands(-0.08, 0.16, -0.29)}
    stretched = STANDING | _hands(0.2, 0.16, -0.18)
    feet = {"left_foot": (0, 0.08, lift), "right_foot": (0, -0.08, lift)}
    flying = {"pelvis": (0, 0, 0.54 + lift), **feet, **_hands(0.1, 0.16, 0.25)}
    keys = [(0.25, crouch | STANDING), (0.38, stretched), (0.56, flying), (0.74, stretched), (0.86, crouch), (1, REST)]
    return _repeat(max(1, round(seconds / 1.3)), keys)


def _kick(rng: np.random.Generator, seconds: float) -> Keys:
    high = rng.uniform(0.22, 0.4)
    moved = ("left_foot", "lean", "left_hand", "right_hand")
    back = dict(zip(moved, [(-0.3, 0.09, 0.16), (0.12,), (0.22, 0.16, -0.2), (-0.2, -0.18, -0.2)], strict=True))
    front = dict(zip(moved, [(0.46, 0.07, high), (-0.2,), (-0.22, 0.2, -0.18), (0.22, -0.2, -0.12)], strict=True))
    keys = [(0.3, back), (0.55, front), (1, {part: REST[part] for part in moved})]
    return _repeat(max(1, round(seconds / 1.3)), keys)


Motion = Callable[[np.random.Generator, float], Keys]
MOTIONS: dict[str, Motion] = {"sit": _sit, "throw": _throw, "wave": _wave, "clap": _clap, "jump": _jump, "kick": _kick}


def act(motion: str, frames: int, fps: float, rng: np.random.Generator) -> Joints:
    """Perform a motion: each joint's places (T, 3) by name, and for `throw` those of the `ball`.

    Key poses are moved a little, the pace is uneven, and a short hold begins and ends the motion.
    """
    moments = np.linspace(0, 1, frames)
    before, after = rng.uniform(0, 0.1, 2)
    moments = np.clip((moments - before) / (1 - before - after), 0, 1) ** rng.uniform(0.8, 1.25)
    keys = MOTIONS[motion](rng, frames / fps)
    tracks = {part: _track(keys, part, moments, rng) for part in REST}
    ahead, left, up = np.eye(3)
    lean = tracks["lean"]  # T 1
    spine = np.concatenate([np.sin(lean), 0 * lean, np.cos(lean)], axis=1)
    joints = {"pelvis": tracks["pelvis"], "chest": tracks["pelvis"] + 0.29 * spine}
    joints["head"] = joints["chest"] + 0.07 * spine + 0.06 * up
    for side, sign in (("left", left), ("right", -left)):
        shoulder, hip = joints["chest"] + 0.11 * sign, joints["pelvis"] + 0.055 * sign
        grip, sole = joints["chest"] + tracks[f"{side}_hand"], tracks[f"{side}_foot"] + 0.04 * up
        # Elbows point out and down, knees ahead: directions that no hand or foot here comes opposite to.
        elbow, hand = _bend(shoulder, grip, 0.165, 0.17, ahead * 0.3 + 2 * sign - up)
        knee, ankle = _bend(hip, sole, 0.25, 0.245, ahead + 0.15 * sign)
        toe = ankle + np.array([0.09, 0, -0.02])
        limbs = (shoulder, elbow, hand, hip, knee, ankle, toe)
        joints |= {f"{side}_{name}": track for name, track in zip(LIMB_JOINTS, limbs, strict=True)}
    if motion == "throw":
        joints["ball"] = _ball(joints, moments, rng)
    return joints


def _track(keys: Keys, part: str, moments: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    known = [(moment, pose[part]) for moment, pose in keys if part in pose]
    if not known or known[0][0] > 0:
        known.insert(0, (0, REST[part]))
    values = np.array([value for _, value in known], dtype=float)
    if not part.endswith("foot"):
        values += rng.normal(0, 0.008, values.shape)
    if len(known) == 1:
        return np.tile(values, (len(moments), 1))
    return PchipInterpolator([moment for moment, _ in known], values)(np.minimum(moments, known[-1][0]))  # T 1 or T 3


def _bend(
    root: np.ndarray, target: np.ndarray, upper: float, lower: float, pole: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Middle and end of a limb of two bones that reaches for `target`, bent towards `pole` (T, 3 each)."""
    reach = target - root
    length = np.linalg.norm(reach, axis=1, keepdims=True)
    along = reach / length
    length = np.clip(length, 0.05, (upper + lower) * 0.999)
    share = (upper**2 - lower**2 + length**2) / (2 * length)
    aside = pole - (along @ pole)[:, None] * along
    aside /= np.linalg.norm(aside, axis=1, keepdims=True)
    middle = root + share * along + np.sqrt(np.maximum(upper**2 - share**2, 0)) * aside
    return middle, root + length * along


def _ball(joints: Joints, moments: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    held = (joints["left_hand"] + joints["right_hand"]) / 2 + [0.05, 0, 0.02]
    flown = np.maximum(moments - RELEASE, 0)[:, None]
    left_at = held[np.searchsorted(moments, RELEASE, side="right") - 1]
    speed, climb = rng.uniform(4, 5.5), rng.uniform(0.2, 0.8)
    flight = left_at + flown * [speed, 0, climb] - flown**2 * [0, 0, 2.5]
    return np.where(flown > 0, flight, held)


def draw_figure(
    draw: ImageDraw.ImageDraw, body: Body, places: dict[str, np.ndarray], scale: float, facing: float
) -> None:
    """Draw one pose. `places`: pixel x, y and depth (larger is nearer) of each joint; `scale`: pixels a body height.

    `facing`: from -1 (to the left) to 1 (to the right); 0 looks into the camera.
    """
    parts = []  # (depth, segments); a segment is (from, to, thickness, colour)
    for side in ("left", "right"):
        far = places[f"{side}_shoulder"][2] < places["chest"][2]
        for limb in (ARM, LEG):
            ends = [(places[f"{side}_{a}"], places[f"{side}_{b}"]) for a, b, *_ in limb]
            colours = [shade(body[wear], 0.78 if far else 1) for *_, wear in limb]
            segments = [(*e, body["limb"] * w, c) for e, (_, _, w, _), c in zip(ends, limb, colours, strict=True)]
            parts.append((np.mean([(a[2] + b[2]) / 2 for a, b in ends]), segments))
    waist = places["pelvis"]
    shoulders = [places["chest"] + (places[f"{side}_shoulder"] - places["chest"]) * 0.75 for side in ("left", "right")]
    trunk = [
        (waist, waist, body["waist"], body["trousers"]),
        (waist * 0.75 + places["chest"] * 0.25, places["chest"], body["waist"], body["shirt"]),
        (*shoulders, body["limb"] * 1.4, body["shirt"]),
    ]
    parts.append((waist[2] * 0.5 + places["chest"][2] * 0.5, trunk))
    if "ball" in places:
        parts.append((places["ball"][2], [(places["ball"], places["ball"], 0.13, (235, 120, 30))]))
    parts.append((places["head"][2] + 0.05, None))  # the head stands before the shoulders
    for _, segments in sorted(parts, key=lambda part: part[0]):
        if segments is None:
            _draw_head(draw, body, places, scale, facing)
        else:
            _strokes(draw, [(a, b, width * scale, colour) for a, b, width, colour in segments])


def _draw_head(draw: ImageDraw.ImageDraw, body: Body, places: Joints, scale: float, facing: float) -> None:
    head, size = places["head"], 2 * body["head"] * scale
    neck = head * 0.6 + places["chest"] * 0.4
    aside, up = np.array([facing * size, 0, 0]), np.array([0, size, 0])
    _strokes(draw, [(neck, head, body["limb"] * scale * 0.9, body["skin"])])
    _strokes(draw, [(head, head, size, body["hair"])])
    face = head + 0.12 * aside + 0.1 * up
    _stroke(draw, face, face, size * 0.78, body["skin"])
    for eye in (-1, 1):
        place = face + 0.22 * aside - 0.02 * up + np.array([eye * 0.14 * size * (1 - abs(facing) * 0.5), 0, 0])
        _stroke(draw, place, place, size * 0.09, (25, 20, 20))


def _strokes(draw: ImageDraw.ImageDraw, strokes: list[tuple]) -> None:
    """Draw thick lines (from, to, pixels, colour) with one dark outline around them all."""
    for a, b, width, colour in strokes:
        _stroke(draw, a, b, width + 5, shade(colour, 0.35))
    for stroke in strokes:
        _stroke(draw, *stroke)


def _stroke(draw: ImageDraw.ImageDraw, a: np.ndarray, b: np.ndarray, width: float, colour: Colour) -> None:
    """Draw a thick line with round ends."""
    (ax, ay), (bx, by), r = a[:2].tolist(), b[:2].tolist(), width / 2
    draw.ellipse((ax - r, ay - r, ax + r, ay + r), fill=colour)
    if (ax, ay) != (bx, by):
        draw.line((ax, ay, bx, by), fill=colour, width=round(width))
        draw.ellipse((bx - r, by - r, bx + r, by + r), fill=colour)
