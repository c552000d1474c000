// The page that shows a scene: reads its description, loads the splats, connects the controls.

import * as THREE from "three";
import { Path } from "./path.js";
import { Stage } from "./stage.js";
import { makePanel } from "./panel.js";

const HELP = {
  orbit: "drag to turn, wheel or pinch to zoom, right drag or two fingers to shift",
  fly: "drag to look, W A S D to move, Q E down and up, pinch to move",
  walk: "drag to look, W A S D to walk at one height, Q E down and up",
};
const EIGHT_BITS = "This browser has no half-float targets: faint splats are lost in 8 bits.";

const scene = JSON.parse(document.getElementById("scene").textContent);
const note = document.getElementById("note");
const clip = document.getElementById("clip");

class Page {
  constructor() {
    this.scene = scene;
    this.stage = new Stage(scene, document.getElementById("stage"));
    this.path = new Path(scene);
    this.bounds = scene.bounds;
    this.state = {
      controls: "orbit", up: "-y", trajectory: 0, frustums: true, compare: 0,
      time: 0, playing: false, loop: true, speed: 1, key: 0, opacity: 0, crop: false,
      box: [...scene.bounds[0], ...scene.bounds[1]], background: "#ffffff", pictureWidth: 1920,
    };
    this.played = null;
    this.stage.onMoved = () => this.stop();
    for (const name of ["compare", "showKey", "setOpacity", "setBox"])
      this[name] = this[name].bind(this);
    this.panel = makePanel(this);
    this.stage.canvas.addEventListener("click", (event) => {
      const index = this.stage.frameUnder(event);
      if (index !== null) this.look(index);
    });
    addEventListener("resize", () => this.stage.resize());
  }

  /** Looks through a camera of the input. */
  look(index) {
    this.stage.lookThrough(scene.frames[index], index);
    this.compare();
  }

  reset() {
    this.stop();
    if (scene.frames.length) this.look(0);
    else this.stage.lookThrough(scene.home);
  }

  compare() {
    const picture = this.stage.frame === null ? null : scene.pictures[this.stage.frame];
    const box = this.stage.canvas.getBoundingClientRect();
    clip.hidden = !picture || this.state.compare === 0;
    if (clip.hidden) return;
    if (clip.getAttribute("src") !== picture) clip.src = picture;
    const { left, top, width, height } = box;
    Object.assign(clip.style, {
      left: `${left}px`, top: `${top}px`, width: `${width}px`, height: `${height}px`,
      clipPath: `inset(0 ${100 * (1 - this.state.compare)}% 0 0)`,
    });
  }

  playTrajectory() {
    const indices = scene.trajectories[this.state.trajectory].frames;
    this.play(indices.map((index) => [scene.frames[index], index]));
  }

  playPath() {
    if (this.path.keys.length) this.play(this.path.frames().map((frame) => [frame, null]));
  }

  play(frames) {
    this.played = { frames, begin: performance.now() };
  }

  stop() {
    this.played = null;
    clip.hidden = true;
  }

  addKey() {
    this.state.key = this.path.add(this.stage.currentFrame());
    this.panel.update();
  }

  moveKey() {
    this.path.replace(this.state.key, this.stage.currentFrame());
  }

  deleteKey() {
    this.path.remove(this.state.key);
    this.state.key = Math.max(0, Math.min(this.state.key, this.path.keys.length - 1));
    this.panel.update();
  }

  showKey() {
    const key = this.path.keys[this.state.key];
    if (key) this.stage.lookThrough(key);
  }

  savePath() {
    download("path.json", URL.createObjectURL(new Blob([this.path.text()])));
  }

  async openPath() {
    const input = Object.assign(document.createElement("input"), { type: "file", accept: ".json" });
    input.addEventListener("change", async () => {
      const [file] = input.files;
      this.loadPath(file.name, await file.text());
    });
    input.click();
  }

  loadPath(name, text) {
    try {
      this.path.load(text);
      note.textContent = `${name}: ${this.path.keys.length} key frames`;
    } catch (error) {
      note.textContent = `${name}: ${error.message}`;
    }
    this.state.key = 0;
    this.panel.update();
  }

  setOpacity() {
    this.stage.spark.material.uniforms.leastOpacity.value = this.state.opacity;
    this.stage.touch();
  }

  setBox() {
    this.stage.setBox(this.state.crop ? this.state.box : null);
  }

  screenshot() {
    download("view.png", this.stage.picture(this.state.pictureWidth));
  }

  /** Advances what is played; `seconds` since the last frame. */
  advance(now, seconds) {
    if (this.played) {
      const at = Math.floor(((now - this.played.begin) / 1000) * scene.fps);
      if (at >= this.played.frames.length) this.played = null;
      else this.stage.lookThrough(...this.played.frames[at]);
      this.compare();
    } else if (this.state.controls === "orbit") this.stage.orbit.update();
    else this.stage.walk.update(seconds);
    if (this.state.playing) this.advanceTime(seconds);
  }

  advanceTime(seconds) {
    const { moments } = scene;
    const length = moments.length;
    const span = (moments[length - 1].time - moments[0].time) / (length - 1);
    this.clock = (this.clock ?? this.state.time) + (seconds * this.state.speed) / span;
    if (this.clock >= length) {
      this.clock = this.state.loop ? this.clock % length : length - 1;
      this.state.playing = this.state.loop;
    }
    const time = Math.floor(this.clock);
    if (time !== this.state.time) {
      this.state.time = time;
      this.stage.setTime(time);
      this.panel.update();
    }
  }

  statistics(milliseconds) {
    const count = scene.moments[this.stage.time].count.toLocaleString("en");
    const size = (scene.bytes / 1e6).toFixed(1);
    const text = `${count} Gaussians, ${size} MB, ${milliseconds.toFixed(0)} ms a frame`;
    document.getElementById("statistics").textContent = text;
    document.getElementById("help").textContent = HELP[this.state.controls];
  }
}

function download(name, href) {
  Object.assign(document.createElement("a"), { href, download: name }).click();
}

/** Returns the bytes of a part of the page (base64), or of a file beside it. */
async function bytesOf(moment) {
  if (moment.data) return Uint8Array.from(atob(moment.data), (c) => c.charCodeAt(0));
  const answer = await fetch(moment.url);
  if (!answer.ok) throw new Error(`${moment.url}: ${answer.status} ${answer.statusText}`);
  return new Uint8Array(await answer.arrayBuffer());
}

async function main() {
  THREE.ColorManagement.enabled = false;
  const page = new Page();
  window.page = page;
  page.reset();
  if (!page.stage.screen.halfFloat) note.textContent = EIGHT_BITS;
  let last = performance.now();
  page.stage.renderer.setAnimationLoop((now) => {
    const begin = performance.now();
    page.advance(now, Math.min(0.1, (begin - last) / 1000));
    if (page.stage.draw(page.state.frustums && !page.played)) page.statistics(begin - last);
    if (page.stage.spark.activeSplats > 0) document.body.dataset.ready ??= Math.round(begin);
    last = begin;
  });
  for (const moment of scene.moments) await page.stage.addMoment(await bytesOf(moment));
  page.reset();
}

main().catch((error) => {
  note.textContent = String(error.message ?? error);
  throw error;
});
