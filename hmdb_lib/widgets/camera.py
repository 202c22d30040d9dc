"""Record a few seconds from the webcam, in any notebook that shows widgets; Python gets the file."""

import anywidget
import traitlets

SCRIPT = """
export default {
  render({ model, el }) {
    const button = document.createElement("button")
    const picture = document.createElement("video")
    const says = document.createElement("span")
    button.className = "jupyter-button"
    button.textContent = "record " + model.get("seconds") + " s from the webcam"
    picture.muted = picture.autoplay = true
    picture.style.cssText = "display: none; height: 120px"
    el.style.cssText = "display: flex; flex-direction: column; align-items: flex-start"
    el.append(button, picture, says)
    button.onclick = async () => {
      button.disabled = true
      says.textContent = ""
      try {
        const stream = await navigator.mediaDevices.getUserMedia({ video: true })
        picture.srcObject = stream
        picture.style.display = "inline"
        const parts = []
        const recorder = new MediaRecorder(stream)
        recorder.ondataavailable = (event) => parts.push(event.data)
        recorder.onstop = async () => {
          stream.getTracks().forEach((track) => track.stop())
          picture.style.display = "none"
          model.set("file", new DataView(await new Blob(parts).arrayBuffer()))
          model.save_changes()
          button.disabled = false
        }
        recorder.start()
        setTimeout(() => recorder.stop(), 1000 * model.get("seconds"))
      } catch (error) {
        says.textContent = " no webcam: " + error.message
        button.disabled = false
      }
    }
  },
}
"""


class Camera(anywidget.AnyWidget):
    """Show a button that records; `file` holds the recording (WebM, or what the browser makes) once it is done."""

    _esm = SCRIPT
    # What comes over the wire is a memoryview, which a Bytes would refuse without a word in the notebook.
    file = traitlets.Bytes().tag(sync=True, from_json=lambda content, widget: bytes(content))
    seconds = traitlets.Int(4).tag(sync=True)
