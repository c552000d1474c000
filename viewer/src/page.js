// The page: the state of the controls, and the action of each of them.

import { Comparison } from "./comparison.js";
import { NARROW, makePanel } from "./panel.js";
import { Path } from "./path.js";
import { Stage } from "./stage.js";

const HELP = {
  orbit: "drag or A D Q E to turn, wheel or W S to zoom, right drag to shift, R to reset",
  fly: "drag to look, W A S D Q E or wheel to fly, R to reset",
  walk: "drag to look, W A S D or wheel to walk, Q E down and up, R to reset",
};
const TOUCH_HELP = {
  orbit: "one finger turns, two fingers zoom and shift",
  fly: "one finger looks, two fingers fly and shift",
  walk: "one finger looks, two fingers walk and shift",
};
const SHORTCUTS = { KeyR: "reset", KeyK: "addKey", KeyP: "playPath" };

const text = (id, value) => (document.getElementById(id).textContent = value);

export class Page {
  constructor(scene) {
    this.scene = scene;
    this.stage = new Stage(scene, document.getElementById("stage"));
    this.path = new Path(scene);
    this.state = {
      controls: "orbit", up: "-y", trajectory: 0, frustums: true, compare: 0,
      time: 0, playing: false, loop: true, speed: 1, key: 0, opacity: 0, crop: false,
      box: scene.bounds.flat(), background: "#ffffff", width: 1920, height: 1080,
    };
    this.played = null;
    this.stage.onMoved = () => this.stop();
    const names = ["compare", "showKey", "setOpacity", "setBox", "setTime", "playTime", "setMode"];
    for (const name of names) this[name] = this[name].bind(this);
    this.comparison = new Comparison(this.stage, (share) => {
      this.state.compare = share;
      this.panel.update();
      this.compare();
    });
    this.panel = makePanel(this);
    this.listen();
    this.setMode("orbit");
    text("title", scene.title);
    this.layOut();
  }

  listen() {
    const { canvas } = this.stage;
    let down = null;
    canvas.addEventListener("pointerdown", (event) => (down = event));
    canvas.addEventListener("click", (event) => {
      // A drag ends in a click, too.
      if (!down || Math.hypot(event.clientX - down.clientX, event.clientY - down.clientY) > 4) return;
      const found = this.stage.frustumUnder(event);
      if (found?.index !== undefined) this.look(found.index);
      else if (found) this.selectKey(found.key);
    });
    addEventListener("keydown", (event) => {
      const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat;
      if (plain && event.code in SHORTCUTS && !event.target.closest?.("input, select"))
        this[SHORTCUTS[event.code]]();
    });
    addEventListener("resize", () => this.layOut());
    new ResizeObserver(() => this.layOut()).observe(document.getElementById("panel"));
  }

  /** Fits the picture into the part of the window that panel and text leave free. */
  layOut() {
    const isNarrow = innerWidth < NARROW;
    const panel = document.getElementById("panel").getBoundingClientRect();
    const line = document.getElementById("line").getBoundingClientRect();
    this.stage.resize({
      left: 0,
      top: isNarrow ? line.bottom : 0,
      right: isNarrow || this.panel.isClosed() ? 0 : innerWidth - panel.left,
      bottom: isNarrow ? panel.height : 0,
    });
    this.showComparison();
  }

  setMode(mode) {
    this.stage.setMode(mode);
    text("help", (matchMedia("(pointer: coarse)").matches ? TOUCH_HELP : HELP)[mode]);
  }

  /** Looks through a camera of the input, at the moment of its frame. */
  look(index) {
    const { moments, frames } = this.scene;
    this.stage.lookThrough(frames[index], index);
    if (moments.length > 1 && frames[index].time !== undefined) {
      const gap = (moment) => Math.abs(moment.time - frames[index].time);
      const nearest = moments.reduce((best, m, k) => (gap(m) < gap(moments[best]) ? k : best), 0);
      this.setTime(nearest);
      this.panel.update();
    }
    this.showComparison();
  }

  reset() {
    this.stop();
    if (this.scene.frames.length) this.look(0);
    else this.stage.lookThrough(this.scene.home);
  }

  /** Compares with a clip: goes to the nearest camera that has a picture. */
  compare() {
    const { pictures, frames } = this.scene;
    if (this.state.compare > 0 && !pictures[this.stage.frame]) {
      const place = this.stage.currentFrame().c2w;
      const away = ({ c2w }) => Math.hypot(...c2w.flatMap((r, i) => r.map((v, j) => v - place[i][j])));
      const nearest = (best, index) => (away(frames[index]) < away(frames[best]) ? index : best);
      this.look(Number(Object.keys(pictures).reduce(nearest)));
    }
    this.showComparison();
  }

  showComparison() {
    this.comparison.show(this.scene.pictures[this.stage.frame] ?? null, this.state.compare);
  }

  playTrajectory() {
    const indices = this.scene.trajectories[this.state.trajectory].frames;
    this.play(indices.map((index) => () => this.look(index)));
  }

  playPath() {
    this.play(this.path.frames().map((frame) => () => this.stage.lookThrough(frame)));
  }

  play(steps) {
    this.played = { steps, begin: performance.now() };
  }

  stop() {
    this.played = null;
    this.showComparison();
  }

  addKey() {
    this.state.key = this.path.add(this.stage.currentFrame());
    this.pathChanged();
  }

  moveKey() {
    if (this.path.keys.length === 0) return;
    this.path.replace(this.state.key, this.stage.currentFrame());
    this.pathChanged();
  }

  deleteKey() {
    this.path.remove(this.state.key);
    this.state.key = Math.max(0, Math.min(this.state.key, this.path.keys.length - 1));
    this.pathChanged();
  }

  pathChanged() {
    this.stage.setPath(this.path);
    this.panel.update();
  }

  selectKey(number) {
    this.state.key = number;
    this.panel.update();
    this.showKey();
  }

  showKey() {
    const key = this.path.keys[this.state.key];
    if (key) this.stage.lookThrough(key);
    this.stop();
  }

  savePath() {
    if (this.path.keys.length < 2) {
      this.note("A path needs at least 2 key frames: move the camera, then press `add this view`.");
      return;
    }
    download("path.json", URL.createObjectURL(new Blob([this.path.text()])));
  }

  openPath() {
    const input = Object.assign(document.createElement("input"), { type: "file", accept: ".json" });
    input.addEventListener("change", async () => {
      const [file] = input.files;
      this.loadPath(file.name, await file.text());
    });
    input.click();
  }

  loadPath(name, content) {
    try {
      this.path.load(content);
    } catch (error) {
      this.note(`${name}: ${error.message}`);
      return;
    }
    this.note(`${name}: ${this.path.keys.length} key frames`);
    this.state.key = 0;
    this.pathChanged();
  }

  setOpacity() {
    this.stage.setLeastOpacity(this.state.opacity);
  }

  setBox() {
    this.stage.setBox(this.state.crop ? this.state.box : null);
  }

  setTime(time) {
    this.stage.setTime(time);
    this.state.time = this.stage.time;
    this.clock = this.state.time;
  }

  /** Starts at the first moment if the last one is shown. */
  playTime() {
    this.clock = this.state.time < this.scene.moments.length - 1 ? this.state.time : 0;
  }

  screenshot() {
    download("view.png", this.stage.picture(this.state.width, this.state.height));
  }

  note(message) {
    text("note", message);
  }

  /** Advances what is played and draws; `seconds` since the last call. */
  advance(now, seconds) {
    this.stage.walk.update(seconds);
    if (this.played) {
      const at = Math.floor(((now - this.played.begin) / 1000) * this.scene.fps);
      const { steps } = this.played;
      if (at >= steps.length) this.played = null;
      steps[Math.min(Math.max(at, 0), steps.length - 1)]?.();
    }
    if (this.state.playing) this.advanceTime(seconds);
    this.stage.draw(now, this.state.frustums && !this.played);
    this.showStatistics();
  }

  advanceTime(seconds) {
    const { moments } = this.scene;
    const last = moments.length - 1;
    const span = (moments[last].time - moments[0].time) / last;
    let clock = this.clock + (seconds * this.state.speed) / span;
    if (clock >= moments.length && !this.state.loop) {
      clock = last;
      this.state.playing = false;
    }
    clock %= moments.length;
    if (Math.floor(clock) !== this.state.time || !this.state.playing) {
      this.setTime(Math.floor(clock));
      this.panel.update();
    }
    this.clock = clock;
  }

  showStatistics() {
    const { moments, bytes } = this.scene;
    const { stage } = this;
    const parts = [`${moments[stage.time].count.toLocaleString("en")} Gaussians`];
    const loaded = stage.moments.length;
    if (loaded < moments.length) parts.push(`loading ${loaded} of ${moments.length} moments`);
    else if (loaded > 1) parts.push(`${moments[stage.time].time.toFixed(2)} s`);
    parts.push(`${(bytes / 1e6).toFixed(1)} MB`);
    const { milliseconds } = stage.screen;
    if (milliseconds !== null) parts.push(`${milliseconds.toFixed(0)} ms a frame`);
    const line = parts.join(" · ");
    if (line !== this.line) text("statistics", line);
    this.line = line;
  }
}

function download(name, href) {
  Object.assign(document.createElement("a"), { href, download: name }).click();
}
