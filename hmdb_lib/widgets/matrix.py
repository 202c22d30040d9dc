"""A confusion matrix whose cells can be clicked, in any notebook that shows widgets."""

from collections.abc import Sequence

import anywidget
import traitlets

SCRIPT = """
export default {
  render({ model, el }) {
    const classes = model.get("classes"), counts = model.get("counts"), few = classes.length <= 12
    const add = (parent, kind, text = "", style = "") => {
      const made = document.createElement(kind)
      made.textContent = text
      made.style.cssText = style
      parent.append(made)
      return made
    }
    const size = few ? 26 : 11
    const table = add(el, "table", "", `border-collapse: collapse; font-size: ${few ? 12 : 9}px; line-height: 1`)
    const cells = counts.map((line, row) => {
      const total = Math.max(1, line.reduce((sum, count) => sum + count, 0))
      const tr = add(table, "tr")
      add(tr, "th", classes[row], "text-align: right; padding-right: 4px; font-weight: normal")
      return line.map((count, column) => {
        const share = Math.sqrt(count / total), ink = share > 0.6 ? "white" : "black"
        const look = `min-width: ${size}px; height: ${size}px; padding: 0; text-align: center; border: 1px solid #ddd; `
        const cell = add(tr, "td", few && count ? count : "", look + `color: ${ink}; cursor: pointer`)
        cell.style.background = `rgb(${[0, 1, 2].map(() => 255 - 205 * share).join(",")})`
        cell.title = `${classes[row]} taken for ${classes[column]}: ${count}`
        cell.onclick = () => {
          model.set("value", [row, column])
          model.save_changes()
        }
        return cell
      })
    })
    const last = add(table, "tr")
    add(last, "th")
    const turned = "writing-mode: vertical-rl; transform: rotate(180deg); font-weight: normal; text-align: right"
    classes.forEach(name => add(last, "th", name, turned))
    const mark = () => cells.forEach((line, row) => line.forEach((cell, column) => {
      const [chosen, said] = model.get("value")
      cell.style.outline = row === chosen && column === said ? "2px solid #d55e00" : ""
    }))
    model.on("change:value", mark)
    mark()
  },
}
"""


class Matrix(anywidget.AnyWidget):
    """Show counts of true classes (lines) taken for classes (columns); `value` is the line and column clicked last."""

    _esm = SCRIPT
    classes = traitlets.List().tag(sync=True)
    counts = traitlets.List().tag(sync=True)
    value = traitlets.List().tag(sync=True)

    def __init__(self, classes: Sequence[str], counts: Sequence[Sequence[int]], value: Sequence[int]) -> None:
        super().__init__(classes=list(classes), counts=[list(line) for line in counts], value=list(value))
