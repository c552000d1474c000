// The path of key frames: add, move, delete, play, save and load.

import { interpolate, readCameraFile } from "./cameras.js";

// Frames a second and seconds from one key frame to the next when a path is played.
const SECONDS = 1.5;

export class Path {
  constructor(scene) {
    this.scene = scene;
    this.keys = [];
  }

  add(frame) {
    this.keys.push(frame);
    return this.keys.length - 1;
  }

  replace(index, frame) {
    if (index in this.keys) this.keys[index] = frame;
  }

  remove(index) {
    this.keys.splice(index, 1);
  }

  /** Returns the frames of the smooth path, as many as its duration has. */
  frames() {
    const count = Math.max(2, Math.round(SECONDS * this.scene.fps * (this.keys.length - 1)) + 1);
    return interpolate(this.keys, count);
  }

  /** Returns the text of a camera file, as `--trajectory_file` takes it. */
  text() {
    const { width, height, fps } = this.scene;
    return JSON.stringify({ width, height, fps, frames: this.keys }, null, 1);
  }

  /** Takes the key frames of a camera file; throws an error that says what is wrong. */
  load(text) {
    this.keys = readCameraFile(text, this.scene.width, this.scene.height);
  }
}
