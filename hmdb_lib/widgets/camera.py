"""Show the webcam and what a model answers, clip after clip, in any notebook that shows widgets."""

import io
from base64 import b64decode
from collections.abc import Callable

import anywidget
import numpy as np
import traitlets
from PIL import Image

SCRIPT = """
export default {
  render({ model, el }) {
    const { frames: count, seconds, size: [height, width] } = model.get("clip")
    const [button, picture, canvas, says] = ["button", "video", "canvas", "div"].map(kind => document.createElement(kind))
    let stream, timer, frames = [], waiting = false, answers = 0
    button.className = "jupyter-button"
    button.textContent = "start the webcam"
    picture.muted = picture.autoplay = true
    picture.style.cssText = "display: none; height: 240px"
    Object.assign(canvas, { width, height })
    el.style.cssText = "display: flex; flex-direction: column; align-items: flex-start"
    el.append(button, picture, says)
    const stop = () => {
      clearInterval(timer)
      stream?.getTracks().forEach(track => track.stop())
      stream = undefined
      frames = []
      picture.style.display = "none"
      button.textContent = "start the webcam"
    }
    const grab = () => {
      canvas.getContext("2d").drawImage(picture, 0, 0, width, height)
      // Not toBlob, which waits until the browser is idle.
      frames = [...frames, canvas.toDataURL("image/jpeg", 0.9).split(",")[1]].slice(-count)
      if (waiting || frames.length < count) return
      waiting = true
      model.send({ kind: "clip", frames })
    }
    button.onclick = async () => {
      if (stream) {
        stop()
        model.send({ kind: "stop" })
        return
      }
      try {
        stream = await navigator.mediaDevices.getUserMedia({ video: true })
      } catch (error) {
        says.textContent = "no webcam: " + error.message
        return
      }
      picture.srcObject = stream
      picture.style.display = "inline"
      button.textContent = "stop the webcam"
      says.textContent = "watching ..."
      waiting = false
      timer = setInterval(grab, 1000 * seconds / count)
    }
    model.on("msg:custom", (answer) => {
      waiting = false
      if (!stream) return
      answers += 1
      says.replaceChildren(...answer.lines.map(([text, share]) => {
        const line = document.createElement("div")
        line.textContent = text
        line.style.cssText = `width: 320px; background: linear-gradient(90deg, #9cc9e8 ${100 * share}%, transparent 0)`
        return line
      }), `answer ${answers}: the newest ${seconds.toFixed(1)} s`)
    })
    return stop
  },
}
"""


class Camera(anywidget.AnyWidget):
    """Show a button that starts the webcam, and under its picture the lines that `judge` gives for the newest clip.

    The browser sends a clip, uint8 T H W C, as soon as the one before is answered. `stopped` gets the last one.
    """

    _esm = SCRIPT
    clip = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        judge: Callable[[np.ndarray], list[tuple[str, float]]],
        stopped: Callable[[np.ndarray], None],
        *,
        frames: int,
        seconds: float,
        size: tuple[int, int],
    ) -> None:
        super().__init__(clip={"frames": frames, "seconds": seconds, "size": size})
        self.judge, self.stopped, self.newest = judge, stopped, None
        self.on_msg(self._take)

    def _take(self, widget: object, content: dict, buffers: list) -> None:
        if content["kind"] == "clip":
            files = [io.BytesIO(b64decode(frame)) for frame in content["frames"]]
            self.newest = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])
            self.send({"lines": self.judge(self.newest)})
        elif self.newest is not None:
            self.stopped(self.newest)
