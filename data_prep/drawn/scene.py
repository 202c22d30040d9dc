"""Film one take: an actor in front of a backdrop, seen by a camera. Classes are not known here."""

from dataclasses import dataclass
from itertools import product

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from data_prep.drawn.figure import MOTIONS, SEAT, Colour, Joints, act, draw_figure, hue, random_body, shade

HEIGHT, WIDTH = 180, 240
FRAMES = (20, 60)
YAW = {"wave": (10, 40), "clap": (10, 40)}  # degrees away from the camera
SIDEWAYS = (35, 70)  # the other motions
DRAWN = 2  # drawn at twice the size, then halved: smooth edges
MARGIN = 40  # pixels of backdrop around the frame, in which the camera moves


@dataclass(frozen=True)
class Take:
    """Name one performance. Takes of one `source` share actor, backdrop, light and camera, and differ in timing."""

    motion: str
    source: int
    take: int
    seed: int

    def draw(self, fps: float) -> tuple[np.ndarray, np.ndarray, str]:
        """Draw the frames (uint8 T H W C) and the figure's boxes (int16 (T, 4), x0 y0 x1 y1); last, the signs for its name.

        The result depends on the four fields alone.
        """
        lots = [self.seed, list(MOTIONS).index(self.motion), self.source]
        stage, rng = np.random.default_rng([*lots, 0]), np.random.default_rng([*lots, 1, self.take])
        body, backdrop = random_body(stage), draw_backdrop(stage)
        moving, grain = stage.uniform() < 0.5, stage.uniform(0.5, 3)
        stool = hue(*stage.uniform(0.3, 0.8, 3)) if self.motion == "sit" else None
        height, floor = stage.uniform(0.7, 0.82) * HEIGHT * DRAWN, stage.uniform(0.91, 0.96) * HEIGHT * DRAWN
        light = stage.uniform(0.8, 1.15) * stage.uniform(0.94, 1.06, (3, 1))

        frames = round(FRAMES[0] + (FRAMES[1] - FRAMES[0]) * rng.beta(1.2, 2.8))
        joints = act(self.motion, frames, fps, rng)
        hand, facing = rng.choice([-1, 1], 2)
        degrees = rng.uniform(*YAW.get(self.motion, SIDEWAYS))
        centre = WIDTH * DRAWN * (0.5 - 0.08 * facing + rng.uniform(-0.05, 0.05))
        view = View(np.radians(degrees) * facing, hand, height, centre, floor, move_camera(rng, frames, moving))
        places = view.project(joints)
        flicker = 1 + 0.03 * np.sin(np.linspace(0, rng.uniform(2, 12), frames) + rng.uniform(0, 6))
        noise = Image.fromarray(rng.normal(128, grain, (HEIGHT + 64, WIDTH + 64, 3)).round().astype(np.uint8))

        video = np.empty((frames, HEIGHT, WIDTH, 3), np.uint8)
        for t in range(frames):
            left, top = MARGIN * DRAWN + view.camera[t]
            image = backdrop.crop((left, top, left + WIDTH * DRAWN, top + HEIGHT * DRAWN))
            draw = ImageDraw.Draw(image)
            view.draw_ground(draw, joints["pelvis"][t], t, stool)
            draw_figure(draw, body, {name: track[t] for name, track in places.items()}, height, np.sin(view.yaw))
            levels = np.clip(np.arange(256) * light * flicker[t], 0, 255)  # C 256
            small = image.reduce(DRAWN).point(levels.ravel().tolist())
            left, top = rng.integers(0, 64, 2)
            grainy = ImageChops.add(small, noise.crop((left, top, left + WIDTH, top + HEIGHT)), offset=-128)
            video[t] = np.asarray(grainy)

        side = "fr" if degrees < 45 else "ri" if facing > 0 else "le"
        quality = "goo" if grain < 1.3 else "med" if grain < 2.2 else "bad"
        return video, figure_boxes(places, 0.08 * height), f"{'cm' if moving else 'nm'}_np1_{side}_{quality}"


@dataclass(frozen=True)
class View:
    """Map body axes to the frame: turned by `yaw`, mirrored for left-handers, seen a little from above."""

    yaw: float
    hand: int
    height: float  # drawn pixels a body height
    centre: float
    floor: float
    camera: np.ndarray  # T 2, drawn pixels

    def spot(self, point: np.ndarray) -> np.ndarray:
        """Map points (..., 3) in body heights to pixel x, pixel y (camera at rest) and depth (larger is nearer)."""
        x, y, z = point[..., 0], point[..., 1] * self.hand, point[..., 2]
        across, depth = x * np.sin(self.yaw) + y * np.cos(self.yaw), x * np.cos(self.yaw) - y * np.sin(self.yaw)
        return np.stack([self.centre + across * self.height, self.floor + (0.14 * depth - z) * self.height, depth], -1)

    def project(self, joints: Joints) -> Joints:
        """Map every joint to where the moving camera sees it."""
        shift = np.pad(-self.camera, ((0, 0), (0, 1)))  # T 3
        return {name: self.spot(track) + shift for name, track in joints.items()}

    def draw_ground(self, draw: ImageDraw.ImageDraw, pelvis: np.ndarray, t: int, stool: Colour | None) -> None:
        """Draw the shadow under the figure, and the stool if there is one."""

        def flat(point: np.ndarray, wide: float, colour: Colour) -> None:
            x, y = self.spot(point)[:2] - self.camera[t]
            wide *= self.height
            draw.ellipse((x - wide, y - wide / 3, x + wide, y + wide / 3), fill=colour)

        flat(pelvis * [1, 1, 0], 0.2, (62, 58, 56))
        if stool:
            seat = np.array(SEAT) - [0, 0, 0.075]
            for x, y in product((-0.1, 0.1), repeat=2):
                ends = self.spot(np.array([[SEAT[0] + x, y, z] for z in (0, seat[2])]))[:, :2] - self.camera[t]
                draw.line(ends.ravel().tolist(), fill=shade(stool, 0.5), width=round(0.035 * self.height))
            flat(seat - [0, 0, 0.02], 0.15, shade(stool, 0.5))
            flat(seat, 0.15, stool)


def move_camera(rng: np.random.Generator, frames: int, moving: bool) -> np.ndarray:
    """Draw by how many drawn pixels the camera is off, int (T, 2): a slow pan and a smoothed trembling, or rest."""
    pan = np.linspace(-0.5, 0.5, frames)[:, None] * rng.uniform(-1, 1, 2) * [70, 14]
    tremble = rng.normal(0, 4, (frames + 8, 2))
    tremble = np.stack([np.convolve(track, np.hanning(9) / 2, "valid") for track in tremble.T], 1)
    limit = MARGIN * DRAWN
    return np.clip((moving * (pan + tremble)).round(), -limit, limit).astype(int)


def figure_boxes(places: Joints, pad: float) -> np.ndarray:
    """Find the figure without its ball in each frame: int16 (T, 4), cut at the border."""
    spots = np.stack([track[:, :2] for name, track in places.items() if name != "ball"])  # joints T 2
    boxes = np.concatenate([spots.min(0) - pad, spots.max(0) + pad], 1) / DRAWN
    return np.clip(boxes.round(), 0, [WIDTH, HEIGHT, WIDTH, HEIGHT]).astype(np.int16)


def draw_backdrop(rng: np.random.Generator) -> Image.Image:
    """Draw a room, a park or a street, larger than the frame by the margin; enlarged, so that it looks out of focus."""
    width, height = WIDTH + 2 * MARGIN, HEIGHT + 2 * MARGIN
    image = Image.new("RGB", (width, height))
    kind = (_room, _park, _street)[rng.integers(3)]
    kind(ImageDraw.Draw(image), rng, width, height, round(height * rng.uniform(0.6, 0.72)))
    texture = np.zeros((height, width))
    for cells, strength in (((12, 16), 7), ((height // 2, width // 2), 5)):  # blotches and grain
        coarse = Image.fromarray(rng.normal(0, strength, cells).astype(np.float32))
        texture += np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC))
    pixels = np.clip(np.asarray(image) + texture[..., None], 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).resize((width * DRAWN, height * DRAWN), Image.Resampling.BICUBIC)


def _room(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int, horizon: int) -> None:
    wall = hue(rng.uniform(), rng.uniform(0.05, 0.35), rng.uniform(0.6, 0.95))
    boards = hue(rng.uniform(0.05, 0.12), rng.uniform(0.2, 0.6), rng.uniform(0.4, 0.75))
    draw.rectangle((0, 0, width, horizon), fill=wall)
    draw.rectangle((0, horizon, width, height), fill=boards)
    for x in range(-200 - int(rng.integers(50)), width + 200, int(rng.integers(35, 80))):
        draw.line((x, horizon, width / 2 + (x - width / 2) * 2.2, height), fill=shade(boards, 0.85), width=2)
    draw.rectangle((0, horizon - 8, width, horizon), fill=shade(wall, 0.7))
    for _ in range(rng.integers(2, 6)):  # pictures on the wall
        x, y, w, h = rng.integers([0, 30, 25, 25], [width, horizon - 90, 85, 75])
        draw.rectangle((x, y, x + w, y + h), fill=hue(*rng.uniform(0.2, 0.9, 3)), outline=shade(wall, 0.5), width=3)


def _park(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int, horizon: int) -> None:
    draw.rectangle((0, 0, width, horizon), fill=hue(0.57, rng.uniform(0.1, 0.45), 0.92))
    for _ in range(rng.integers(2, 5)):  # hills
        x, y, w = rng.integers([-100, horizon - 60, 150], [width, horizon - 10, 400])
        green = hue(rng.uniform(0.22, 0.4), rng.uniform(0.2, 0.5), rng.uniform(0.45, 0.75))
        draw.ellipse((x, y, x + w, y + 250), fill=green)
    grass = hue(rng.uniform(0.2, 0.35), rng.uniform(0.3, 0.6), rng.uniform(0.45, 0.7))
    draw.rectangle((0, horizon, width, height), fill=grass)
    for _ in range(rng.integers(2, 6)):  # trees
        x, y, r = rng.integers([0, horizon - 5, 20], [width, horizon + 10, 45])
        draw.rectangle((x - r / 8, y - 2 * r, x + r / 8, y), fill=hue(0.07, 0.5, 0.35))
        green = hue(rng.uniform(0.22, 0.4), 0.5, rng.uniform(0.3, 0.6))
        draw.ellipse((x - r, y - 3.2 * r, x + r, y - 1.2 * r), fill=green)


def _street(draw: ImageDraw.ImageDraw, rng: np.random.Generator, width: int, height: int, horizon: int) -> None:
    asphalt = hue(0.6, rng.uniform(0, 0.1), rng.uniform(0.4, 0.65))
    draw.rectangle((0, 0, width, horizon), fill=hue(0.57, rng.uniform(0.1, 0.4), 0.95))
    draw.rectangle((0, horizon, width, height), fill=asphalt)
    x = -int(rng.integers(50))
    while x < width:  # houses with windows
        w, h, gap = rng.integers([60, 75, 0], [130, horizon - 20, 20])
        wall = hue(rng.uniform(), rng.uniform(0.1, 0.4), rng.uniform(0.5, 0.9))
        draw.rectangle((x, horizon - h, x + w, horizon), fill=wall)
        for wx in range(x + 10, x + w - 17, 25):
            for wy in range(horizon - h + 12, horizon - 30, 31):
                draw.rectangle((wx, wy, wx + 11, wy + 16), fill=shade(wall, 0.6))
        x += w + gap
    draw.rectangle((0, horizon, width, horizon + 7), fill=shade(asphalt, 1.25))
