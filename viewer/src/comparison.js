// The comparison: a clip's frame over the splats, up to a line that can be dragged.

/** Shows pictures of clips over the left part of the stage. */
export class Comparison {
  constructor(stage, onDrag) {
    this.stage = stage;
    this.image = document.getElementById("clip");
    this.line = document.getElementById("wipe");
    this.line.addEventListener("pointerdown", (event) => {
      this.line.setPointerCapture(event.pointerId);
    });
    this.line.addEventListener("pointermove", (event) => {
      if (!this.line.hasPointerCapture(event.pointerId)) return;
      const { left, width } = this.stage.pictureBox();
      onDrag(Math.min(1, Math.max(0.01, (event.clientX - left) / width)));
    });
  }

  /** Shows `picture` (a URL, or null for none) on this share of the width. */
  show(picture, share) {
    this.image.hidden = this.line.hidden = !picture || share === 0;
    if (this.image.hidden) return;
    if (this.image.getAttribute("src") !== picture) this.image.src = picture;
    const { left, top, width, height } = this.stage.pictureBox();
    const place = { left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px` };
    const clipPath = `inset(0 ${100 * (1 - share)}% 0 0)`;
    Object.assign(this.image.style, place, { clipPath });
    const x = `${left + share * width}px`;
    Object.assign(this.line.style, { left: x, top: place.top, height: place.height });
  }
}
